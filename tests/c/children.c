/* ITERATIONS: each rank forks a child, every second of which executes a shell; the children's codes are summed up in
 * place, so that nobody may be stopped in the sum. Rank 0 prints the sums. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(int i)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        usleep(10000);
        if (i % 2)
            execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(i % 2 ? 1 : 5);
    }
    while (waitpid(pid, &status, 0) != pid)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int i = 0; i < atoi(argv[1]); i++) {
        int sum = child(i + rank);
        MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0) {
            printf("%d %d\n", i, sum);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    return 0;
}
