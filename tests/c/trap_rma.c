/* Traps of one-sided communication: see trap.h. Most have epochs open, with operations in them, when the checkpoint comes. */
#include "trap.h"
#include <mpi.h>

enum { N = 1000 };

static int *zeros(int n)
{
    int *p = calloc(n, sizeof *p);
    CHECK(p);
    return p;
}

/* All ranks are here. Until then this one answers: a call that accesses it need not come back before it calls MPI. */
static void answer_all(void)
{
    int flag;
    mark(2 * ranks + rank);
    for (int k = 0; k < ranks; k++)
        while (!marked(2 * ranks + k))
            MPI_Iprobe(MPI_ANY_SOURCE, 0, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
}

/* Operations between two fences. */
static void fences(void)
{
    int *mine = zeros(N), *out = malloc(N * sizeof *out), in[N], sum = 3;
    MPI_Win win;
    MPI_Win_create(mine, N * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    fill(out, N, rank);
    MPI_Win_fence(MPI_MODE_NOPRECEDE, win);
    MPI_Put(out, N / 2, MPI_INT, right(), 0, N / 2, MPI_INT, win);
    checkpoint_here();
    MPI_Put(out + N / 2, N / 2 - 1, MPI_INT, right(), N / 2, N / 2 - 1, MPI_INT, win);
    for (int k = 0; k < ranks; k++)
        MPI_Accumulate(&sum, 1, MPI_INT, k, N - 1, 1, MPI_INT, MPI_SUM, win);
    MPI_Win_fence(0, win);
    verify(mine, N - 1, left());
    CHECK(mine[N - 1] == 3 * ranks);
    MPI_Get(in, N - 1, MPI_INT, right(), 0, N - 1, MPI_INT, win);
    MPI_Win_fence(MPI_MODE_NOSUCCEED, win);
    verify(in, N - 1, rank);
    MPI_Win_free(&win);
    CHECK(win == MPI_WIN_NULL);
    free(mine);
    free(out);
}

/* The others are in a fence that rank 0 enters later. */
static void busy_fence(void)
{
    int *mine, out = 70 + rank;
    MPI_Win win;
    MPI_Win_allocate(sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    *mine = -1;
    MPI_Win_fence(0, win);
    MPI_Put(&out, 1, MPI_INT, right(), 0, 1, MPI_INT, win);
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
    }
    MPI_Win_fence(0, win);
    CHECK(*mine == 70 + left());
    MPI_Win_free(&win);
}

static void others(MPI_Group *group)
{
    MPI_Group world;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_excl(world, 1, &rank, group);
    MPI_Group_free(&world);
}

/* Every rank exposes its memory to all others and writes to theirs, with a checkpoint in the epochs. */
static void pscw(void)
{
    int *mine = zeros(ranks), out = 40 + rank, flag = 0;
    MPI_Group group;
    MPI_Win win;
    MPI_Win_create(mine, ranks * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    others(&group);
    for (int round = 0; round < 3; round++) {
        MPI_Win_post(group, 0, win);
        MPI_Win_start(group, 0, win);
        out = 40 * round + rank;
        for (int k = 0; k < ranks; k++)
            if (k != rank)
                MPI_Put(&out, 1, MPI_INT, k, rank, 1, MPI_INT, win);
        if (round == 1)
            checkpoint_here();
        MPI_Win_complete(win);
        if (round == 2)
            while (!flag)
                MPI_Win_test(win, &flag);
        else
            MPI_Win_wait(win);
        for (int k = 0; k < ranks; k++)
            CHECK(k == rank || mine[k] == 40 * round + k);
    }
    MPI_Group_free(&group);
    MPI_Win_free(&win);
    free(mine);
}

/* The others wait in MPI_Win_start for rank 0's post, and in MPI_Win_wait for its accesses. */
static void busy_pscw(void)
{
    int *mine = zeros(1), out = 5 + rank;
    MPI_Group group, world;
    MPI_Win win;
    int zero = 0;
    MPI_Win_create(mine, sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_incl(world, 1, &zero, &group);
    mark(rank);
    if (rank == 0) {
        MPI_Group rest;
        others(&rest);
        say_ready_when_all_are();
        wait_for_go();
        MPI_Win_start(rest, 0, win);
        for (int k = 1; k < ranks; k++)
            MPI_Put(&out, 1, MPI_INT, k, 0, 1, MPI_INT, win);
        MPI_Win_complete(win);
        MPI_Win_post(rest, 0, win);
        MPI_Win_wait(win);
        CHECK(*mine == ranks * (ranks - 1) / 2 + 5 * (ranks - 1));
        MPI_Group_free(&rest);
    } else {
        MPI_Win_post(group, 0, win);
        if (rank % 2) /* waits for the accesses */
            MPI_Win_wait(win);
        MPI_Win_start(group, 0, win); /* waits for the post */
        MPI_Accumulate(&out, 1, MPI_INT, 0, 0, 1, MPI_INT, MPI_SUM, win);
        MPI_Win_complete(win);
        if (rank % 2 == 0)
            MPI_Win_wait(win);
        CHECK(*mine == 5);
    }
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    MPI_Win_free(&win);
    free(mine);
}

/* Every rank holds the exclusive lock of its right neighbour, with operations that are not flushed. */
static void locks(void)
{
    int *mine, *out = malloc(N * sizeof *out), one = 1, before = -1;
    MPI_Win win;
    MPI_Win_allocate((N + 1) * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    memset(mine, 0, (N + 1) * sizeof *mine);
    MPI_Barrier(MPI_COMM_WORLD);
    fill(out, N, rank);
    MPI_Win_lock(MPI_LOCK_EXCLUSIVE, right(), 0, win);
    MPI_Put(out, N, MPI_INT, right(), 0, N, MPI_INT, win);
    MPI_Fetch_and_op(&one, &before, MPI_INT, right(), N, MPI_SUM, win);
    answer_all();
    checkpoint_here();
    MPI_Accumulate(&one, 1, MPI_INT, right(), N, 1, MPI_INT, MPI_SUM, win);
    MPI_Win_unlock(right(), win);
    CHECK(before == 0);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock(MPI_LOCK_SHARED, rank, 0, win);
    verify(mine, N, left());
    CHECK(mine[N] == 2);
    MPI_Win_unlock(rank, win);
    MPI_Win_free(&win);
    free(out);
}

/* Rank 0 alone accesses the others' memory; they are in no call of MPI when the checkpoint comes. A lock is given by the
 * target's library, which gets on in its calls alone, natively too: the others make some until rank 0 has it. */
static void alone(void)
{
    enum { MANY = 200000 };
    int *mine = zeros(MANY), *out = malloc(MANY * sizeof *out), one = 1, flag;
    MPI_Datatype odd;
    MPI_Win win;
    MPI_Win_create(mine, MANY * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Type_vector(MANY / 2, 1, 2, MPI_INT, &odd);
    MPI_Type_commit(&odd);
    fill(out, MANY, 3);
    if (rank == 0) {
        MPI_Win_lock_all(0, win);
        for (int k = 1; k < ranks; k++) {
            MPI_Put(out, MANY / 2, MPI_INT, k, 0, 1, odd, win);
            MPI_Accumulate(&one, 1, MPI_INT, k, 1, 1, MPI_INT, MPI_SUM, win);
            MPI_Accumulate(out, MANY / 2, MPI_INT, k, 0, 1, odd, MPI_REPLACE, win);
        }
    } else {
        while (!marked(0))
            MPI_Iprobe(MPI_ANY_SOURCE, 0, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
    }
    checkpoint_here();
    if (rank == 0) {
        for (int k = 1; k < ranks; k++)
            MPI_Accumulate(&one, 1, MPI_INT, k, 1, 1, MPI_INT, MPI_SUM, win);
        MPI_Win_unlock_all(win);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; rank != 0 && i < MANY / 2; i++)
        CHECK(mine[2 * i] == 3 * 1000003 + i);
    CHECK(rank == 0 || (mine[1] == 2 && mine[3] == 0));
    MPI_Type_free(&odd);
    MPI_Win_free(&win);
    free(mine);
    free(out);
}

/* Rank 0 holds an exclusive lock that the others wait for: two increments are one step. */
static void wanted_lock(void)
{
    int *mine, value;
    MPI_Win win;
    MPI_Win_allocate(sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    *mine = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, win);
    MPI_Barrier(MPI_COMM_WORLD);
    mark(rank);
    if (rank == 0)
        say_ready_when_all_are();
    else
        MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, win);
    MPI_Get(&value, 1, MPI_INT, 0, 0, 1, MPI_INT, win);
    MPI_Win_flush(0, win);
    if (rank == 0)
        wait_for_go(); /* nobody gets the lock meanwhile */
    value++;
    MPI_Put(&value, 1, MPI_INT, 0, 0, 1, MPI_INT, win);
    MPI_Win_unlock(0, win);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        MPI_Win_lock(MPI_LOCK_SHARED, 0, 0, win);
        CHECK(*mine == ranks);
        MPI_Win_unlock(0, win);
    }
    MPI_Win_free(&win);
}

/* All ranks have all locked; the order of accumulates is kept, and so are atomic operations. */
static void lock_all(void)
{
    int *mine, expected = 0;
    MPI_Win win;
    MPI_Win_allocate(4 * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    memset(mine, 0, 4 * sizeof *mine);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock_all(0, win);
    for (int i = 0; i < 100; i++) {
        int one = 1, old = -1, any, next = i + 1, mark = 1000 * rank + i;
        MPI_Fetch_and_op(&one, &any, MPI_INT, 0, 0, MPI_SUM, win);
        MPI_Accumulate(&mark, 1, MPI_INT, right(), 1, 1, MPI_INT, MPI_REPLACE, win);
        MPI_Compare_and_swap(&next, &i, &old, MPI_INT, right(), 2, win);
        if (i == 50) {
            MPI_Barrier(MPI_COMM_WORLD); /* the others' flushes are through */
            checkpoint_here();
        }
        MPI_Win_flush(right(), win);
        CHECK(old == i);
        MPI_Get_accumulate(NULL, 0, MPI_INT, &old, 1, MPI_INT, right(), 1, 1, MPI_INT, MPI_NO_OP, win);
        MPI_Win_flush_local_all(win);
        CHECK(old == mark);
    }
    MPI_Win_flush_all(win);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_sync(win);
    MPI_Fetch_and_op(NULL, &expected, MPI_INT, 0, 0, MPI_NO_OP, win);
    MPI_Win_unlock_all(win);
    CHECK(expected == 100 * ranks && mine[2] == 100 && mine[1] == 1000 * left() + 99);
    MPI_Win_free(&win);
}

/* Counters under locks of both kinds, in a loop that ends when the checkpoint has been taken. */
static void contention(void)
{
    long *counter, mine = 0, one = 1, old, sum;
    MPI_Win win;
    MPI_Win_allocate(2 * sizeof *counter, sizeof *counter, MPI_INFO_NULL, MPI_COMM_WORLD, &counter, &win);
    counter[0] = counter[1] = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    mark(rank);
    say_ready_when_all_are();
    for (int end = 0; !end || mine < 100; mine++) {
        end = access(go, F_OK) == 0;
        MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, win);
        MPI_Get(&old, 1, MPI_LONG, 0, 0, 1, MPI_LONG, win);
        MPI_Win_flush(0, win);
        old++;
        MPI_Put(&old, 1, MPI_LONG, 0, 0, 1, MPI_LONG, win);
        MPI_Win_unlock(0, win);
        MPI_Win_lock(MPI_LOCK_SHARED, ranks - 1, 0, win);
        MPI_Fetch_and_op(&one, &old, MPI_LONG, ranks - 1, 1, MPI_SUM, win);
        MPI_Win_unlock(ranks - 1, win);
    }
    MPI_Allreduce(&mine, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    MPI_Win_lock_all(0, win);
    CHECK(rank != 0 || counter[0] == sum);
    CHECK(rank != ranks - 1 || counter[1] == sum);
    MPI_Win_unlock_all(win);
    MPI_Win_free(&win);
}

/* Operations with requests, some of them freed. */
static void requests(void)
{
    int *mine, out[4] = {rank, rank + 1, rank + 2, rank + 3}, in = -1, old = -1, flag, done;
    MPI_Request r[4];
    MPI_Status s[4];
    MPI_Win win;
    MPI_Win_allocate(4 * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    for (int k = 0; k < 4; k++)
        mine[k] = 10 * rank + k;
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock_all(0, win);
    MPI_Rput(&out[0], 1, MPI_INT, right(), 0, 1, MPI_INT, win, &r[0]);
    MPI_Rget(&in, 1, MPI_INT, right(), 3, 1, MPI_INT, win, &r[1]);
    MPI_Raccumulate(&out[1], 1, MPI_INT, right(), 1, 1, MPI_INT, MPI_SUM, win, &r[2]);
    MPI_Rget_accumulate(&out[2], 1, MPI_INT, &old, 1, MPI_INT, right(), 2, 1, MPI_INT, MPI_SUM, win, &r[3]);
    answer_all();
    checkpoint_here();
    MPI_Request_get_status(r[0], &done, MPI_STATUS_IGNORE);
    MPI_Wait(&r[0], MPI_STATUS_IGNORE);
    do
        MPI_Test(&r[1], &flag, MPI_STATUS_IGNORE);
    while (!flag);
    MPI_Waitall(4, r, s);
    for (int k = 0; k < 4; k++)
        CHECK(r[k] == MPI_REQUEST_NULL);
    CHECK(in == 10 * right() + 3 && old == 10 * right() + 2);
    MPI_Win_flush_all(win);
    MPI_Rput(&out[3], 1, MPI_INT, MPI_PROC_NULL, 0, 1, MPI_INT, win, &r[0]);
    MPI_Wait(&r[0], MPI_STATUS_IGNORE);
    MPI_Win_unlock_all(win);
    MPI_Barrier(MPI_COMM_WORLD);
    int l = left();
    CHECK(mine[0] == l && mine[1] == 10 * rank + 1 + l + 1 && mine[2] == 10 * rank + 2 + l + 2);
    MPI_Win_free(&win);
}

/* A datatype of the program's own at the target, freed while it is used. */
static void derived(void)
{
    int *mine = zeros(2 * N), out[N], in[N];
    MPI_Datatype odd, both;
    MPI_Win win;
    MPI_Win_create(mine, 2 * N * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Type_vector(N, 1, 2, MPI_INT, &odd);
    MPI_Type_commit(&odd);
    MPI_Type_dup(odd, &both);
    fill(out, N, rank);
    MPI_Win_fence(0, win);
    MPI_Put(out, N, MPI_INT, right(), 1, 1, odd, win);
    MPI_Type_free(&odd);
    checkpoint_here();
    MPI_Accumulate(out, N, MPI_INT, right(), 0, 1, both, MPI_SUM, win);
    MPI_Accumulate(out, N, MPI_INT, right(), 0, 1, both, MPI_SUM, win);
    MPI_Win_fence(0, win);
    for (int i = 0; i < N; i++)
        CHECK(mine[2 * i + 1] == left() * 1000003 + i && mine[2 * i] == 2 * (left() * 1000003 + i));
    MPI_Get(in, N, MPI_INT, right(), 1, 1, both, win);
    MPI_Win_fence(0, win);
    verify(in, N, rank);
    MPI_Type_free(&both);
    MPI_Win_free(&win);
    free(mine);
}

/* Memory that is attached and detached, before and after the checkpoint. */
static void dynamic(void)
{
    int *mine = zeros(N), *other = zeros(N), out[N];
    MPI_Aint here, places[16];
    MPI_Win win;
    MPI_Win_create_dynamic(MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Win_attach(win, mine, N * sizeof *mine);
    MPI_Win_attach(win, other, N * sizeof *other);
    MPI_Get_address(mine, &here);
    MPI_Allgather(&here, 1, MPI_AINT, places, 1, MPI_AINT, MPI_COMM_WORLD);
    fill(out, N, rank);
    MPI_Win_lock(MPI_LOCK_SHARED, right(), 0, win);
    MPI_Put(out, N / 2, MPI_INT, right(), places[right()], N / 2, MPI_INT, win);
    answer_all();
    checkpoint_here();
    MPI_Put(out + N / 2, N / 2, MPI_INT, right(), MPI_Aint_add(places[right()], N / 2 * sizeof(int)), N / 2, MPI_INT,
            win);
    MPI_Win_unlock(right(), win);
    MPI_Barrier(MPI_COMM_WORLD);
    verify(mine, N, left());
    MPI_Win_detach(win, mine);
    MPI_Get_address(other, &here);
    MPI_Allgather(&here, 1, MPI_AINT, places, 1, MPI_AINT, MPI_COMM_WORLD);
    MPI_Win_fence(0, win);
    MPI_Put(out, N, MPI_INT, right(), places[right()], N, MPI_INT, win);
    MPI_Win_fence(0, win);
    verify(other, N, left());
    MPI_Win_detach(win, other);
    MPI_Win_free(&win);
    free(mine);
    free(other);
}

/* Values got while they are added to, by datatypes of the program's own. */
static void got(void)
{
    enum { N = 10 };
    int *mine, out[2 * N], in[2 * N], code;
    MPI_Datatype row, gaps;
    MPI_Request r;
    MPI_Win win;
    MPI_Type_contiguous(N, MPI_INT, &gaps);
    MPI_Type_dup(gaps, &row);
    MPI_Type_commit(&row);
    MPI_Type_free(&gaps);
    MPI_Type_vector(N, 1, 2, MPI_INT, &gaps);
    MPI_Type_commit(&gaps);
    MPI_Win_allocate(2 * N * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    MPI_Win_set_errhandler(win, MPI_ERRORS_RETURN);
    fill(mine, 2 * N, rank);
    checkpoint_here();
    for (int what = 0; what < 8; what++) {
        int o = what & 1, i = what & 2, t = what & 4;
        for (int k = 0; k < 2 * N; k++)
            out[k] = 1, in[k] = -1;
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Win_lock_all(0, win);
        MPI_Get_accumulate(out, o ? 1 : N, o ? row : MPI_INT, in, i ? 1 : N, i ? row : MPI_INT, right(), 0, t ? 1 : N,
                           t ? row : MPI_INT, MPI_SUM, win);
        MPI_Rget_accumulate(NULL, 0, MPI_INT, in + N, i ? 1 : N, i ? row : MPI_INT, right(), N, t ? 1 : N,
                            t ? row : MPI_INT, MPI_NO_OP, win, &r);
        MPI_Wait(&r, MPI_STATUS_IGNORE);
        MPI_Win_unlock_all(win);
        for (int k = 0; k < 2 * N; k++)
            CHECK(in[k] == right() * 1000003 + k + (k < N ? what : 0));
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock_all(0, win);
    code = MPI_Get_accumulate(NULL, 0, MPI_INT, in, 1, gaps, right(), 0, N, MPI_INT, MPI_NO_OP, win);
    MPI_Win_unlock_all(win);
    for (int k = 0; code == MPI_SUCCESS && k < N; k++)
        CHECK(in[2 * k] == right() * 1000003 + k + 8);
    CHECK(code == MPI_SUCCESS || class_of(code) == MPI_ERR_TYPE); /* refused over Open MPI: see docs/limits.md */
    MPI_Type_free(&row);
    MPI_Type_free(&gaps);
    MPI_Win_free(&win);
}

/* Values with the places they are from, which have gaps: several at once, where the ranks' numbers are the greatest. */
static void places(void)
{
    enum { N = 10 };
    struct { double value; int place; } *mine, out[N], in[N];
    MPI_Request r;
    MPI_Win win;
    MPI_Win_allocate(N * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    MPI_Win_set_errhandler(win, MPI_ERRORS_RETURN);
    for (int k = 0; k < N; k++)
        mine[k].value = mine[k].place = 100 + k;
    checkpoint_here();
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock_all(0, win);
    for (int k = 0; k < N; k++)
        out[k].value = out[k].place = 200 * (k % 2) + 10 * rank + k;
    MPI_Accumulate(out, N, MPI_DOUBLE_INT, right(), 0, N, MPI_DOUBLE_INT, MPI_MAXLOC, win);
    MPI_Win_flush(right(), win);
    for (int k = 0; k < N; k++)
        out[k].value = out[k].place = k == 4 ? 1000 : 0;
    MPI_Raccumulate(out, N, MPI_DOUBLE_INT, right(), 0, N, MPI_DOUBLE_INT, MPI_MAXLOC, win, &r);
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    MPI_Win_flush(right(), win);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_sync(win);
    for (int k = 0; k < N; k++) {
        int most = k == 4 ? 1000 : k % 2 ? 200 + 10 * left() + k : 100 + k;
        CHECK(mine[k].value == most && mine[k].place == most);
    }
    int code = MPI_Get_accumulate(NULL, 0, MPI_DOUBLE_INT, in, N, MPI_DOUBLE_INT, right(), 0, N, MPI_DOUBLE_INT, MPI_NO_OP, win);
    MPI_Win_unlock_all(win);
    for (int k = 0; code == MPI_SUCCESS && k < N; k++)
        CHECK(in[k].value == in[k].place && (k != 4 || in[k].place == 1000));
    CHECK(code == MPI_SUCCESS || class_of(code) == MPI_ERR_TYPE); /* refused over Open MPI: see docs/limits.md */
    MPI_Win_free(&win);
}

/* Memory that ranks share: each writes into its neighbour's by a store, before and after. */
static void shared_of(const char *apart)
{
    int *mine, *its, unit, one = 1;
    MPI_Aint size;
    MPI_Info info;
    MPI_Win win;
    int n = 3000 + 7 * rank; /* not whole pages */
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", apart);
    MPI_Win_allocate_shared(n * sizeof *mine, sizeof *mine, info, MPI_COMM_WORLD, &mine, &win);
    MPI_Info_free(&info);
    MPI_Win_shared_query(win, right(), &size, &unit, &its);
    CHECK(size == (MPI_Aint)((3000 + 7 * right()) * sizeof *mine) && unit == sizeof *mine);
    CHECK(strcmp(apart, "true") == 0 || rank == ranks - 1 || its == mine + n);
    MPI_Win_lock_all(0, win);
    fill(its, 1000, rank);
    fill(its + 2000, 1000, rank + 50);
    MPI_Win_sync(win);
    answer_all();
    checkpoint_here();
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_sync(win);
    verify(mine, 1000, left());
    verify(mine + 2000, 1000, left() + 50);
    fill(its + 1000, 999, rank + 100);
    its[1999] = 0;
    MPI_Win_sync(win);
    MPI_Barrier(MPI_COMM_WORLD);
    verify(mine + 1000, 999, left() + 100);
    for (int k = 0; k < ranks; k++)
        MPI_Accumulate(&one, 1, MPI_INT, k, 1999, 1, MPI_INT, MPI_SUM, win);
    MPI_Win_unlock_all(win);
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(mine[1999] == ranks);
    MPI_Win_shared_query(win, MPI_PROC_NULL, &size, &unit, &its);
    MPI_Barrier(MPI_COMM_WORLD);
    *its = 4711;
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(rank != 0 || *mine == 4711);
    MPI_Win_free(&win);
}

static void shared(void) { shared_of("false"); }
static void shared_apart(void) { shared_of("true"); }

/* Much shared memory, of which the last rank has none; what is in it does not compress. */
static void shared_once(void)
{
    int *mine, *its, unit, n = rank == ranks - 1 ? 0 : 2 << 20;
    unsigned long x;
    MPI_Aint size;
    MPI_Win win;
    MPI_Win_allocate_shared(n * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    CHECK((mine == NULL) == (n == 0)); /* as MPICH has it */
    x = rank + 1;
    for (int i = 0; i < n; i++, x = x * 6364136223846793005 + 1442695040888963407)
        mine[i] = x >> 32;
    checkpoint_here();
    MPI_Win_shared_query(win, right(), &size, &unit, &its);
    CHECK((its == NULL) == (size == 0));
    x = right() + 1;
    for (int i = 0; i < (int)(size / sizeof *its); i++, x = x * 6364136223846793005 + 1442695040888963407)
        CHECK(its[i] == (int)(x >> 32));
    MPI_Win_free(&win);
}

/* Ranks that pass a number on through shared memory all the time, without a call. */
static void shared_loop(void)
{
    volatile long *mine, *its;
    long rounds = 0;
    int unit, end = 0;
    MPI_Aint size;
    MPI_Win win;
    MPI_Win_allocate_shared(2 * sizeof *mine, sizeof *mine, MPI_INFO_NULL, MPI_COMM_WORLD, (void *)&mine, &win);
    MPI_Win_shared_query(win, right(), &size, &unit, (void *)&its);
    mine[0] = mine[1] = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    mark(rank);
    say_ready_when_all_are();
    /* A token goes round; what it has been added to is known to its holder. */
    while (!end) {
        while (rank == 0 ? mine[0] != rounds * ranks : mine[0] != rounds * ranks + rank)
            nap();
        CHECK(mine[0] == rounds * ranks + rank);
        if (rank == 0 && access(go, F_OK) == 0)
            mine[1] = 1;
        end = mine[1];
        its[1] = end;
        __sync_synchronize();
        its[0] = mine[0] + 1;
        rounds++;
    }
    MPI_Win_fence(0, win);
    MPI_Win_free(&win);
}

static int copies, deletions;

static int copier(MPI_Win w, int k, void *x, void *v, void *out, int *flag)
{
    (void)w, (void)k, (void)x, (void)v, (void)out;
    *flag = 0;
    copies++;
    return MPI_SUCCESS;
}

static int deleter(MPI_Win w, int k, void *v, void *x)
{
    CHECK(w != MPI_WIN_NULL && k != MPI_KEYVAL_INVALID && *(int *)v == 31 && x == &copies);
    deletions++;
    return MPI_SUCCESS;
}

static int handled;

static void handler(MPI_Win *w, int *code, ...)
{
    int class;
    MPI_Error_class(*code, &class);
    CHECK(*w != MPI_WIN_NULL && class == MPI_ERR_RMA_SYNC);
    handled++;
}

/* Attributes, name, hints, group and error handlers. */
static void objects(void)
{
    int *mine, key, value = 31, flag, len, *unit, *flavor, *model, result, size, before;
    char name[MPI_MAX_OBJECT_NAME], hint[64];
    void *got;
    MPI_Aint *bytes;
    MPI_Info info;
    MPI_Group group, world;
    MPI_Errhandler e, f;
    MPI_Win win;
    MPI_Info_create(&info);
    MPI_Info_set(info, "accumulate_ordering", "none");
    MPI_Win_allocate(12 * sizeof *mine, sizeof *mine, info, MPI_COMM_WORLD, &mine, &win);
    MPI_Info_free(&info);
    MPI_Win_get_attr(win, MPI_WIN_MODEL, &model, &flag);
    before = *model;
    CHECK(flag && (before == MPI_WIN_UNIFIED || before == MPI_WIN_SEPARATE));
    MPI_Win_get_errhandler(win, &f);
    CHECK(f == MPI_ERRORS_ARE_FATAL);
    MPI_Win_create_keyval(copier, deleter, &key, &copies);
    MPI_Win_set_attr(win, key, &value);
    MPI_Win_set_name(win, "all of it");
    MPI_Win_create_errhandler(handler, &e);
    MPI_Win_set_errhandler(win, e);
    MPI_Errhandler_free(&e);
    checkpoint_here();
    MPI_Win_get_attr(win, key, &got, &flag);
    CHECK(flag && got == &value);
    MPI_Win_get_attr(win, MPI_WIN_BASE, &got, &flag);
    CHECK(flag && got == mine);
    MPI_Win_get_attr(win, MPI_WIN_SIZE, &bytes, &flag);
    CHECK(flag && *bytes == 12 * sizeof *mine);
    MPI_Win_get_attr(win, MPI_WIN_DISP_UNIT, &unit, &flag);
    CHECK(flag && *unit == sizeof *mine);
    MPI_Win_get_attr(win, MPI_WIN_CREATE_FLAVOR, &flavor, &flag);
    CHECK(flag && *flavor == MPI_WIN_FLAVOR_ALLOCATE);
    MPI_Win_get_attr(win, MPI_WIN_MODEL, &got, &flag);
    CHECK(flag && *(int *)got == before && got == model);
    MPI_Win_get_name(win, name, &len);
    CHECK(strcmp(name, "all of it") == 0 && len == 9);
    MPI_Win_get_info(win, &info);
    MPI_Info_get(info, "accumulate_ordering", 63, hint, &flag);
    CHECK(flag && strcmp(hint, "none") == 0);
    MPI_Info_free(&info);
    MPI_Win_get_group(win, &group);
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_compare(group, world, &result);
    MPI_Group_size(group, &size);
    CHECK(result == MPI_IDENT && size == ranks);
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    /* Outside of an epoch, an unlock without a lock, and one of an epoch of another kind. */
    CHECK(MPI_Put(&value, 1, MPI_INT, 0, 0, 1, MPI_INT, win) != MPI_SUCCESS);
    CHECK(MPI_Win_unlock(0, win) != MPI_SUCCESS);
    MPI_Win_lock_all(0, win);
    CHECK(MPI_Win_fence(0, win) != MPI_SUCCESS);
    MPI_Win_unlock_all(win);
    CHECK(handled == 3);
    MPI_Win_delete_attr(win, key);
    CHECK(deletions == 1);
    MPI_Win_set_attr(win, key, &value);
    MPI_Win_free_keyval(&key);
    CHECK(key == MPI_KEYVAL_INVALID);
    MPI_Win_free(&win);
    CHECK(deletions == 2 && copies == 0);
}

/* The others have come to the making of a window, and to its end, before rank 0. */
static void made_late(void)
{
    int *mine = NULL, *first, out = rank + 9;
    MPI_Win win, old;
    MPI_Win_allocate(sizeof *first, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &first, &old);
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
        MPI_Win_free(&old);
    } else if (rank % 2) {
        MPI_Win_free(&old);
    } else {
        wait_for_go();
        MPI_Win_free(&old);
    }
    MPI_Win_allocate(sizeof *mine, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &mine, &win);
    MPI_Win_fence(0, win);
    MPI_Put(&out, 1, MPI_INT, right(), 0, 1, MPI_INT, win);
    MPI_Win_fence(0, win);
    CHECK(*mine == left() + 9);
    MPI_Win_free(&win);
}

/* A window over some ranks, on a communicator that is freed, whose ranks have another order. */
static void some_ranks(void)
{
    int *mine, me, n, out;
    MPI_Comm half;
    MPI_Win win;
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
    MPI_Comm_rank(half, &me);
    MPI_Comm_size(half, &n);
    MPI_Win_allocate(sizeof *mine, 1, MPI_INFO_NULL, half, &mine, &win);
    MPI_Comm_free(&half);
    out = 100 + me;
    *mine = -1;
    MPI_Win_fence(0, win);
    MPI_Put(&out, 1, MPI_INT, (me + 1) % n, 0, 1, MPI_INT, win);
    checkpoint_here();
    MPI_Win_fence(0, win);
    CHECK(*mine == 100 + (me + n - 1) % n);
    MPI_Win_free(&win);
}

static MPI_Win lanes[3];

static void *worker(void *arg)
{
    int k = *(int *)arg, target = (rank + k) % ranks;
    long sum = 0, one = 1, old;
    for (int end = 0; !end || sum < 50; sum++) {
        end = access(go, F_OK) == 0;
        MPI_Win_lock(k % 2 ? MPI_LOCK_SHARED : MPI_LOCK_EXCLUSIVE, target, 0, lanes[k]);
        MPI_Fetch_and_op(&one, &old, MPI_LONG, target, 0, MPI_SUM, lanes[k]);
        MPI_Win_flush(target, lanes[k]);
        CHECK(old >= sum);
        MPI_Win_unlock(target, lanes[k]);
    }
    return (void *)sum;
}

/* Threads in operations on windows of their own when the checkpoint comes. */
static void threads(void)
{
    pthread_t thread[3];
    int which[3];
    long *counter[3], sum, all = 0;
    void *mine;
    for (int k = 0; k < 3; k++) {
        which[k] = k;
        MPI_Win_allocate(sizeof(long), sizeof(long), MPI_INFO_NULL, MPI_COMM_WORLD, &counter[k], &lanes[k]);
        *counter[k] = 0;
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (int k = 0; k < 3; k++)
        pthread_create(&thread[k], NULL, worker, &which[k]);
    checkpoint_here();
    for (int k = 0; k < 3; k++) {
        pthread_join(thread[k], &mine);
        long n = (long)mine;
        MPI_Allreduce(&n, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        MPI_Win_lock_all(0, lanes[k]);
        MPI_Allreduce(counter[k], &all, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        MPI_Win_unlock_all(lanes[k]);
        CHECK(all == sum);
        MPI_Win_free(&lanes[k]);
    }
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {
        {"fences", fences},           {"busy_fence", busy_fence},
        {"pscw", pscw},               {"busy_pscw", busy_pscw},
        {"locks", locks},             {"alone", alone},
        {"wanted_lock", wanted_lock}, {"got", got},
        {"places", places},
        {"lock_all", lock_all},       {"contention", contention},
        {"requests", requests},       {"derived", derived},
        {"dynamic", dynamic},         {"shared", shared},
        {"shared_apart", shared_apart}, {"shared_loop", shared_loop},
        {"shared_once", shared_once},
        {"objects", objects},         {"made_late", made_late},
        {"some_ranks", some_ranks},   {"threads", threads},
        {NULL, NULL},
    };
    return run_trap(argc, argv, traps, strcmp(argv[1], "threads") ? MPI_THREAD_SINGLE : MPI_THREAD_MULTIPLE);
}
