/*
 * open-files: a program that uses its limit of open files to the full, and sets lower ones.
 *
 * Usage: open-files KIND GO, with KIND one of
 *   given   the limit it was started with
 *   exact   the same, and it has every number below it
 *   lower   its own, soft and hard
 * Prints `ready` before a checkpoint, then waits for GO; `ok` at its end.
 */
#define _GNU_SOURCE
#include "kind.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Opens files until there are no more; gives the number of the last one, and keeps `keep`. */
static int fill(int keep)
{
    int fd, last = -1, first = -1;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0) {
        CHECK(fd > last);
        first = first < 0 ? fd : first;
        last = fd;
    }
    CHECK(errno == EMFILE);
    CHECK(dup2(0, last + 1) == -1 && errno == EBADF);
    CHECK(fcntl(0, F_DUPFD, last + 1) == -1);
    for (fd = first; fd <= last - keep; fd++)
        CHECK(close(fd) == 0);
    return last;
}

/* The limit is this one, here and in children. */
static void is(struct rlimit want)
{
    struct rlimit now;
    CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
    CHECK(now.rlim_cur == want.rlim_cur && now.rlim_max == want.rlim_max);
    CHECK(syscall(SYS_getrlimit, RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == want.rlim_cur);
    CHECK((rlim_t)sysconf(_SC_OPEN_MAX) == want.rlim_cur);
    int status;
    pid_t child = fork();
    if (child == 0) {
        getrlimit(RLIMIT_NOFILE, &now);
        _exit(now.rlim_cur != want.rlim_cur || now.rlim_max != want.rlim_max);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    char line[64];
    unsigned long soft = 0, hard = 0;
    FILE *shell = popen("ulimit -Sn; ulimit -Hn", "r");
    CHECK(shell && fgets(line, sizeof line, shell) && sscanf(line, "%lu", &soft) == 1);
    CHECK(fgets(line, sizeof line, shell) && sscanf(line, "%lu", &hard) == 1 && pclose(shell) == 0);
    CHECK(soft == want.rlim_cur && hard == want.rlim_max);
}

static void run(int exact)
{
    struct rlimit given;
    CHECK(getrlimit(RLIMIT_NOFILE, &given) == 0);
    is(given);
    int last = fill(0);
    CHECK(!exact || last == (int)given.rlim_cur - 1);
    checkpoint_here();
    is(given);
    CHECK(fill(0) == last);
}

static void with_given(void)
{
    run(0);
}

static void with_exact(void)
{
    struct rlimit given;
    CHECK(getrlimit(RLIMIT_NOFILE, &given) == 0);
    run(1);
    CHECK(fill(1) == (int)given.rlim_cur - 1);
}

static void with_lower(void)
{
    struct rlimit own = {40, 200}, higher = {300, 300}, wrong = {50, 40};
    CHECK(setrlimit(RLIMIT_NOFILE, &own) == 0);
    is(own);
    CHECK(fill(3) == 39);
    checkpoint_here();
    is(own);
    CHECK(open("/dev/null", O_RDONLY) == 3 || errno == EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &wrong) == -1 && errno == EINVAL);
    own.rlim_cur = 60;
    CHECK(setrlimit(RLIMIT_NOFILE, &own) == 0);
    is(own);
    CHECK(fill(0) == 59);
    if (geteuid() != 0)
        CHECK(setrlimit(RLIMIT_NOFILE, &higher) == -1 && errno == EPERM);
}

/* It has a high number. */
static void with_high(void)
{
    CHECK(dup2(0, 100) == 100);
    checkpoint_here();
    CHECK(fcntl(100, F_GETFD) == 0);
}

int main(int argc, char **argv)
{
    static const struct kind kinds[] = {
        {"given", with_given}, {"exact", with_exact}, {"lower", with_lower}, {"high", with_high},
    };
    return run_kind(argc, argv, kinds, sizeof kinds / sizeof *kinds);
}
