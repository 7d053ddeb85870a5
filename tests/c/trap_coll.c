/* Traps of collectives and communicators: see trap.h. */
#include "trap.h"
#include <mpi.h>

static void add_mod(void *in, void *inout, int *n, MPI_Datatype *type)
{
    int size;
    MPI_Type_size(*type, &size); /* a handle of the program's own */
    CHECK(size == 4 || size == 8);
    for (int i = 0; i < *n * size / 4; i++)
        ((int *)inout)[i] = (((int *)in)[i] + ((int *)inout)[i]) % 1000;
}

static int modular(int each)
{
    int sum = each;
    for (int k = 1; k < ranks; k++)
        sum = (sum + each + k) % 1000;
    return sum;
}

/* Rank 0 computes; the others are blocked in `wait` for what it sends. */
static void busy(const char *wait)
{
    enum { N = 4 };
    int in[N], value, n, index, which[N];
    MPI_Request r[N];
    MPI_Status s[N];
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
        for (int k = 1; k < ranks; k++)
            for (value = 0; value < N; value++)
                MPI_Send(&value, 1, MPI_INT, k, value, MPI_COMM_WORLD);
        return;
    }
    for (int k = 0; k < N; k++)
        MPI_Irecv(&in[k], 1, MPI_INT, 0, k, MPI_COMM_WORLD, &r[k]);
    if (strcmp(wait, "all") == 0)
        MPI_Waitall(N, r, s);
    else if (strcmp(wait, "any") == 0)
        for (int k = 0; k < N; k++) {
            MPI_Waitany(N, r, &index, s);
            CHECK(s->MPI_TAG == index && in[index] == index);
        }
    else
        for (int got = 0; got < N; got += n)
            MPI_Waitsome(N, r, &n, which, s);
    for (int k = 0; k < N; k++)
        CHECK(in[k] == k && r[k] == MPI_REQUEST_NULL);
}

static void busy_waitall(void) { busy("all"); }
static void busy_waitany(void) { busy("any"); }
static void busy_waitsome(void) { busy("some"); }

