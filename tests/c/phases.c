/*
 * phases: a program of some ranks that waits before MPI_Init, or after MPI_Finalize.
 *
 * Usage: phases before|after GO
 *
 * Each rank prints `ready` while it waits until the file GO exists. Then `ok`, if what MPI did was right.
 */
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *go;

static void say(const char *word)
{
    puts(word);
    fflush(stdout);
}

static void hold(void)
{
    say("ready");
    while (access(go, F_OK) != 0)
        usleep(1000);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    go = argv[2];
    int before = strcmp(argv[1], "before") == 0, rank, size, sum = 0;
    if (before)
        hold();
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    rank++;
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    if (!before)
        hold();
    say(sum == size * (size + 1) / 2 ? "ok" : "wrong");
    return 0;
}
