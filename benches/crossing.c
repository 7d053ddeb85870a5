/*
 * crossing: what a call into a lower half costs, with the gate, over a direct call of the same function. Prints
 * `native NAME NANOSECONDS` and `ours NAME NANOSECONDS`, each the best of several rounds; benches/run calls it on every
 * way of crossing.
 *
 *   echo 'long empty(void) { return 0; }' | gcc -O2 -shared -o empty.so -x c -
 *   splitproc launch --half empty=./empty.so [--crossing WAY] -- ./crossing NAME
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
    if (argc < 2 || half < 0 || !library)
        return 2;
    long (*volatile direct)(void) = (long (*)(void))dlsym(library, "empty");
    void *function = splitproc_symbol(half, "empty");
    if (!direct || !function)
        return 2;
    double best[2] = {1e9, 1e9};
    for (int round = 0; round < ROUNDS; round++)
        for (int way = 0; way < 2; way++) {
            double start = seconds();
            for (int n = 0; n < CALLS; n++)
                if (way == 0)
                    direct();
                else
                    splitproc_call(half, function, 0, NULL);
            double t = (seconds() - start) / CALLS * 1e9;
            best[way] = t < best[way] ? t : best[way];
        }
    printf("native %s %.2f\nours %s %.2f\n", argv[1], best[0], argv[1], best[1]);
    return 0;
}