/* The others are in a collective that rank 0 enters later; input that is also output is not lost. */
static void busy_probe(void)
{
    int value = 9, n;
    MPI_Status s;
    MPI_Message m;
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
        for (int k = 1; k < ranks; k++) {
            MPI_Send(&value, 1, MPI_INT, k, 1, MPI_COMM_WORLD);
            MPI_Send(&value, 1, MPI_INT, k, 2, MPI_COMM_WORLD);
        }
        return;
    }
    MPI_Mprobe(0, 2, MPI_COMM_WORLD, &m, &s);
    MPI_Mrecv(&n, 1, MPI_INT, &m, MPI_STATUS_IGNORE);
    MPI_Probe(0, MPI_ANY_TAG, MPI_COMM_WORLD, &s);
    CHECK(s.MPI_TAG == 1 && n == 9);
    MPI_Recv(&n, 1, MPI_INT, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* Many collectives in flight at once, on several communicators, with objects that are freed. */
static void pending(void)
{
    int mine[2] = {600 + rank, 600 + rank}, reduced[2] = {0}, sum[2] = {0}, all[16], own[2] = {rank, 2}, value = rank == 0 ? 31 : 0;
    int place = rank + 1;
    MPI_Comm dup;
    MPI_Op op;
    MPI_Datatype two;
    MPI_Request r[6];
    MPI_Comm_dup(MPI_COMM_WORLD, &dup);
    MPI_Op_create(add_mod, 1, &op);
    MPI_Type_contiguous(2, MPI_INT, &two);
    MPI_Type_commit(&two);
    /* One by an operator of the program's would go on only while the program is in MPI. */
    MPI_Reduce(mine, reduced, 1, two, op, 0, dup);
    MPI_Ireduce(mine, sum, 2, MPI_INT, MPI_SUM, 0, dup, &r[0]);
    MPI_Iallgather(own, 1, two, all, 2, MPI_INT, MPI_COMM_WORLD, &r[1]);
    MPI_Ibcast(&value, 1, MPI_INT, 0, MPI_COMM_WORLD, &r[2]);
    MPI_Ibarrier(dup, &r[3]);
    MPI_Iallreduce(MPI_IN_PLACE, &place, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &r[4]);
    MPI_Ibarrier(MPI_COMM_SELF, &r[5]);
    MPI_Op_free(&op); /* all three freed, and still in use */
    MPI_Type_free(&two);
    MPI_Comm_free(&dup);
    CHECK(op == MPI_OP_NULL && two == MPI_DATATYPE_NULL && dup == MPI_COMM_NULL);
    checkpoint_here();
    MPI_Waitall(6, r, MPI_STATUSES_IGNORE);
    CHECK(rank != 0 || (reduced[0] == modular(600) && reduced[1] == modular(600)));
    CHECK(rank != 0 || (sum[0] == 600 * ranks + ranks * (ranks - 1) / 2 && sum[1] == sum[0]));
    CHECK(value == 31 && place == ranks * (ranks + 1) / 2);
    for (int k = 0; k < ranks; k++)
        CHECK(all[2 * k] == k && all[2 * k + 1] == 2);
}

/* All members in a collective with input and output in one place, one after the other. */
static void in_place(void)
{
    int value = rank + 1, all[16];
    all[rank] = rank;
    MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    checkpoint_here();
    CHECK(value == ranks * (ranks + 1) / 2);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_INT, all, 1, MPI_INT, MPI_COMM_WORLD);
    for (int k = 0; k < ranks; k++)
        CHECK(all[k] == k);
    MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK(value == ranks * ranks * (ranks + 1) / 2);
    value = rank;
    MPI_Reduce(rank == 0 ? MPI_IN_PLACE : &value, &value, 1, MPI_INT, MPI_MAX, 0, MPI_COMM_WORLD);
    CHECK(rank != 0 || value == ranks - 1);
    /* Others than the root may give anything there. */
    value = rank;
    MPI_Reduce(&value, rank == 0 ? (void *)all : MPI_IN_PLACE, 1, MPI_INT, MPI_MAX, 0, MPI_COMM_WORLD);
    CHECK(rank != 0 || all[0] == ranks - 1);
    value = rank + 1;
    MPI_Exscan(MPI_IN_PLACE, &value, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK(rank == 0 || value == rank * (rank + 1) / 2);
}

/* A duplication in flight, and what is done on the duplicate after. */
static void idup(void)
{
    MPI_Comm early, late;
    MPI_Request r[2];
    int sum;
    MPI_Comm_idup(MPI_COMM_WORLD, &early, &r[0]);
    MPI_Wait(&r[0], MPI_STATUS_IGNORE);
    MPI_Comm_idup(early, &late, &r[1]);
    checkpoint_here();
    MPI_Wait(&r[1], MPI_STATUS_IGNORE);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, late);
    CHECK(sum == ranks * (ranks - 1) / 2);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, early);
    CHECK(sum == ranks * (ranks - 1) / 2);
    int result;
    MPI_Comm_compare(late, MPI_COMM_WORLD, &result);
    CHECK(result == MPI_CONGRUENT);
    MPI_Comm_free(&early);
    MPI_Comm_free(&late);
}

