/*
 * What memory pools say of themselves: what is used and reserved now, and the most that was, until that is forgotten; whose memory it
 * is. Pools that are not a device's memory for this process alone are refused, and one with a limit gives no more.
 *
 * Usage: cuda_pool [STEPS [PAUSE in ms]]. Each step prints the same, but for its number; half of it is said after a pause.
 */
#include "cuda.h"
#include <unistd.h>

enum { RESERVED = 5, MOST_RESERVED, USED, MOST_USED, INVALID = 1, MIB = 1 << 20 };

int cudaMemPoolCreate(void **, const void *);
int cudaMemPoolDestroy(void *);
int cudaMemPoolGetAttribute(void *, int, void *);
int cudaMemPoolSetAttribute(void *, int, void *);
int cudaDeviceGetDefaultMemPool(void **, int);
int cudaMallocAsync(void **, unsigned long, void *);
int cudaMallocFromPoolAsync(void **, unsigned long, void *, void *);
int cudaFreeAsync(void *, void *);
int cudaFree(void *);
int cudaStreamSynchronize(void *);
int cudaMemPoolTrimTo(void *, unsigned long);
int cudaGetLastError(void);

struct pool_properties {
    int type, handles, location, device;
    void *security;
    unsigned long limit;
    void *rest[7];
};

static void say(const char *what, void *pool)
{
    unsigned long now[4];
    for (int i = 0; i < 4; i++)
        CHECK(cudaMemPoolGetAttribute(pool, RESERVED + i, &now[i]));
    printf(" %s %lu/%lu used, %lu/%lu MiB reserved;", what, now[2], now[3], now[0] / MIB, now[1] / MIB);
}

static void forget(void *pool)
{
    unsigned long none = 0, one = 1;
    int refused = cudaMemPoolSetAttribute(pool, MOST_USED, &one) == INVALID && cudaMemPoolSetAttribute(pool, USED, &none) == INVALID;
    CHECK(cudaMemPoolSetAttribute(pool, MOST_USED, &none));
    CHECK(cudaMemPoolSetAttribute(pool, MOST_RESERVED, &none));
    if (!refused)
        printf(" not refused!");
}

/* What pools of other kinds give: the host's, a NUMA node's, managed, of no such device, for other processes, of nothing. */
static void kinds(void)
{
    static const struct pool_properties others[] = {
        {.type = 1, .location = 2},
        {.type = 1, .location = 3},
        {.type = 2, .location = 1},
        {.type = 1, .location = 1, .device = 77},
        {.type = 1, .location = 1, .handles = 1},
        {.type = 0},
    };
    printf(" kinds");
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++) {
        void *pool = NULL;
        printf(" %d", cudaMemPoolCreate(&pool, &others[i]));
    }
    printf(";");
}

/* A pool that gives 4 MiB at the most. */
static void limited(void)
{
    struct pool_properties properties = {.type = 1, .location = 1, .limit = 4 * MIB};
    void *pool, *of = NULL, *a, *b;
    CHECK(cudaMemPoolCreate(&pool, &properties));
    int much = cudaMallocFromPoolAsync(&a, 64l * MIB, pool, NULL);
    CHECK(cudaMallocFromPoolAsync(&a, 3 * MIB, pool, NULL));
    int more = cudaMallocFromPoolAsync(&b, 3 * MIB, pool, NULL);
    CHECK(cuPointerGetAttribute(&of, 17, (address)a + 1000));
    CHECK(cudaFreeAsync(a, NULL));
    CHECK(cudaMallocFromPoolAsync(&b, 3 * MIB, pool, NULL));
    CHECK(cudaFreeAsync(b, NULL));
    CHECK(cudaMemPoolDestroy(pool));
    cudaGetLastError();
    printf(" limited %d %d, its own %d;", much, more, of == pool);
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 2, pause = argc > 2 ? atoi(argv[2]) : 0;
    struct pool_properties properties = {.type = 1, .location = 1};
    void *first, *own, *a, *b, *c, *d;
    CHECK(cudaDeviceGetDefaultMemPool(&first, 0));
    for (int i = 1; i <= steps; i++) {
        CHECK(cudaMemPoolCreate(&own, &properties));
        printf("step %d:", i);
        kinds();
        limited();
        CHECK(cudaMallocFromPoolAsync(&a, 1000, own, NULL));
        CHECK(cudaMallocFromPoolAsync(&b, 500, own, NULL));
        CHECK(cudaMallocFromPoolAsync(&c, 5 * MIB, own, NULL));
        CHECK(cudaMallocAsync(&d, 3 * MIB, NULL));
        say("three", own);
        say("default", first);
        CHECK(cudaFreeAsync(c, NULL));
        if (cudaFreeAsync(c, NULL) != INVALID)
            printf(" freed twice!");
        if (cudaFree(c) != INVALID)
            printf(" freed again!");
        CHECK(cudaFree(a));
        usleep(pause * 1000);
        CHECK(cudaStreamSynchronize(NULL));
        CHECK(cudaMemPoolTrimTo(own, 0));
        say("one left", own);
        forget(own);
        say("forgotten", own);
        CHECK(cudaFreeAsync(b, NULL));
        CHECK(cudaFreeAsync(d, NULL));
        CHECK(cudaStreamSynchronize(NULL));
        CHECK(cudaMemPoolTrimTo(own, 0));
        say("none", own);
        say("default", first);
        forget(first);
        printf("\n");
        fflush(stdout);
        CHECK(cudaMemPoolDestroy(own));
    }
    return 0;
}
