/* The cost of a call: direct, and into a lower half that holds the same library.
 *
 *   crossing LIBRARY   (under splitproc launch --half bench=LIBRARY)
 *
 * Prints the best of several rounds in ns: the call through a pointer, and through splitproc_call(). */
#define _GNU_SOURCE
#include "splitproc.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CALLS = 5000, ROUNDS = 2000 };

typedef long function(long);

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    int half = splitproc_half ? splitproc_half("bench") : -1;
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    function *volatile direct = library ? (function *)dlsym(library, "bench_empty") : NULL;
    if (half < 0 || !direct) {
        fprintf(stderr, "usage: splitproc launch --half bench=LIBRARY -- crossing LIBRARY\n");
        return 1;
    }
    void *lower = splitproc_symbol(half, "bench_empty");
    double best[2] = {1e9, 1e9};
    for (int round = 0; round < ROUNDS; round++) {
        double times[3] = {now()};
        for (long i = 0; i < CALLS; i++)
            direct(i);
        times[1] = now();
        for (long i = 0; i < CALLS; i++)
            splitproc_call(half, lower, 1, &i);
        times[2] = now();
        for (int way = 0; way < 2; way++) {
            double ns = (times[way + 1] - times[way]) / CALLS;
            best[way] = ns < best[way] ? ns : best[way];
        }
    }
    printf("direct %.2f\ncrossing %.2f\n", best[0], best[1]);
    return 0;
}
