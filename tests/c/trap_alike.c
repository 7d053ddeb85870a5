/*
 * Traps of programs that wait for many receives of one kind at once: of one communicator, source and tag, so that the
 * last one's message says that the others are on their way. See trap.h for what a trap is.
 */
#include "trap.h"
#include <mpi.h>

enum { N = 20, LARGE = 1 << 20 };

/* What the message with this number holds, and how long it is: the first ones take more than the sender's call. */
static int length(int k) { return k < 2 ? LARGE : 1; }

static int *room(int k)
{
    int *at = malloc(sizeof(int) * (size_t)length(k));
    CHECK(at != NULL);
    return at;
}

/* Sends and posts N messages of one tag each way. */
static void exchange(MPI_Comm comm, int *in[N], int *out[N], MPI_Request *received, MPI_Request *sent)
{
    for (int k = 0; k < N; k++) {
        in[k] = room(k);
        out[k] = room(k);
        fill(out[k], length(k), 100 * rank + k);
        MPI_Irecv(in[k], length(k), MPI_INT, left(), 5, comm, &received[k]);
    }
    meet();
    for (int k = 0; k < N; k++)
        MPI_Isend(out[k], length(k), MPI_INT, right(), 5, comm, &sent[k]);
}

static void check_all(int *in[N], int *out[N], const MPI_Request *received)
{
    for (int k = 0; k < N; k++) {
        CHECK(received[k] == MPI_REQUEST_NULL);
        verify(in[k], length(k), 100 * left() + k);
        free(in[k]);
        free(out[k]);
    }
}

/* The others wait for all, and the first messages need the first rank's library, which that does not call. */
static void windows_on(MPI_Comm comm, MPI_Status *statuses)
{
    int *in[N], *out[N];
    MPI_Request received[N], sent[N];
    exchange(comm, in, out, received, sent);
    if (rank == 0)
        checkpoint_here();
    else
        mark(rank);
    CHECK(MPI_Waitall(N, received, statuses) == MPI_SUCCESS);
    CHECK(MPI_Waitall(N, sent, MPI_STATUSES_IGNORE) == MPI_SUCCESS);
    check_all(in, out, received);
    for (int k = 0; statuses != MPI_STATUSES_IGNORE && k < N; k++) {
        int count;
        MPI_Get_count(&statuses[k], MPI_INT, &count);
        CHECK(statuses[k].MPI_SOURCE == left() && statuses[k].MPI_TAG == 5 && count == length(k));
    }
}

static void windows(void) { windows_on(MPI_COMM_WORLD, MPI_STATUSES_IGNORE); }

static void with_statuses(void)
{
    MPI_Status statuses[N];
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    windows_on(comm, statuses);
    MPI_Comm_free(&comm);
}

/* One of several messages is too long: of one tag, or each of its own. */
static void too_long(int tag, int step)
{
    int in[N][2], out[2] = {0, 0};
    MPI_Request r[N];
    for (int k = 0; k < N; k++)
        MPI_Irecv(in[k], k == 7 ? 1 : 2, MPI_INT, left(), tag + k * step, MPI_COMM_WORLD, &r[k]);
    for (int k = 0; k < N; k++) {
        out[0] = out[1] = 100 * rank + k;
        MPI_Send(out, 2, MPI_INT, right(), tag + k * step, MPI_COMM_WORLD);
    }
    CHECK(MPI_Waitall(N, r, MPI_STATUSES_IGNORE) != MPI_SUCCESS);
    /* Which are complete after an error is the library's affair. */
    for (int k = 0; k < N; k++)
        if (r[k] != MPI_REQUEST_NULL)
            MPI_Wait(&r[k], MPI_STATUS_IGNORE);
    for (int k = 0; k < N; k++)
        CHECK(k == 7 || (in[k][0] == 100 * left() + k && in[k][1] == in[k][0]));
}

/* The checkpoint then finds all messages counted, or waits for ever. */
static void failed(void)
{
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    too_long(5, 0);
    too_long(100, 1);
    checkpoint_here();
    too_long(5, 0);
}

