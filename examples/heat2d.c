/*
 * heat2d: the heat equation on a square plate, solved by Jacobi steps on any number of MPI ranks.
 *
 *   mpicc.mpich -O2 -o heat2d heat2d.c -lpthread -lm
 *   mpirun.mpich -n 2 splitproc launch --ckpt-dir ckpt -- ./heat2d 512 20000 1000
 *
 * Usage: heat2d [-o FILE] [-t THREADS] [SIZE [STEPS [PRINT_EVERY]]]
 *
 * The plate is cut into strips of rows. Each step exchanges the strips' edges with non-blocking
 * sends and receives, works on the inner rows meanwhile, and finishes the two outer rows. Every
 * PRINT_EVERY steps the ranks reduce a checksum and rank 0 prints `step N checksum X`, to stdout and
 * to FILE. For one number of ranks the output is always the same, byte for byte.
 *
 * With -t, each rank divides its rows among THREADS threads, which meet at a barrier.
 */
#include <math.h>
#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int size = 256, steps = 2000, every = 100, threads = 1;
static int rank, ranks;
static int rows, first; /* this rank's rows, and the first one's place on the plate */
static double *now, *next;
static FILE *out;

static pthread_barrier_t begin, end;
static int lo, hi; /* the rows that the threads are to work on: [lo, hi) */
static int finished;

/* Row `i` of a field; rows 0 and rows + 1 are the neighbours' edges. */
static double *row(double *field, int i) { return field + (size_t)i * size; }

static void say(const char *line)
{
    fputs(line, stdout);
    fflush(stdout);
    if (out) {
        fputs(line, out);
        fflush(out);
    }
}

static void sweep(int from, int to)
{
    for (int i = from; i < to; i++) {
        const double *up = row(now, i - 1), *here = row(now, i), *down = row(now, i + 1);
        double *to_row = row(next, i);
        int global = first + i - 1;
        if (global == 0 || global == size - 1) { /* the plate's own edges stay as they are */
            memcpy(to_row, here, sizeof(double) * size);
            continue;
        }
        to_row[0] = here[0];
        to_row[size - 1] = here[size - 1];
        for (int j = 1; j < size - 1; j++)
            to_row[j] = 0.25 * (up[j] + down[j] + here[j - 1] + here[j + 1]);
    }
}

/* The part of [lo, hi) that is thread `t`'s. */
static void share(int t)
{
    long n = hi - lo;
    sweep(lo + (int)(n * t / threads), lo + (int)(n * (t + 1) / threads));
}

static void *worker(void *arg)
{
    int t = (int)(long)arg;
    for (;;) {
        pthread_barrier_wait(&begin);
        if (finished)
            return NULL;
        share(t);
        pthread_barrier_wait(&end);
    }
}

static void sweep_by_all(int from, int to)
{
    if (threads == 1) {
        sweep(from, to);
        return;
    }
    lo = from;
    hi = to;
    pthread_barrier_wait(&begin);
    share(0);
    pthread_barrier_wait(&end);
}

static void step(void)
{
    int up = rank > 0 ? rank - 1 : MPI_PROC_NULL;
    int down = rank < ranks - 1 ? rank + 1 : MPI_PROC_NULL;
    MPI_Request requests[4];
    MPI_Irecv(row(now, 0), size, MPI_DOUBLE, up, 1, MPI_COMM_WORLD, &requests[0]);
    MPI_Irecv(row(now, rows + 1), size, MPI_DOUBLE, down, 2, MPI_COMM_WORLD, &requests[1]);
    MPI_Isend(row(now, 1), size, MPI_DOUBLE, up, 2, MPI_COMM_WORLD, &requests[2]);
    MPI_Isend(row(now, rows), size, MPI_DOUBLE, down, 1, MPI_COMM_WORLD, &requests[3]);
    if (rows > 2)
        sweep_by_all(2, rows);
    MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
    sweep(1, 2);
    if (rows > 1)
        sweep(rows, rows + 1);
    double *t = now;
    now = next;
    next = t;
}

static void report(int n)
{
    double mine = 0, all = 0;
    for (int i = 1; i <= rows; i++)
        for (int j = 0; j < size; j++)
            mine += row(now, i)[j] * (1 + (first + i + j) % 7);
    MPI_Allreduce(&mine, &all, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) {
        char line[80];
        snprintf(line, sizeof line, "step %d checksum %.17g\n", n, all);
        say(line);
    }
}

static void usage(void)
{
    if (rank == 0)
        fprintf(stderr, "usage: heat2d [-o FILE] [-t THREADS] [SIZE [STEPS [PRINT_EVERY]]]\n");
    MPI_Finalize();
    exit(2);
}

int main(int argc, char **argv)
{
    const char *file = NULL;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (int c; (c = getopt(argc, argv, "o:t:")) != -1;) {
        if (c == 'o')
            file = optarg;
        else if (c == 't')
            threads = atoi(optarg);
        else
            usage();
    }
    if (optind < argc)
        size = atoi(argv[optind++]);
    if (optind < argc)
        steps = atoi(argv[optind++]);
    if (optind < argc)
        every = atoi(argv[optind++]);
    if (size < 4 || size < ranks || steps < 0 || every < 1 || threads < 1)
        usage();
    if (file && rank == 0 && !(out = fopen(file, "w"))) {
        perror(file);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }

    first = (int)((long)size * rank / ranks);
    rows = (int)((long)size * (rank + 1) / ranks) - first;
    now = calloc((size_t)(rows + 2) * size, sizeof(double));
    next = calloc((size_t)(rows + 2) * size, sizeof(double));
    if (!now || !next) {
        perror("heat2d");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (int i = 1; i <= rows; i++)
        for (int j = 0; j < size; j++)
            row(now, i)[j] = sin(0.1 * (first + i)) * cos(0.07 * j) * 100;

    pthread_t *pool = calloc((size_t)threads, sizeof *pool);
    pthread_barrier_init(&begin, NULL, (unsigned)threads);
    pthread_barrier_init(&end, NULL, (unsigned)threads);
    for (long t = 1; t < threads; t++)
        if (pthread_create(&pool[t], NULL, worker, (void *)t) != 0) {
            perror("pthread_create");
            MPI_Abort(MPI_COMM_WORLD, 1);
        }

    for (int n = 1; n <= steps; n++) {
        step();
        if (n % every == 0)
            report(n);
    }

    finished = 1;
    if (threads > 1)
        pthread_barrier_wait(&begin);
    for (int t = 1; t < threads; t++)
        pthread_join(pool[t], NULL);
    if (rank == 0) {
        char line[80];
        snprintf(line, sizeof line, "done: %d steps, %d ranks, %d threads\n", steps, ranks, threads);
        say(line);
        if (out && fclose(out) != 0) {
            perror(file);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
    }
    MPI_Finalize();
    return 0;
}
