/* A program with three lower halves beside the host: MPI, `one` and `two`. It does in turn what makes a half map
 * memory, says each time that it is done, and waits for the file GO-STAGE.
 *
 *   layout GO DIR        DIR has half.so and late.so
 */
#include "splitproc.h"
#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *go;
static int rank, size;
static int halves[2];

static void done(const char *stage)
{
    char path[4096];
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        puts(stage);
        fflush(stdout);
    }
    snprintf(path, sizeof path, "%s-%s", go, stage);
    while (access(path, F_OK) != 0)
        usleep(1000);
}

static long call(int half, const char *name, long a, long b)
{
    splitproc_enter();
    void *function = splitproc_symbol(half, name);
    long r = function ? splitproc_call(half, function, 2, (long[]){a, b}) : -1;
    splitproc_leave();
    if (r < 0) {
        fprintf(stderr, "layout: %s gives %ld\n", name, r);
        exit(1);
    }
    return r;
}

/* Eager and rendezvous messages, from fresh buffers that a registration cache would remember. */
static void traffic(void)
{
    int next = (rank + 1) % size, previous = (rank + size - 1) % size;
    for (int n = 0; n < 300; n++) {
        int bytes = n % 3 == 0 ? 1 << 20 : 64 << (n % 8);
        char *out = malloc((size_t)bytes), *in = malloc((size_t)bytes);
        memset(out, n, (size_t)bytes);
        MPI_Sendrecv(out, bytes, MPI_CHAR, next, n, in, bytes, MPI_CHAR, previous, n, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        if (in[bytes - 1] != (char)n)
            exit(1);
        free(out);
        free(in);
    }
}

static void *thread(void *arg)
{
    for (int n = 0; n < 50; n++)
        call(halves[n % 2], "half_count", (long)arg, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    int provided;
    if (argc < 3)
        return 2;
    go = argv[1];
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    halves[0] = splitproc_half("one");
    halves[1] = splitproc_half("two");
    done("init");

    traffic();
    done("traffic");

    pthread_t pool[16];
    for (long t = 0; t < 16; t++)
        pthread_create(&pool[t], NULL, thread, (void *)t);
    for (int t = 0; t < 16; t++)
        pthread_join(pool[t], NULL);
    done("threads");

    call(halves[0], "half_grow", 256, 8);
    call(halves[1], "half_grow", 128, 4);
    done("memory");

    char path[4096];
    snprintf(path, sizeof path, "%s/late.so", argv[2]);
    call(halves[1], "half_open", (long)path, 0);
    done("dlopen");
    MPI_Finalize();
    return 0;
}
