/*
 * kernel: what the kernel keeps for a process and a restart brings back, one kind at a time.
 *
 * Usage: kernel KIND GO, as `state`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "kind.h"

/* What must be restored. */

static void with_queued_signals(void)
{
    sigset_t set;
    siginfo_t got;
    struct timespec none = {0, 0};
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 3; i++)
        CHECK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 40 + i}) == 0);
    CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
    checkpoint_here();
    CHECK(sigtimedwait(&set, &got, &none) == SIGUSR1 && got.si_code == SI_USER);
    for (int i = 0; i < 3; i++) {
        CHECK(sigtimedwait(&set, &got, &none) == SIGRTMIN + 1);
        CHECK(got.si_code == SI_QUEUE && got.si_value.sival_int == 40 + i);
    }
    CHECK(sigtimedwait(&set, &got, &none) == -1 && errno == EAGAIN);
}

static volatile sig_atomic_t rang;
static volatile int value;
static void on_timer(int sig, siginfo_t *info, void *context)
{
    (void)context;
    rang = sig;
    value = info->si_value.sival_int;
}
static void on_thread(union sigval v)
{
    value = v.sival_int;
}

static void with_posix_timer(int notify)
{
    timer_t timer;
    struct sigaction action = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO};
    struct sigevent event = {.sigev_notify = notify, .sigev_value.sival_int = 77};
    struct itimerspec often = {{0, 5000000}, {0, 5000000}};
    if (notify == SIGEV_THREAD)
        event.sigev_notify_function = on_thread;
    else
        event.sigev_signo = SIGUSR1;
    sigaction(SIGUSR1, &action, NULL);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &often, NULL) == 0);
    checkpoint_here();
    value = 0;
    for (int i = 0; i < 3000 && value != 77; i++)
        pause_a_little();
    CHECK(value == 77);
    CHECK(timer_delete(timer) == 0);
}
static void with_timer_signal(void) { with_posix_timer(SIGEV_SIGNAL); }
static void with_timer_thread(void) { with_posix_timer(SIGEV_THREAD); }

static void with_inotify(void)
{
    char buffer[4096];
    int file = open("watched.txt", O_RDWR | O_CREAT, 0600), fd = inotify_init1(IN_NONBLOCK);
    int first = inotify_add_watch(fd, ".", IN_CREATE), wd = inotify_add_watch(fd, "watched.txt", IN_ALL_EVENTS);
    CHECK(file >= 0 && first > 0 && wd > first && inotify_rm_watch(fd, first) == 0);
    CHECK(read(fd, buffer, sizeof buffer) > 0); /* that the first is gone */
    checkpoint_here();
    CHECK(write(file, "x", 1) == 1);
    struct inotify_event *event = (void *)buffer;
    CHECK(read(fd, buffer, sizeof buffer) > 0 && event->wd == wd && event->mask == IN_MODIFY);
}

static void with_signalfd(void)
{
    sigset_t set;
    struct signalfd_siginfo got;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK);
    raise(SIGUSR2);
    checkpoint_here();
    CHECK(read(fd, &got, sizeof got) == sizeof got && got.ssi_signo == SIGUSR2);
    CHECK(read(fd, &got, sizeof got) == -1 && errno == EAGAIN);
}

static void with_directory(void)
{
    char seen[16] = "", name[2] = "a";
    CHECK(mkdir("listed", 0700) == 0);
    for (name[0] = 'a'; name[0] < 'i'; name[0]++) {
        char path[16];
        snprintf(path, sizeof path, "listed/%s", name);
        CHECK(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
    }
    DIR *dir = opendir("listed");
    int at = open("listed", O_PATH | O_DIRECTORY);
    struct dirent *entry;
    int left = 5;
    while (left-- && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            strcat(seen, entry->d_name);
    seekdir(dir, telldir(dir));
    checkpoint_here();
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            strcat(seen, entry->d_name);
    CHECK(strlen(seen) == 8);
    for (name[0] = 'a'; name[0] < 'i'; name[0]++)
        CHECK(strchr(seen, name[0]));
    CHECK(faccessat(at, "a", F_OK, 0) == 0 && (fcntl(at, F_GETFL) & O_PATH));
}

static void with_schedule(void)
{
    cpu_set_t one, now;
    struct sched_param none = {0};
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(setpriority(PRIO_PROCESS, 0, 7) == 0 && sched_setscheduler(0, SCHED_BATCH, &none) == 0);
    checkpoint_here();
    CHECK(sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&one, &now));
    CHECK(getpriority(PRIO_PROCESS, 0) == 7 && sched_getscheduler(0) == SCHED_BATCH);
}

static void with_prctl(void)
{
    int death = 0, reaper = 0;
    CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0 && prctl(PR_SET_TIMERSLACK, 12345) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    signal(SIGUSR1, SIG_IGN);
    checkpoint_here();
    CHECK(prctl(PR_GET_PDEATHSIG, &death) == 0 && death == SIGUSR1);
    CHECK(prctl(PR_GET_TIMERSLACK) == 12345 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    CHECK(prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0 && reaper == 1);
    CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE) == 0);
}