/* An intercommunicator with a message in flight, its merge, and a communicator of a group. */
static void intercomm(void)
{
    MPI_Comm half, inter, merged, some = MPI_COMM_NULL;
    MPI_Group world, first;
    MPI_Request r;
    int size, remote, out = 70 + rank, in = -1, sum, flag, one[1] = {0};
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - rank % 2, 5, &inter);
    MPI_Intercomm_merge(inter, rank % 2, &merged);
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_incl(world, 1, one, &first);
    if (rank == 0)
        MPI_Comm_create_group(MPI_COMM_WORLD, first, 3, &some);
    MPI_Comm_size(half, &size);
    MPI_Comm_remote_size(inter, &remote);
    int mine;
    MPI_Comm_rank(half, &mine);
    if (mine < remote)
        MPI_Isend(&out, 1, MPI_INT, mine, 4, inter, &r);
    checkpoint_here();
    MPI_Comm_test_inter(inter, &flag);
    CHECK(flag);
    if (mine < remote) {
        MPI_Recv(&in, 1, MPI_INT, mine, 4, inter, MPI_STATUS_IGNORE);
        CHECK(in == 70 + 2 * mine + 1 - rank % 2);
        MPI_Wait(&r, MPI_STATUS_IGNORE);
    }
    /* The sum over the other side. */
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, inter);
    int expected = 0;
    for (int k = 1 - rank % 2; k < ranks; k += 2)
        expected += k;
    CHECK(sum == expected);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, merged);
    CHECK(sum == ranks * (ranks - 1) / 2);
    int place;
    MPI_Comm_rank(merged, &place);
    CHECK(place == (rank % 2 ? (ranks + 1) / 2 : 0) + rank / 2);
    if (some != MPI_COMM_NULL) {
        MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, some);
        CHECK(sum == 0);
        MPI_Comm_free(&some);
    }
    /* The group is data: it must still be what it was. */
    MPI_Group_size(first, &size);
    MPI_Group_rank(first, &place);
    CHECK(size == 1 && place == (rank == 0 ? 0 : MPI_UNDEFINED));
    MPI_Group_free(&first);
    MPI_Group_free(&world);
    MPI_Comm_free(&merged);
    MPI_Comm_free(&inter);
    MPI_Comm_free(&half);
}

/* A communicator that all but one have freed when the checkpoint comes; a receive on it is pending. */
static void freed_elsewhere(void)
{
    MPI_Comm dup;
    MPI_Request r = MPI_REQUEST_NULL;
    int in = -1, out = 44;
    MPI_Comm_dup(MPI_COMM_WORLD, &dup);
    if (rank == 0)
        MPI_Irecv(&in, 1, MPI_INT, 1, 2, dup, &r);
    if (rank != 1)
        MPI_Comm_free(&dup);
    checkpoint_here();
    if (rank == 1) {
        MPI_Send(&out, 1, MPI_INT, 0, 2, dup);
        MPI_Comm_free(&dup);
    }
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    CHECK(rank != 0 || in == 44);
}

static MPI_Comm bases[2];
static MPI_Comm made[2][20];

static void *maker(void *arg)
{
    int k = *(int *)arg;
    for (int i = 0; i < 20; i++)
        MPI_Comm_dup(bases[k], &made[k][i]);
    return NULL;
}

/* Two threads that make communicators, in different orders on different ranks. */
static void makers(void)
{
    pthread_t threads[2];
    int which[2] = {rank % 2, 1 - rank % 2}, sum;
    MPI_Comm_dup(MPI_COMM_WORLD, &bases[0]);
    MPI_Comm_dup(MPI_COMM_WORLD, &bases[1]);
    for (int k = 0; k < 2; k++)
        pthread_create(&threads[k], NULL, maker, &which[k]);
    for (int k = 0; k < 2; k++)
        pthread_join(threads[k], NULL);
    checkpoint_here();
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 20; i++) {
            int mine = rank + i + k, n = ranks;
            MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, made[k][i]);
            CHECK(sum == n * (n - 1) / 2 + n * (i + k));
            MPI_Comm_free(&made[k][i]);
        }
    MPI_Comm_free(&bases[0]);
    MPI_Comm_free(&bases[1]);
}

static MPI_Comm lanes[6];

static void *worker(void *arg)
{
    int k = *(int *)arg, in, out = rank + k, sum;
    for (int round = 0, end = 0; !end; round++) {
        MPI_Request r[2];
        MPI_Status s;
        int mine = access(go, F_OK) == 0;
        switch (k % 3) {
        case 0:
            MPI_Irecv(&in, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, lanes[k], &r[0]);
            MPI_Issend(&out, 1, MPI_INT, right(), round % 9, lanes[k], &r[1]);
            MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
            break;
        case 1:
            MPI_Isend(&out, 1, MPI_INT, right(), round % 9, lanes[k], &r[0]);
            MPI_Probe(MPI_ANY_SOURCE, MPI_ANY_TAG, lanes[k], &s);
            CHECK(s.MPI_TAG == round % 9);
            MPI_Recv(&in, 1, MPI_INT, s.MPI_SOURCE, s.MPI_TAG, lanes[k], MPI_STATUS_IGNORE);
            MPI_Wait(&r[0], MPI_STATUS_IGNORE);
            break;
        default:
            MPI_Sendrecv(&out, 1, MPI_INT, right(), 1, &in, 1, MPI_INT, left(), 1, lanes[k], MPI_STATUS_IGNORE);
            MPI_Iallreduce(&in, &sum, 1, MPI_INT, MPI_SUM, lanes[k], &r[0]);
            MPI_Wait(&r[0], MPI_STATUS_IGNORE);
        }
        CHECK(in == left() + k);
        MPI_Allreduce(&mine, &end, 1, MPI_INT, MPI_LAND, lanes[k]);
    }
    return NULL;
}

