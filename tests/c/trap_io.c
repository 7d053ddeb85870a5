/* Traps of files: see trap.h. The working directory is the test's own. */
#include "trap.h"
#include <mpi.h>

enum { N = 1000 };

static MPI_File open_file(const char *name, int amode)
{
    MPI_File f;
    CHECK(MPI_File_open(MPI_COMM_WORLD, name, amode, MPI_INFO_NULL, &f) == MPI_SUCCESS);
    return f;
}

static int count_of(MPI_Status *s)
{
    int n;
    MPI_Get_count(s, MPI_INT, &n);
    return n;
}

/* What is in the file, read without MPI: `n` integers from `at` on. */
static void verify_file(const char *name, int at, int n, int seed)
{
    int *data = malloc(n * sizeof *data), fd = open(name, O_RDONLY);
    CHECK(fd >= 0);
    CHECK(pread(fd, data, n * sizeof *data, at * sizeof *data) == (ssize_t)(n * sizeof *data));
    verify(data, n, seed);
    close(fd);
    free(data);
}

/* Explicit offsets, by one rank and by all; the file is opened in another directory than the one after. */
static void offsets(void)
{
    int out[N], in[N];
    MPI_Status s;
    MPI_Offset size;
    MPI_File f = open_file("data", MPI_MODE_CREATE | MPI_MODE_EXCL | MPI_MODE_RDWR);
    fill(out, N, rank);
    CHECK(MPI_File_write_at(f, rank * sizeof out, out, N, MPI_INT, &s) == MPI_SUCCESS);
    CHECK(count_of(&s) == N);
    CHECK(chdir("/") == 0);
    checkpoint_here();
    fill(out, N, 100 + rank);
    CHECK(MPI_File_write_at_all(f, (ranks + rank) * sizeof out, out, N, MPI_INT, &s) == MPI_SUCCESS);
    CHECK(count_of(&s) == N);
    MPI_File_sync(f);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_sync(f);
    MPI_File_read_at(f, right() * sizeof in, in, N, MPI_INT, &s);
    verify(in, N, right());
    MPI_File_read_at_all(f, (ranks + right()) * sizeof in, in, N, MPI_INT, &s);
    verify(in, N, 100 + right());
    CHECK(MPI_File_read_at(f, 2 * ranks * sizeof in, in, N, MPI_INT, &s) == MPI_SUCCESS && count_of(&s) == 0);
    MPI_File_get_size(f, &size);
    CHECK(size == (MPI_Offset)(2 * ranks * sizeof in));
    MPI_File_close(&f);
    CHECK(f == MPI_FILE_NULL);
}

