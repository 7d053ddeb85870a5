/* ROUNDS: rank 0 goes into MPI_Intercomm_create at once, the others late, so that it is nearly always there alone. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int rank, size;
    MPI_Comm half, inter;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_split(MPI_COMM_WORLD, rank != 0, rank, &half);
    for (int i = 0; i < atoi(argv[1]); i++) {
        if (rank != 0)
            usleep(150000);
        MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, rank == 0, i, &inter);
        int others;
        MPI_Comm_remote_size(inter, &others);
        if (others != (rank == 0 ? size - 1 : 1))
            return 1;
        MPI_Comm_free(&inter);
        if (rank == 0) {
            printf("%d\n", i);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    return 0;
}