/* Several threads in MPI, in calls of many kinds, when the checkpoint comes. */
static void threads(void)
{
    pthread_t thread[6];
    int which[6];
    for (int k = 0; k < 6; k++)
        MPI_Comm_dup(MPI_COMM_WORLD, &lanes[k]);
    for (int k = 0; k < 6; k++) {
        which[k] = k;
        pthread_create(&thread[k], NULL, worker, &which[k]);
    }
    checkpoint_here();
    for (int k = 0; k < 6; k++)
        pthread_join(thread[k], NULL);
    for (int k = 0; k < 6; k++)
        MPI_Comm_free(&lanes[k]);
}

/* A collective with a user's operator, all of whose members but rank 0 are in it. */
static void busy_user_op(void)
{
    int mine = 600 + rank, sum = -1;
    MPI_Op op;
    MPI_Op_create(add_mod, 1, &op);
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
    }
    MPI_Allreduce(&mine, &sum, 1, MPI_INT, op, MPI_COMM_WORLD);
    CHECK(sum == modular(600));
    MPI_Op_free(&op);
}

/* A reduction in place, all of whose members but rank 0 are in it, and may have overwritten what it began with. */
static void busy_in_place(char kind)
{
    enum { N = 100 };
    int place[N], up_to = rank + 1, last = ranks - 1;
    for (int k = 0; k < N; k++)
        place[k] = rank + k;
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
    }
    if (kind == 'a') {
        MPI_Allreduce(MPI_IN_PLACE, place, N, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        up_to = ranks;
    } else if (kind == 's')
        MPI_Scan(MPI_IN_PLACE, place, N, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    else {
        MPI_Reduce(rank == last ? MPI_IN_PLACE : place, place, N, MPI_INT, MPI_SUM, last, MPI_COMM_WORLD);
        if (rank != last)
            return;
    }
    for (int k = 0; k < N; k++)
        CHECK(place[k] == up_to * (up_to - 1) / 2 + up_to * k);
}

static void busy_allreduce_in_place(void) { busy_in_place('a'); }
static void busy_scan_in_place(void) { busy_in_place('s'); }
static void busy_reduce_in_place(void) { busy_in_place('r'); }

/* Rank 0 has left a broadcast and freed its communicator; the others come to it later. */
static void freed(void)
{
    int x = rank == 0 ? 42 : -1;
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    if (rank == 0) {
        MPI_Bcast(&x, 1, MPI_INT, 0, comm);
        MPI_Comm_free(&comm);
    }
    mark(rank);
    say_ready_when_all_are();
    if (rank != 0) {
        for (int i = 0; i < 2000; i++)
            nap();
        MPI_Bcast(&x, 1, MPI_INT, 0, comm);
        MPI_Comm_free(&comm);
    }
    CHECK(x == 42);
    wait_for_go();
}

/* The others make a communicator of a group in which rank 0 is late. */
static void busy_group(void)
{
    int sum, last[] = {ranks - 1, 0};
    MPI_Group all, group;
    MPI_Comm comm = MPI_COMM_NULL;
    MPI_Comm_group(MPI_COMM_WORLD, &all);
    MPI_Group_incl(all, 2, last, &group);
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
    }
    if (rank == 0 || rank == ranks - 1) {
        MPI_Comm_create_group(MPI_COMM_WORLD, group, 5, &comm);
        MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, comm);
        CHECK(sum == ranks - 1);
        MPI_Comm_free(&comm);
    }
    MPI_Group_free(&all);
    MPI_Group_free(&group);
}