/* Asks from another process, which has no locks of its own. */
static int locked(const char *path, int whole)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_RDWR);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
        if (whole)
            _exit(flock(fd, LOCK_EX | LOCK_NB) != 0);
        _exit(fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void with_locks(void)
{
    int a = open("whole", O_RDWR | O_CREAT, 0600), b = open("process", O_RDWR | O_CREAT, 0600);
    int c = open("file", O_RDWR | O_CREAT, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
    CHECK(flock(a, LOCK_EX) == 0 && fcntl(b, F_SETLK, &lock) == 0 && fcntl(c, F_OFD_SETLK, &lock) == 0);
    checkpoint_here();
    CHECK(locked("whole", 1) && locked("process", 0) && locked("file", 0));
    lock.l_type = F_UNLCK;
    CHECK(flock(a, LOCK_UN) == 0 && fcntl(b, F_SETLK, &lock) == 0 && fcntl(c, F_OFD_SETLK, &lock) == 0);
    CHECK(!locked("whole", 1) && !locked("process", 0) && !locked("file", 0));
}

/* The flags that the kernel shows for the memory at `at`. */
static int has_flag(void *at, const char *flag)
{
    char line[512];
    int here = 0, found = 0;
    unsigned long start, end;
    FILE *f = fopen("/proc/self/smaps", "r");
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            here = start <= (unsigned long)at && (unsigned long)at < end;
        if (here && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    }
    fclose(f);
    return found;
}

static void with_advice(void)
{
    static const struct {
        int advice;
        const char *flag;
    } all[] = {{MADV_DONTFORK, " dc"}, {MADV_DONTDUMP, " dd"}, {MADV_HUGEPAGE, " hg"},
               {MADV_NOHUGEPAGE, " nh"}, {MADV_RANDOM, " rr"}, {MADV_WIPEONFORK, " wf"}};
    enum { COUNT = sizeof all / sizeof all[0], LEN = 1 << 16 };
    char *at[COUNT], *locked, *down;
    int set[COUNT], flags = MAP_PRIVATE | MAP_ANONYMOUS;
    for (int i = 0; i < COUNT; i++) {
        at[i] = mmap(NULL, 3 * LEN, PROT_READ | PROT_WRITE, flags, -1, 0);
        set[i] = madvise(at[i] + LEN, LEN, all[i].advice) == 0;
        strcpy(at[i] + LEN, "contents");
    }
    locked = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, -1, 0);
    CHECK(mlock(locked, LEN) == 0);
    down = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags | MAP_GROWSDOWN, -1, 0);
    strcpy(down, "contents");
    checkpoint_here();
    for (int i = 0; i < COUNT; i++) {
        CHECK(!set[i] || has_flag(at[i] + LEN, all[i].flag));
        CHECK(!has_flag(at[i], all[i].flag) && strcmp(at[i] + LEN, "contents") == 0);
    }
    CHECK(has_flag(locked, " lo") && has_flag(down, " gd") && strcmp(down, "contents") == 0);
}

