/*
 * state: what a process can hold besides memory, one kind at a time.
 *
 * Usage: state KIND GO
 *
 * Sets something up, prints `ready`, waits until the file GO exists, and then uses what it had set
 * up. Prints `ok`, or says what is lost and exits with 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const char *go;

#define CHECK(condition)                                                  \
    do {                                                                  \
        if (!(condition)) {                                               \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            exit(1);                                                      \
        }                                                                 \
    } while (0)

static void checkpoint_here(void)
{
    printf("ready\n");
    fflush(stdout);
    struct timespec t = {0, 1000000};
    while (access(go, F_OK) != 0)
        nanosleep(&t, NULL);
}

static void with_pipe(void)
{
    int p[2];
    char text[16] = "";
    CHECK(pipe(p) == 0 && write(p[1], "contents", 9) == 9);
    checkpoint_here();
    CHECK(read(p[0], text, sizeof text) == 9 && strcmp(text, "contents") == 0);
    CHECK(write(p[1], "more", 5) == 5 && read(p[0], text, sizeof text) == 5);
}

static void with_socketpair(void)
{
    int s[2];
    char text[16] = "";
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && write(s[0], "contents", 9) == 9);
    checkpoint_here();
    CHECK(read(s[1], text, sizeof text) == 9 && strcmp(text, "contents") == 0);
}

static void with_eventfd(void)
{
    uint64_t n = 0;
    int fd = eventfd(7, EFD_NONBLOCK);
    CHECK(fd >= 0);
    checkpoint_here();
    CHECK(read(fd, &n, sizeof n) == sizeof n && n == 7);
}

static void with_epoll(void)
{
    int fd = eventfd(0, EFD_NONBLOCK), ep = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x1234}, got;
    CHECK(fd >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == 0);
    checkpoint_here();
    uint64_t one = 1;
    CHECK(write(fd, &one, sizeof one) == sizeof one);
    CHECK(epoll_wait(ep, &got, 1, 1000) == 1 && got.data.u64 == 0x1234);
}

static void with_file(void)
{
    char text[16] = "";
    int fd = open("state.txt", O_RDWR | O_CREAT | O_TRUNC, 0600), copy;
    CHECK(fd >= 0 && write(fd, "0123456789", 10) == 10 && lseek(fd, 4, SEEK_SET) == 4);
    copy = dup(fd);
    CHECK(copy >= 0 && fcntl(copy, F_SETFD, FD_CLOEXEC) == 0);
    int append = open("state.txt", O_WRONLY | O_APPEND);
    checkpoint_here();
    CHECK(read(fd, text, 2) == 2 && strcmp(text, "45") == 0);
    CHECK(read(copy, text, 2) == 2 && strcmp(text, "67") == 0); /* they share the offset */
    CHECK(fcntl(copy, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFD) == 0);
    CHECK(fcntl(append, F_GETFL) & O_APPEND);
    CHECK(write(append, "x", 1) == 1 && pread(fd, text, 1, 10) == 1 && text[0] == 'x');
}

static void with_deleted_file(void)
{
    char text[16] = "";
    int fd = open("deleted.txt", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "contents", 9) == 9 && unlink("deleted.txt") == 0);
    checkpoint_here();
    CHECK(pread(fd, text, sizeof text, 0) == 9 && strcmp(text, "contents") == 0);
}

