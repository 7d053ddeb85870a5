/* A forked child that calls MPI is told why it can't; one that does not goes on. The parent prints both codes. */
#include <mpi.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(int calls)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (calls)
            MPI_Barrier(MPI_COMM_WORLD);
        _exit(3);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Barrier(MPI_COMM_WORLD);
    int plain = child(0), calls = child(1);
    MPI_Barrier(MPI_COMM_WORLD);
    printf("plain %d calls %d\n", plain, calls);
    MPI_Finalize();
    return 0;
}
