/* ROUNDS: threads whose thread-specific data is freed by a destructor that calls MPI, in the first round of destructors
 * and, because it sets the value again, in the second. Each thread ends in another way. Rank 0 prints the sums. */
#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct told {
    int round, calls, sum;
};

static pthread_key_t key;
static int rank, ranks;

static void tell(void *value)
{
    struct told *told = value;
    int mine = told->round * (rank + 1), theirs = -1, next = (rank + 1) % ranks, last = (rank + ranks - 1) % ranks;
    usleep(4000);
    MPI_Sendrecv(&mine, 1, MPI_INT, next, told->calls, &theirs, 1, MPI_INT, last, told->calls, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    told->sum += theirs;
    if (++told->calls < 2)
        pthread_setspecific(key, value);
}

static void *live(void *value)
{
    struct told *told = value;
    if (told->round % 3 == 0)
        MPI_Comm_rank(MPI_COMM_WORLD, &(int){0});
    pthread_setspecific(key, value);
    if (told->round % 2)
        pthread_exit(NULL);
    return NULL;
}

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    pthread_key_create(&key, tell);
    for (int i = 0; i < atoi(argv[1]); i++) {
        struct told told = {i, 0, 0};
        pthread_t thread;
        if (pthread_create(&thread, NULL, live, &told) != 0 || pthread_join(thread, NULL) != 0)
            return 1;
        if (rank == 0) {
            printf("%d %d\n", told.calls, told.sum);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    return 0;
}
