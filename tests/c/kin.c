/* GO: rank 0 executes two children with an environment of nothing but PATH: a shell, with a child of its own, and an MPI
 * program of one rank. All compute until the file GO is there; then rank 0 says what the children ended with. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t execute(char *const *words)
{
    static char *const environment[] = {"PATH=/usr/bin:/bin", NULL};
    pid_t child = fork();
    if (child == 0) {
        execve(words[0], words, environment);
        _exit(98);
    }
    return child;
}

static int code_of(pid_t child)
{
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    int rank, size, sum, child = argc > 2;
    char *go = argv[1];
    pid_t pids[2];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank == 0 && !child) {
        char *shell[] = {"/bin/sh", "-c", "(while [ ! -e \"$0\" ]; do sleep 0.05; done; exit 7)", go, NULL};
        char *self[] = {argv[0], go, "child", NULL};
        pids[0] = execute(shell);
        pids[1] = execute(self);
    }
    for (int i = 0, there = 0; !there; i++) {
        int one = 1;
        if (rank == 0)
            there = access(go, F_OK) == 0;
        MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        MPI_Bcast(&there, 1, MPI_INT, 0, MPI_COMM_WORLD);
        if (rank == 0) {
            if (!child || i == 0)
                printf("%s of %d\n", child ? "child" : "rank", sum);
            fflush(stdout);
            usleep(5000);
        }
    }
    if (rank == 0 && !child) {
        int first = code_of(pids[0]);
        printf("children %d %d\n", first, code_of(pids[1]));
    }
    MPI_Finalize();
    return child ? 20 + size : 0;
}
