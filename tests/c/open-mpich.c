/* Opens an MPI library by name, as scripting languages do: `open-mpich LIBRARY GO`. */
#include <dlfcn.h>
#include <mpi.h>
#include <stdio.h>
#include <unistd.h>

static void *library;

static void *function(const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(1);
    }
    return found;
}

int main(int argc, char **argv)
{
    int rank = -1, size = 0, sum = 0;
    if (argc < 3 || !(library = dlopen(argv[1], RTLD_NOW))) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*init)(int *, char ***) = function("MPI_Init");
    int (*get_rank)(MPI_Comm, int *) = function("MPI_Comm_rank");
    int (*get_size)(MPI_Comm, int *) = function("PMPI_Comm_size");
    int (*allreduce)(const void *, void *, int, MPI_Datatype, MPI_Op, MPI_Comm) = function("MPI_Allreduce");
    int (*finalize)(void) = function("MPI_Finalize");
    init(NULL, NULL);
    get_rank(MPI_COMM_WORLD, &rank);
    get_size(MPI_COMM_WORLD, &size);
    allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) {
        puts("ready");
        fflush(stdout);
    }
    while (access(argv[2], F_OK) != 0)
        usleep(1000);
    rank += 10;
    allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 10)
        printf("%d ranks, sum %d\n", size, sum);
    return finalize();
}
