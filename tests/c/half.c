/* A library for a lower half (`--half`): functions that depend on what a thread's libc and TLS hold. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEYS = 250 };

/* By the model of a position-independent library, through the DTV; and at a fixed place below the TCB. */
static __thread long counter;
static __thread long fixed __attribute__((tls_model("initial-exec")));
static __thread char *name;
#ifdef LARGE_TLS
static __thread volatile char large[LARGE_TLS] __attribute__((tls_model("initial-exec")));
#endif

/* Uses no thread-local storage. */
long half_plain(long x)
{
    return x + 1;
}

/* Counts the thread's calls, in two kinds of TLS, errno, stdio's buffers and the heap. -1: one has changed. */
long half_count(long thread)
{
    char want[40], *block = malloc(100 + (size_t)(counter % 500));
    snprintf(want, sizeof want, "thread %ld", thread);
    if (!block || counter != fixed)
        return -1;
#ifdef LARGE_TLS
    if (large[0] != (char)counter || large[LARGE_TLS - 1] != (char)counter)
        return -4;
    large[0]++;
    large[LARGE_TLS - 1]++;
#endif
    if (!name)
        name = strdup(want);
    if (strcmp(name, want) != 0)
        return -2;
    errno = (int)(thread % 100) + 1;
    memset(block, (int)thread, 100);
    int wrong = block[99] != (char)thread || errno != (int)(thread % 100) + 1;
    free(block);
    fixed++;
    return wrong ? -3 : ++counter;
}

/* What `half_count` keeps, given back: for threads that end. */
void half_forget(void)
{
    free(name);
    name = NULL;
    counter = fixed = 0;
#ifdef LARGE_TLS
    large[0] = large[LARGE_TLS - 1] = 0;
#endif
}

/* Opens another library for all to see. 0: done. */
long half_open(const char *path)
{
    if (dlopen(path, RTLD_NOW | RTLD_GLOBAL))
        return 0;
    fprintf(stderr, "half_open: %s\n", dlerror());
    return -1;
}

static void *fill_half(void *arg)
{
    size_t bytes = (size_t)arg / 2;
    char *block = malloc(bytes);
    return block ? memset(block, 1, bytes) : NULL;
}

/* Takes so many MiB and keeps them: one half in a block of its own, the other in as many threads' arenas. */
long half_grow(long mib, long threads)
{
    enum { MOST = 64 };
    pthread_t pool[MOST];
    char *block = malloc((size_t)mib << 19);
    if (!block || threads < 1 || threads > MOST)
        return -1;
    memset(block, 1, (size_t)mib << 19);
    for (long t = 0; t < threads; t++)
        if (pthread_create(&pool[t], NULL, fill_half, (void *)(((size_t)mib << 20) / (size_t)threads)) != 0)
            return -1;
    for (long t = 0; t < threads; t++) {
        void *filled = NULL;
        pthread_join(pool[t], &filled);
        if (!filled)
            return -1;
    }
    return mib;
}

static pthread_key_t keys[KEYS];
static atomic_long destroyed, twice;

static void destroy(void *value)
{
    if (*(char *)value != 'v')
        twice++;
    *(char *)value = 'x';
    destroyed++;
    free(value);
}

/* Makes the keys; gives how many. */
long half_keys_make(void)
{
    int n = 0;
    while (n < KEYS && pthread_key_create(&keys[n], destroy) == 0)
        n++;
    return n;
}

/* Sets the calling thread's value of every key that has none, and checks those that have. */
long half_keys_check(long thread)
{
    for (int i = 0; i < KEYS; i++) {
        char *value = pthread_getspecific(keys[i]), want[40];
        snprintf(want, sizeof want, "value %d of thread %ld", i, thread);
        if (!value && pthread_setspecific(keys[i], strdup(want)) != 0)
            return -1;
        if (value && strcmp(value, want) != 0)
            return -2;
    }
    return 0;
}

static pthread_mutex_t turn;

/* Makes a lock that the kernel would look for the owner of: after a restart it knows the thread by another tid. */
long half_lock_init(void)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
    return pthread_mutex_init(&turn, &attr);
}

/* Takes it, with others waiting. 1: alone, as it must be. */
long half_locked(void)
{
    static volatile long inside;
    int e = pthread_mutex_lock(&turn);
    if (e != 0)
        return -e;
    long seen = ++inside;
    sched_yield();
    inside--;
    e = pthread_mutex_unlock(&turn);
    return e != 0 ? -e : seen;
}

/* How many values were destroyed; negative: one was destroyed twice. */
long half_keys_destroyed(void)
{
    return twice ? -1 : destroyed;
}

/* Calls a function of the other half, from within `depth` frames of this one. */
long half_call_back(long (*function)(long), long x, long depth)
{
    char guard[64];
    memset(guard, (int)x, sizeof guard);
    long r = depth > 1 ? half_call_back(function, x, depth - 1) : function(x);
    return guard[63] == (char)x ? r : -1;
}

struct call {
    long (*function)(long);
    long x, result;
};

static void *run_call(void *arg)
{
    struct call *call = arg;
    call->result = half_call_back(call->function, call->x, 1);
    return NULL;
}

/* The same from a thread that this half makes for it. */
long half_thread_calls_back(long (*function)(long), long x)
{
    struct call call = {function, x, 0};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_call, &call) != 0)
        return -1;
    pthread_join(thread, NULL);
    return call.result;
}

/* Sleeps (each a cancellation point) until told to come out, and says that it does; counts its turns. */
long half_sleep_until(atomic_int *out, atomic_long *turns)
{
    while (!*out) {
        struct timespec ms = {0, 1000000};
        nanosleep(&ms, NULL);
        ++*turns;
    }
    *out = 2;
    return 77;
}

/* Computes until told to come out, with four numbers in x87 registers all the while; downwards, by the direction flag. */
long half_compute_until(atomic_int *out, atomic_long *turns)
{
    __asm__ volatile("fldpi; fldpi; fldpi; fldpi; std" ::: "memory");
    while (!*out)
        ++*turns;
    __asm__ volatile("cld; fstp %%st(0); fstp %%st(0); fstp %%st(0); fstp %%st(0)" ::: "memory");
    return 77;
}
