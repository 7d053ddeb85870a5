/* Threads that are cancelled in system calls: each must unwind its stack, with its cleanups, as it does
   without splitproc. Build with -fexceptions. With an argument, a checkpoint and a restart come in between:
   the program waits for that file. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int depth;
static pid_t child;

static void leave(int *n) { depth += *n; }

static void cleanup(void *n) { depth += *(int *)n; }

static void with_nanosleep(void)
{
    struct timespec t = {1000, 0};
    nanosleep(&t, NULL);
}

static void with_poll(void) { poll(NULL, 0, -1); }

static void with_select(void) { select(0, NULL, NULL, NULL, NULL); }

static void with_epoll(void)
{
    struct epoll_event e;
    epoll_wait(epoll_create1(0), &e, 1, -1);
}

static void with_sigwait(void)
{
    sigset_t set;
    int got;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigwait(&set, &got);
}

static void with_sigsuspend(void)
{
    sigset_t set;
    sigfillset(&set);
    sigsuspend(&set);
}

static void with_read(void)
{
    int p[2];
    char c;
    if (pipe(p) == 0 && read(p[0], &c, 1) < 0)
        return;
}

static void with_waitpid(void)
{
    int status;
    child = fork();
    if (child == 0)
        for (;;)
            pause();
    waitpid(child, &status, 0);
}

static void with_pause(void) { pause(); }

static void inner(void (*wait)(void))
{
    __attribute__((cleanup(leave))) int one = 1;
    wait();
    one = 100;
}

static void *thread(void *wait)
{
    int ten = 10;
    __attribute__((cleanup(leave))) int hundred = 100;
    pthread_cleanup_push(cleanup, &ten);
    inner((void (*)(void))wait);
    pthread_cleanup_pop(0);
    return NULL;
}

static const struct {
    const char *name;
    void (*wait)(void);
} kinds[] = {
    {"nanosleep", with_nanosleep}, {"poll", with_poll},             {"select", with_select},
    {"epoll_wait", with_epoll},    {"sigwait", with_sigwait},       {"sigsuspend", with_sigsuspend},
    {"read", with_read},           {"waitpid", with_waitpid},       {"pause", with_pause},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* Until the thread sleeps in the kernel. */
static void settle(pid_t tid)
{
    char path[64], text[256];
    for (;;) {
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
        FILE *f = fopen(path, "r");
        int n = f ? (int)fread(text, 1, sizeof text - 1, f) : 0;
        text[n] = 0;
        if (f)
            fclose(f);
        char *p = text;
        for (char *q = text; *q; q++)
            if (*q == ')')
                p = q;
        if (n && p[2] == 'S')
            return;
        sched_yield();
    }
}

static pid_t tids[KINDS];

static void *start(void *at)
{
    int k = (int)(long)at;
    __atomic_store_n(&tids[k], gettid(), __ATOMIC_SEQ_CST);
    return thread((void *)kinds[k].wait);
}

int main(int argc, char **argv)
{
    pthread_t t[KINDS];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int k = 0; k < KINDS; k++) {
        if (argc > 1 && kinds[k].wait == with_waitpid)
            continue; /* a process with a child is not saved */
        if (pthread_create(&t[k], NULL, start, (void *)(long)k) != 0)
            return 1;
        while (!__atomic_load_n(&tids[k], __ATOMIC_SEQ_CST))
            sched_yield();
        settle(tids[k]);
    }
    if (argc > 1) {
        puts("ready");
        fflush(stdout);
        while (access(argv[1], F_OK) != 0)
            usleep(1000);
    }
    for (int k = 0; k < KINDS; k++) {
        void *result;
        if (argc > 1 && kinds[k].wait == with_waitpid)
            continue;
        settle(tids[k]);
        depth = 0;
        int error = pthread_cancel(t[k]);
        pthread_join(t[k], &result);
        printf("%s: %d %s %d\n", kinds[k].name, error, result == PTHREAD_CANCELED ? "cancelled" : "?", depth);
        fflush(stdout);
    }
    if (child)
        kill(child, SIGKILL);
    return 0;
}