/*
 * Rank 0 is in a scatter for most of a second, for its own part, as the checkpoint comes, and leaves it before the others have
 * come. They must not get the second one's values for the first's.
 */
static void scatter(void)
{
    enum { DEPTH = 20, N = 300000, EXTENT = 2 * DEPTH + 3 };
    MPI_Datatype nested = MPI_CHAR, from, to;
    char value[EXTENT], *place = calloc(N, EXTENT);
    int counts[16] = {N, 1, 1, 1}, at[16] = {0};
    CHECK(ranks <= 4);
    for (int k = 0; k < DEPTH; k++) {
        int one[2] = {1, 1};
        MPI_Aint where[2] = {0, 2 * k + 3};
        MPI_Datatype both[2] = {nested, MPI_CHAR};
        MPI_Type_create_struct(2, one, where, both, &nested);
    }
    MPI_Type_create_resized(nested, 0, 0, &from);
    MPI_Type_create_resized(nested, 0, EXTENT, &to);
    MPI_Type_commit(&from);
    MPI_Type_commit(&to);
    mark(rank);
    say_ready_when_all_are();
    if (rank != 0)
        for (int i = 0; i < 3000; i++)
            nap();
    for (int round = 1; round <= 2; round++) {
        memset(value, round, sizeof value);
        MPI_Scatterv(value, counts, at, from, place, counts[rank], to, 0, MPI_COMM_WORLD);
        CHECK(place[0] == round && place[EXTENT * (counts[rank] - 1)] == round);
    }
    free(place);
    wait_for_go();
}

/*
 * Rank 0 comes late to a reduction in place, which is waited for. It is on its way there when the checkpoint comes, and before
 * it makes calls on other communicators that are refused for their arguments: nobody else makes these.
 */
static void refused(void)
{
    enum { N = 1000 };
    static double place[N];
    int x = 7, class;
    MPI_Comm quiet[2];
    MPI_Request r;
    for (int k = 0; k < 2; k++) {
        MPI_Comm_dup(MPI_COMM_WORLD, &quiet[k]);
        MPI_Comm_set_errhandler(quiet[k], MPI_ERRORS_RETURN);
    }
    for (int k = 0; k < N; k++)
        place[k] = rank;
    mark(rank);
    say_ready_when_all_are();
    if (rank == 0) {
        for (int i = 0; i < 2000; i++)
            nap();
        MPI_Error_class(MPI_Bcast(&x, -1, MPI_INT, 0, quiet[0]), &class);
        CHECK(class == MPI_ERR_COUNT);
        MPI_Error_class(MPI_Ibcast(&x, 1, MPI_INT, ranks, quiet[1], &r), &class);
        CHECK(class == MPI_ERR_ROOT);
    }
    MPI_Allreduce(MPI_IN_PLACE, place, N, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int k = 0; k < N; k++)
        CHECK(place[k] == ranks * (ranks - 1) / 2);
    for (int k = 0; k < 2; k++) {
        int sum;
        wait_for_go();
        MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, quiet[k]);
        CHECK(sum == ranks * (ranks - 1) / 2);
        MPI_Comm_free(&quiet[k]);
    }
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {
        {"busy_waitall", busy_waitall},   {"busy_waitany", busy_waitany},
        {"busy_waitsome", busy_waitsome}, {"busy_probe", busy_probe},
        {"pending", pending},             {"in_place", in_place},
        {"idup", idup},                   {"intercomm", intercomm},
        {"freed", freed},                 {"busy_group", busy_group},
        {"makers", makers},               {"freed_elsewhere", freed_elsewhere},
        {"threads", threads},             {"busy_user_op", busy_user_op},
        {"busy_allreduce_in_place", busy_allreduce_in_place},
        {"busy_scan_in_place", busy_scan_in_place},
        {"busy_reduce_in_place", busy_reduce_in_place},
        {"scatter", scatter},             {"refused", refused},
        {NULL, NULL},
    };
    int several = strcmp(argv[1], "threads") == 0 || strcmp(argv[1], "makers") == 0;
    return run_trap(argc, argv, traps, several ? MPI_THREAD_MULTIPLE : MPI_THREAD_SINGLE);
}