/* A test of all without statuses that finds one too long and one that has not come: the others' statuses are not lost. */
static void tested(void)
{
    int in[3][3] = {{0}}, out[3] = {10 * rank, 10 * rank + 1, 10 * rank + 2}, flag = 0, count;
    MPI_Request r[3];
    MPI_Status s;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    for (int k = 0; k < 3; k++)
        MPI_Irecv(in[k], k == 1 ? 1 : 3, MPI_INT, left(), k, MPI_COMM_WORLD, &r[k]);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int k = 0; k < 2; k++)
        MPI_Send(out, 3, MPI_INT, right(), k, MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int n = 0; n < 100; n++)
        if (MPI_Testall(3, r, &flag, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
            break;
    CHECK(!flag && r[2] != MPI_REQUEST_NULL);
    checkpoint_here();
    /* Where the library has said that there is an error, they are gone. */
    if (r[0] != MPI_REQUEST_NULL) {
        CHECK(MPI_Wait(&r[0], &s) == MPI_SUCCESS && s.MPI_SOURCE == left() && s.MPI_TAG == 0);
        MPI_Get_count(&s, MPI_INT, &count);
        CHECK(count == 3);
    }
    if (r[1] != MPI_REQUEST_NULL)
        CHECK(class_of(MPI_Wait(&r[1], &s)) == MPI_ERR_TRUNCATE);
    MPI_Send(out, 3, MPI_INT, right(), 2, MPI_COMM_WORLD);
    CHECK(MPI_Wait(&r[2], &s) == MPI_SUCCESS && s.MPI_TAG == 2);
    for (int k = 0; k < 3; k++)
        CHECK(k == 1 || (in[k][0] == 10 * left() && in[k][2] == 10 * left() + 2));
}

/* Receives of which the last is no later than the others, or of another kind. */
static void mixed(void)
{
    int in[6] = {0}, out[6];
    MPI_Request r[6], turned[6];
    MPI_Status s[6];
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Irecv(&in[0], 1, MPI_INT, left(), 5, MPI_COMM_WORLD, &r[0]);
    MPI_Irecv(&in[1], 1, MPI_INT, left(), 5, MPI_COMM_WORLD, &r[1]);
    MPI_Irecv(&in[2], 1, MPI_INT, MPI_ANY_SOURCE, 6, MPI_COMM_WORLD, &r[2]);
    MPI_Irecv(&in[3], 1, MPI_INT, left(), MPI_ANY_TAG, comm, &r[3]);
    MPI_Irecv(&in[4], 1, MPI_INT, MPI_PROC_NULL, 5, MPI_COMM_WORLD, &r[4]);
    MPI_Irecv(&in[5], 1, MPI_INT, left(), 5, MPI_COMM_WORLD, &r[5]);
    for (int k = 0; k < 6; k++) {
        out[k] = 100 * rank + k;
        turned[k] = r[5 - k];
    }
    MPI_Send(&out[0], 1, MPI_INT, right(), 5, MPI_COMM_WORLD);
    checkpoint_here();
    MPI_Send(&out[1], 1, MPI_INT, right(), 5, MPI_COMM_WORLD);
    MPI_Send(&out[2], 1, MPI_INT, right(), 6, MPI_COMM_WORLD);
    MPI_Send(&out[3], 1, MPI_INT, right(), 7, comm);
    MPI_Send(&out[5], 1, MPI_INT, right(), 5, MPI_COMM_WORLD);
    CHECK(MPI_Waitall(6, turned, s) == MPI_SUCCESS);
    for (int k = 0; k < 6; k++)
        CHECK(turned[k] == MPI_REQUEST_NULL && (k == 1 || in[5 - k] == 100 * left() + 5 - k));
    CHECK(s[2].MPI_SOURCE == left() && s[2].MPI_TAG == 7 && s[3].MPI_SOURCE == left());
    MPI_Comm_free(&comm);
}

/* The others wait for messages of several kinds, of which the last has come, and the first rank owes the others. */
static void owed(void)
{
    enum { KINDS = 4 };
    int in[KINDS][2], out[2], from[KINDS], tags[KINDS] = {7, 6, 5, 5};
    MPI_Request r[KINDS];
    MPI_Comm comm, comms[KINDS] = {MPI_COMM_WORLD, MPI_COMM_WORLD, MPI_COMM_WORLD, MPI_COMM_WORLD};
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    comms[2] = comm;
    for (int k = 0; k < KINDS; k++)
        from[k] = k == 0 ? MPI_ANY_SOURCE : 0;
    if (rank != 0) {
        for (int k = 0; k < KINDS; k++)
            MPI_Irecv(in[k], 2, MPI_INT, from[k], tags[k], comms[k], &r[k]);
        mark(rank);
        CHECK(MPI_Waitall(KINDS, r, MPI_STATUSES_IGNORE) == MPI_SUCCESS);
        for (int k = 0; k < KINDS; k++)
            verify(in[k], 2, k);
        MPI_Comm_free(&comm);
        return;
    }
    for (int k = KINDS - 1; k >= 0; k--) {
        fill(out, 2, k);
        for (int to = 1; to < ranks; to++)
            MPI_Send(out, 2, MPI_INT, to, tags[k], comms[k]);
        if (k == KINDS - 1)
            checkpoint_here();
    }
    MPI_Comm_free(&comm);
}

/* The same where they are of one kind, and the last place's was posted first. */
static void turned(void)
{
    int in[4], out;
    MPI_Request r[4];
    if (rank != 0) {
        for (int k = 3; k >= 0; k--)
            MPI_Irecv(&in[k], 1, MPI_INT, 0, 5, MPI_COMM_WORLD, &r[k]);
        mark(rank);
        CHECK(MPI_Waitall(4, r, MPI_STATUSES_IGNORE) == MPI_SUCCESS);
        for (int k = 0; k < 4; k++)
            CHECK(in[k] == k);
        return;
    }
    for (int k = 3; k >= 0; k--) {
        out = k;
        for (int to = 1; to < ranks; to++)
            MPI_Send(&out, 1, MPI_INT, to, 5, MPI_COMM_WORLD);
        if (k == 3)
            checkpoint_here();
    }
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {{"windows", windows},
                                        {"statuses", with_statuses},
                                        {"failed", failed},
                                        {"tested", tested},
                                        {"mixed", mixed},
                                        {"owed", owed},
                                        {"turned", turned},
                                        {NULL, NULL}};
    return run_trap(argc, argv, traps, MPI_THREAD_SINGLE);
}
