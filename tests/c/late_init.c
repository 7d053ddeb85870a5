/* Of two ranks, R waits for the file that argument R + 1 names before it calls MPI_Init. They add up their ranks, and wait
 * for the file of argument 3 before the end. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_for(const char *file)
{
    while (access(file, F_OK) != 0)
        usleep(1000);
}

int main(int argc, char **argv)
{
    int rank = atoi(getenv("PMI_RANK")), sum = 0;
    printf("ready\n");
    fflush(stdout);
    const char *end = argv[3];
    wait_for(argv[rank + 1]);
    MPI_Init(&argc, &argv);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    printf("sum %d\n", sum);
    fflush(stdout);
    wait_for(end);
    MPI_Finalize();
    return 0;
}
