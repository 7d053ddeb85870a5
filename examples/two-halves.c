/*
 * two-halves: two MPI libraries at once, in one process.
 *
 *   gcc -O2 -Iplugin/include -o two-halves examples/two-halves.c
 *   splitproc launch --half mpich=libmpich.so.12 --half ompi=libmpi.so.40 --ckpt-dir ckpt -- ./two-halves 200
 *
 * Usage: two-halves [-o FILE] [STEPS [PAUSE_MS]]
 *
 * MPICH and Open MPI each run in a lower half of their own. In every step the program sends itself a message
 * through each of them, adds the two up with an allreduce, and prints a line. It may be checkpointed, killed
 * and restarted at any moment: the halves are fresh ones then, so it initialises them again and goes on where
 * it was. What is kept between the steps is in the program's memory alone.
 */
#include "splitproc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One MPI library: what its ABI calls things, and its functions. */
struct mpi {
    const char *name;
    int half;
    unsigned generation; /* the restart that the rest is good for */
    int ready;
    long world, type, sum;
    void *init, *finalize, *rank, *size, *version, *sendrecv, *allreduce;
};

static FILE *out;

static void say(const char *line)
{
    fputs(line, stdout);
    fflush(stdout);
    if (out) {
        fputs(line, out);
        fflush(out);
    }
}

static void fail(const struct mpi *m, const char *what)
{
    fprintf(stderr, "two-halves: %s: %s\n", m->name, what);
    exit(1);
}

static void *symbol(const struct mpi *m, const char *name)
{
    void *at = splitproc_symbol(m->half, name);
    if (!at)
        fail(m, name);
    return at;
}

#define CALL(m, function, ...) \
    splitproc_call((m)->half, (m)->function, sizeof((long[]){__VA_ARGS__}) / sizeof(long), (long[]){__VA_ARGS__})

static void check(const struct mpi *m, const char *what, long code)
{
    if ((int)code != 0)
        fail(m, what);
}

/* Looks the library's functions up and initialises it, where this has not been done since the last restart. */
static void prepare(struct mpi *m, unsigned generation)
{
    if (m->ready && m->generation == generation)
        return;
    m->init = symbol(m, "MPI_Init");
    m->finalize = symbol(m, "MPI_Finalize");
    m->rank = symbol(m, "MPI_Comm_rank");
    m->size = symbol(m, "MPI_Comm_size");
    m->version = symbol(m, "MPI_Get_library_version");
    m->sendrecv = symbol(m, "MPI_Sendrecv");
    m->allreduce = symbol(m, "MPI_Allreduce");
    if (strcmp(m->name, "ompi") == 0) { /* handles are addresses of the library's variables */
        m->world = (long)symbol(m, "ompi_mpi_comm_world");
        m->type = (long)symbol(m, "ompi_mpi_unsigned_long");
        m->sum = (long)symbol(m, "ompi_mpi_op_sum");
    } else { /* handles are fixed numbers */
        m->world = 0x44000000;
        m->type = 0x4c000808;
        m->sum = 0x58000003;
    }
    check(m, "MPI_Init", CALL(m, init, 0, 0));
    m->generation = generation;
    m->ready = 1;
}

/* Sends `value` to itself, adds it up over all (one) ranks, and gives the sum. */
static unsigned long round_trip(const struct mpi *m, unsigned long value, int tag)
{
    unsigned long got = 0, sum = 0;
    check(m, "MPI_Sendrecv",
          CALL(m, sendrecv, (long)&value, 1, m->type, 0, tag, (long)&got, 1, m->type, 0, tag, m->world,
               strcmp(m->name, "ompi") == 0 ? 0 : 1 /* MPI_STATUS_IGNORE */));
    check(m, "MPI_Allreduce", CALL(m, allreduce, (long)&got, (long)&sum, 1, m->type, m->sum, m->world));
    return sum;
}

int main(int argc, char **argv)
{
    static struct mpi both[] = {{.name = "mpich"}, {.name = "ompi"}};
    const char *file = NULL;
    int steps = 50, pause_ms = 10;

    for (int c; (c = getopt(argc, argv, "o:")) != -1;) {
        if (c != 'o') {
            fprintf(stderr, "usage: two-halves [-o FILE] [STEPS [PAUSE_MS]]\n");
            return 2;
        }
        file = optarg;
    }
    if (optind < argc)
        steps = atoi(argv[optind++]);
    if (optind < argc)
        pause_ms = atoi(argv[optind++]);
    if (!splitproc_half) {
        fprintf(stderr, "two-halves: start it with splitproc launch --half mpich=… --half ompi=…\n");
        return 2;
    }
    if (file && !(out = fopen(file, "w"))) {
        perror(file);
        return 1;
    }

    char line[200], text[8192], first[100];
    for (struct mpi *m = both; m < both + 2; m++) {
        int rank = -1, size = -1, length = 0;
        m->half = splitproc_half(m->name);
        if (m->half < 0)
            fail(m, "no such half: see --half");
        prepare(m, splitproc_enter());
        check(m, "MPI_Comm_rank", CALL(m, rank, m->world, (long)&rank));
        check(m, "MPI_Comm_size", CALL(m, size, m->world, (long)&size));
        check(m, "MPI_Get_library_version", CALL(m, version, (long)text, (long)&length));
        splitproc_leave();
        snprintf(first, sizeof first, "%.*s", (int)strcspn(text, "\n,"), text);
        snprintf(line, sizeof line, "%s: rank %d of %d: %s\n", m->name, rank, size, first);
        say(line);
    }

    unsigned long value = 1;
    for (int step = 1; step <= steps; step++) {
        for (struct mpi *m = both; m < both + 2; m++) {
            prepare(m, splitproc_enter());
            value = round_trip(m, value * 6364136223846793005UL + 1442695040888963407UL, step);
            splitproc_leave();
        }
        snprintf(line, sizeof line, "step %d value %016lx\n", step, value);
        say(line);
        usleep((useconds_t)pause_ms * 1000);
    }

    for (struct mpi *m = both; m < both + 2; m++) {
        prepare(m, splitproc_enter());
        check(m, "MPI_Finalize", splitproc_call(m->half, m->finalize, 0, NULL));
        splitproc_leave();
    }
    say("done\n");
    if (out && fclose(out) != 0) {
        perror(file);
        return 1;
    }
    return 0;
}
