/* What the modes of crossing.c have in common: checked results, calls by name, and what a thread expects of halves
 * that a restart makes fresh. */
#define _GNU_SOURCE
#include "splitproc.h"
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#ifdef BIG_TLS
static __thread char big[BIG_TLS];
#endif
static __thread long mine; /* the upper half's count of the same rounds */
static __thread int thread_number = -1;

static const char *go, *dir;
static int halves[2];
static long (*upper_plug)(long);
static atomic_int stop;

static void fail(const char *what, long got)
{
    fprintf(stderr, "crossing: thread %d: %s: %ld\n", thread_number, what, got);
    _exit(1);
}

static void want(const char *what, long got, long wanted)
{
    if (got != wanted) {
        fprintf(stderr, "crossing: thread %d: %s: %ld, not %ld\n", thread_number, what, got, wanted);
        _exit(1);
    }
}

/* A call by name. Between splitproc_enter and splitproc_leave, or nothing tells which half is called. */
static long call(int half, const char *name, long a, long b, long c)
{
    void *function = splitproc_symbol(half, name);
    if (!function)
        fail(name, -1);
    return splitproc_call(half, function, 3, (long[]){a, b, c});
}

/* A library's path; never freed. */
static const char *library(const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        fail(name, errno);
    return path;
}

/* What has to be done once in each fresh pair of halves; under splitproc_enter. */
static void prepare(unsigned generation, void (*once)(int half))
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static unsigned done = -1;
    pthread_mutex_lock(&lock);
    if (done != generation)
        for (int i = 0; i < 2; i++)
            once(halves[i]);
    done = generation;
    pthread_mutex_unlock(&lock);
}

/* A thread's view of the halves: what its next results are. */
struct view {
    unsigned generation;
    long count[2], plug[2], late[2];
};

static const struct view fresh = {.generation = -1, .plug = {7, 7}, .late = {40, 40}};

/* Forgets what the old halves knew. */
static void renew(struct view *v, unsigned generation)
{
    if (v->generation != generation) {
        *v = fresh;
        v->generation = generation;
    }
}

/* The upper half's side of a round: TLS of all kinds, malloc, stdio, errno. */
static void upper_round(int t)
{
    static __thread char *block;
    char text[64];
    want("upper TLS", mine % 1000003, mine);
    mine = (mine + 1) % 1000003;
#ifdef BIG_TLS
    for (size_t i = 0; i < sizeof big; i += 4096)
        if (mine > 1 && big[i] != (char)t)
            fail("upper big TLS", (long)i);
    memset(big, t, sizeof big);
#endif
    if (upper_plug) {
        static __thread long expected = 7;
        want("upper dynamic TLS", upper_plug(t), ++expected);
    }
    if (block && block[0] != (char)t)
        fail("upper heap", block[0]);
    free(block);
    block = malloc(200);
    memset(block, t, 200);
    errno = t + 200;
    snprintf(text, sizeof text, "%d %s %.3f", t, "text", 1.5);
    if (errno != t + 200 || strlen(text) < 10)
        fail("upper errno", errno);
    if (stop) {
        free(block);
        block = NULL;
    }
}
