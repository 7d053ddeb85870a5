/* ITERATIONS [plain]: each rank forks a child, every second of which executes a shell (not if plain); those of odd ranks
 * take their time. What the children say is summed up in place, so that nobody may be stopped in the sum. Rank 0 prints
 * the sums. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(int i, int rank, int plain)
{
    int ends[2];
    char digit = 0;
    if (pipe(ends) != 0)
        exit(2);
    pid_t pid = fork();
    if (pid == 0) {
        usleep(rank % 2 * 20000);
        dup2(ends[1], 1);
        if (i % 2 && !plain)
            execl("/bin/sh", "sh", "-c", "printf 7", (char *)NULL);
        _exit(write(1, i % 2 ? "7" : "5", 1) != 1);
    }
    close(ends[1]);
    if (read(ends[0], &digit, 1) != 1)
        exit(3);
    close(ends[0]);
    /* DMTCP does not bring back a child that had ended. */
    waitpid(pid, NULL, 0);
    return digit - '0';
}

int main(int argc, char **argv)
{
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int i = 0; i < atoi(argv[1]); i++) {
        int sum = child(i + rank, rank, argc > 2);
        MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0) {
            printf("%d %d\n", i, sum);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    return 0;
}
