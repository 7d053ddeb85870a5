/* An MPI program whose child executes it again and is an MPI program of its own: each with its own lower halves. Both
 * work for the given number of steps; the parent prints a line at each, and the child's code at the end. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int steps = atoi(argv[1]), child = argc > 2, status;
    MPI_Init(&argc, &argv);
    pid_t pid = child ? 0 : fork();
    if (!child && pid == 0) {
        execl("/proc/self/exe", argv[0], argv[1], "child", NULL);
        _exit(9);
    }
    for (int n = 0; n < steps; n++) {
        int got = 0;
        MPI_Sendrecv(&n, 1, MPI_INT, 0, 1, &got, 1, MPI_INT, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (got != n)
            exit(8);
        if (!child) {
            printf("%d\n", got);
            fflush(stdout);
        }
        usleep(10000);
    }
    MPI_Finalize();
    if (child)
        return 7;
    waitpid(pid, &status, 0);
    printf("child %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 0;
}
