/* Non-blocking collectives, those with counts and types for each rank, and those of neighbours: prints what they
 * give. Each non-blocking one is complete only when its turn comes, last first. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

enum { MAX = 16, N = 4 };
static int rank, size;
static int mine[MAX * N], counts[MAX], places[MAX], bytes[MAX];
static MPI_Datatype kinds[MAX];

static void show(const char *name, const int *values, int n)
{
    long sum = 0;
    for (int i = 0; i < n; i++)
        sum = sum * 31 + values[i];
    printf("%s: %d %d, %ld\n", name, values[0], values[n - 1], sum);
}

static void rooted(void)
{
    int root = size - 1;
    static int got[4][MAX * N], all[4][MAX * N];
    MPI_Request r[8];
    memset(got, 0, sizeof got);
    memset(all, 0, sizeof all);
    MPI_Igather(mine, N, MPI_INT, all[0], N, MPI_INT, root, MPI_COMM_WORLD, &r[0]);
    MPI_Igatherv(mine, counts[rank], MPI_INT, all[1], counts, places, MPI_INT, root, MPI_COMM_WORLD, &r[1]);
    MPI_Iscatter(mine, N, MPI_INT, got[0], N, MPI_INT, root, MPI_COMM_WORLD, &r[2]);
    MPI_Iscatterv(mine, counts, places, MPI_INT, got[1], counts[rank], MPI_INT, root, MPI_COMM_WORLD, &r[3]);
    for (int k = 3; k >= 0; k--)
        MPI_Wait(&r[k], MPI_STATUS_IGNORE);
    show("igather", all[0], size * N);
    show("igatherv", all[1], size * N);
    show("iscatter", got[0], N);
    show("iscatterv", got[1], N);
    MPI_Scatterv(mine, counts, places, MPI_INT, got[2], counts[rank], MPI_INT, 0, MPI_COMM_WORLD);
    show("scatterv", got[2], N);
}

static void to_all(void)
{
    static int all[6][MAX * N];
    MPI_Request r[4];
    memset(all, 0, sizeof all);
    MPI_Iallgatherv(mine, counts[rank], MPI_INT, all[0], counts, places, MPI_INT, MPI_COMM_WORLD, &r[0]);
    MPI_Ialltoall(mine, 1, MPI_INT, all[1], 1, MPI_INT, MPI_COMM_WORLD, &r[1]);
    static int one[MAX], at[MAX];
    for (int k = 0; k < size; k++) {
        one[k] = 1;
        at[k] = 2 * (size - 1 - k);
    }
    MPI_Ialltoallv(mine, one, at, MPI_INT, all[2], one, at, MPI_INT, MPI_COMM_WORLD, &r[2]);
    MPI_Ialltoallw(mine, one, bytes, kinds, all[3], one, bytes, kinds, MPI_COMM_WORLD, &r[3]);
    for (int k = 3; k >= 0; k--)
        MPI_Wait(&r[k], MPI_STATUS_IGNORE);
    show("iallgatherv", all[0], size * N);
    show("ialltoall", all[1], size);
    show("ialltoallv", all[2], 2 * size);
    show("ialltoallw", all[3], 2 * size);
    MPI_Allgatherv(mine, counts[rank], MPI_INT, all[4], counts, places, MPI_INT, MPI_COMM_WORLD);
    show("allgatherv", all[4], size * N);
    MPI_Alltoallw(mine, one, bytes, kinds, all[5], one, bytes, kinds, MPI_COMM_WORLD);
    show("alltoallw", all[5], 2 * size);
}

static void reductions(void)
{
    static int got[4][MAX * N];
    MPI_Request r[4];
    memset(got, 0, sizeof got);
    MPI_Iscan(mine, got[0], N, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &r[0]);
    MPI_Iexscan(mine, got[1], N, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &r[1]);
    MPI_Ireduce_scatter(mine, got[2], counts, MPI_INT, MPI_MAX, MPI_COMM_WORLD, &r[2]);
    MPI_Ireduce_scatter_block(mine, got[3], 1, MPI_INT, MPI_BXOR, MPI_COMM_WORLD, &r[3]);
    MPI_Waitall(4, r, MPI_STATUSES_IGNORE);
    show("iscan", got[0], N);
    show("iexscan", got[1], rank == 0 ? 1 : N);
    show("ireduce_scatter", got[2], N);
    show("ireduce_scatter_block", got[3], 1);
}

static void neighbours(void)
{
    MPI_Comm ring;
    int periods[1] = {1}, two[2] = {1, 2}, at[2] = {0, 3}, values[6] = {rank, rank + 100, rank + 200, 7, 8, 9};
    MPI_Aint far[2] = {0, 12};
    MPI_Datatype types[2] = {MPI_INT, MPI_INT};
    static int in[9][8];
    MPI_Request r[5];
    memset(in, 0, sizeof in);
    MPI_Cart_create(MPI_COMM_WORLD, 1, &size, periods, 0, &ring);
    /* From two neighbours, to two neighbours: one value and two, or what was given. */
    int mine_at = rank % 2, n = two[mine_at], from[2];
    from[0] = from[1] = two[1 - mine_at];
    MPI_Ineighbor_allgather(values, 2, MPI_INT, in[0], 2, MPI_INT, ring, &r[0]);
    MPI_Ineighbor_allgatherv(values, n, MPI_INT, in[1], from, at, MPI_INT, ring, &r[1]);
    MPI_Ineighbor_alltoall(values, 1, MPI_INT, in[2], 1, MPI_INT, ring, &r[2]);
    int both[2] = {2, 2};
    MPI_Ineighbor_alltoallv(values, both, at, MPI_INT, in[3], both, at, MPI_INT, ring, &r[3]);
    MPI_Ineighbor_alltoallw(values, both, far, types, in[4], both, far, types, ring, &r[4]);
    for (int k = 4; k >= 0; k--)
        MPI_Wait(&r[k], MPI_STATUS_IGNORE);
    MPI_Neighbor_allgatherv(values, n, MPI_INT, in[5], from, at, MPI_INT, ring);
    MPI_Neighbor_alltoallv(values, both, at, MPI_INT, in[6], both, at, MPI_INT, ring);
    MPI_Neighbor_alltoallw(values, both, far, types, in[7], both, far, types, ring);
    for (int k = 0; k < 8; k++)
        show("neighbours", in[k], 8);
    MPI_Comm_free(&ring);
}

static void ready(void)
{
    int in = -1, out = rank;
    MPI_Request r[2];
    MPI_Irecv(&in, 1, MPI_INT, (rank + size - 1) % size, 1, MPI_COMM_WORLD, &r[0]);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Irsend(&out, 1, MPI_INT, (rank + 1) % size, 1, MPI_COMM_WORLD, &r[1]);
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    printf("irsend: %d\n", in);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int k = 0; k < size; k++) {
        counts[k] = 1 + k % N;
        places[k] = N * (size - 1 - k);
        bytes[k] = 8 * k;
        kinds[k] = MPI_INT;
    }
    for (int k = 0; k < size * N; k++)
        mine[k] = 1000 * rank + k;
    rooted();
    to_all();
    reductions();
    neighbours();
    ready();
    MPI_Finalize();
    return 0;
}
