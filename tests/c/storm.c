/* A deterministic storm of traffic that runs for a while: prints a checksum that any loss, duplicate or
 * reordering changes. Arguments: iterations (default 2000), microseconds of computing between. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int rank, size, i, k;
    int iters = argc > 1 ? atoi(argv[1]) : 2000, pause = argc > 2 ? atoi(argv[2]) : 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm dup, half;
    MPI_Comm_dup(MPI_COMM_WORLD, &dup);
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
    MPI_Datatype vec;
    MPI_Type_vector(4, 1, 2, MPI_INT, &vec);
    MPI_Type_commit(&vec);
    int next = (rank + 1) % size, prev = (rank + size - 1) % size;
    unsigned long sum = rank;
    int *big = malloc(4 * 100000), *back = malloc(4 * 100000);
    for (i = 0; i < iters; i++) {
        int a[4][8], b[4][8] = { { 0 } };
        MPI_Request r[10];
        for (k = 0; k < 4; k++) {
            int j;
            for (j = 0; j < 8; j++) a[k][j] = (int)(sum % 1000) + j + k;
            MPI_Isend(a[k], 1, vec, next, k, k % 2 ? dup : MPI_COMM_WORLD, &r[k]);
        }
        if (i % 3 == 0) { /* arrives before it is asked for */
            MPI_Barrier(MPI_COMM_WORLD);
        }
        for (k = 0; k < 4; k++)
            MPI_Irecv(b[k], 4, MPI_INT, i % 2 ? MPI_ANY_SOURCE : prev, k, k % 2 ? dup : MPI_COMM_WORLD, &r[4 + k]);
        MPI_Waitall(8, r, MPI_STATUSES_IGNORE);
        for (k = 0; k < 4; k++) sum = sum * 31 + b[k][0] + 2 * b[k][3];
        unsigned long s2 = 0;
        if (i % 4 == 0) MPI_Allreduce(&sum, &s2, 1, MPI_UNSIGNED_LONG, MPI_BXOR, half);
        if (i % 5 == 0) MPI_Bcast(&s2, 1, MPI_UNSIGNED_LONG, i % size, dup);
        if (i % 7 == 0) MPI_Allreduce(MPI_IN_PLACE, &s2, 1, MPI_UNSIGNED_LONG, MPI_SUM, MPI_COMM_WORLD);
        if (i % 11 == 0) {
            MPI_Iallreduce(&sum, &s2, 1, MPI_UNSIGNED_LONG, MPI_SUM, MPI_COMM_WORLD, &r[0]);
            MPI_Ibarrier(dup, &r[1]);
            MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
        }
        sum += s2;
        if (i % 50 == 0) {
            for (k = 0; k < 100000; k++) big[k] = (int)sum + k;
            MPI_Sendrecv(big, 100000, MPI_INT, next, 9, back, 100000, MPI_INT, prev, 9, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            sum += back[99999];
        }
        if (i % 13 == 0) {
            MPI_Status s;
            int n, v = (int)(sum % 77);
            MPI_Send(&v, 1, MPI_INT, next, 12, dup);
            MPI_Probe(MPI_ANY_SOURCE, 12, dup, &s);
            MPI_Get_count(&s, MPI_INT, &n);
            MPI_Recv(&v, n, MPI_INT, s.MPI_SOURCE, 12, dup, MPI_STATUS_IGNORE);
            sum += v;
        }
        if (pause && rank == i % size) usleep(pause);
        if (i % (iters / 4 + 1) == 0) { printf("%d: %d %lx\n", rank, i, sum); fflush(stdout); }
    }
    printf("%d: end %lx\n", rank, sum);
    MPI_Type_free(&vec);
    MPI_Comm_free(&dup);
    MPI_Comm_free(&half);
    MPI_Finalize();
    return 0;
}