/* Positions of each rank's own, in bytes, in a view, and at the end. */
static void pointers(void)
{
    int data[N];
    MPI_Offset at, end, byte;
    MPI_Status s;
    MPI_File plain = open_file("plain", MPI_MODE_CREATE | MPI_MODE_RDWR), viewed, end_of;
    fill(data, N, rank);
    MPI_File_write_at_all(plain, rank * sizeof data, data, N, MPI_INT, &s);
    viewed = open_file("plain", MPI_MODE_RDONLY);
    MPI_File_set_view(viewed, 40, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    end_of = open_file("plain", MPI_MODE_WRONLY | MPI_MODE_APPEND);
    MPI_File_seek(plain, 4 * 10 * (rank + 1), MPI_SEEK_SET);
    MPI_File_read(viewed, data, 5 + rank, MPI_INT, &s);
    checkpoint_here();
    MPI_File_get_position(plain, &at);
    CHECK(at == 40 * (rank + 1));
    MPI_File_get_position(viewed, &at);
    CHECK(at == 5 + rank);
    MPI_File_get_byte_offset(viewed, at, &byte);
    CHECK(byte == 40 + 4 * at);
    MPI_File_get_position(end_of, &end);
    CHECK(end == (MPI_Offset)(ranks * sizeof data));
    MPI_File_read(viewed, data, 3, MPI_INT, &s);
    CHECK(count_of(&s) == 3 && data[0] == 10 + 5 + rank && data[2] == 10 + 7 + rank);
    MPI_File_read_all(plain, data, 2, MPI_INT, &s);
    CHECK(count_of(&s) == 2 && data[0] == 10 * (rank + 1));
    MPI_File_seek(viewed, -1, MPI_SEEK_CUR);
    MPI_File_read(viewed, data, 1, MPI_INT, &s);
    CHECK(data[0] == 10 + 7 + rank);
    if (rank == 0)
        MPI_File_write(end_of, data, 1, MPI_INT, &s);
    MPI_File_seek(end_of, 0, MPI_SEEK_END);
    MPI_File_close(&end_of);
    MPI_File_get_size(plain, &end);
    CHECK(end == (MPI_Offset)(ranks * sizeof data + 4));
    MPI_File_close(&viewed);
    MPI_File_close(&plain);
}

/* The position that all ranks share: one after the other, in order, and of a sequential file. */
static void shared(void)
{
    int data[N], next = 0;
    MPI_Offset at, before;
    MPI_Status s;
    MPI_File f = open_file("shared", MPI_MODE_CREATE | MPI_MODE_RDWR), tape;
    time_t opened = time(NULL);
    MPI_File_set_view(f, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    fill(data, N, rank);
    CHECK(MPI_File_write_ordered(f, data, N, MPI_INT, &s) == MPI_SUCCESS && count_of(&s) == N);
    MPI_File_write_shared(f, data, N, MPI_INT, &s);
    MPI_File_sync(f);
    MPI_Barrier(MPI_COMM_WORLD);
    while (time(NULL) <= opened) /* MPICH mixes up shared positions of one file opened twice in a second */
        nap();
    tape = open_file("shared", MPI_MODE_RDONLY | MPI_MODE_SEQUENTIAL);
    MPI_File_set_view(tape, MPI_DISPLACEMENT_CURRENT, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    MPI_File_read_ordered(tape, data, N - 4 * rank, MPI_INT, &s);
    CHECK(class_of(MPI_File_read_at(tape, 0, data, 1, MPI_INT, &s)) == MPI_ERR_UNSUPPORTED_OPERATION);
    checkpoint_here();
    MPI_File_get_position_shared(f, &at);
    CHECK(at == 2 * N * ranks);
    MPI_Barrier(MPI_COMM_WORLD);
    fill(data, N, 100 + rank);
    MPI_File_write_ordered(f, data, N, MPI_INT, &s);
    MPI_File_sync(f); /* what another rank wrote for this one, too */
    MPI_Barrier(MPI_COMM_WORLD);
    verify_file("shared", (2 * ranks + rank) * N, N, 100 + rank);
    for (int r = 0; r < ranks; r++)
        verify_file("shared", r * N, N, r);
    MPI_File_seek_shared(f, N, MPI_SEEK_SET);
    MPI_File_read_shared(f, data, 1, MPI_INT, &s);
    CHECK(data[0] >= 1000003 && data[0] < 1000003 + ranks);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_get_position_shared(f, &at);
    CHECK(at == N + ranks);
    /* the tape goes on where it was: the ranks have read N, N - 4, ... integers */
    for (int r = 0; r < ranks; r++)
        next += N - 4 * r;
    before = next + rank;
    CHECK(MPI_File_read_ordered(tape, data, 1, MPI_INT, &s) == MPI_SUCCESS && count_of(&s) == 1);
    CHECK(data[0] == before / N * 1000003 + before % N);
    MPI_File_set_view(tape, MPI_DISPLACEMENT_CURRENT, MPI_BYTE, MPI_INT, "native", MPI_INFO_NULL);
    MPI_File_read_ordered(tape, data, 4, MPI_BYTE, &s);
    before += ranks;
    CHECK(data[0] == before / N * 1000003 + before % N);
    MPI_File_close(&tape);
    MPI_File_close(&f);
}

/* Views that only derived datatypes say; the types are freed. */
static void views(void)
{
    enum { ROWS = 8, COLUMNS = 12 };
    int sizes[2] = {ROWS, COLUMNS}, sub[2] = {ROWS, COLUMNS / 2}, start[2] = {0, 0};
    int spread[2] = {MPI_DISTRIBUTE_CYCLIC, MPI_DISTRIBUTE_BLOCK}, args[2] = {2, MPI_DISTRIBUTE_DFLT_DARG};
    int grid[2] = {ranks, 1}, data[ROWS * COLUMNS], combiner, i, a, d;
    char name[MPI_MAX_DATAREP_STRING];
    MPI_Datatype part, cyclic, strided, resized, e, t;
    MPI_Offset disp, at;
    MPI_Status s;
    MPI_File f[3];
    for (int k = 0; k < 3; k++) {
        char file[] = {'v', '0' + k, 0};
        f[k] = open_file(file, MPI_MODE_CREATE | MPI_MODE_RDWR);
    }
    start[1] = rank % 2 * COLUMNS / 2;
    MPI_Type_create_subarray(2, sizes, sub, start, MPI_ORDER_C, MPI_INT, &part);
    MPI_Type_create_darray(ranks, rank, 2, sizes, spread, args, grid, MPI_ORDER_C, MPI_INT, &cyclic);
    MPI_Type_vector(3, 2, 4, MPI_INT, &strided);
    MPI_Type_create_resized(strided, 0, 12 * sizeof(int), &resized);
    MPI_Type_commit(&part);
    MPI_Type_commit(&cyclic);
    MPI_Type_commit(&resized);
    MPI_File_set_view(f[0], 16, MPI_INT, part, "native", MPI_INFO_NULL);
    MPI_File_set_view(f[1], 0, MPI_INT, cyclic, "native", MPI_INFO_NULL);
    MPI_File_set_view(f[2], 8 * rank, MPI_INT, resized, "native", MPI_INFO_NULL);
    MPI_Type_free(&part);
    MPI_Type_free(&cyclic);
    MPI_Type_free(&strided);
    MPI_Type_free(&resized);
    for (int k = 0; k < 3; k++) {
        fill(data, 20, 10 * k + rank);
        MPI_File_write_all(f[k], data, 20, MPI_INT, &s);
        CHECK(count_of(&s) == 20);
    }
    checkpoint_here();
    for (int k = 0; k < 3; k++) {
        MPI_File_get_position(f[k], &at);
        CHECK(at == 20);
        MPI_File_get_view(f[k], &disp, &e, &t, name);
        CHECK(disp == (k == 0 ? 16 : k == 2 ? 8 * rank : 0) && e == MPI_INT && strcmp(name, "native") == 0);
        MPI_Type_get_envelope(t, &i, &a, &d, &combiner);
        CHECK(combiner != MPI_COMBINER_NAMED);
        MPI_Type_free(&t);
        for (i = 0; i < 20; i++)
            data[i] = (10 * k + rank) * 1000003 + 20 + i;
        MPI_File_write_all(f[k], data, 20, MPI_INT, &s);
        MPI_File_seek(f[k], 0, MPI_SEEK_SET);
        memset(data, 0, sizeof data);
        MPI_File_read_all(f[k], data, 40, MPI_INT, &s);
        CHECK(count_of(&s) == 40);
        verify(data, 40, 10 * k + rank);
        MPI_File_close(&f[k]);
    }
    if (rank == 0) { /* where the bytes are */
        verify_file("v0", 4, COLUMNS / 2, 0);
        verify_file("v1", 0, 2 * COLUMNS, 10);
        verify_file("v2", 0, 2, 20);
    }
}

/* Requests of all kinds in flight. */
static void in_flight(void)
{
    enum { LARGE = 1 << 20 };
    int *big = malloc(LARGE * sizeof *big), more[N], all[N], at_all[N], in[N], common[N];
    MPI_Request r[6];
    MPI_Status s[6];
    MPI_File f = open_file("flight", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_File g = open_file("shared", MPI_MODE_CREATE | MPI_MODE_RDWR);
    fill(in, N, 500 + rank);
    fill(more, N, 1 + rank);
    fill(all, N, 10 + rank);
    fill(at_all, N, 20 + rank);
    fill(common, N, 30);
    fill(big, LARGE, 40 + rank);
    MPI_File_write_at_all(f, rank * sizeof in, in, N, MPI_INT, s);
    /* Open MPI's collective ends before another rank has written this one's part. */
    MPI_Barrier(MPI_COMM_WORLD);
    memset(in, 0, sizeof in);
    MPI_File_seek(f, (ranks + rank) * sizeof in, MPI_SEEK_SET);
    CHECK(MPI_File_iwrite(f, more, N, MPI_INT, &r[0]) == MPI_SUCCESS);
    CHECK(MPI_File_iread_at(f, rank * sizeof in, in, N, MPI_INT, &r[1]) == MPI_SUCCESS);
    CHECK(MPI_File_iwrite_at_all(f, (2 * ranks + rank) * sizeof in, at_all, N, MPI_INT, &r[2]) == MPI_SUCCESS);
    MPI_File_seek(f, (3 * ranks + rank) * sizeof in, MPI_SEEK_SET);
    CHECK(MPI_File_iwrite_all(f, all, N, MPI_INT, &r[3]) == MPI_SUCCESS);
    CHECK(MPI_File_iwrite_shared(g, common, N, MPI_INT, &r[4]) == MPI_SUCCESS);
    CHECK(MPI_File_iwrite_at(f, 4 * ranks * sizeof in + rank * LARGE * sizeof *big, big, LARGE, MPI_INT, &r[5]) ==
          MPI_SUCCESS);
    checkpoint_here();
    MPI_Waitall(6, r, s);
    for (int k = 0; k < 6; k++)
        CHECK(count_of(&s[k]) == (k == 5 ? LARGE : N) && r[k] == MPI_REQUEST_NULL);
    verify(in, N, 500 + rank);
    MPI_File_sync(f);
    MPI_Barrier(MPI_COMM_WORLD);
    verify_file("flight", (ranks + rank) * N, N, 1 + rank);
    verify_file("flight", (2 * ranks + rank) * N, N, 20 + rank);
    verify_file("flight", (3 * ranks + rank) * N, N, 10 + rank);
    verify_file("flight", 4 * ranks * N + rank * LARGE, LARGE, 40 + rank);
    verify_file("shared", rank * N, N, 30);
    MPI_File_close(&g);
    MPI_File_close(&f);
    free(big);
}

/* Split collectives begun before and ended after. */
static void split(void)
{
    int a[N], b[N], c[N];
    MPI_Status s;
    MPI_File f = open_file("split", MPI_MODE_CREATE | MPI_MODE_RDWR), g;
    fill(a, N, rank);
    MPI_File_write_at_all(f, rank * sizeof a, a, N, MPI_INT, &s);
    g = open_file("split", MPI_MODE_RDONLY);
    fill(b, N, 10 + rank);
    CHECK(MPI_File_write_at_all_begin(f, (ranks + rank) * sizeof a, b, N, MPI_INT) == MPI_SUCCESS);
    CHECK(MPI_File_read_ordered_begin(g, c, N, MPI_INT) == MPI_SUCCESS);
    CHECK(class_of(MPI_File_write_all_begin(f, b, N, MPI_INT)) == MPI_ERR_IO);
    checkpoint_here();
    CHECK(MPI_File_write_at_all_end(f, b, &s) == MPI_SUCCESS && count_of(&s) == N);
    CHECK(MPI_File_read_ordered_end(g, c, &s) == MPI_SUCCESS && count_of(&s) == N);
    CHECK(class_of(MPI_File_write_all_end(f, b, &s)) == MPI_ERR_IO);
    verify(c, N, rank);
    MPI_File_sync(f);
    MPI_Barrier(MPI_COMM_WORLD);
    verify_file("split", (ranks + rank) * N, N, 10 + rank);
    MPI_File_close(&g);
    MPI_File_close(&f);
}

/* Atomic mode, sizes, amode, group, info; a file that is not there when it is closed. */
static void state(void)
{
    char value[64];
    int data[N], flag, amode, size;
    MPI_Aint extent;
    MPI_Offset bytes;
    MPI_Group group;
    MPI_Info info, used;
    MPI_Status s;
    MPI_File f, gone, own;
    MPI_Comm dup;
    MPI_Info_create(&info);
    MPI_Info_set(info, "cb_buffer_size", "65536");
    MPI_Comm_dup(MPI_COMM_WORLD, &dup);
    CHECK(MPI_File_open(dup, "state", MPI_MODE_CREATE | MPI_MODE_RDWR, info, &f) == MPI_SUCCESS);
    MPI_Comm_free(&dup);
    MPI_Info_free(&info);
    MPI_File_set_atomicity(f, 1);
    MPI_File_preallocate(f, 100000);
    gone = open_file("gone", MPI_MODE_CREATE | MPI_MODE_RDWR | MPI_MODE_DELETE_ON_CLOSE);
    snprintf(value, sizeof value, "own-%d", rank);
    CHECK(MPI_File_open(MPI_COMM_SELF, value, MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &own) == MPI_SUCCESS);
    fill(data, N, rank);
    MPI_File_write(own, data, N / 2, MPI_INT, &s);
    checkpoint_here();
    MPI_File_write(own, data + N / 2, N / 2, MPI_INT, &s);
    CHECK(count_of(&s) == N / 2);
    MPI_File_get_amode(own, &amode);
    CHECK(amode == (MPI_MODE_CREATE | MPI_MODE_WRONLY));
    CHECK(MPI_File_f2c(MPI_File_c2f(own)) == own && MPI_File_c2f(MPI_FILE_NULL) == 0);
    verify_file(value, 0, N, rank);
    MPI_File_close(&own);
    MPI_File_get_atomicity(f, &flag);
    MPI_File_get_amode(f, &amode);
    MPI_File_get_size(f, &bytes);
    CHECK(flag == 1 && amode == (MPI_MODE_CREATE | MPI_MODE_RDWR) && bytes == 100000);
    MPI_File_get_type_extent(f, MPI_INT, &extent);
    CHECK(extent == sizeof(int));
    MPI_File_get_group(f, &group);
    MPI_Group_size(group, &size);
    CHECK(size == ranks);
    MPI_Group_free(&group);
    MPI_File_get_info(f, &used);
    MPI_Info_get(used, "cb_buffer_size", sizeof value - 1, value, &flag);
    CHECK(flag && strcmp(value, "65536") == 0);
    MPI_Info_free(&used);
    MPI_File_write_at(f, 0, data, 10, MPI_INT, &s);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_read_at(f, 0, data, 10, MPI_INT, &s);
    CHECK(count_of(&s) == 10 && data[9] - data[0] == 9);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_set_size(f, 4000);
    MPI_File_get_size(f, &bytes);
    CHECK(bytes == 4000);
    MPI_File_close(&f);
    CHECK(access("gone", F_OK) == 0);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_write_at_all(gone, 0, data, 10, MPI_INT, &s);
    MPI_File_close(&gone);
    CHECK(access("gone", F_OK) != 0);
}

static int raised;
static MPI_File about;

static void on_error(MPI_File *f, int *code, ...)
{
    CHECK(*f == about && class_of(*code) != MPI_SUCCESS);
    raised++;
}

/* Errors, and who is told of them. */
static void errors(void)
{
    int data[2] = {1, 2};
    MPI_Status s;
    MPI_Errhandler own, other;
    MPI_File f, g = open_file("errors", MPI_MODE_CREATE | MPI_MODE_WRONLY);
    MPI_File_write_all(g, data, 2, MPI_INT, &s);
    MPI_File_close(&g);
    CHECK(class_of(MPI_File_open(MPI_COMM_WORLD, "no/such/file", MPI_MODE_RDONLY, MPI_INFO_NULL, &f)) ==
          MPI_ERR_NO_SUCH_FILE);
    f = open_file("errors", MPI_MODE_RDONLY);
    MPI_File_create_errhandler(on_error, &own);
    about = f;
    MPI_File_set_errhandler(f, own);
    MPI_File_set_errhandler(MPI_FILE_NULL, own);
    MPI_Errhandler_free(&own);
    checkpoint_here();
    CHECK(f == about);
    CHECK(MPI_File_write(f, data, 1, MPI_INT, &s) != MPI_SUCCESS && raised == 1);
    CHECK(MPI_File_write_all(f, data, 1, MPI_INT, &s) != MPI_SUCCESS && raised == 2);
    MPI_File_call_errhandler(f, MPI_ERR_IO);
    CHECK(raised == 3);
    MPI_File_get_errhandler(f, &other);
    MPI_File_set_errhandler(f, MPI_ERRORS_RETURN);
    CHECK(class_of(MPI_File_write(f, data, 1, MPI_INT, &s)) == MPI_ERR_READ_ONLY && raised == 3);
    for (int whence = 0; whence < 3; whence++) /* as MPI::SEEK_SET and the like in Open MPI's C++ */
        CHECK(class_of(MPI_File_seek_shared(f, 0, whence)) == MPI_ERR_ARG);
    MPI_File_set_errhandler(f, other);
    MPI_Errhandler_free(&other);
    about = MPI_FILE_NULL;
    CHECK(MPI_File_delete("no-such-file", MPI_INFO_NULL) != MPI_SUCCESS && raised == 4);
    CHECK(MPI_File_open(MPI_COMM_WORLD, "errors", MPI_MODE_RDONLY | MPI_MODE_CREATE, MPI_INFO_NULL, &g) !=
              MPI_SUCCESS && raised == 5);
    CHECK(MPI_File_sync(MPI_FILE_NULL) != MPI_SUCCESS && raised == 6);
    MPI_File_set_errhandler(MPI_FILE_NULL, MPI_ERRORS_RETURN);
    about = f;
    MPI_File_close(&f);
    CHECK(raised == 6);
}

/* A view in which MPICH tells wrong positions: data before the lower bound. */
static void odd(void)
{
    int data[2] = {10, 20};
    MPI_Datatype late;
    MPI_Status s;
    MPI_File f = open_file("odd", MPI_MODE_CREATE | MPI_MODE_RDWR);
    MPI_Type_create_resized(MPI_INT, sizeof(int), 3 * sizeof(int), &late);
    MPI_Type_commit(&late);
    MPI_File_set_view(f, 0, MPI_INT, late, "native", MPI_INFO_NULL);
    MPI_Type_free(&late);
    MPI_File_write(f, data, 1, MPI_INT, &s);
    checkpoint_here();
    MPI_File_write(f, data + 1, 1, MPI_INT, &s);
    MPI_File_close(&f);
}

/* The others are in a call that rank 0 makes later. */
static void busy(int (*call)(MPI_File *))
{
    MPI_File f = open_file("busy", MPI_MODE_CREATE | MPI_MODE_RDWR);
    mark(rank);
    if (rank == 0) {
        say_ready_when_all_are();
        wait_for_go();
    }
    CHECK(call(&f) == MPI_SUCCESS);
    if (f != MPI_FILE_NULL) {
        MPI_File_sync(f);
        MPI_Barrier(MPI_COMM_WORLD);
        verify_file("busy", rank * N, N, rank);
        MPI_File_close(&f);
    }
}

static int writes(MPI_File *f)
{
    int data[N];
    MPI_Status s;
    fill(data, N, rank);
    return MPI_File_write_ordered(*f, data, N, MPI_INT, &s);
}

static int opens(MPI_File *f)
{
    MPI_File second;
    int code = MPI_File_open(MPI_COMM_WORLD, "second",
                             MPI_MODE_CREATE | MPI_MODE_EXCL | MPI_MODE_WRONLY | MPI_MODE_DELETE_ON_CLOSE, MPI_INFO_NULL,
                             &second);
    return code ? code : MPI_File_close(&second) ? 1 : writes(f);
}

static int closes(MPI_File *f) { return MPI_File_close(f); }

static void busy_write(void) { busy(writes); }
static void busy_open(void) { busy(opens); }
static void busy_close(void) { busy(closes); }

/*
 * Rank 0 waits for a collective write and for a message that comes when the other ranks have done theirs: in both orders, of
 * two and of three requests. Only a wait or test of its own carries the write on.
 */
static void beside(void)
{
    enum { PIECES = 4096, PIECE = 16, LONG = PIECES * PIECE };
    static int out[LONG];
    MPI_File f;
    MPI_Datatype strided;
    fill(out, LONG, 70 + rank);
    CHECK(MPI_File_open(MPI_COMM_WORLD, "beside", MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f) == MPI_SUCCESS);
    MPI_Type_vector(PIECES, PIECE, ranks * PIECE, MPI_INT, &strided);
    MPI_Type_commit(&strided);
    MPI_File_set_view(f, rank * PIECE * sizeof *out, MPI_INT, strided, "native", MPI_INFO_NULL);
    for (int round = 0; round < 4; round++) {
        int n = 2 + round / 2, word = round;
        MPI_Request r[3] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL, MPI_REQUEST_NULL};
        MPI_File_seek(f, 0, MPI_SEEK_SET);
        CHECK(MPI_File_iwrite_all(f, out, LONG, MPI_INT, &r[round % 2]) == MPI_SUCCESS);
        if (rank == 0) {
            word = -1;
            MPI_Irecv(&word, 1, MPI_INT, ranks - 1, round, MPI_COMM_WORLD, &r[1 - round % 2]);
        }
        if (round == 1)
            checkpoint_here();
        MPI_Waitall(n, r, MPI_STATUSES_IGNORE);
        if (rank == ranks - 1)
            MPI_Send(&word, 1, MPI_INT, 0, round, MPI_COMM_WORLD);
        CHECK(word == round);
    }
    MPI_File_close(&f);
    MPI_Type_free(&strided);
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {
        {"offsets", offsets},       {"pointers", pointers},   {"shared", shared},         {"views", views},
        {"in_flight", in_flight},   {"split", split},         {"state", state},           {"errors", errors},
        {"busy_write", busy_write}, {"busy_open", busy_open}, {"busy_close", busy_close}, {"odd", odd},
        {"beside", beside},
        {NULL, NULL},
    };
    return run_trap(argc, argv, traps, MPI_THREAD_SINGLE);
}