/* Files that have no name: their flags were about paths, and each descriptor may do other things with them. */
static void with_nameless_files(void)
{
    char text[8] = "", name[32];
    snprintf(name, sizeof name, "/state-%d", getpid());
    int unnamed = open(".", O_TMPFILE | O_RDWR, 0600);
    CHECK(unnamed >= 0 && write(unnamed, "unnamed", 7) == 7);
    int shm = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600); /* has O_NOFOLLOW */
    CHECK(shm >= 0 && ftruncate(shm, 4096) == 0);
    char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shm, 0);
    int reads = shm_open(name, O_RDONLY, 0);
    CHECK(at != MAP_FAILED && reads >= 0 && shm_unlink(name) == 0);
    strcpy(at, "shared");
    checkpoint_here();
    CHECK(pread(unnamed, text, 7, 0) == 7 && strcmp(text, "unnamed") == 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", unnamed);
    CHECK(linkat(AT_FDCWD, name, AT_FDCWD, "named-at-last", AT_SYMLINK_FOLLOW) == 0);
    CHECK(strcmp(at, "shared") == 0 && pwrite(shm, "more", 5, 100) == 5 && strcmp(at + 100, "more") == 0);
    at[200] = 'x';
    CHECK(pread(reads, text, 1, 200) == 1 && text[0] == 'x');
}

/* Shared mappings that may write, where the only descriptors of the files may not. */
static void with_weaker_descriptors(void)
{
    static const int ways[] = {O_RDONLY, O_WRONLY, O_PATH};
    char *at[3], name[16];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "weak%d", i);
        int fd = open(name, O_RDWR | O_CREAT, 0600);
        CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
        at[i] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(at[i] != MAP_FAILED && close(fd) == 0 && open(name, ways[i]) >= 0);
        strcpy(at[i], name);
    }
    checkpoint_here();
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "weak%d", i);
        CHECK(strcmp(at[i], name) == 0);
        at[i][100] = 'x';
        char c = 0;
        int fd = open(name, O_RDONLY);
        CHECK(pread(fd, &c, 1, 100) == 1 && c == 'x');
    }
}

/* Numbers that are free stay free. */
static void with_closed_streams(void)
{
    CHECK(close(0) == 0 && close(2) == 0);
    checkpoint_here();
    int first = open("/dev/null", O_RDWR), second = open("/dev/null", O_RDWR);
    printf("%s", first == 0 && second == 2 ? "" : "other numbers\n");
}

static void with_input(void)
{
    char text[5] = "";
    CHECK(read(0, text, 4) == 4 && strcmp(text, "one\n") == 0);
    checkpoint_here();
    CHECK(read(0, text, 4) == 4 && strcmp(text, "two\n") == 0 && read(0, text, 4) == 0);
}

static void with_log(void)
{
    int fd = open("log.txt", O_WRONLY | O_CREAT | O_APPEND, 0600);
    CHECK(fd >= 0 && write(fd, "before\n", 7) == 7);
    checkpoint_here();
    CHECK(write(fd, "again\n", 6) == 6);
}

static void with_memfd(void)
{
    char text[16] = "";
    int fd = memfd_create("state", 0);
    CHECK(fd >= 0 && write(fd, "contents", 9) == 9);
    checkpoint_here();
    CHECK(pread(fd, text, sizeof text, 0) == 9 && strcmp(text, "contents") == 0);
}

static void with_shared_memory(void)
{
    char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    strcpy(p + 5000, "contents");
    checkpoint_here();
    CHECK(strcmp(p + 5000, "contents") == 0 && p[0] == 0);
    p[0] = 1;
}

static void with_mappings(void)
{
    char *none = mmap(NULL, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *only = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open("mapped.txt", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 8192) == 0 && pwrite(fd, "file", 5, 4096) == 5);
    char *file = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(none != MAP_FAILED && only != MAP_FAILED && file != MAP_FAILED);
    close(fd);
    strcpy(only, "read-only");
    CHECK(mprotect(only, 4096, PROT_READ) == 0);
    strcpy(file, "changed");
    checkpoint_here();
    CHECK(strcmp(only, "read-only") == 0 && strcmp(file, "changed") == 0);
    CHECK(strcmp(file + 4096, "file") == 0);
    CHECK(mprotect(none, 1 << 16, PROT_READ | PROT_WRITE) == 0 && none[100] == 0);
    int p[2];
    CHECK(pipe(p) == 0 && write(p[1], only, 4) == 4);
}

static volatile sig_atomic_t handled;
static void handler(int sig) { handled = sig; }

