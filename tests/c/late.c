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

static const struct trap traps[] = {
    {"one_is_late", one_is_late}, {"nobody_carries_it_on", nobody_carries_it_on}, {NULL, NULL}};

int main(int argc, char **argv) { return run_trap(argc, argv, traps, MPI_THREAD_SINGLE); }
