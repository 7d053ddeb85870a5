/* Threads that wait in lower halves, in calls that a checkpoint does not wait for, and what a restart may not lose of them:
 *
 *   rain  signals for each of them come all the time, one after the other; none may be lost, nor stay blocked
 *   back  they wait in a call of a function that the lower half has called
 *   x87   they compute there, with numbers in registers that must be free where a thread goes on
 *
 * Usage: PROGRAM MODE GO DIR THREADS, as crossing.c */
#define _GNU_SOURCE
#include "splitproc.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64, BOUND = 60 /* s */ };

static int halves[2], threads;
static const char *go;
static atomic_int come_out;
static atomic_long turns, backs, waiting;

static struct waiter {
    pthread_t thread;
    atomic_long sent, handled;
} waiters[MOST];
static __thread struct waiter *self;

static void fail(const char *what, long got)
{
    fprintf(stderr, "cut_short: %s: %ld\n", what, got);
    _exit(1);
}

static void *function(int half, const char *name)
{
    void *found = splitproc_symbol(half, name);
    if (!found)
        fail(name, half);
    return found;
}

/* Waits in a function of the half until told to come out; a restart cuts it short. 77: it was told. */
static long wait_in(int half, const char *name)
{
    long result = 0;
    unsigned generation = splitproc_enter();
    void *waits = function(half, name);
    splitproc_leave();
    int cut = splitproc_try(generation, half, waits, 2, (long[]){(long)&come_out, (long)&turns}, &result);
    return cut ? -1 : result;
}

static long sleep_in(int half) { return wait_in(half, "half_sleep_until"); }

static void on_signal(int number)
{
    (void)number;
    self->handled++;
}

static void *wait_in_rain(void *arg)
{
    self = arg;
    waiting++;
    long got;
    while ((got = sleep_in(halves[(self - waiters) % 2])) == -1)
        ;
    if (got != 77)
        fail("a waiting thread's call", got);
    return NULL;
}

/* One signal for each that has had the last one. */
static void *rain(void *unused)
{
    while (!come_out)
        for (struct waiter *w = waiters; w < waiters + threads; w++)
            if (w->handled == w->sent) {
                w->sent++;
                int error = pthread_kill(w->thread, SIGUSR1);
                if (error)
                    fail("pthread_kill", error);
            }
    return unused;
}

static void all_came(void)
{
    time_t until = time(NULL) + BOUND;
    for (struct waiter *w = waiters; w < waiters + threads; w++)
        for (long before = w->handled; w->handled < before + 3;) {
            if (time(NULL) > until)
                fail("a signal was lost, or stays blocked, in thread", w - waiters);
            usleep(1000);
        }
}

static void *compute(void *arg)
{
    self = arg;
    waiting++;
    long got;
    do {
        struct {
            unsigned control, status, tags, rest[4];
        } x87;
        unsigned long flags;
        got = wait_in(halves[(self - waiters) % 2], "half_compute_until");
        __asm__ volatile("pushfq; pop %0; cld; fnstenv %1; fldcw %1" : "=r"(flags), "=m"(x87));
        if ((x87.tags & 0xffff) != 0xffff || flags & 0x400)
            fail("what the half computed with is left in registers", x87.tags & 0xffff);
    } while (got == -1);
    if (got != 77)
        fail("a computing thread's call", got);
    return NULL;
}

static void *thunk;

/* What the half calls: 77, or anything after a restart. */
static long called_back(long half)
{
    backs++;
    return sleep_in((int)half);
}

static void *wait_in_callback(void *arg)
{
    self = arg;
    waiting++;
    int mine = (self - waiters) % 2;
    long result = 0;
    for (int cut = 1; cut;) {
        unsigned generation = splitproc_enter();
        void *calls = function(halves[mine], "half_call_back");
        splitproc_leave();
        cut = splitproc_try(generation, halves[mine], calls, 3, (long[]){(long)thunk, halves[!mine], 3}, &result);
        if (cut && splitproc_generation() == generation)
            fail("only a restart cuts a call short", generation);
    }
    if (result != 77)
        fail("what was called back gave", result);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    go = argv[2];
    threads = atoi(argv[4]);
    int rains = strcmp(argv[1], "rain") == 0, computes = strcmp(argv[1], "x87") == 0;
    void *(*work)(void *) = rains ? wait_in_rain : computes ? compute : wait_in_callback;
    halves[0] = splitproc_half("one");
    halves[1] = splitproc_half("two");
    if (halves[0] < 0 || halves[1] < 0 || threads > MOST)
        fail("the halves are not there", threads);
    thunk = splitproc_callback((void *)called_back);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    for (struct waiter *w = waiters; w < waiters + threads; w++)
        if (pthread_create(&w->thread, NULL, work, w) != 0)
            fail("pthread_create", errno);
    while (waiting < threads || turns < 100)
        usleep(1000);
    pthread_t cloud;
    if (rains) {
        pthread_create(&cloud, NULL, rain, NULL);
        all_came();
    }
    while (work == wait_in_callback && backs < threads)
        usleep(1000);
    puts("ready");
    fflush(stdout);
    while (access(go, F_OK) != 0)
        usleep(1000);
    if (rains)
        all_came();
    come_out = 1;
    if (rains)
        pthread_join(cloud, NULL);
    for (int t = 0; t < threads; t++)
        pthread_join(waiters[t].thread, NULL);
    puts("ok");
    return 0;
}
