/* COUNT: rank 0, and in every other round all ranks, want no checkpoint nearly all the time, and call MPI meanwhile. Rank 0
 * prints the rounds. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int dmtcp_disable_ckpt(void) __attribute__((weak));
int dmtcp_enable_ckpt(void) __attribute__((weak));

int main(int argc, char **argv)
{
    int rank, sum;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (!dmtcp_disable_ckpt || !dmtcp_enable_ckpt)
        return 2;
    for (int i = 0; i < atoi(argv[1]); i++) {
        int held = rank == 0 || i % 2, value = rank + i;
        for (int deep = 0; held && deep < 2; deep++)
            dmtcp_disable_ckpt();
        usleep(5000);
        MPI_Allreduce(&value, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        MPI_Barrier(MPI_COMM_WORLD);
        for (int deep = 0; held && deep < 2; deep++)
            dmtcp_enable_ckpt();
        if (rank == 0) {
            printf("%d %d\n", i, sum);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    return 0;
}
