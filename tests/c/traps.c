/* traps: states that a checkpoint of an MPI program can find, one by one. See trap.h. */
#include "trap.h"
#include <mpi.h>

/* A message that was sent and not yet received; with its status. */
static void in_flight(void)
{
    int out[100], in[100];
    MPI_Status status;
    MPI_Request r;
    int n;
    fill(out, 100, rank);
    MPI_Isend(out, 100, MPI_INT, right(), 5, MPI_COMM_WORLD, &r);
    checkpoint_here();
    MPI_Recv(in, 100, MPI_INT, left(), 5, MPI_COMM_WORLD, &status);
    verify(in, 100, left());
    MPI_Get_count(&status, MPI_INT, &n);
    CHECK(n == 100 && status.MPI_SOURCE == left() && status.MPI_TAG == 5);
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    CHECK(r == MPI_REQUEST_NULL);
}

/* Probes, plain and matched, that must find a message that was in flight. */
static void probe(void)
{
    int out[2][10], in[10], flag = 0, n;
    MPI_Status status;
    MPI_Message message;
    MPI_Request r[2];
    for (int k = 0; k < 2; k++) {
        fill(out[k], 10, rank + 10 * k);
        MPI_Isend(out[k], 10, MPI_INT, right(), 20 + k, MPI_COMM_WORLD, &r[k]);
    }
    checkpoint_here();
    MPI_Probe(MPI_ANY_SOURCE, 20, MPI_COMM_WORLD, &status);
    MPI_Get_count(&status, MPI_INT, &n);
    CHECK(n == 10 && status.MPI_SOURCE == left());
    MPI_Recv(in, 10, MPI_INT, status.MPI_SOURCE, 20, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    verify(in, 10, left());
    while (!flag)
        MPI_Improbe(left(), MPI_ANY_TAG, MPI_COMM_WORLD, &flag, &message, &status);
    CHECK(status.MPI_TAG == 21);
    MPI_Mrecv(in, 10, MPI_INT, &message, MPI_STATUS_IGNORE);
    verify(in, 10, left() + 10);
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
}

/* Receives posted before the checkpoint and matched after it. */
static void posted(void)
{
    int in[3][50], out[50];
    MPI_Request r[3];
    MPI_Irecv(in[0], 50, MPI_INT, left(), 1, MPI_COMM_WORLD, &r[0]);
    MPI_Irecv(in[1], 50, MPI_INT, MPI_ANY_SOURCE, 2, MPI_COMM_WORLD, &r[1]);
    MPI_Irecv(in[2], 50, MPI_INT, MPI_PROC_NULL, 3, MPI_COMM_WORLD, &r[2]);
    checkpoint_here();
    for (int tag = 2; tag >= 1; tag--) {
        fill(out, 50, rank + tag);
        MPI_Send(out, 50, MPI_INT, right(), tag, MPI_COMM_WORLD);
    }
    MPI_Waitall(3, r, MPI_STATUSES_IGNORE);
    verify(in[0], 50, left() + 1);
    verify(in[1], 50, left() + 2);
}

/* The order of messages from one sender, received by wildcards. */
static void order(void)
{
    int value, got;
    MPI_Status status;
    MPI_Request r[20];
    static int out[20];
    for (int k = 0; k < 20; k++) {
        out[k] = rank * 100 + k;
        MPI_Isend(&out[k], 1, MPI_INT, right(), k % 3, MPI_COMM_WORLD, &r[k]);
    }
    /* Some are received before, so that the checkpoint finds the rest. */
    for (got = 0; got < 5; got++) {
        MPI_Recv(&value, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        CHECK(value == left() * 100 + got && status.MPI_TAG == got % 3);
    }
    checkpoint_here();
    for (; got < 20; got++) {
        MPI_Recv(&value, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        CHECK(value == left() * 100 + got && status.MPI_TAG == got % 3);
    }
    MPI_Waitall(20, r, MPI_STATUSES_IGNORE);
}

/* Two communicators over one group, and one over half of it: their messages must not mix. */
static void communicators(void)
{
    MPI_Comm a, b, half;
    int out[3] = {rank, rank + 100, rank + 200}, in = -1, sum, size, result;
    MPI_Request r[2];
    MPI_Comm_dup(MPI_COMM_WORLD, &a);
    MPI_Comm_dup(MPI_COMM_WORLD, &b);
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
    MPI_Isend(&out[1], 1, MPI_INT, right(), 7, a, &r[0]);
    MPI_Isend(&out[2], 1, MPI_INT, right(), 7, b, &r[1]);
    checkpoint_here();
    MPI_Recv(&in, 1, MPI_INT, left(), 7, b, MPI_STATUS_IGNORE);
    CHECK(in == left() + 200);
    MPI_Recv(&in, 1, MPI_INT, left(), 7, a, MPI_STATUS_IGNORE);
    CHECK(in == left() + 100);
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    MPI_Comm_compare(a, b, &result);
    CHECK(result == MPI_CONGRUENT);
    MPI_Comm_size(half, &size);
    CHECK(size == (ranks + 1 - rank % 2) / 2);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, half);
    int expected = 0;
    for (int k = rank % 2; k < ranks; k += 2)
        expected += k;
    CHECK(sum == expected);
    MPI_Comm_free(&a);
    MPI_Comm_free(&b);
    MPI_Comm_free(&half);
}

/* Every other int of a vector, in flight, received into another layout. */
static void datatypes(void)
{
    MPI_Datatype column, other;
    int out[40], in[60];
    MPI_Request r;
    fill(out, 40, rank);
    memset(in, 0, sizeof in);
    MPI_Type_vector(10, 2, 4, MPI_INT, &column);
    MPI_Type_commit(&column);
    MPI_Type_vector(20, 1, 3, MPI_INT, &other);
    MPI_Type_commit(&other);
    MPI_Isend(out, 1, column, right(), 9, MPI_COMM_WORLD, &r);
    MPI_Type_free(&column); /* freed, and still in use by the message */
    checkpoint_here();
    MPI_Recv(in, 1, other, left(), 9, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    for (int k = 0; k < 20; k++)
        CHECK(in[3 * k] == left() * 1000003 + k / 2 * 4 + k % 2);
    int size;
    MPI_Type_size(other, &size);
    CHECK(size == 20 * (int)sizeof(int));
    MPI_Type_free(&other);
}

/* 8 MiB, by rendezvous, and a barrier that is pending. */
static void large(void)
{
    enum { N = 2 << 20 };
    int *out = malloc(N * sizeof *out), *in = malloc(N * sizeof *in), n;
    MPI_Request r[2];
    MPI_Status status;
    CHECK(out && in);
    fill(out, N, rank);
    MPI_Isend(out, N, MPI_INT, right(), 3, MPI_COMM_WORLD, &r[0]);
    MPI_Ibarrier(MPI_COMM_WORLD, &r[1]);
    checkpoint_here();
    MPI_Recv(in, N, MPI_INT, left(), 3, MPI_COMM_WORLD, &status);
    MPI_Get_count(&status, MPI_INT, &n);
    CHECK(n == N);
    verify(in, N, left());
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    free(out);
    free(in);
}

/* A non-blocking collective in flight. */
static void icollective(void)
{
    int mine = rank + 1, sum = 0;
    MPI_Request r;
    MPI_Iallreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &r);
    checkpoint_here();
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    CHECK(sum == ranks * (ranks + 1) / 2);
}

/* Rank 0 computes, and does not call MPI; the others are inside `what`. */
static void busy(const char *what)
{
    int value = rank, sum = -1;
    MPI_Request r = MPI_REQUEST_NULL;
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
        value = 17;
        if (strcmp(what, "recv") == 0 || strcmp(what, "wait") == 0)
            for (int k = 1; k < ranks; k++)
                MPI_Send(&value, 1, MPI_INT, k, 0, MPI_COMM_WORLD);
        value = 0;
    } else if (strcmp(what, "recv") == 0) {
        MPI_Recv(&value, 1, MPI_INT, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        CHECK(value == 17);
    } else if (strcmp(what, "wait") == 0) {
        MPI_Irecv(&value, 1, MPI_INT, 0, 0, MPI_COMM_WORLD, &r);
        MPI_Wait(&r, MPI_STATUS_IGNORE);
        CHECK(value == 17);
    }
    if (strcmp(what, "barrier") == 0)
        MPI_Barrier(MPI_COMM_WORLD);
    value = rank;
    MPI_Allreduce(&value, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK(sum == ranks * (ranks - 1) / 2);
}

static void add_mod(void *in, void *inout, int *n, MPI_Datatype *type)
{
    (void)type;
    for (int i = 0; i < *n; i++)
        ((int *)inout)[i] = (((int *)in)[i] + ((int *)inout)[i]) % 1000;
}

static int deleted;
static int on_delete(MPI_Comm comm, int key, void *value, void *extra)
{
    (void)comm, (void)key, (void)extra;
    deleted = *(int *)value;
    return MPI_SUCCESS;
}

static int errors;
static void on_error(MPI_Comm *comm, int *code, ...)
{
    (void)comm, (void)code;
    errors++;
}

/* A topology, an operator, an attribute and an error handler, used after the checkpoint. */
static void objects(void)
{
    MPI_Comm ring;
    MPI_Op op;
    MPI_Errhandler handler;
    int dims[1] = {ranks}, periods[1] = {1}, key, from, to, flag, value = 42, *found, in, out = 600 + rank;
    MPI_Cart_create(MPI_COMM_WORLD, 1, dims, periods, 0, &ring);
    MPI_Op_create(add_mod, 1, &op);
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, on_delete, &key, NULL);
    MPI_Comm_set_attr(ring, key, &value);
    MPI_Comm_create_errhandler(on_error, &handler);
    MPI_Comm_set_errhandler(ring, handler);
    MPI_Comm_set_name(ring, "ring");
    checkpoint_here();
    MPI_Cart_shift(ring, 0, 1, &from, &to);
    CHECK(from == left() && to == right());
    MPI_Sendrecv(&out, 1, MPI_INT, to, 0, &in, 1, MPI_INT, from, 0, ring, MPI_STATUS_IGNORE);
    CHECK(in == 600 + left());
    MPI_Allreduce(&out, &in, 1, MPI_INT, op, ring);
    int expected = 600;
    for (int k = 1; k < ranks; k++)
        expected = (expected + 600 + k) % 1000;
    CHECK(in == expected);
    MPI_Comm_get_attr(ring, key, &found, &flag);
    CHECK(flag && found == &value && *found == 42);
    char name[MPI_MAX_OBJECT_NAME];
    int length;
    MPI_Comm_get_name(ring, name, &length);
    CHECK(strcmp(name, "ring") == 0);
    MPI_Send(&out, 1, MPI_INT, ranks + 5, 0, ring); /* no such rank */
    CHECK(errors == 1);
    MPI_Comm_free(&ring);
    CHECK(deleted == 42);
    MPI_Op_free(&op);
    MPI_Errhandler_free(&handler);
}

/* Persistent requests, started and not, and MPI_PROC_NULL. */
static void persistent(void)
{
    int out = 0, in = 0, nowhere = -1;
    MPI_Request r[3];
    MPI_Send_init(&out, 1, MPI_INT, right(), 4, MPI_COMM_WORLD, &r[0]);
    MPI_Recv_init(&in, 1, MPI_INT, left(), 4, MPI_COMM_WORLD, &r[1]);
    MPI_Recv_init(&nowhere, 1, MPI_INT, MPI_PROC_NULL, 4, MPI_COMM_WORLD, &r[2]);
    for (int round = 0; round < 4; round++) {
        out = rank * 10 + round;
        MPI_Startall(3, r);
        if (round == 1)
            checkpoint_here(); /* started */
        MPI_Waitall(3, r, MPI_STATUSES_IGNORE);
        CHECK(in == left() * 10 + round && nowhere == -1);
    }
    for (int k = 0; k < 3; k++)
        MPI_Request_free(&r[k]);
}

/* Passes a value round the ring until all have seen the file; the ring decides together. */
static void *talker(void *arg)
{
    MPI_Comm comm = *(MPI_Comm *)arg;
    for (int round = 0, end = 0; !end; round++) {
        int value = rank + round, mine = access(go, F_OK) == 0;
        MPI_Sendrecv_replace(&value, 1, MPI_INT, right(), 0, left(), 0, comm, MPI_STATUS_IGNORE);
        CHECK(value == left() + round);
        MPI_Allreduce(&mine, &end, 1, MPI_INT, MPI_LAND, comm);
    }
    return NULL;
}

/* A second thread that calls MPI all the time when the checkpoint comes. */
static void multiple(void)
{
    pthread_t thread;
    MPI_Comm comm;
    int provided;
    MPI_Query_thread(&provided);
    CHECK(provided == MPI_THREAD_MULTIPLE);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    pthread_create(&thread, NULL, talker, &comm);
    checkpoint_here();
    pthread_join(thread, NULL);
    MPI_Barrier(MPI_COMM_WORLD);
}

static void busy_barrier(void) { busy("barrier"); }
static void busy_allreduce(void) { busy("allreduce"); }
static void busy_recv(void) { busy("recv"); }
static void busy_wait(void) { busy("wait"); }

/* A send that is complete when it is posted, and a receive whose message has come: MPICH gives the send first. Who looks at
   the first receive is the checkpoint; nobody looks at the second. */
static void any(void)
{
    int in[2] = {-1, -1}, out = rank, index;
    MPI_Request r[2][2];
    MPI_Status status;
    for (int k = 0; k < 2; k++)
        MPI_Irecv(&in[k], 1, MPI_INT, left(), k, MPI_COMM_WORLD, &r[k][0]);
    MPI_Isend(&out, 1, MPI_INT, right(), 0, MPI_COMM_WORLD, &r[0][1]);
    checkpoint_here();
    MPI_Isend(&out, 1, MPI_INT, right(), 1, MPI_COMM_WORLD, &r[1][1]);
    meet();
    for (int k = 1; k >= 0; k--) {
        MPI_Waitany(2, r[k], &index, &status);
        CHECK(index == 1);
    }
    for (int k = 1; k >= 0; k--) {
        MPI_Waitany(2, r[k], &index, &status);
        CHECK(index == 0 && in[k] == left() && status.MPI_SOURCE == left() && status.MPI_TAG == k);
    }
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {
        {"in_flight", in_flight},
        {"probe", probe},
        {"posted", posted},
        {"order", order},
        {"large", large},
        {"communicators", communicators},
        {"objects", objects},
        {"datatypes", datatypes},
        {"icollective", icollective},
        {"persistent", persistent},
        {"busy_barrier", busy_barrier},
        {"busy_allreduce", busy_allreduce},
        {"busy_recv", busy_recv},
        {"busy_wait", busy_wait},
        {"multiple", multiple},
        {"any", any},
        {NULL, NULL},
    };
    return run_trap(argc, argv, traps, strcmp(argv[1], "multiple") ? MPI_THREAD_SINGLE : MPI_THREAD_MULTIPLE);
}
