/* Traps of programs that look whether something has come, again and again: MPI_Test and MPI_Iprobe. See trap.h for what a trap is. */
#include "trap.h"
#include <mpi.h>

/* Until it is complete; the code is that of the call that says so. */
static int test(MPI_Request *r, MPI_Status *status)
{
    int done = 0, code = MPI_SUCCESS;
    while (!done && code == MPI_SUCCESS)
        code = MPI_Test(r, &done, status);
    CHECK(*r == MPI_REQUEST_NULL);
    return code;
}

/* A receive of one number of this tag, from the left or from anybody. */
static void check_received(MPI_Request *r, const int *in, int tag)
{
    MPI_Status status;
    int count;
    status.MPI_ERROR = 77; /* only calls for several requests set it */
    CHECK(test(r, &status) == MPI_SUCCESS && in[0] == 1000 * left() + tag);
    MPI_Get_count(&status, MPI_INT, &count);
    CHECK(status.MPI_SOURCE == left() && status.MPI_TAG == tag && status.MPI_ERROR == 77 && count == 1);
}

static void send(int tag, int n)
{
    int out[2] = {1000 * rank + tag, 0};
    MPI_Send(out, n, MPI_INT, right(), tag, MPI_COMM_WORLD);
}

/* Receives of all kinds, before and after the checkpoint. */
static void tested(void)
{
    enum { N = 8 };
    int in[N][2], done = 1;
    MPI_Request r[N], gone;
    MPI_Status status;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    for (int k = 0; k < N; k++)
        MPI_Irecv(in[k], k == 2 ? 2 : 1, MPI_INT, k % 2 ? left() : MPI_ANY_SOURCE, k, MPI_COMM_WORLD, &r[k]);
    for (int k = 0; k < N; k++) {
        MPI_Request before = r[k];
        CHECK(MPI_Test(&r[k], &done, k % 2 ? MPI_STATUS_IGNORE : &status) == MPI_SUCCESS && !done && r[k] == before);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    send(0, 1);
    send(1, 1);
    check_received(&r[0], in[0], 0);
    check_received(&r[1], in[1], 1);
    MPI_Cancel(&r[2]);
    CHECK(test(&r[2], &status) == MPI_SUCCESS);
    MPI_Test_cancelled(&status, &done);
    CHECK(done);
    send(3, 2); /* too long */
    CHECK(class_of(test(&r[3], MPI_STATUS_IGNORE)) == MPI_ERR_TRUNCATE);
    MPI_Irecv(in[3], 1, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &gone);
    CHECK(test(&gone, &status) == MPI_SUCCESS && status.MPI_SOURCE == MPI_PROC_NULL);
    send(4, 1);
    send(5, 1);
    checkpoint_here();
    /* Two that were in flight, and two that were not. */
    check_received(&r[5], in[5], 5);
    CHECK(test(&r[4], MPI_STATUS_IGNORE) == MPI_SUCCESS && in[4][0] == 1000 * left() + 4);
    MPI_Test(&r[6], &done, &status);
    CHECK(!done);
    MPI_Barrier(MPI_COMM_WORLD);
    send(7, 1);
    send(6, 1);
    check_received(&r[6], in[6], 6);
    check_received(&r[7], in[7], 7);
}

/* Looks until there is a message, and takes it: of this tag, or of any. */
static int found(int source, int tag)
{
    MPI_Status status;
    int in[2], flag = 0, count;
    while (!flag)
        CHECK(MPI_Iprobe(source, tag, MPI_COMM_WORLD, &flag, &status) == MPI_SUCCESS);
    MPI_Get_count(&status, MPI_INT, &count);
    MPI_Recv(in, count, MPI_INT, status.MPI_SOURCE, status.MPI_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    CHECK(status.MPI_SOURCE == left() && in[0] == 1000 * left() + status.MPI_TAG && count == 1 + status.MPI_TAG % 2);
    return status.MPI_TAG;
}

/* Messages that come before a checkpoint and after it, in the order in which they were sent. */
static void probed(void)
{
    MPI_Status status;
    int flag = 1;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    CHECK(MPI_Iprobe(left(), 1, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE) == MPI_SUCCESS && !flag);
    CHECK(MPI_Iprobe(MPI_PROC_NULL, 1, MPI_COMM_WORLD, &flag, &status) == MPI_SUCCESS && flag);
    CHECK(status.MPI_SOURCE == MPI_PROC_NULL);
    CHECK(class_of(MPI_Iprobe(ranks, 1, MPI_COMM_WORLD, &flag, &status)) == MPI_ERR_RANK);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int tag = 1; tag < 6; tag++)
        send(tag, 1 + tag % 2);
    CHECK(found(MPI_ANY_SOURCE, 2) == 2);
    CHECK(found(left(), MPI_ANY_TAG) == 1);
    checkpoint_here();
    CHECK(found(left(), 5) == 5);
    send(6, 1);
    for (int tag = 3; tag < 7; tag++)
        CHECK(tag == 5 || found(MPI_ANY_SOURCE, MPI_ANY_TAG) == tag);
    CHECK(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE) == MPI_SUCCESS && !flag);
}

/* The others test and look all the time while the checkpoint is taken. */
static void busy(void)
{
    int in[2] = {0, 0}, one = 0;
    MPI_Request r;
    if (rank != 0) {
        MPI_Irecv(in, 1, MPI_INT, 0, 1, MPI_COMM_WORLD, &r);
        mark(rank);
        CHECK(test(&r, MPI_STATUS_IGNORE) == MPI_SUCCESS && in[0] == 1);
        for (int flag = 0; !flag;)
            MPI_Iprobe(0, 2, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
        MPI_Recv(in, 1, MPI_INT, 0, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        CHECK(in[0] == 2);
        return;
    }
    checkpoint_here();
    for (int tag = 1; tag < 3; tag++)
        for (int to = 1; to < ranks; to++) {
            one = tag;
            MPI_Send(&one, 1, MPI_INT, to, tag, MPI_COMM_WORLD);
        }
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {{"tested", tested}, {"probed", probed}, {"busy", busy}, {NULL, NULL}};
    return run_trap(argc, argv, traps, MPI_THREAD_SINGLE);
}
