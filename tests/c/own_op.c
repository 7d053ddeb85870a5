/* -o FILE STEPS EVERY: non-blocking reductions go on while the ranks compute. One is by an operator that uses what the
 * program's thread alone has: thread-local data, a deep stack, what the program uses as well when it is not in MPI, and
 * that calls MPI. The other is a sum, which is rounded up. Writes a hash of the results every so many steps. */
#include <fenv.h>
#include <mpi.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 64, DEEP = 3 << 20 };

static __thread double scale;
static double scratch[N];
static pthread_t first;

static void must(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s\n", what);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static void combine(void *in, void *inout, int *n, MPI_Datatype *type)
{
    const double *a = in;
    double *b = inout;
    int size = 0;
    volatile char deep[DEEP];
    must(pthread_equal(pthread_self(), first), "the operator runs on another thread");
    for (int i = 0; i < DEEP; i += 4096)
        deep[i] = 1;
    MPI_Type_size(*type, &size);
    must(size == (int)sizeof *a && deep[0] == 1, "the operator's type");
    for (int i = 0; i < *n; i++)
        scratch[i] = a[i] * scale;
    for (int i = 0; i < *n; i++)
        b[i] += scratch[i];
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Without a call that lets the library get on. */
static void compute(int step)
{
    double until = seconds() + 1e-3;
    MPI_Op other;
    MPI_Op_create(combine, 1, &other);
    while (seconds() < until) {
        for (int i = 0; i < N; i++)
            scratch[i] = i + step;
        for (volatile int wait = 0; wait < 1000; wait++)
            ;
        for (int i = 0; i < N; i++)
            must(scratch[i] == i + step, "the operator runs while the program computes");
    }
    MPI_Op_free(&other);
}

int main(int argc, char **argv)
{
    double in[N], own[N], sum[N];
    uint64_t hash = 14695981039346656037u;
    int rank, steps = atoi(argv[3]), every = atoi(argv[4]);
    FILE *out;
    MPI_Op op;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    out = rank == 0 ? fopen(argv[2], "w") : NULL;
    first = pthread_self();
    scale = 0.75;
    fesetround(FE_UPWARD);
    MPI_Op_create(combine, 0, &op); /* in the order of the ranks */
    for (int step = 0; step < steps; step++) {
        MPI_Request request[2];
        for (int i = 0; i < N; i++)
            in[i] = 1.0 / (3 + step % 97 + i + 7 * rank);
        MPI_Iallreduce(in, own, N, MPI_DOUBLE, op, MPI_COMM_WORLD, &request[0]);
        MPI_Iallreduce(in, sum, N, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD, &request[1]);
        compute(step);
        MPI_Waitall(2, request, MPI_STATUSES_IGNORE);
        for (int i = 0; i < N; i++) {
            uint64_t bits[2];
            memcpy(&bits[0], &own[i], sizeof bits[0]);
            memcpy(&bits[1], &sum[i], sizeof bits[1]);
            hash = ((hash ^ bits[0]) * 1099511628211u ^ bits[1]) * 1099511628211u;
        }
        if (out && step % every == every - 1) {
            fprintf(out, "%d %016lx\n", step + 1, (unsigned long)hash);
            printf("%d %016lx\n", step + 1, (unsigned long)hash);
            fflush(out);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    return 0;
}