static void with_pending_signal(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    signal(SIGUSR1, handler);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    checkpoint_here();
    CHECK(handled == 0);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK(handled == SIGUSR1);
}

static char alternate[1 << 16];
static void on_alternate(int sig)
{
    char here;
    CHECK(&here > alternate && &here < alternate + sizeof alternate);
    handled = sig;
}

static void with_alternate_stack(void)
{
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction action = {.sa_handler = on_alternate, .sa_flags = SA_ONSTACK};
    CHECK(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    signal(SIGUSR2, SIG_IGN);
    checkpoint_here();
    raise(SIGUSR2);
    raise(SIGUSR1);
    CHECK(handled == SIGUSR1);
}

static void with_itimer(void)
{
    struct itimerval often = {{0, 5000}, {0, 5000}};
    signal(SIGALRM, handler);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    checkpoint_here();
    handled = 0;
    struct timespec t = {0, 1000000};
    for (int i = 0; i < 2000 && !handled; i++)
        nanosleep(&t, NULL);
    CHECK(handled == SIGALRM);
}

static void with_timerfd(void)
{
    uint64_t n;
    struct itimerspec often = {{0, 5000000}, {0, 5000000}}, once = {{0, 0}, {0, 5000000}}, left;
    int fd = timerfd_create(CLOCK_MONOTONIC, 0), single = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    CHECK(fd >= 0 && timerfd_settime(fd, 0, &often, NULL) == 0);
    CHECK(single >= 0 && timerfd_settime(single, 0, &once, NULL) == 0);
    struct pollfd p = {.fd = fd, .events = POLLIN}, q = {.fd = single, .events = POLLIN};
    CHECK(poll(&p, 1, 2000) == 1 && poll(&q, 1, 2000) == 1); /* both have expired, unread */
    checkpoint_here();
    CHECK(timerfd_gettime(fd, &left) == 0 && left.it_interval.tv_nsec == 5000000);
    for (int k = 0; k < 5; k++)
        CHECK(poll(&p, 1, 2000) == 1 && read(fd, &n, sizeof n) == sizeof n && n > 0);
    CHECK(read(single, &n, sizeof n) == sizeof n && n == 1);
    CHECK(timerfd_gettime(single, &left) == 0 && left.it_value.tv_nsec == 0 && left.it_value.tv_sec == 0);
    CHECK(read(single, &n, sizeof n) == -1 && errno == EAGAIN);
}

static void with_limits(void)
{
    struct rlimit limit, now;
    CHECK(getrlimit(RLIMIT_CORE, &limit) == 0);
    limit.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_CORE, &limit) == 0);
    CHECK(mkdir("below", 0700) == 0 && chdir("below") == 0);
    umask(0137);
    checkpoint_here();
    char cwd[4096];
    CHECK(getrlimit(RLIMIT_CORE, &now) == 0 && now.rlim_cur == 0 && now.rlim_max == limit.rlim_max);
    CHECK(getcwd(cwd, sizeof cwd) && strcmp(strrchr(cwd, '/'), "/below") == 0);
    CHECK(umask(0) == 0137);
}

static void with_program_break(void)
{
    char *old = sbrk(1 << 20);
    CHECK(old != (void *)-1);
    strcpy(old, "contents");
    checkpoint_here();
    CHECK(strcmp(old, "contents") == 0);
    char *top = sbrk(0), *more = sbrk(1 << 20);
    CHECK(more == top && more >= old + (1 << 20) && more[100] == 0);
}

static int stage, waiting;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void *waiter(void *name)
{
    char now[16];
    pthread_setname_np(pthread_self(), name);
    pthread_mutex_lock(&lock);
    waiting++;
    while (!stage)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    pthread_getname_np(pthread_self(), now, sizeof now);
    CHECK(strcmp(now, name) == 0);
    return name;
}

