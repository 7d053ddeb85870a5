/*
 * bench: what one call, one message and one reduction cost. Prints `NAME NANOSECONDS`, the best of
 * many short rounds, one a line: on a machine that others use too, some rounds are undisturbed. benches/run
 * compares two ways of running it.
 *
 * `bench messages` begins and ends with what it takes to hand a cache line to the other processor and back, without
 * MPI: two runs can be compared only if that was the same in both.
 */
#include <fcntl.h>
#include <mpi.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 50 };
static int rank, ranks;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void measure(const char *name, int n, void (*work)(int))
{
    double best = 1e9;
    work(n / 10 + 1);
    for (int k = 0; k < ROUNDS; k++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double start = seconds();
        work(n);
        double t = (seconds() - start) / n * 1e9;
        if (t < best)
            best = t;
    }
    if (rank == 0)
        printf("%s %.2f\n", name, best);
}

static void comm_rank(int n)
{
    int r;
    while (n-- > 0)
        MPI_Comm_rank(MPI_COMM_WORLD, &r);
}

static void comm_size(int n)
{
    int r;
    while (n-- > 0)
        MPI_Comm_size(MPI_COMM_WORLD, &r);
}

static void type_size(int n)
{
    int r;
    while (n-- > 0)
        MPI_Type_size(MPI_DOUBLE, &r);
}

static MPI_Status status;

static void get_count(int n)
{
    int r;
    while (n-- > 0)
        MPI_Get_count(&status, MPI_INT, &r);
}

static void iprobe(int n)
{
    int flag;
    while (n-- > 0)
        MPI_Iprobe(0, 99, MPI_COMM_SELF, &flag, MPI_STATUS_IGNORE);
}

static MPI_Request pending;

/* A receive that nothing comes for. */
static void test(int n)
{
    int flag;
    while (n-- > 0)
        MPI_Test(&pending, &flag, MPI_STATUS_IGNORE);
}

static void clocks(int n)
{
    struct timespec t;
    while (n-- > 0)
        clock_gettime(CLOCK_MONOTONIC, &t);
}

static char *buffer;

static void pingpong(int n, int bytes)
{
    if (rank > 1)
        return;
    while (n-- > 0) {
        if (rank == 0)
            MPI_Send(buffer, bytes, MPI_CHAR, 1, 0, MPI_COMM_WORLD);
        MPI_Recv(buffer, bytes, MPI_CHAR, 1 - rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (rank == 1)
            MPI_Send(buffer, bytes, MPI_CHAR, 0, 0, MPI_COMM_WORLD);
    }
}

static void pingpong_8(int n) { pingpong(n, 8); }
static void pingpong_1m(int n) { pingpong(n, 1 << 20); }

/* The ping-pong, with Isend and Irecv, each waited for by Waitall. */
static void nonblocking_pingpong_8(int n)
{
    if (rank > 1)
        return;
    while (n-- > 0)
        for (int turn = 0; turn < 2; turn++) {
            MPI_Request r[1];
            if (turn == rank)
                MPI_Isend(buffer, 8, MPI_CHAR, 1 - rank, 0, MPI_COMM_WORLD, r);
            else
                MPI_Irecv(buffer, 8, MPI_CHAR, 1 - rank, 0, MPI_COMM_WORLD, r);
            MPI_Waitall(1, r, MPI_STATUSES_IGNORE);
        }
}

/* Both send to each other at once. */
static void exchange_8(int n)
{
    if (rank > 1)
        return;
    while (n-- > 0) {
        MPI_Request r[2];
        MPI_Irecv(buffer + 64, 8, MPI_CHAR, 1 - rank, 0, MPI_COMM_WORLD, &r[0]);
        MPI_Isend(buffer, 8, MPI_CHAR, 1 - rank, 0, MPI_COMM_WORLD, &r[1]);
        MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    }
}

/* A stream of small messages one way, WINDOW at a time, and a word back: each with a tag of its own, or all with one. */
static void stream(int n, int own)
{
    enum { WINDOW = 64 };
    MPI_Request r[WINDOW];
    if (rank > 1)
        return;
    for (n = (n + WINDOW - 1) / WINDOW; n > 0; n--) {
        for (int i = 0; i < WINDOW; i++) {
            if (rank == 0)
                MPI_Isend(buffer + 8 * i, 8, MPI_CHAR, 1, own * i, MPI_COMM_WORLD, &r[i]);
            else
                MPI_Irecv(buffer + 8 * i, 8, MPI_CHAR, 0, own * i, MPI_COMM_WORLD, &r[i]);
        }
        MPI_Waitall(WINDOW, r, MPI_STATUSES_IGNORE);
        if (rank == 0)
            MPI_Recv(buffer, 0, MPI_CHAR, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        else
            MPI_Send(buffer, 0, MPI_CHAR, 0, 0, MPI_COMM_WORLD);
    }
}

static void stream_8(int n) { stream(n, 1); }
static void stream_of_one_tag(int n) { stream(n, 0); }

static atomic_int *line;

static void hand_over(int n)
{
    static int turn;
    if (rank > 1)
        return;
    for (; n > 0; n--, turn += 2) {
        while (atomic_load_explicit(line, memory_order_acquire) != turn + rank)
            ;
        atomic_store_explicit(line, turn + rank + 1, memory_order_release);
    }
}

/* The ranks are on one machine. */
static void share_line(void)
{
    char name[] = "/dev/shm/bench-XXXXXX";
    int fd = rank == 0 ? mkstemp(name) : -1;
    MPI_Bcast(name, sizeof name, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (rank != 0)
        fd = open(name, O_RDWR);
    if (fd < 0 || (rank == 0 && ftruncate(fd, sizeof *line) != 0)) {
        perror(name);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    line = mmap(NULL, sizeof *line, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        unlink(name);
    close(fd);
}

static void allreduce_8(int n)
{
    double in = 1, out;
    while (n-- > 0)
        MPI_Allreduce(&in, &out, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc > 1 && strcmp(argv[1], "hello") == 0) {
        MPI_Finalize();
        return 0;
    }
    buffer = calloc(1, 1 << 20);
    if (argc > 1 && strcmp(argv[1], "messages") == 0) {
        share_line();
        measure("cache-line", 2000, hand_over);
        measure("ping-pong-8", 2000, pingpong_8);
        measure("ping-pong-isend-irecv-waitall-8", 1000, nonblocking_pingpong_8);
        measure("exchange-isend-irecv-waitall-8", 2000, exchange_8);
        measure("stream-8", 64 * 100, stream_8);
        measure("stream-8-one-tag", 64 * 100, stream_of_one_tag);
        measure("allreduce-8", 2000, allreduce_8);
        measure("cache-line", 2000, hand_over);
    } else {
        measure("clock_gettime", 100000, clocks);
        measure("MPI_Comm_rank", 100000, comm_rank);
        measure("MPI_Comm_size", 100000, comm_size);
        measure("MPI_Type_size", 100000, type_size);
        measure("MPI_Get_count", 100000, get_count);
        measure("MPI_Iprobe", 30000, iprobe);
        MPI_Irecv(buffer, 1, MPI_INT, 0, 98, MPI_COMM_SELF, &pending);
        measure("MPI_Test", 30000, test);
        MPI_Cancel(&pending);
        MPI_Wait(&pending, MPI_STATUS_IGNORE);
        measure("ping-pong-1MiB", 20, pingpong_1m);
    }
    MPI_Finalize();
    return 0;
}
