/* Ends in MPI, with output in its streams' buffers and a thread that waits for input: `abort WAY`. */
#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *reader(void *unused)
{
    getchar();
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    int value = 1;
    if (argc < 2)
        return 2;
    MPI_Init(&argc, &argv);
    FILE *file = fopen("printed.txt", "w");
    fprintf(file, "in a file\n");
    printf("on stdout\n");
    pthread_create(&thread, NULL, reader, NULL);
    usleep(100000);
    if (strcmp(argv[1], "abort") == 0)
        MPI_Abort(MPI_COMM_WORLD, 7);
    else
        MPI_Send(&value, 1, MPI_INT, 99, 0, MPI_COMM_WORLD);
    return 0;
}
