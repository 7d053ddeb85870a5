/* Requests: wait and test families, persistent, cancel, matched and posted order, 8 MiB, generalized. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int gq(void *x, MPI_Status *s)
{
    MPI_Status_set_elements(s, MPI_INT, 3);
    MPI_Status_set_cancelled(s, 0);
    s->MPI_SOURCE = 5; s->MPI_TAG = 6;
    return MPI_SUCCESS;
}
static int gf(void *x) { return MPI_SUCCESS; }
static int gc(void *x, int done) { return MPI_SUCCESS; }

int main(int argc, char **argv)
{
    int rank, size, i, n, flag, index;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int next = (rank + 1) % size, prev = (rank + size - 1) % size;
    MPI_Request r[10];
    MPI_Status s[10];
    int in[10], out[10];

    for (i = 0; i < 5; i++) MPI_Irecv(&in[i], 1, MPI_INT, prev, i, MPI_COMM_WORLD, &r[i]);
    for (i = 0; i < 5; i++) { out[i] = rank * 10 + i; MPI_Isend(&out[i], 1, MPI_INT, next, i, MPI_COMM_WORLD, &r[5 + i]); }
    MPI_Waitall(10, r, s);
    printf("%d: waitall", rank);
    for (i = 0; i < 5; i++) printf(" %d/%d", in[i], s[i].MPI_TAG);
    printf(" %d\n", r[0] == MPI_REQUEST_NULL && r[9] == MPI_REQUEST_NULL);

    for (i = 0; i < 4; i++) MPI_Irecv(&in[i], 1, MPI_INT, prev, 20, MPI_COMM_WORLD, &r[i]);
    for (i = 0; i < 4; i++) MPI_Issend(&out[i], 1, MPI_INT, next, 20, MPI_COMM_WORLD, &r[4 + i]);
    int seen = 0;
    for (i = 0; i < 8; i++) { MPI_Waitany(8, r, &index, s); seen |= 1 << index; }
    MPI_Waitany(8, r, &index, s);
    printf("%d: waitany %x %d, posted order %d %d %d %d\n", rank, seen, index == MPI_UNDEFINED, in[0], in[1], in[2], in[3]);

    for (i = 0; i < 3; i++) MPI_Irecv(&in[i], 1, MPI_INT, prev, 30 + i, MPI_COMM_WORLD, &r[i]);
    for (i = 0; i < 3; i++) MPI_Send(&out[i], 1, MPI_INT, next, 30 + i, MPI_COMM_WORLD);
    int left = 3, idx[3], cnt;
    while (left) { MPI_Waitsome(3, r, &cnt, idx, s); left -= cnt; }
    MPI_Testsome(3, r, &cnt, idx, s);
    printf("%d: waitsome %d %d\n", rank, in[2], cnt == MPI_UNDEFINED);
    MPI_Testall(3, r, &flag, MPI_STATUSES_IGNORE);
    printf("%d: testall of nothing %d\n", rank, flag);

    n = 1 << 20;
    double *big = malloc(8 * n), *back = malloc(8 * n);
    for (i = 0; i < n; i++) big[i] = rank * 1e6 + i;
    MPI_Isend(big, n, MPI_DOUBLE, next, 40, MPI_COMM_WORLD, &r[0]);
    MPI_Irecv(back, n, MPI_DOUBLE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &r[1]);
    flag = 0;
    while (!flag) MPI_Testall(2, r, &flag, s);
    MPI_Get_count(&s[1], MPI_DOUBLE, &cnt);
    printf("%d: big %g count %d tag %d\n", rank, back[n - 1], cnt, s[1].MPI_TAG);

    MPI_Send_init(&out[0], 1, MPI_INT, next, 50, MPI_COMM_WORLD, &r[0]);
    MPI_Recv_init(&in[0], 1, MPI_INT, prev, 50, MPI_COMM_WORLD, &r[1]);
    for (i = 0; i < 3; i++) {
        out[0] = rank + 1000 * i;
        MPI_Startall(2, r);
        MPI_Waitall(2, r, s);
        printf("%d: persistent %d\n", rank, in[0]);
    }
    MPI_Wait(&r[0], s);
    MPI_Get_count(s, MPI_INT, &cnt);
    printf("%d: inactive %d %d\n", rank, cnt, r[0] != MPI_REQUEST_NULL);
    MPI_Request_free(&r[0]);
    MPI_Request_free(&r[1]);

    MPI_Irecv(&in[0], 1, MPI_INT, prev, 999, MPI_COMM_WORLD, &r[0]);
    MPI_Cancel(&r[0]);
    MPI_Wait(&r[0], s);
    MPI_Test_cancelled(s, &flag);
    printf("%d: cancelled %d\n", rank, flag);

    MPI_Isend(&out[1], 1, MPI_INT, next, 60, MPI_COMM_WORLD, &r[0]);
    MPI_Request_free(&r[0]);
    MPI_Recv(&in[1], 1, MPI_INT, prev, 60, MPI_COMM_WORLD, s);
    printf("%d: freed send %d %d\n", rank, in[1], r[0] == MPI_REQUEST_NULL);

    MPI_Grequest_start(gq, gf, gc, 0, &r[0]);
    MPI_Test(&r[0], &flag, s);
    int before = flag;
    MPI_Grequest_complete(r[0]);
    MPI_Wait(&r[0], s);
    MPI_Get_elements(s, MPI_INT, &cnt);
    printf("%d: generalized %d %d %d %d\n", rank, before, cnt, s->MPI_SOURCE, s->MPI_TAG);

    MPI_Isend(&out[2], 1, MPI_INT, next, 70, MPI_COMM_WORLD, &r[0]);
    MPI_Message m;
    MPI_Mprobe(prev, 70, MPI_COMM_WORLD, &m, s);
    MPI_Imrecv(&in[2], 1, MPI_INT, &m, &r[1]);
    flag = 0;
    while (!flag) MPI_Request_get_status(r[1], &flag, s);
    MPI_Waitall(2, r, s);
    printf("%d: imrecv %d\n", rank, in[2]);
    MPI_Finalize();
    return 0;
}