/* One file without a name, behind two descriptors and two mappings. */
static void with_aliases(void)
{
    char text[16] = "";
    int fd = open("aliased", O_RDWR | O_CREAT | O_TRUNC, 0600), other = open("aliased", O_RDWR);
    CHECK(ftruncate(fd, 8192) == 0 && unlink("aliased") == 0);
    int memory = memfd_create("aliased", 0);
    CHECK(ftruncate(memory, 8192) == 0);
    char *a = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    char *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 4096);
    char *c = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(a != MAP_FAILED && b != MAP_FAILED && c != MAP_FAILED);
    close(memory);
    strcpy(a + 4096, "before");
    checkpoint_here();
    CHECK(strcmp(b, "before") == 0);
    strcpy(a + 4096, "after");
    CHECK(strcmp(b, "after") == 0);
    CHECK(pwrite(fd, "here", 5, 100) == 5 && pread(other, text, 5, 100) == 5);
    CHECK(strcmp(text, "here") == 0 && strcmp(c + 100, "here") == 0);
}

static void with_listening(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), there = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    close(there);
    CHECK(bind(fd, (void *)&at, len) == 0 && listen(fd, 3) == 0);
    CHECK(getsockname(fd, (void *)&at, &len) == 0);
    checkpoint_here();
    there = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(there, (void *)&at, len) == 0 && accept(fd, NULL, NULL) >= 0);
}

static void with_pairs(void)
{
    char text[16];
    int s[2], t[2], p[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s) == 0);
    CHECK(write(s[0], "one", 4) == 4 && write(s[0], "two", 4) == 4);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, t) == 0 && write(t[0], "last", 5) == 5);
    CHECK(shutdown(t[0], SHUT_WR) == 0);
    CHECK(pipe(p) == 0 && write(p[1], "end", 4) == 4 && close(p[1]) == 0);
    checkpoint_here();
    CHECK(read(s[1], text, sizeof text) == 4 && strcmp(text, "one") == 0);
    CHECK(read(s[1], text, sizeof text) == 4 && strcmp(text, "two") == 0);
    CHECK(read(t[1], text, sizeof text) == 5 && read(t[1], text, sizeof text) == 0);
    CHECK(write(t[1], "back", 5) == 5 && read(t[0], text, sizeof text) == 5);
    CHECK(read(p[0], text, sizeof text) == 4 && read(p[0], text, sizeof text) == 0);
}

/* Vector registers that live across the checkpoint. */
__attribute__((target("avx"))) static void with_registers(void)
{
    double in[32] __attribute__((aligned(32))), out[32] __attribute__((aligned(32)));
    for (int i = 0; i < 32; i++)
        in[i] = 1.0 / (i + 3);
    printf("ready\n");
    fflush(stdout);
    for (int there = 0; !there;) {
        /* Long enough for the checkpoint to come while they are in the registers, and nowhere else. */
        for (int round = 0; round < 20; round++) {
            memset(out, 0, sizeof out);
            asm volatile("vmovapd (%0), %%ymm0; vmovapd 32(%0), %%ymm3; vmovapd 64(%0), %%ymm7\n\t"
                         "vmovapd 96(%0), %%ymm15\n\t"
                         "mov $3000000, %%rcx\n\t"
                         "1: dec %%rcx; jnz 1b\n\t"
                         "vmovapd %%ymm0, (%1); vmovapd %%ymm3, 32(%1); vmovapd %%ymm7, 64(%1)\n\t"
                         "vmovapd %%ymm15, 96(%1)\n\t"
                         :
                         : "r"(in), "r"(out)
                         : "rcx", "memory", "xmm0", "xmm3", "xmm7", "xmm15");
            CHECK(memcmp(in, out, 16 * sizeof in[0]) == 0);
        }
        there = access(go, F_OK) == 0;
    }
}

/* The command line and the environment, as the kernel shows them. */
static char **arguments;
static size_t read_all(const char *path, char *to, size_t room)
{
    size_t len = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    while ((got = read(fd, to + len, room - len)) > 0)
        len += got;
    CHECK(got == 0 && len < room && close(fd) == 0);
    return len;
}