/* Threads that wait for a condition, for a lock, and to be joined; ids and names. */
static void with_threads(void)
{
    pthread_t a, b;
    void *result;
    pid_t pid = getpid();
    pthread_mutex_t own;
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&own, &kind);
    CHECK(pthread_mutex_lock(&own) == 0);
    CHECK(pthread_create(&a, NULL, waiter, "first") == 0);
    CHECK(pthread_create(&b, NULL, waiter, "second") == 0);
    checkpoint_here();
    CHECK(getpid() == pid && gettid() == pid);
    CHECK(kill(pid, 0) == 0);
    CHECK(pthread_mutex_unlock(&own) == 0); /* it is still ours */
    pthread_mutex_lock(&lock);
    stage = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    CHECK(pthread_join(a, &result) == 0 && strcmp(result, "first") == 0);
    CHECK(pthread_join(b, &result) == 0 && strcmp(result, "second") == 0);
    stage = 0;
    CHECK(pthread_create(&a, NULL, waiter, "third") == 0);
    for (int there = 0; there < 3;) { /* until the third is in its wait */
        pthread_mutex_lock(&lock);
        there = waiting;
        pthread_mutex_unlock(&lock);
    }
    CHECK(pthread_cancel(a) == 0 && pthread_join(a, &result) == 0 && result == PTHREAD_CANCELED);
}

static void *sleeper(void *unused)
{
    *(volatile pid_t *)&stage = gettid();
    for (;;)
        pause();
    return unused;
}

/* Waits for every signal there is: a checkpoint's own must not be taken for one. */
static void *watcher(void *unused)
{
    sigset_t all;
    int got;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    sigwait(&all, &got);
    CHECK(!"a signal came");
    return unused;
}

static double seconds(clockid_t clock)
{
    struct timespec t = {-1, -1};
    CHECK(clock_gettime(clock, &t) == 0 && t.tv_nsec >= 0);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* The vDSO's functions, and clocks, owners, timers, names and schedules by the ids that the program knows. */
static void with_clocks_and_ids(void)
{
    struct timeval tv;
    struct timespec res;
    struct sched_param param;
    unsigned cpu, node;
    cpu_set_t set;
    clockid_t own, others;
    pthread_t other;
    timer_t timer;
    char name[16] = "", path[64];
    pid_t pid = getpid(), parent = getppid();
    int p[2], policy;
    CHECK(pthread_create(&other, NULL, watcher, NULL) == 0);
    CHECK(pthread_create(&other, NULL, sleeper, NULL) == 0);
    while (!__atomic_load_n(&stage, __ATOMIC_SEQ_CST))
        sched_yield();
    pid_t tid = stage;
    CHECK(clock_getcpuclockid(pid, &own) == 0 && pthread_getcpuclockid(other, &others) == 0);
    double start = seconds(CLOCK_REALTIME);
    checkpoint_here();
    CHECK(gettimeofday(&tv, NULL) == 0 && clock_getres(CLOCK_MONOTONIC, &res) == 0 && res.tv_sec == 0);
    double now = seconds(CLOCK_REALTIME);
    CHECK(now >= start && now < start + 1000 && tv.tv_sec - now < 2 && now - tv.tv_sec < 2);
    CHECK(time(NULL) - now < 2 && getcpu(&cpu, &node) == 0 && sched_getcpu() >= 0);
    CHECK(seconds(CLOCK_MONOTONIC) > 0 && seconds(CLOCK_BOOTTIME) > 0);
    CHECK(seconds(own) >= 0 && seconds(others) >= 0 && seconds(others) < 1000);
    clockid_t again;
    timer_t cpu_timer;
    struct sigevent silent = {.sigev_notify = SIGEV_NONE};
    struct timespec past = {0, 0};
    CHECK(clock_getcpuclockid(pid, &again) == 0 && again == own && clock_getres(own, &res) == 0);
    CHECK(syscall(SYS_clock_gettime, own, &res) == 0 && clock_getcpuclockid(parent, &again) == 0);
    CHECK(clock_nanosleep(own, TIMER_ABSTIME, &past, NULL) == 0);
    CHECK(clock_settime(own, &past) == -1 && errno == EPERM);
    CHECK(timer_create(own, &silent, &cpu_timer) == 0 && timer_delete(cpu_timer) == 0);
    CHECK(getppid() == parent && getpgid(pid) == getpgrp() && getsid(pid) == getsid(0));
    CHECK(sched_getaffinity(tid, sizeof set, &set) == 0 && sched_setaffinity(tid, sizeof set, &set) == 0);
    CHECK(pthread_getaffinity_np(other, sizeof set, &set) == 0);
    CHECK(pthread_getschedparam(other, &policy, &param) == 0 && sched_getscheduler(pid) == policy);
    CHECK(pthread_setname_np(other, "renamed") == 0);
    CHECK(pthread_getname_np(other, name, sizeof name) == 0 && strcmp(name, "renamed") == 0);
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", pid, tid);
    FILE *comm = fopen(path, "r");
    CHECK(comm && fgets(name, sizeof name, comm) && strcmp(name, "renamed\n") == 0);
    CHECK(pipe(p) == 0 && fcntl(p[0], F_SETOWN, pid) == 0 && fcntl(p[0], F_GETOWN) == pid);
    CHECK(kill(parent, 0) == 0 || errno == EPERM);
    signal(SIGUSR1, handler);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    event._sigev_un._tid = tid;
    struct itimerspec soon = {{0, 0}, {0, 1000000}};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &soon, NULL) == 0);
    struct timespec t = {0, 1000000};
    for (int i = 0; i < 10000 && !handled; i++)
        nanosleep(&t, NULL);
    CHECK(handled == SIGUSR1);
    sigset_t one;
    siginfo_t info;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    CHECK(sigprocmask(SIG_BLOCK, &one, NULL) == 0 && raise(SIGUSR2) == 0);
    CHECK(sigwaitinfo(&one, &info) == SIGUSR2 && info.si_pid == pid);
    CHECK(setresuid(-1, geteuid(), -1) == 0); /* every thread must answer */
    void *result;
    CHECK(pthread_cancel(other) == 0 && pthread_join(other, &result) == 0 && result == PTHREAD_CANCELED);
}

