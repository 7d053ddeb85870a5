/* provided: what MPI_Init or MPI_Init_thread gives. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    int provided = -1, level, main_thread;
    if (strcmp(argv[1], "init") == 0)
        MPI_Init(&argc, &argv);
    else
        MPI_Init_thread(&argc, &argv, atoi(argv[1]), &provided);
    MPI_Query_thread(&level);
    MPI_Is_thread_main(&main_thread);
    printf("%d %d %d\n", provided, level, main_thread);
    MPI_Finalize();
    return 0;
}
