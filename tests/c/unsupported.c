/* unsupported: calls the function that is named, which is not there yet. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    int provided;
    MPI_Comm other;
    MPI_Init(&argc, &argv);
    if (argc != 2)
        return 1;
    if (strcmp(argv[1], "MPI_Comm_spawn") == 0)
        MPI_Comm_spawn("true", MPI_ARGV_NULL, 1, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &other, MPI_ERRCODES_IGNORE);
    if (strcmp(argv[1], "MPI_T_init_thread") == 0)
        MPI_T_init_thread(MPI_THREAD_SINGLE, &provided);
    printf("went on\n");
    MPI_Finalize();
    return 0;
}
