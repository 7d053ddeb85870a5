/*
 * crossing: what a call into a lower half costs, with the gate, over a direct call of the same function. Run without
 * splitproc it prints `native NAME NANOSECONDS` for the direct call, with it `ours NAME NANOSECONDS`, each the best of
 * many short rounds; benches/run calls it on every way of crossing.
 *
 *   echo 'long empty(void) { return 0; }' | gcc -O2 -shared -o empty.so -x c -
 *   ./crossing NAME; splitproc launch --half empty=./empty.so [--crossing WAY] -- ./crossing NAME
 */
#include "splitproc.h"
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

enum { ROUNDS = 2000, CALLS = 5000 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    int half = splitproc_half ? splitproc_half("empty") : -1;
    void *library = dlopen("./empty.so", RTLD_NOW);
    long (*volatile direct)(void) = library ? (long (*)(void))dlsym(library, "empty") : NULL;
    void *function = half < 0 ? NULL : splitproc_symbol(half, "empty");
    if (argc < 2 || !direct || (half >= 0 && !function))
        return 2;
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        for (int n = 0; n < CALLS; n++)
            if (half < 0)
                direct();
            else
                splitproc_call(half, function, 0, NULL);
        double t = (seconds() - start) / CALLS * 1e9;
        best = t < best ? t : best;
    }
    printf("%s %s %.2f\n", half < 0 ? "native" : "ours", argv[1], best);
    return 0;
}
