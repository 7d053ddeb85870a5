/* An MPI program that asks DMTCP for a checkpoint itself, and says what it was told: after the checkpoint, or after a
 * restart. Between them every rank waits in an allreduce, or in dmtcp_checkpoint. */
#include <mpi.h>
#include <stdio.h>
#include <unistd.h>

int dmtcp_checkpoint(void) __attribute__((weak));

int main(int argc, char **argv)
{
    int rank, size, told = 0, sum = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (!dmtcp_checkpoint)
        return 2;
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        told = dmtcp_checkpoint();
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) {
        printf("told %d sum %d of %d\n", told, sum, size);
        fflush(stdout);
    }
    if (told == 1)
        pause(); /* until it is killed */
    MPI_Finalize();
    return 0;
}
