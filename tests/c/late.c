/* Collectives that a checkpoint waits for in vain, until GO: then all goes on. See trap.h. */
#include "trap.h"
#include <mpi.h>

/* Rank 0 waits for rank 1, which computes; rank 2 has left. */
static void one_is_late(void)
{
    int all[3] = {0};
    MPI_Comm halo;
    MPI_Comm_dup(MPI_COMM_WORLD, &halo);
    MPI_Comm_set_name(halo, "the halo");
    if (rank == 0)
        mark(0);
    if (rank == 1) {
        mark(1);
        wait_for_go();
    }
    MPI_Gather(&rank, 1, MPI_INT, all, 1, MPI_INT, 0, halo);
    CHECK(rank != 0 || (all[1] == 1 && all[2] == 2));
    if (rank == 2) {
        mark(2);
        say_ready_of_all(); /* rank 0 waits */
    }
    MPI_Comm_free(&halo);
}

static void add(void *in, void *inout, int *n, MPI_Datatype *type)
{
    (void)type;
    for (int i = 0; i < *n; i++)
        ((int *)inout)[i] += ((int *)in)[i];
}

/* A reduction that nobody carries on. */
static void nobody_carries_it_on(void)
{
    int sum = 0, one = 1;
    MPI_Op op;
    MPI_Request r;
    MPI_Op_create(add, 1, &op);
    MPI_Iallreduce(&one, &sum, 1, MPI_INT, op, MPI_COMM_WORLD, &r);
    checkpoint_here();
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    CHECK(sum == ranks);
    MPI_Op_free(&op);
}

/* The root computes until GO. */
static void slow(void *in, void *inout, int *n, MPI_Datatype *type)
{
    add(in, inout, n, type);
    if (rank == 0 && !marked(0)) {
        mark(0);
        say_ready_of_all();
        wait_for_go();
    }
}

/* A reduction whose root computes inside the library; the others have left it, or wait for the root. */
static void an_operator_computes(void (*reduce)(const int *, int *, MPI_Op))
{
    int sum = 0, one = 1;
    MPI_Op op;
    MPI_Op_create(slow, 1, &op);
    if (rank != 0)
        mark(rank);
    reduce(&one, &sum, op);
    CHECK(rank != 0 || sum == ranks);
    MPI_Op_free(&op);
}

static void to_one(const int *one, int *sum, MPI_Op op)
{
    MPI_Reduce(one, sum, 1, MPI_INT, op, 0, MPI_COMM_WORLD);
}

static void by_itself(const int *one, int *sum, MPI_Op op)
{
    if (rank != 0)
        return;
    for (*sum = *one; *sum < ranks;)
        MPI_Reduce_local(one, sum, 1, MPI_INT, op);
}

static void root_computes(void) { an_operator_computes(to_one); }
static void one_computes(void) { an_operator_computes(by_itself); }

/* The same with messages under way from it that nobody receives yet. */
static void one_computes_and_sends(void)
{
    enum { LARGE = 1 << 22 };
    int *all = malloc(LARGE * sizeof(int)), warm = 0;
    MPI_Request r;
    CHECK(all != NULL);
    /* The ranks are connected. */
    MPI_Allreduce(MPI_IN_PLACE, &warm, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 1)
        MPI_Send(&warm, 1, MPI_INT, 0, 1, MPI_COMM_WORLD);
    if (rank == 0) {
        MPI_Recv(&warm, 1, MPI_INT, 1, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        fill(all, LARGE, 7);
        MPI_Isend(all, LARGE, MPI_INT, 1, 2, MPI_COMM_WORLD, &r);
    }
    one_computes();
    if (rank == 0)
        MPI_Wait(&r, MPI_STATUS_IGNORE);
    if (rank == 1) {
        wait_for_go();
        MPI_Recv(all, LARGE, MPI_INT, 0, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        verify(all, LARGE, 7);
    }
    free(all);
}

static const struct trap traps[] = {{"one_is_late", one_is_late},
                                    {"nobody_carries_it_on", nobody_carries_it_on},
                                    {"root_computes", root_computes},
                                    {"one_computes", one_computes},
                                    {"one_computes_and_sends", one_computes_and_sends},
                                    {NULL, NULL}};

int main(int argc, char **argv) { return run_trap(argc, argv, traps, MPI_THREAD_SINGLE); }
