/* unsupported: calls the function that is named, which is not there yet. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    int memory[4];
    MPI_Win window;
    MPI_Init(&argc, &argv);
    if (argc != 2)
        return 1;
    if (strcmp(argv[1], "MPI_Win_create") == 0)
        MPI_Win_create(memory, sizeof memory, 4, MPI_INFO_NULL, MPI_COMM_WORLD, &window);
    printf("went on\n");
    MPI_Finalize();
    return 0;
}
