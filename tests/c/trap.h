/*
 * trap.h: what the trap programs share: marks, the wait for the checkpoint, checks.
 *
 * Usage of each: PROGRAM NAME GO
 *
 * A trap puts something in flight and says `ready` (rank 0, once every rank is where it should be). Then it
 * waits, without a call to MPI, until the file GO exists: the test takes its checkpoint in between, restarts
 * the program if it likes, and makes the file. The trap then finishes what was in flight, checks every value,
 * and rank 0 prints `ok`. Ranks tell each other that they are ready through files beside GO, so that no MPI
 * is involved.
 */
#include <fcntl.h>
#include <mpi.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int rank, ranks;
static const char *go;

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "rank %d, line %d: not so: %s\n", rank, __LINE__, #condition);   \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                    \
        }                                                                                    \
    } while (0)

static inline void nap(void)
{
    struct timespec t = {0, 1000000};
    nanosleep(&t, NULL);
}

static inline void mark(int who)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.%d", go, who);
    int fd = open(name, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) {
        perror(name);
        exit(1);
    }
    close(fd);
}

static inline int marked(int who)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.%d", go, who);
    return access(name, F_OK) == 0;
}

static inline void say_ready_of_all(void)
{
    for (int r = 0; r < ranks; r++)
        while (!marked(r))
            nap();
    printf("ready\n");
    fflush(stdout);
}

static inline void say_ready_when_all_are(void)
{
    if (rank == 0)
        say_ready_of_all();
}

static inline void wait_for_go(void)
{
    while (access(go, F_OK) != 0)
        nap();
}

/* Everybody is ready: the checkpoint comes here. */
static inline void checkpoint_here(void)
{
    mark(rank);
    say_ready_when_all_are();
    wait_for_go();
}

/* All ranks are here, without MPI; once a run. */
static inline void meet(void)
{
    mark(ranks + rank);
    for (int k = 0; k < ranks; k++)
        while (!marked(ranks + k))
            nap();
}

static inline void fill(int *data, int n, int seed)
{
    for (int i = 0; i < n; i++)
        data[i] = seed * 1000003 + i;
}

static inline void verify(const int *data, int n, int seed)
{
    for (int i = 0; i < n; i++)
        CHECK(data[i] == seed * 1000003 + i);
}

static inline int class_of(int code)
{
    int class;
    MPI_Error_class(code, &class);
    return class;
}

static inline int right(void) { return (rank + 1) % ranks; }
static inline int left(void) { return (rank + ranks - 1) % ranks; }

struct trap {
    const char *name;
    void (*run)(void);
};

/* Runs the trap that is named. */
static inline int run_trap(int argc, char **argv, const struct trap *traps, int level)
{
    int provided, found = 0;
    if (argc > 3) /* the MPI library then has its own locks */
        level = MPI_THREAD_MULTIPLE;
    MPI_Init_thread(&argc, &argv, level, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc < 3)
        MPI_Abort(MPI_COMM_WORLD, 2);
    go = argv[2];
    for (; traps->name; traps++)
        if (strcmp(argv[1], traps->name) == 0) {
            traps->run();
            found = 1;
        }
    CHECK(found);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        printf("ok\n");
        fflush(stdout);
    }
    MPI_Finalize();
    return 0;
}
