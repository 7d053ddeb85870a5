/* A forked child that calls MPI is told why it can't; one that does not goes on, with the handlers that it had. The parent
 * prints both codes. */
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t came;

static void handler(int signal)
{
    came = signal;
}

static int handles(void)
{
    struct sigaction found;
    raise(SIGUSR1);
    return sigaction(SIGUSR1, NULL, &found) == 0 && found.sa_handler == handler && !(found.sa_flags & SA_SIGINFO) &&
           signal(SIGUSR1, SIG_IGN) == handler && came == SIGUSR1;
}

static int child(int calls)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (calls)
            MPI_Barrier(MPI_COMM_WORLD);
        _exit(handles() ? 3 : 4);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    signal(SIGUSR1, handler);
    MPI_Barrier(MPI_COMM_WORLD);
    int plain = child(0), calls = child(1);
    MPI_Barrier(MPI_COMM_WORLD);
    printf("plain %d calls %d\n", plain, calls);
    MPI_Finalize();
    return 0;
}