/* A connection to ourselves. */
static void with_tcp(void)
{
    int listening = socket(AF_INET, SOCK_STREAM, 0), there = socket(AF_INET, SOCK_STREAM, 0), here;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    char text[16] = "";
    CHECK(bind(listening, (void *)&at, len) == 0 && listen(listening, 1) == 0);
    CHECK(getsockname(listening, (void *)&at, &len) == 0);
    CHECK(connect(there, (void *)&at, len) == 0 && (here = accept(listening, NULL, NULL)) >= 0);
    close(listening);
    checkpoint_here();
    CHECK(write(there, "contents", 9) == 9 && read(here, text, sizeof text) == 9);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } kinds[] = {
        {"pipe", with_pipe},
        {"socketpair", with_socketpair},
        {"eventfd", with_eventfd},
        {"epoll", with_epoll},
        {"file", with_file},
        {"deleted", with_deleted_file},
        {"nameless", with_nameless_files},
        {"weaker", with_weaker_descriptors},
        {"closed", with_closed_streams},
        {"input", with_input},
        {"log", with_log},
        {"memfd", with_memfd},
        {"shared", with_shared_memory},
        {"mappings", with_mappings},
        {"pending", with_pending_signal},
        {"altstack", with_alternate_stack},
        {"itimer", with_itimer},
        {"timerfd", with_timerfd},
        {"limits", with_limits},
        {"brk", with_program_break},
        {"threads", with_threads},
        {"ids", with_clocks_and_ids},
        {"tcp", with_tcp},
    };
    if (argc != 3)
        return 2;
    go = argv[2];
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        if (strcmp(argv[1], kinds[k].name) == 0) {
            kinds[k].run();
            printf("ok\n");
            return 0;
        }
    return 2;
}
