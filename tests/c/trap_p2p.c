/* Traps of point to point: see trap.h. */
#include "trap.h"
#include <mpi.h>

/* A message to one side: sends of all kinds that may not, or may, be complete. */
static void synchronous(void)
{
    enum { N = 10 };
    int out[5][N], in[N], flag;
    MPI_Request r[3];
    MPI_Status status;
    for (int k = 0; k < 5; k++)
        fill(out[k], N, rank * 10 + k);
    /* The same tag: sends between and after the synchronous ones, of which the first is received now. */
    MPI_Issend(out[0], N, MPI_INT, right(), 1, MPI_COMM_WORLD, &r[0]);
    MPI_Send(out[1], N, MPI_INT, right(), 1, MPI_COMM_WORLD);
    MPI_Issend(out[2], N, MPI_INT, right(), 1, MPI_COMM_WORLD, &r[1]);
    MPI_Send(out[3], N, MPI_INT, right(), 1, MPI_COMM_WORLD);
    MPI_Ssend_init(out[4], N, MPI_INT, right(), 2, MPI_COMM_WORLD, &r[2]);
    MPI_Start(&r[2]);
    MPI_Recv(in, N, MPI_INT, left(), 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    verify(in, N, left() * 10);
    MPI_Wait(&r[0], MPI_STATUS_IGNORE);
    checkpoint_here();
    /* Nobody has received them: they are not complete, however often one asks. */
    for (int k = 0; k < 100; k++) {
        MPI_Test(&r[1], &flag, MPI_STATUS_IGNORE);
        CHECK(!flag);
        MPI_Request_get_status(r[2], &flag, MPI_STATUS_IGNORE);
        CHECK(!flag);
        nap();
    }
    meet();
    for (int k = 1, got = 0; got < 4; got++) {
        MPI_Recv(in, N, MPI_INT, left(), MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        verify(in, N, left() * 10 + (status.MPI_TAG == 2 ? 4 : k++));
    }
    MPI_Wait(&r[1], MPI_STATUS_IGNORE);
    MPI_Wait(&r[2], MPI_STATUS_IGNORE);
    /* And the persistent one once more. */
    MPI_Start(&r[2]);
    MPI_Recv(in, N, MPI_INT, left(), 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    verify(in, N, left() * 10 + 4);
    MPI_Wait(&r[2], MPI_STATUS_IGNORE);
    MPI_Request_free(&r[2]);
}

/* Rank 1 is blocked in MPI_Ssend when the checkpoint comes; it comes out only once rank 0 receives. */
static void blocked_ssend(void)
{
    int value = 5;
    mark(rank);
    if (rank == 1) {
        MPI_Ssend(&value, 1, MPI_INT, 0, 3, MPI_COMM_WORLD);
        mark(10);
    } else if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
        for (int k = 0; k < 200; k++) {
            CHECK(!marked(10));
            nap();
        }
        MPI_Recv(&value, 1, MPI_INT, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        while (!marked(10))
            nap();
    }
}

/* Rank 1 is blocked in MPI_Send of a large message to a rank that computes. */
static void blocked_send(void)
{
    enum { N = 1 << 20 };
    int *data = malloc(N * sizeof *data);
    mark(rank);
    if (rank == 1) {
        fill(data, N, 7);
        MPI_Send(data, N, MPI_INT, 0, 3, MPI_COMM_WORLD);
        MPI_Send(data, N, MPI_INT, 0, 4, MPI_COMM_WORLD);
    } else if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
        for (int tag = 3; tag <= 4; tag++) {
            memset(data, 0, N * sizeof *data);
            MPI_Recv(data, N, MPI_INT, 1, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            verify(data, N, 7);
        }
    }
    free(data);
}

/* Buffered sends, large enough to wait in the buffer. */
static void buffered(void)
{
    enum { N = 200000 };
    int size, *out = malloc(N * sizeof *out), *in = malloc(N * sizeof *in);
    void *buffer, *again;
    MPI_Request r, p;
    MPI_Pack_size(N, MPI_INT, MPI_COMM_WORLD, &size);
    size = 6 * (size + MPI_BSEND_OVERHEAD);
    buffer = malloc(size);
    MPI_Buffer_attach(buffer, size);
    fill(out, N, rank);
    MPI_Bsend(out, N, MPI_INT, right(), 1, MPI_COMM_WORLD);
    MPI_Ibsend(out, N, MPI_INT, right(), 2, MPI_COMM_WORLD, &r);
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    MPI_Bsend_init(out, N, MPI_INT, right(), 3, MPI_COMM_WORLD, &p);
    MPI_Start(&p);
    MPI_Wait(&p, MPI_STATUS_IGNORE);
    memset(out, 0, N * sizeof *out); /* it is ours again */
    checkpoint_here();
    for (int tag = 3; tag >= 1; tag--) {
        memset(in, 0, N * sizeof *in);
        MPI_Recv(in, N, MPI_INT, left(), tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        verify(in, N, left());
    }
    fill(out, N, rank + 50);
    MPI_Start(&p);
    MPI_Recv(in, N, MPI_INT, left(), 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    verify(in, N, left() + 50);
    MPI_Wait(&p, MPI_STATUS_IGNORE);
    MPI_Request_free(&p);
    int got;
    MPI_Buffer_detach(&again, &got);
    CHECK(again == buffer && got == size);
    free(buffer);
    free(out);
    free(in);
}

/* MPI_PROC_NULL in every call that takes a rank. */
static void proc_null(void)
{
    int value = 77, flag = 0, n;
    MPI_Status s;
    MPI_Message m;
    MPI_Request r[4];
    MPI_Irecv(&value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &r[0]);
    MPI_Isend(&value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &r[1]);
    MPI_Recv_init(&value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &r[2]);
    MPI_Send_init(&value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &r[3]);
    MPI_Startall(2, r + 2);
    MPI_Mprobe(MPI_PROC_NULL, 1, MPI_COMM_WORLD, &m, &s);
    CHECK(m == MPI_MESSAGE_NO_PROC && s.MPI_SOURCE == MPI_PROC_NULL && s.MPI_TAG == MPI_ANY_TAG);
    checkpoint_here();
    memset(&s, 0, sizeof s);
    MPI_Mrecv(&value, 1, MPI_INT, &m, &s);
    CHECK(m == MPI_MESSAGE_NULL && s.MPI_SOURCE == MPI_PROC_NULL && s.MPI_TAG == MPI_ANY_TAG);
    MPI_Get_count(&s, MPI_INT, &n);
    CHECK(n == 0);
    MPI_Waitall(4, r, MPI_STATUSES_IGNORE);
    CHECK(r[0] == MPI_REQUEST_NULL && r[2] != MPI_REQUEST_NULL);
    MPI_Send(&value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD);
    MPI_Ssend(&value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD);
    MPI_Rsend(&value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD);
    MPI_Recv(&value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &s);
    CHECK(s.MPI_SOURCE == MPI_PROC_NULL && s.MPI_TAG == MPI_ANY_TAG);
    MPI_Probe(MPI_PROC_NULL, 1, MPI_COMM_WORLD, &s);
    CHECK(s.MPI_SOURCE == MPI_PROC_NULL && s.MPI_TAG == MPI_ANY_TAG);
    MPI_Iprobe(MPI_PROC_NULL, 1, MPI_COMM_WORLD, &flag, &s);
    CHECK(flag);
    flag = 0;
    MPI_Improbe(MPI_PROC_NULL, 1, MPI_COMM_WORLD, &flag, &m, &s);
    CHECK(flag && m == MPI_MESSAGE_NO_PROC);
    MPI_Imrecv(&value, 1, MPI_INT, &m, &r[0]);
    MPI_Wait(&r[0], &s);
    CHECK(s.MPI_SOURCE == MPI_PROC_NULL);
    MPI_Sendrecv(&value, 1, MPI_INT, MPI_PROC_NULL, 1, &value, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &s);
    CHECK(s.MPI_SOURCE == MPI_PROC_NULL && value == 77);
    MPI_Request_free(&r[2]);
    MPI_Request_free(&r[3]);
}

/* A message that a matched probe has taken before the checkpoint, and one probed again after it. */
static void matched(void)
{
    int out[2][20], in[20], flag = 0;
    MPI_Message m;
    MPI_Status s;
    MPI_Request r[2];
    for (int k = 0; k < 2; k++) {
        fill(out[k], 20, rank + k);
        MPI_Isend(out[k], 20, MPI_INT, right(), k, MPI_COMM_WORLD, &r[k]);
    }
    MPI_Mprobe(left(), 0, MPI_COMM_WORLD, &m, &s);
    checkpoint_here();
    while (!flag)
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, &s);
    CHECK(s.MPI_TAG == 1); /* the other one is taken */
    MPI_Request q;
    MPI_Imrecv(in, 20, MPI_INT, &m, &q);
    MPI_Wait(&q, &s);
    CHECK(s.MPI_TAG == 0 && s.MPI_SOURCE == left());
    verify(in, 20, left());
    MPI_Mprobe(MPI_ANY_SOURCE, 1, MPI_COMM_WORLD, &m, &s);
    MPI_Mrecv(in, 20, MPI_INT, &m, MPI_STATUS_IGNORE);
    verify(in, 20, left() + 1);
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
}

/* Completion calls over null, inactive, complete and pending requests. */
static void completion(void)
{
    enum { N = 6 };
    int in[N] = {0}, out = rank + 1, index, n, flag, which[N];
    MPI_Status s[N];
    MPI_Request r[N];
    for (int k = 0; k < N; k++)
        r[k] = MPI_REQUEST_NULL;
    MPI_Recv_init(&in[1], 1, MPI_INT, left(), 1, MPI_COMM_WORLD, &r[1]); /* stays inactive */
    MPI_Irecv(&in[2], 1, MPI_INT, left(), 2, MPI_COMM_WORLD, &r[2]);
    MPI_Recv_init(&in[3], 1, MPI_INT, left(), 3, MPI_COMM_WORLD, &r[3]);
    MPI_Start(&r[3]);
    MPI_Irecv(&in[4], 1, MPI_INT, left(), 4, MPI_COMM_WORLD, &r[4]);
    MPI_Waitany(2, r, &index, s);
    CHECK(index == MPI_UNDEFINED);
    checkpoint_here();
    MPI_Testsome(N, r, &n, which, s);
    CHECK(n == 0);
    MPI_Testany(2, r, &index, &flag, s);
    CHECK(flag && index == MPI_UNDEFINED);
    MPI_Testall(2, r, &flag, s);
    CHECK(flag);
    MPI_Request_get_status(r[1], &flag, s);
    CHECK(flag && s->MPI_SOURCE == MPI_ANY_SOURCE && s->MPI_TAG == MPI_ANY_TAG);
    MPI_Request_get_status(r[2], &flag, s);
    CHECK(!flag);
    meet();
    /* From the last to the first. */
    for (int tag = 4; tag >= 2; tag--) {
        MPI_Send(&out, 1, MPI_INT, right(), tag, MPI_COMM_WORLD);
        if (tag == 3) {
            MPI_Waitsome(N, r, &n, which, s);
            CHECK(n == 1 && which[0] == 3 && s[0].MPI_TAG == 3 && r[3] != MPI_REQUEST_NULL);
        } else {
            MPI_Waitany(N, r, &index, s);
            CHECK(index == tag && s->MPI_TAG == tag && r[tag] == MPI_REQUEST_NULL);
        }
        CHECK(in[tag] == left() + 1);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    MPI_Waitsome(N, r, &n, which, s);
    CHECK(n == MPI_UNDEFINED);
    MPI_Request_free(&r[1]);
    MPI_Request_free(&r[3]);
}

/* A wait for so many requests that they are asked about together; half of them are complete at the checkpoint. */
static void together(void)
{
    enum { N = 70 };
    int in[N][2], out[2], error, got, n = 0;
    MPI_Request r[N];
    MPI_Status s[N];
    if (rank == 0) {
        for (int k = 1; k < N; k += 2) {
            out[0] = out[1] = 100 + k;
            MPI_Send(out, 1 + k % 3 / 2, MPI_INT, 1, k, MPI_COMM_WORLD);
        }
        mark(rank);
        say_ready_when_all_are();
        wait_for_go();
        for (int k = 0; k < N; k += 2) {
            out[0] = out[1] = 100 + k;
            if (k % 7 != 6)
                MPI_Send(out, 1 + k % 3 / 2, MPI_INT, 1, k, MPI_COMM_WORLD);
        }
        for (int k = 0; k < 5; k++)
            MPI_Send(out, k == 2 ? 2 : 1, MPI_INT, 1, N + k, MPI_COMM_WORLD);
        MPI_Barrier(MPI_COMM_WORLD);
        return;
    }
    for (int k = 0; k < N; k++) {
        in[k][0] = in[k][1] = -1;
        s[k].MPI_ERROR = 77; /* stays for a null request */
        r[k] = MPI_REQUEST_NULL;
        if (k % 2 || k % 7 != 6)
            MPI_Irecv(in[k], 2, MPI_INT, k % 4 ? 0 : MPI_ANY_SOURCE, k, MPI_COMM_WORLD, &r[k]);
    }
    mark(rank);
    CHECK(MPI_Waitall(N, r, s) == MPI_SUCCESS);
    for (int k = 0; k < N; k++) {
        int none = k % 2 == 0 && k % 7 == 6, two = k % 3 == 2;
        CHECK(r[k] == MPI_REQUEST_NULL && s[k].MPI_ERROR == (none ? 77 : MPI_SUCCESS));
        MPI_Get_count(&s[k], MPI_INT, &got);
        CHECK(got == (none ? 0 : 1 + two));
        CHECK(s[k].MPI_SOURCE == (none ? MPI_ANY_SOURCE : 0) && s[k].MPI_TAG == (none ? MPI_ANY_TAG : k));
        CHECK(in[k][0] == (none ? -1 : 100 + k) && in[k][1] == (two && !none ? 100 + k : -1));
    }
    /* One of five is too long: which, the statuses say. */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    for (int k = 0; k < 5; k++)
        MPI_Irecv(in[k], 1, MPI_INT, 0, N + k, MPI_COMM_WORLD, &r[k]);
    error = MPI_Waitall(5, r, s);
    CHECK(error == MPI_ERR_IN_STATUS);
    for (int k = 0; k < 5; k++) {
        MPI_Error_class(s[k].MPI_ERROR, &n);
        if (n == MPI_ERR_PENDING)
            n = MPI_Wait(&r[k], &s[k]);
        CHECK(r[k] == MPI_REQUEST_NULL && s[k].MPI_TAG == N + k);
        CHECK(n == (k == 2 ? MPI_ERR_TRUNCATE : MPI_SUCCESS));
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Waits for all of several receives: one of them has failed, the message of another comes only after the checkpoint. */
static void failed(void)
{
    enum { N = 5 };
    int n = rank == 1 ? N : 2, bad = rank == 1 ? 2 : 0;
    int in[N][2], out[2] = {5, 6}, class;
    MPI_Request r[N];
    MPI_Status s[N];
    if (rank == 0) {
        for (int k = 0; k < N - 1; k++)
            MPI_Send(out, k == 2 ? 2 : 1, MPI_INT, 1, k, MPI_COMM_WORLD);
        if (ranks > 2)
            MPI_Send(out, 2, MPI_INT, 2, 0, MPI_COMM_WORLD);
        checkpoint_here();
        MPI_Send(out, 1, MPI_INT, 1, N - 1, MPI_COMM_WORLD);
        if (ranks > 2)
            MPI_Send(out, 1, MPI_INT, 2, 1, MPI_COMM_WORLD);
        return;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    for (int k = 0; k < n; k++) {
        in[k][1] = -1;
        MPI_Irecv(in[k], 1, MPI_INT, 0, k, MPI_COMM_WORLD, &r[k]);
    }
    mark(rank);
    CHECK(class_of(MPI_Waitall(n, r, s)) == MPI_ERR_IN_STATUS);
    CHECK(access(go, F_OK) == 0); /* it waits for the late one too */
    for (int k = 0; k < n; k++) {
        class = class_of(s[k].MPI_ERROR);
        if (class == MPI_ERR_PENDING)
            class = class_of(MPI_Wait(&r[k], &s[k]));
        CHECK(r[k] == MPI_REQUEST_NULL && s[k].MPI_TAG == k && s[k].MPI_SOURCE == 0);
        CHECK(class == (k == bad ? MPI_ERR_TRUNCATE : MPI_SUCCESS));
        CHECK(in[k][1] == -1 && (k == bad || in[k][0] == 5));
    }
}

/* Messages in flight to MPI_BOTTOM: the datatype has the addresses. One of them fits in part. */
static void bottom(void)
{
    static int in[8];
    int lengths[2] = {1, 2}, data[6] = {1, 2, 3, 4, 5, 6}, one = 10 + rank;
    MPI_Aint places[2];
    MPI_Datatype here;
    MPI_Message m;
    MPI_Status s;
    MPI_Get_address(&in[6], &places[0]);
    MPI_Get_address(&in[1], &places[1]);
    MPI_Type_create_hindexed(2, lengths, places, MPI_INT, &here);
    MPI_Type_commit(&here);
    MPI_Send(data, 3, MPI_INT, right(), 1, MPI_COMM_WORLD);
    MPI_Send(data + 3, 3, MPI_INT, right(), 2, MPI_COMM_WORLD);
    MPI_Send(data + 4, 2, MPI_INT, right(), 3, MPI_COMM_WORLD);
    checkpoint_here();
    MPI_Recv(MPI_BOTTOM, 1, here, left(), 1, MPI_COMM_WORLD, &s);
    CHECK(in[6] == 1 && in[1] == 2 && in[2] == 3);
    MPI_Mprobe(left(), 2, MPI_COMM_WORLD, &m, &s);
    MPI_Mrecv(MPI_BOTTOM, 1, here, &m, &s);
    CHECK(in[6] == 4 && in[1] == 5 && in[2] == 6);
    MPI_Recv(MPI_BOTTOM, 1, here, left(), 3, MPI_COMM_WORLD, &s);
    CHECK(in[6] == 5 && in[1] == 6 && in[2] == 6);
    in[6] = in[1] = in[2] = one;
    MPI_Sendrecv_replace(MPI_BOTTOM, 1, here, right(), 4, left(), 4, MPI_COMM_WORLD, &s);
    CHECK(in[6] == 10 + left() && in[1] == 10 + left() && in[2] == 10 + left());
    MPI_Recv(NULL, 0, MPI_INT, MPI_PROC_NULL, 5, MPI_COMM_WORLD, &s);
    MPI_Sendrecv_replace(NULL, 0, here, right(), 6, left(), 6, MPI_COMM_WORLD, &s);
    MPI_Type_free(&here);
}

/* Receives that are cancelled after the checkpoint, and requests that are freed while active. */
static void cancelled(void)
{
    int in[3] = {-1, -1, -1}, out = rank, flag, done;
    MPI_Request r[3];
    MPI_Status s;
    for (int k = 0; k < 3; k++)
        MPI_Irecv(&in[k], 1, MPI_INT, left(), k, MPI_COMM_WORLD, &r[k]);
    MPI_Request_free(&r[2]); /* still receives */
    checkpoint_here();
    MPI_Cancel(&r[0]);
    MPI_Wait(&r[0], &s);
    MPI_Test_cancelled(&s, &flag);
    CHECK(flag && in[0] == -1);
    MPI_Send(&out, 1, MPI_INT, right(), 2, MPI_COMM_WORLD);
    MPI_Send(&out, 1, MPI_INT, right(), 1, MPI_COMM_WORLD);
    MPI_Wait(&r[1], &s); /* sent later, so the other one is here */
    MPI_Test_cancelled(&s, &flag);
    CHECK(!flag && in[1] == left());
    while (*(volatile int *)&in[2] != left())
        MPI_Iprobe(MPI_ANY_SOURCE, 99, MPI_COMM_WORLD, &done, MPI_STATUS_IGNORE);
}

/* Contents that only fit in part, and a packed message. */
static void odd_sizes(void)
{
    int data[6] = {1, 2, 3, 4, 5, 6}, in[6] = {0}, n, position = 0;
    char packed[64];
    double half = 0.5;
    MPI_Datatype pair;
    MPI_Status s;
    MPI_Request r[3];
    MPI_Type_vector(2, 1, 2, MPI_INT, &pair);
    MPI_Type_commit(&pair);
    MPI_Pack(&half, 1, MPI_DOUBLE, packed, sizeof packed, &position, MPI_COMM_WORLD);
    MPI_Pack(data, 3, MPI_INT, packed, sizeof packed, &position, MPI_COMM_WORLD);
    MPI_Isend(data, 3, MPI_INT, right(), 1, MPI_COMM_WORLD, &r[0]); /* one and a half pairs */
    MPI_Isend(packed, position, MPI_PACKED, right(), 2, MPI_COMM_WORLD, &r[1]);
    MPI_Isend(data, 5, MPI_INT, right(), 3, MPI_COMM_WORLD, &r[2]); /* too long for its receive */
    checkpoint_here();
    MPI_Recv(in, 2, pair, left(), 1, MPI_COMM_WORLD, &s);
    CHECK(in[0] == 1 && in[1] == 0 && in[2] == 2 && in[3] == 3 && in[4] == 0 && in[5] == 0);
    MPI_Get_count(&s, pair, &n);
    CHECK(n == MPI_UNDEFINED);
    MPI_Get_elements(&s, pair, &n);
    CHECK(n == 3);
    char other[64];
    MPI_Recv(other, sizeof other, MPI_PACKED, left(), 2, MPI_COMM_WORLD, &s);
    MPI_Get_count(&s, MPI_PACKED, &n);
    CHECK(n == position);
    half = 0;
    position = 0;
    MPI_Unpack(other, n, &position, &half, 1, MPI_DOUBLE, MPI_COMM_WORLD);
    MPI_Unpack(other, n, &position, in, 3, MPI_INT, MPI_COMM_WORLD);
    CHECK(half == 0.5 && in[0] == 1 && in[2] == 3);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int code = MPI_Recv(in, 4, MPI_INT, left(), 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE), class;
    MPI_Error_class(code, &class);
    CHECK(class == MPI_ERR_TRUNCATE);
    MPI_Waitall(3, r, MPI_STATUSES_IGNORE);
    MPI_Type_free(&pair);
}

/* Ready sends to receives that were posted before the checkpoint. */
static void ready(void)
{
    int in[2] = {0}, out[2] = {rank, rank + 1};
    MPI_Request r[2], p;
    MPI_Irecv(&in[0], 1, MPI_INT, left(), 1, MPI_COMM_WORLD, &r[0]);
    MPI_Irecv(&in[1], 1, MPI_INT, left(), 2, MPI_COMM_WORLD, &r[1]);
    MPI_Rsend_init(&out[1], 1, MPI_INT, right(), 2, MPI_COMM_WORLD, &p);
    checkpoint_here();
    MPI_Rsend(&out[0], 1, MPI_INT, right(), 1, MPI_COMM_WORLD);
    MPI_Start(&p);
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    MPI_Wait(&p, MPI_STATUS_IGNORE);
    CHECK(in[0] == left() && in[1] == left() + 1);
    MPI_Request_free(&p);
}

/* Messages whose statuses nobody wants are counted as all others are: nothing is in flight at the checkpoint. */
static void ignored(void)
{
    enum { N = 40 };
    int in[N][2], out[2] = {rank, rank}, one;
    MPI_Request r[N], sent[N + 4];
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    for (int k = 0; k < N + 4; k++)
        MPI_Isend(out, 1 + (k % 10 == 3), MPI_INT, right(), k, MPI_COMM_WORLD, &sent[k]);
    /* Of these, number 3 of 10 is too long. */
    for (int k = 0; k < 5; k++) {
        int code = MPI_Recv(&one, 1, MPI_INT, k % 2 ? left() : MPI_ANY_SOURCE, k, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        CHECK(k == 3 ? class_of(code) == MPI_ERR_TRUNCATE : code == MPI_SUCCESS && one == left());
    }
    for (int k = 10; k < 15; k++) {
        MPI_Irecv(in[k], 1, MPI_INT, left(), k, MPI_COMM_WORLD, &r[0]);
        int code = MPI_Wait(&r[0], MPI_STATUS_IGNORE);
        CHECK(k == 13 ? class_of(code) == MPI_ERR_TRUNCATE : code == MPI_SUCCESS && in[k][0] == left());
    }
    /* Together, in another order than they were sent in; some from anybody, one cancelled, one from nobody. */
    int n = 0;
    for (int k = N - 1; k >= 5; k--)
        if (k < 10 || k >= 15)
            MPI_Irecv(in[k], 2, MPI_INT, k % 3 ? left() : MPI_ANY_SOURCE, k, MPI_COMM_WORLD, &r[n++]);
    MPI_Irecv(&one, 1, MPI_INT, left(), N + 5, MPI_COMM_WORLD, &r[n]);
    MPI_Cancel(&r[n++]);
    MPI_Irecv(&one, 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &r[n++]);
    CHECK(MPI_Waitall(n, r, MPI_STATUSES_IGNORE) == MPI_SUCCESS);
    for (int k = 5; k < N; k++)
        CHECK(k == 13 || in[k][0] == left());
    while (n > 0)
        CHECK(r[--n] == MPI_REQUEST_NULL);
    /* Two, and one of them is cancelled. */
    MPI_Irecv(&one, 1, MPI_INT, left(), N, MPI_COMM_WORLD, &r[0]);
    MPI_Irecv(in[1], 1, MPI_INT, left(), N + 5, MPI_COMM_WORLD, &r[1]);
    MPI_Cancel(&r[1]);
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    /* These are in flight. */
    MPI_Irecv(in[0], 1, MPI_INT, left(), N + 1, MPI_COMM_WORLD, &r[0]);
    checkpoint_here();
    MPI_Wait(&r[0], MPI_STATUS_IGNORE);
    for (int k = N + 2; k < N + 4; k++) {
        int code = MPI_Recv(&one, 1, MPI_INT, left(), k, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        CHECK(k == N + 3 ? class_of(code) == MPI_ERR_TRUNCATE : code == MPI_SUCCESS && one == left());
    }
    MPI_Waitall(N + 4, sent, MPI_STATUSES_IGNORE);
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {
        {"synchronous", synchronous}, {"blocked_ssend", blocked_ssend}, {"blocked_send", blocked_send},
        {"buffered", buffered},       {"proc_null", proc_null},         {"matched", matched},
        {"completion", completion},   {"cancelled", cancelled},         {"odd_sizes", odd_sizes},
        {"ready", ready},             {"together", together},
        {"bottom", bottom},           {"ignored", ignored},           {"failed", failed},
        {NULL, NULL},
    };
    return run_trap(argc, argv, traps, MPI_THREAD_SINGLE);
}