static void shows_what_it_was_given(void)
{
    static char text[1 << 20];
    size_t len = read_all("/proc/self/cmdline", text, sizeof text), at = 0;
    for (int i = 0; arguments[i]; at += strlen(arguments[i]) + 1, i++)
        CHECK(at < len && strcmp(text + at, arguments[i]) == 0);
    CHECK(at == len);
    len = read_all("/proc/self/environ", text, sizeof text);
    CHECK(len > 0 && text[len - 1] == 0);
    for (at = 0; at < len; at += strlen(text + at) + 1) {
        char *value = strchr(text + at, '='), *had;
        CHECK(value);
        *value = 0;
        CHECK((had = getenv(text + at)) && strcmp(had, value + 1) == 0);
        *value = '=';
    }
}

static void with_command_line(void)
{
    static char title[256];
    shows_what_it_was_given();
    checkpoint_here();
    shows_what_it_was_given();
    /* As setproctitle does it: a title that is longer than the arguments goes on in the environment. */
    size_t len = 0;
    for (int i = 0; arguments[i]; i++)
        len += strlen(arguments[i]) + 1;
    CHECK(arguments[0] + len == environ[0] && len + 5 < sizeof title);
    memset(arguments[0], 'x', len + 4);
    arguments[0][len + 4] = 0;
    CHECK(read_all("/proc/self/cmdline", title, sizeof title) >= len + 4);
    CHECK(strspn(title, "x") == len + 4);
}

/* One open file under two numbers, and two that look alike. */
static void with_copies(void)
{
    char text[3] = "";
    int fd = open("state.txt", O_RDWR | O_CREAT | O_TRUNC, 0600), copy = dup(fd);
    CHECK(write(fd, "0123456789", 10) == 10 && lseek(fd, 0, SEEK_SET) == 0 && copy >= 0);
    int a = open("state.txt", O_RDWR), b = open("state.txt", O_RDWR);
    CHECK(lseek(a, 4, SEEK_SET) == 4 && lseek(b, 4, SEEK_SET) == 4);
    checkpoint_here();
    CHECK(read(fd, text, 2) == 2 && read(copy, text, 2) == 2 && strcmp(text, "23") == 0);
    CHECK(read(a, text, 2) == 2 && read(b, text, 2) == 2 && strcmp(text, "45") == 0);
}

/* What is written is not on the disk yet: by a descriptor, and in a mapping. */
static void with_unsynced_files(void)
{
    static char data[1 << 20];
    memset(data, 'x', sizeof data);
    int fd = open("written.txt", O_WRONLY | O_CREAT, 0600), other = open("mapped.txt", O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && write(fd, data, sizeof data) == sizeof data);
    CHECK(other >= 0 && ftruncate(other, sizeof data) == 0 && fsync(other) == 0);
    char *p = mmap(NULL, sizeof data, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
    CHECK(p != MAP_FAILED && close(other) == 0);
    memset(p, 'x', sizeof data);
    checkpoint_here();
    CHECK(p[5] == 'x' && write(fd, data, 1) == 1);
}

static long fence(int command) { return syscall(SYS_membarrier, command, 0, 0); }

/* Each kind is refused to who has not registered for it. */
static void with_membarrier(void)
{
    const int registers[] = {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
                             MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ};
    const int uses[] = {MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ};
    long there = fence(MEMBARRIER_CMD_QUERY);
    CHECK(there >= 0);
    for (int i = 0; i < 2; i++)
        if (there & registers[i])
            CHECK(fence(uses[i]) == -1 && errno == EPERM && fence(registers[i]) == 0);
    checkpoint_here();
    for (int i = 0; i < 2; i++)
        if (there & registers[i])
            CHECK(fence(uses[i]) == 0);
}

int main(int argc, char **argv)
{
    static const struct kind kinds[] = {
        {"queued", with_queued_signals},
        {"timer-signal", with_timer_signal},
        {"timer-thread", with_timer_thread},
        {"copies", with_copies},
        {"membarrier", with_membarrier},
        {"unsynced", with_unsynced_files},
        {"inotify", with_inotify},
        {"signalfd", with_signalfd},
        {"directory", with_directory},
        {"schedule", with_schedule},
        {"prctl", with_prctl},
        {"locks", with_locks},
        {"advice", with_advice},
        {"aliases", with_aliases},
        {"listening", with_listening},
        {"pairs", with_pairs},
        {"registers", with_registers},
        {"command-line", with_command_line},
    };
    arguments = argv;
    return run_kind(argc, argv, kinds, sizeof kinds / sizeof kinds[0]);
}
