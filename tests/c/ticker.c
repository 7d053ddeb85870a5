/*
 * Takes every processor for a moment, some thousand times a second, so that ranks that wait without ever yielding
 * (Debian's MPICH) change places that often where they are more than processors, not every few milliseconds.
 * A test of 4 ranks on 2 processors so takes 2 s instead of 23. For tests/conformance; ends with its parent.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static void *tick(void *processor)
{
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET((long)processor, &own);
    sched_setaffinity(0, sizeof own, &own);
    /* Only a thread of another class takes the processor from one whose time isn't over. */
    if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}) != 0) {
        perror("ticker: SCHED_FIFO");
        exit(1);
    }
    struct timespec pause = {0, 200000};
    for (;;)
        nanosleep(&pause, 0);
}

int main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    cpu_set_t all;
    sched_getaffinity(0, sizeof all, &all);
    pthread_t thread;
    for (long i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all))
            pthread_create(&thread, 0, tick, (void *)i);
    pthread_exit(0);
}
