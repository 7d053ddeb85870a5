/* Blocking and non-blocking collectives, in place, user operators. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static void mul(void *in, void *inout, int *n, MPI_Datatype *t)
{
    long *a = in, *b = inout;
    int size, i;
    MPI_Type_size(*t, &size);
    for (i = 0; i < *n * size / (int)sizeof(long); i++) b[i] = a[i] * 3 + b[i];
}

int main(int argc, char **argv)
{
    int rank, size, i;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int v = rank == 0 ? 42 : 0, sum, all[64], part[64], counts[64], displs[64];
    MPI_Bcast(&v, 1, MPI_INT, 0, MPI_COMM_WORLD);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    printf("%d: bcast %d allreduce %d\n", rank, v, sum);
    int place = rank + 1;
    MPI_Allreduce(MPI_IN_PLACE, &place, 1, MPI_INT, MPI_PROD, MPI_COMM_WORLD);
    MPI_Allgather(&rank, 1, MPI_INT, all, 1, MPI_INT, MPI_COMM_WORLD);
    printf("%d: in place %d gather %d\n", rank, place, all[size - 1]);
    for (i = 0; i < size; i++) { counts[i] = 1; displs[i] = size - 1 - i; part[i] = rank * 100 + i; }
    MPI_Alltoall(part, 1, MPI_INT, all, 1, MPI_INT, MPI_COMM_WORLD);
    printf("%d: alltoall %d\n", rank, all[size - 1]);
    MPI_Alltoallv(part, counts, displs, MPI_INT, all, counts, displs, MPI_INT, MPI_COMM_WORLD);
    printf("%d: alltoallv %d\n", rank, all[0]);
    MPI_Gather(&rank, 1, MPI_INT, all, 1, MPI_INT, 0, MPI_COMM_WORLD);
    MPI_Gatherv(&rank, 1, MPI_INT, all, counts, displs, MPI_INT, 0, MPI_COMM_WORLD);
    if (rank == 0) printf("0: gatherv %d\n", all[0]);
    for (i = 0; i < size; i++) part[i] = i * i;
    MPI_Scatter(part, 1, MPI_INT, &v, 1, MPI_INT, 0, MPI_COMM_WORLD);
    MPI_Scan(&v, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    printf("%d: scatter %d scan %d\n", rank, v, sum);
    MPI_Reduce_scatter_block(part, &v, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Reduce_scatter(part, &sum, counts, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    printf("%d: reduce_scatter %d %d\n", rank, v, sum);
    MPI_Op op;
    MPI_Op_create(mul, 0, &op);
    long a[2] = { rank + 1, rank + 2 }, b[2] = { 0, 0 };
    MPI_Reduce(a, b, 2, MPI_LONG, op, 0, MPI_COMM_WORLD);
    if (rank == 0) printf("0: user op %ld %ld\n", b[0], b[1]);
    MPI_Datatype pair;
    MPI_Type_contiguous(2, MPI_LONG, &pair);
    MPI_Type_commit(&pair);
    MPI_Allreduce(a, b, 1, pair, op, MPI_COMM_WORLD);
    printf("%d: user op on a derived type %ld %ld\n", rank, b[0], b[1]);
    MPI_Op_free(&op);
    MPI_Type_free(&pair);
    MPI_Request r[4];
    MPI_Ibarrier(MPI_COMM_WORLD, &r[0]);
    MPI_Iallreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &r[1]);
    v = rank == 0 ? 7 : 0;
    MPI_Ibcast(&v, 1, MPI_INT, 0, MPI_COMM_WORLD, &r[2]);
    MPI_Datatype types[64];
    for (i = 0; i < size; i++) { types[i] = MPI_INT; displs[i] = 4 * i; part[i] = rank + i; }
    MPI_Ialltoallw(part, counts, displs, types, all, counts, displs, types, MPI_COMM_WORLD, &r[3]);
    MPI_Waitall(4, r, MPI_STATUSES_IGNORE);
    printf("%d: non-blocking %d %d %d %d\n", rank, sum, v, all[size - 1], r[0] == MPI_REQUEST_NULL);
    struct { double v; int i; } mine = { rank % 2 ? rank : -rank, rank }, best;
    MPI_Allreduce(&mine, &best, 1, MPI_DOUBLE_INT, MPI_MAXLOC, MPI_COMM_WORLD);
    printf("%d: maxloc %g %d\n", rank, best.v, best.i);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
}
