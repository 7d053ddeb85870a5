/*
 * waits: one thread in each kind of wait while checkpoints are taken; none may end early, or with EINTR.
 *
 * Usage: waits MILLISECONDS GO
 *
 * Prints `ready` once all threads wait. The waits without a limit end when the file GO exists, those with
 * a limit after MILLISECONDS. Prints the longest of those that had one, in milliseconds, then `ok`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long limit;
static int pipes[4][2], pair[2];
static sem_t never, later;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int stage;

static void want(int right, const char *what)
{
    if (!right) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static struct timespec span(void)
{
    return (struct timespec){limit / 1000, limit % 1000 * 1000000};
}

static struct timespec until(void)
{
    struct timespec t, s = span();
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += s.tv_sec + (t.tv_nsec + s.tv_nsec) / 1000000000;
    t.tv_nsec = (t.tv_nsec + s.tv_nsec) % 1000000000;
    return t;
}

/* Waits with a limit: each must last that long. The last one's begins anew with each checkpoint. */

static void by_nanosleep(void)
{
    struct timespec t = span();
    want(nanosleep(&t, NULL) == 0, "nanosleep");
}

static void by_nanosleep_with_rest(void)
{
    struct timespec t = span();
    want(nanosleep(&t, &t) == 0, "nanosleep with a rest");
}

static void by_clock_nanosleep(void)
{
    struct timespec t = span();
    want(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) == 0, "clock_nanosleep");
}

static void by_poll(void)
{
    struct pollfd p = {.fd = pipes[3][0], .events = POLLIN};
    want(poll(&p, 1, limit) == 0, "poll with a limit");
}

static void by_epoll(void)
{
    struct epoll_event e;
    int ep = epoll_create1(0);
    want(epoll_wait(ep, &e, 1, limit) == 0, "epoll_wait with a limit");
}

static void by_select(void)
{
    struct timeval t = {limit / 1000, limit % 1000 * 1000};
    want(select(0, NULL, NULL, NULL, &t) == 0, "select with a limit");
}

static void by_ppoll(void)
{
    struct timespec t = span();
    sigset_t none;
    sigemptyset(&none);
    want(ppoll(NULL, 0, &t, &none) == 0, "ppoll with a limit");
}

static void by_sigtimedwait(void)
{
    sigset_t set;
    struct timespec t = span();
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    want(sigtimedwait(&set, NULL, &t) == -1 && errno == EAGAIN, "sigtimedwait");
}

static void by_semaphore(void)
{
    struct timespec t = until();
    want(sem_timedwait(&never, &t) == -1 && errno == ETIMEDOUT, "sem_timedwait");
}

static void by_futex(void)
{
    static int word;
    struct timespec t = span();
    want(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0) == -1 && errno == ETIMEDOUT, "futex");
}

static void by_receive(void)
{
    char c;
    want(recv(pair[0], &c, 1, 0) == -1 && errno == EAGAIN, "recv with SO_RCVTIMEO");
}

/* Waits without. */

static void for_pipe(void)
{
    char c;
    want(read(pipes[0][0], &c, 1) == 1, "read");
}

static void for_poll(void)
{
    struct pollfd p = {.fd = pipes[1][0], .events = POLLIN};
    want(poll(&p, 1, -1) == 1, "poll");
}

static void for_epoll(void)
{
    struct epoll_event e = {.events = EPOLLIN};
    int ep = epoll_create1(0);
    epoll_ctl(ep, EPOLL_CTL_ADD, pipes[2][0], &e);
    want(epoll_wait(ep, &e, 1, -1) == 1, "epoll_wait");
}

static void for_select(void)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipes[2][0], &set);
    want(select(pipes[2][0] + 1, &set, NULL, NULL, NULL) == 1, "select");
}

static void for_semaphore(void)
{
    want(sem_wait(&later) == 0, "sem_wait");
}

static void for_signal(void)
{
    sigset_t set;
    int got = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    want(sigwaitinfo(&set, NULL) == SIGUSR1, "sigwaitinfo");
    (void)got;
}

static void for_condition(void)
{
    pthread_mutex_lock(&lock);
    while (!stage)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void (*const kinds[])(void) = {
    by_nanosleep, by_nanosleep_with_rest, by_clock_nanosleep, by_poll, by_epoll, by_select, by_ppoll,
    by_sigtimedwait, by_semaphore, by_futex, by_receive,
    for_pipe, for_poll, for_epoll, for_select, for_semaphore, for_signal, for_condition,
};
enum { KINDS = sizeof kinds / sizeof kinds[0], LIMITED = 11 };
static long lasted[KINDS];

static void *waiter(void *at)
{
    int k = (int)(long)at;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    kinds[k]();
    clock_gettime(CLOCK_MONOTONIC, &b);
    lasted[k] = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[KINDS];
    sigset_t set;
    long longest = 0;
    if (argc != 3)
        return 2;
    limit = atol(argv[1]);
    for (int i = 0; i < 4; i++)
        want(pipe(pipes[i]) == 0, "pipe");
    want(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    struct timeval t = {limit / 1000, limit % 1000 * 1000};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    sem_init(&never, 0, 0);
    sem_init(&later, 0, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (long k = 0; k < KINDS; k++)
        want(pthread_create(&threads[k], NULL, waiter, (void *)k) == 0, "pthread_create");
    usleep(100000);
    printf("ready\n");
    fflush(stdout);
    while (access(argv[2], F_OK) != 0) {
        struct timespec pause = {0, 2000000};
        want(nanosleep(&pause, NULL) == 0, "nanosleep");
    }
    for (int i = 0; i < 3; i++)
        want(write(pipes[i][1], "x", 1) == 1, "write");
    sem_post(&later);
    pthread_kill(threads[KINDS - 2], SIGUSR1);
    pthread_mutex_lock(&lock);
    stage = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (int k = 0; k < KINDS; k++) {
        pthread_join(threads[k], NULL);
        if (k < LIMITED - 1 && lasted[k] > longest)
            longest = lasted[k];
        if (k < LIMITED && lasted[k] < limit - 1 && getenv("STRICT")) {
            fprintf(stderr, "kind %d lasted %ld ms\n", k, lasted[k]);
            return 1;
        }
    }
    printf("%ld\nok\n", longest);
    return 0;
}
