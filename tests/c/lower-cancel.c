/* A lower half that cancels its own threads and changes its ids in all of them, while the program does the
   same. Built twice: with -DLIBRARY as the half's library, without as the program. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void leave(int *n) { __atomic_fetch_add(n, 1, __ATOMIC_SEQ_CST); }

static int left, waiting;

static void *waiter(void *at)
{
    __attribute__((cleanup(leave))) int unused = 0;
    (void)at, (void)unused;
    pthread_cleanup_push((void (*)(void *))leave, &left);
    __atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
    for (;;)
        poll(NULL, 0, -1);
    pthread_cleanup_pop(0);
    return NULL;
}

/* How many of `count` threads were cancelled with their cleanups, after a change of ids in each; -1: it failed. */
long cancel_some(long count)
{
    pthread_t t[16];
    long cancelled = 0;
    left = waiting = 0;
    for (int i = 0; i < count; i++)
        if (pthread_create(&t[i], NULL, waiter, NULL) != 0)
            return -1;
    while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) < count)
        usleep(100);
    if (setresuid(-1, geteuid(), -1) != 0 || setresgid(-1, getegid(), -1) != 0)
        return -1;
    for (int i = 0; i < count; i++) {
        void *result = NULL;
        pthread_cancel(t[i]);
        pthread_join(t[i], &result);
        cancelled += result == PTHREAD_CANCELED;
    }
    return cancelled == left ? cancelled : -1;
}

#ifndef LIBRARY
#include "splitproc.h"

static void *other(void *half)
{
    void *function = splitproc_symbol((int)(long)half, "cancel_some");
    for (int i = 0; i < 20; i++)
        if (splitproc_call((int)(long)half, function, 1, (long[]){4}) != 4)
            return "failed";
    return NULL;
}

int main(void)
{
    pthread_t t;
    void *result = "none";
    long half = splitproc_half("x");
    void *function = splitproc_symbol((int)half, "cancel_some");
    /* First, for nobody has installed a handler in this half yet. */
    printf("lower %ld\n", splitproc_call((int)half, function, 1, (long[]){8}));
    printf("upper %ld\n", cancel_some(8));
    pthread_create(&t, NULL, other, (void *)half);
    long bad = 0;
    for (int i = 0; i < 20; i++)
        bad += cancel_some(4) != 4;
    pthread_join(t, &result);
    printf("both %ld %s\n", bad, result ? (char *)result : "well");
    return 0;
}
#endif
