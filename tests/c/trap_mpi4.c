/* Traps of what MPI 4 has: see trap.h. Sessions are used without MPI_Init. */
#define _GNU_SOURCE
#include "trap.h"
#include <dlfcn.h>
#include <mpi.h>

/* Persistent collectives: active, inactive and started in different orders. */
static void persistent(void)
{
    enum { ROUNDS = 6 };
    int sum, all, word, in[8], out[8], value;
    MPI_Request r[4], other;
    CHECK(ranks <= 8);
    MPI_Allreduce_init(&value, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, MPI_INFO_NULL, &r[0]);
    MPI_Bcast_init(&word, 1, MPI_INT, ranks - 1, MPI_COMM_WORLD, MPI_INFO_NULL, &r[1]);
    MPI_Alltoall_init(out, 1, MPI_INT, in, 1, MPI_INT, MPI_COMM_WORLD, MPI_INFO_NULL, &r[2]);
    MPI_Allreduce_init_c(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD, MPI_INFO_NULL, &r[3]);
    for (int round = 0; round < ROUNDS; round++) {
        value = rank + round;
        word = rank == ranks - 1 ? 70 + round : -1;
        all = rank * 10 + round;
        for (int k = 0; k < ranks; k++)
            out[k] = rank * 100 + k + round;
        if (rank == 0)
            for (int k = 0; k < 4; k++)
                MPI_Start(&r[k]);
        else
            for (int k = 3; k >= 0; k--)
                MPI_Start(&r[k]);
        if (round == 1)
            checkpoint_here();
        MPI_Waitall(4, r, MPI_STATUSES_IGNORE);
        CHECK(sum == ranks * (ranks - 1) / 2 + ranks * round);
        CHECK(word == 70 + round && all == (ranks - 1) * 10 + round);
        for (int k = 0; k < ranks; k++)
            CHECK(in[k] == k * 100 + rank + round);
        if (round == 2) {
            /* Its duplicate is free again, with some of the members before others. */
            MPI_Request_free(&r[rank % 2 ? 1 : 0]);
            MPI_Request_free(&r[rank % 2 ? 0 : 1]);
            MPI_Allreduce_init(&value, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, MPI_INFO_NULL, &r[0]);
            MPI_Bcast_init(&word, 1, MPI_INT, ranks - 1, MPI_COMM_WORLD, MPI_INFO_NULL, &r[1]);
        }
    }
    MPI_Barrier_init(MPI_COMM_WORLD, MPI_INFO_NULL, &other);
    MPI_Start(&other);
    MPI_Wait(&other, MPI_STATUS_IGNORE);
    CHECK(other != MPI_REQUEST_NULL);
    MPI_Request_free(&other);
    for (int k = 0; k < 4; k++)
        MPI_Request_free(&r[k]);
}

/* Collectives whose datatypes are in arrays, of a topology and of a plain communicator, that rank 0 begins late. */
static void arrays(void)
{
    enum { ROUNDS = 4, WIDE = 8 };
    int dims[1] = {ranks}, periodic[1] = {1}, late = rank == 0;
    int counts[WIDE], ones[WIDE], at[WIDE], out[4 * WIDE], in[4 * WIDE], near[2][4];
    MPI_Aint places[2] = {0, 2 * sizeof(int)};
    MPI_Datatype pair, both[2], now[2], plain[WIDE], pairs[WIDE];
    MPI_Comm ring;
    MPI_Request r[3];
    CHECK(ranks <= WIDE);
    MPI_Cart_create(MPI_COMM_WORLD, 1, dims, periodic, 0, &ring);
    MPI_Type_contiguous(2, MPI_INT, &pair);
    MPI_Type_commit(&pair);
    both[0] = now[0] = MPI_INT, both[1] = now[1] = pair;
    for (int k = 0; k < ranks; k++)
        counts[k] = 2, ones[k] = 1, at[k] = 2 * k * (int)sizeof(int), plain[k] = MPI_INT, pairs[k] = pair;
    int mixed[2] = {2, 1}; /* two ints, and one pair of them */
    MPI_Neighbor_alltoallw_init(out, mixed, places, both, near[0], mixed, places, both, ring, MPI_INFO_NULL, &r[0]);
    MPI_Alltoallw_init(out, counts, at, plain, in, ones, at, pairs, MPI_COMM_WORLD, MPI_INFO_NULL, &r[1]);
    for (int round = 0; round < ROUNDS; round++) {
        for (int k = 0; k < 2 * WIDE; k++)
            out[k] = rank * 1000 + round * 100 + k;
        if (round == 1 && late)
            checkpoint_here();
        MPI_Startall(2, r);
        MPI_Ineighbor_alltoallw(out, mixed, places, now, near[1], mixed, places, now, ring, &r[2]);
        if (round == 1 && !late)
            checkpoint_here();
        MPI_Waitall(3, r, MPI_STATUSES_IGNORE);
        for (int k = 0; k < 2 * ranks; k++)
            CHECK(in[k] == k / 2 * 1000 + round * 100 + 2 * rank + k % 2);
        /* On 2 ranks both neighbours are one, and libraries differ in which of its blocks comes first. */
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < 4; i++) {
                int from = i < 2 ? left() : right(), block = near[k][i / 2 * 2] % 4 / 2;
                CHECK(near[k][i] == from * 1000 + round * 100 + 2 * block + i % 2);
                CHECK(ranks == 2 || block == 1 - i / 2);
            }
        if (round == 0) { /* the requests have it still */
            MPI_Type_free(&pair);
            MPI_Type_contiguous(2, MPI_INT, &pair);
            MPI_Type_commit(&pair);
            now[1] = pair;
        }
    }
    MPI_Request_free(&r[0]);
    MPI_Request_free(&r[1]);
    MPI_Type_free(&pair);
    MPI_Comm_free(&ring);
}

static void add_c(void *in, void *inout, MPI_Count *n, MPI_Datatype *type)
{
    (void)type;
    for (MPI_Count i = 0; i < *n; i++)
        ((int *)inout)[i] += ((int *)in)[i];
}

/* Functions with counts of 64 bits, counts that are no int among them. */
static void large(void)
{
    const MPI_Count many = (MPI_Count)3 << 30;
    MPI_Datatype huge, gaps, part, nothing;
    MPI_Count size, lb, extent, n, ni, na, nc, nd, counts[3];
    int combiner, in[100], out[100], ints[1], sum;
    MPI_Aint addresses[1];
    MPI_Datatype types[1];
    MPI_Request r[2];
    MPI_Status status;
    MPI_Op op;
    MPI_Type_contiguous_c(many, MPI_INT, &huge);
    MPI_Type_vector_c(many, 1, 3, MPI_CHAR, &gaps);
    MPI_Count sizes[2] = {many, 10}, subsizes[2] = {2, 5}, starts[2] = {many - 5, 1};
    MPI_Type_create_subarray_c(2, sizes, subsizes, starts, MPI_ORDER_C, MPI_CHAR, &part);
    MPI_Type_contiguous(0, MPI_INT, &nothing);
    MPI_Type_commit(&nothing);
    MPI_Op_create_c(add_c, 1, &op);
    fill(out, 100, rank);
    MPI_Isend_c(out, 100, MPI_INT, right(), 1, MPI_COMM_WORLD, &r[0]);
    MPI_Isend_c(out, many, nothing, right(), 2, MPI_COMM_WORLD, &r[1]);
    checkpoint_here();
    MPI_Type_size_c(huge, &size);
    CHECK(size == many * 4);
    MPI_Type_get_extent_c(huge, &lb, &extent);
    CHECK(lb == 0 && extent == many * 4);
    MPI_Type_size_c(gaps, &size);
    MPI_Type_get_true_extent_c(gaps, &lb, &extent);
    CHECK(size == many && lb == 0 && extent == many * 3 - 2);
    MPI_Type_size_c(part, &size);
    CHECK(size == 10);
    MPI_Type_get_extent_c(part, &lb, &extent);
    CHECK(lb == 0 && extent == many * 10);
    MPI_Type_get_true_extent_c(part, &lb, &extent);
    CHECK(lb == (many - 5) * 10 + 1 && extent == 15);
    MPI_Type_get_envelope_c(gaps, &ni, &na, &nc, &nd, &combiner);
    CHECK(ni == 0 && na == 0 && nc == 3 && nd == 1 && combiner == MPI_COMBINER_VECTOR);
    MPI_Type_get_contents_c(gaps, 0, 0, 3, 1, ints, addresses, counts, types);
    CHECK(counts[0] == many && counts[1] == 1 && counts[2] == 3 && types[0] == MPI_CHAR);
    MPI_Recv_c(in, many, nothing, left(), 2, MPI_COMM_WORLD, &status);
    MPI_Get_count_c(&status, MPI_INT, &n);
    CHECK(n == 0);
    MPI_Recv_c(in, 100, MPI_INT, left(), 1, MPI_COMM_WORLD, &status);
    MPI_Get_count_c(&status, MPI_INT, &n);
    CHECK(n == 100);
    verify(in, 100, left());
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    MPI_Allreduce_c(&rank, &sum, 1, MPI_INT, op, MPI_COMM_WORLD);
    CHECK(sum == ranks * (ranks - 1) / 2);
    MPI_Count each[8];
    MPI_Aint where[8];
    for (int k = 0; k < ranks; k++)
        each[k] = k + 1, where[k] = 10 * k;
    MPI_Iallgatherv_c(out, rank + 1, MPI_INT, in, each, where, MPI_INT, MPI_COMM_WORLD, r);
    MPI_Wait(r, MPI_STATUS_IGNORE);
    for (int k = 0; k < ranks; k++)
        verify(in + 10 * k, k + 1, k);
    MPI_Type_free(&huge);
    MPI_Type_free(&gaps);
    MPI_Type_free(&part);
    MPI_Type_free(&nothing);
    MPI_Op_free(&op);
}

/* A count that is no int, in memory: 2 GiB and a few bytes from rank 0 to rank 1. */
static void two_gib(void)
{
    const MPI_Count n = ((MPI_Count)1 << 31) + 16;
    char *data = malloc(n);
    MPI_Request r = MPI_REQUEST_NULL;
    MPI_Status status;
    MPI_Count got;
    CHECK(data);
    memset(data, rank == 0 ? 'a' : 'b', n);
    data[n - 1] = rank == 0 ? 'z' : 'b';
    if (rank == 0)
        MPI_Isend_c(data, n, MPI_CHAR, 1, 0, MPI_COMM_WORLD, &r);
    checkpoint_here();
    if (rank == 1) {
        MPI_Recv_c(data, n, MPI_CHAR, 0, 0, MPI_COMM_WORLD, &status);
        MPI_Get_count_c(&status, MPI_CHAR, &got);
        CHECK(got == n && data[0] == 'a' && data[n - 2] == 'a' && data[n - 1] == 'z');
    }
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    free(data);
}

/* Partitioned messages, with other partitions on the other side: half ready, in flight, not yet received. */
static void partitioned(void)
{
    enum { N = 24 };
    int out[2][N], in[2][N], flag, n, nowhere = 0;
    MPI_Request s[3], r[2];
    MPI_Status status;
    for (int k = 0; k < 2; k++) {
        MPI_Psend_init(out[k], 6, N / 6, MPI_INT, right(), 5, MPI_COMM_WORLD, MPI_INFO_NULL, &s[k]);
        MPI_Precv_init(in[k], 4, N / 4, MPI_INT, left(), 5, MPI_COMM_WORLD, MPI_INFO_NULL, &r[k]);
    }
    MPI_Psend_init(&nowhere, 1, 1, MPI_INT, MPI_PROC_NULL, 5, MPI_COMM_WORLD, MPI_INFO_NULL, &s[2]);
    for (int round = 0; round < 4; round++) {
        for (int k = 0; k < 2; k++)
            fill(out[k], N, rank + 10 * k + 100 * round);
        MPI_Startall(3, s);
        MPI_Start(&r[1]);
        for (int k = 0; k < 3; k++)
            MPI_Pready(k, s[1]);
        MPI_Pready_range(0, 5, s[0]);
        MPI_Pready(0, s[2]);
        if (round % 2 == 0)
            MPI_Start(&r[0]);
        MPI_Parrived(r[1], 0, &flag);
        if (round == 1)
            checkpoint_here();
        int rest[] = {5, 3, 4};
        MPI_Pready_list(3, rest, s[1]);
        if (round % 2 == 1)
            MPI_Start(&r[0]);
        for (flag = 0; !flag;)
            MPI_Parrived(r[0], 3, &flag);
        MPI_Wait(&r[0], &status);
        MPI_Get_count(&status, MPI_INT, &n);
        CHECK(n == N && status.MPI_SOURCE == left() && status.MPI_TAG == 5);
        MPI_Wait(&r[1], MPI_STATUS_IGNORE);
        MPI_Waitall(3, s, MPI_STATUSES_IGNORE);
        for (int k = 0; k < 2; k++)
            verify(in[k], N, left() + 10 * k + 100 * round);
    }
    for (int k = 0; k < 2; k++) {
        MPI_Request_free(&s[k]);
        MPI_Request_free(&r[k]);
    }
    MPI_Request_free(&s[2]);
}

/* A function of MPI 4.1, which the library that this program is linked with may not have. */
#define FUNCTION(name, ...)                                    \
    int (*name)(__VA_ARGS__) = (int (*)(__VA_ARGS__))dlsym(RTLD_DEFAULT, #name); \
    CHECK(name)

/* Both directions in one request, statuses without an end, buffers of a communicator. */
static void combined(void)
{
    enum { N = 50 };
    FUNCTION(MPI_Isendrecv, const void *, int, MPI_Datatype, int, int, void *, int, MPI_Datatype, int, int, MPI_Comm, MPI_Request *);
    FUNCTION(MPI_Isendrecv_replace, void *, int, MPI_Datatype, int, int, int, int, MPI_Comm, MPI_Request *);
    FUNCTION(MPI_Request_get_status_all, int, const MPI_Request *, int *, MPI_Status *);
    FUNCTION(MPI_Request_get_status_any, int, const MPI_Request *, int *, int *, MPI_Status *);
    FUNCTION(MPI_Comm_attach_buffer, MPI_Comm, void *, int);
    FUNCTION(MPI_Comm_detach_buffer, MPI_Comm, void *, int *);
    FUNCTION(MPI_Comm_iflush_buffer, MPI_Comm, MPI_Request *);
    FUNCTION(MPI_Comm_flush_buffer, MPI_Comm);
    int out[N], in[N], both[N], late[N], flag, index, size;
    static char buffer[4096];
    void *back;
    MPI_Request r[4];
    MPI_Status status;
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_SELF, &comm);
    MPI_Comm_attach_buffer(comm, buffer, sizeof buffer);
    MPI_Comm_iflush_buffer(comm, &r[0]);
    MPI_Comm_free(&comm);
    MPI_Wait(&r[0], MPI_STATUS_IGNORE);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    CHECK(MPI_Comm_attach_buffer(comm, buffer, sizeof buffer) == MPI_SUCCESS);
    fill(out, N, rank);
    fill(both, N, rank + 7);
    MPI_Isendrecv(out, N, MPI_INT, right(), 1, in, N, MPI_INT, left(), 1, comm, &r[0]);
    MPI_Isendrecv_replace(both, N, MPI_INT, right(), 2, left(), 2, comm, &r[1]);
    MPI_Irecv(late, N, MPI_INT, left(), 3, comm, &r[2]);
    for (int k = 0; k < 5; k++)
        MPI_Bsend(out, N, MPI_INT, right(), 10 + k, comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    int huge[2000] = {0}, class;
    MPI_Error_class(MPI_Bsend(huge, 2000, MPI_INT, right(), 20, comm), &class);
    CHECK(class == MPI_ERR_BUFFER);
    MPI_Comm_iflush_buffer(comm, &r[3]);
    checkpoint_here();
    for (flag = 0; !flag;)
        MPI_Request_get_status_any(2, r, &index, &flag, MPI_STATUS_IGNORE);
    CHECK(index == 0 || index == 1);
    MPI_Request_get_status_all(3, r, &flag, MPI_STATUSES_IGNORE);
    CHECK(!flag);
    meet();
    for (int k = 0; k < 5; k++) {
        int got[N];
        MPI_Recv(got, N, MPI_INT, left(), 10 + k, comm, MPI_STATUS_IGNORE);
        verify(got, N, left());
    }
    MPI_Comm_flush_buffer(comm);
    MPI_Bsend(out, N, MPI_INT, right(), 3, comm);
    MPI_Wait(&r[0], &status);
    MPI_Get_count(&status, MPI_INT, &index);
    CHECK(index == N && status.MPI_SOURCE == left());
    MPI_Waitall(3, r + 1, MPI_STATUSES_IGNORE);
    verify(in, N, left());
    verify(both, N, left() + 7);
    verify(late, N, left());
    MPI_Comm_detach_buffer(comm, &back, &size);
    CHECK(back == buffer && size == (int)sizeof buffer);
    MPI_Comm_free(&comm);
}

/* Control variables that the program has set, and a handle of one. */
static void tool(void)
{
    MPI_T_cvar_handle handle;
    MPI_Datatype type;
    MPI_T_enum list;
    char name[200], about[2000], text[200];
    int provided, n, i, count, length, verbosity, bind, scope, value = 0, other;
    CHECK(MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) == MPI_SUCCESS);
    MPI_T_cvar_get_num(&n);
    CHECK(n > 0);
    for (i = 0; i < n; i++) {
        int about_length = sizeof about;
        length = sizeof name;
        MPI_T_cvar_get_info(i, name, &length, &verbosity, &type, &list, about, &about_length, &bind, &scope);
        if (strcmp(name, "MPIR_CVAR_ALLREDUCE_SHORT_MSG_SIZE") == 0)
            break;
    }
    CHECK(i < n && type == MPI_INT && bind == MPI_T_BIND_NO_OBJECT && length == (int)strlen(name) + 1);
    CHECK(MPI_T_cvar_handle_alloc(i, NULL, &handle, &count) == MPI_SUCCESS && count == 1);
    MPI_T_cvar_read(handle, &value);
    value += 12345;
    CHECK(MPI_T_cvar_write(handle, &value) == MPI_SUCCESS);
    checkpoint_here();
    CHECK(MPI_T_cvar_read(handle, &other) == MPI_SUCCESS && other == value);
    MPI_T_cvar_handle_free(&handle);
    CHECK(handle == MPI_T_CVAR_HANDLE_NULL);
    CHECK(MPI_T_cvar_get_index(name, &other) == MPI_SUCCESS && other == i);
    CHECK(MPI_T_cvar_get_index("none", &other) == MPI_T_ERR_INVALID_NAME);
    MPI_T_category_get_num(&n);
    CHECK(n > 0);
    length = sizeof text;
    MPI_T_category_get_info(0, text, &length, NULL, NULL, &n, &other, &count);
    CHECK(MPI_T_category_get_index(text, &other) == MPI_SUCCESS && other == 0);
    CHECK(MPI_T_finalize() == MPI_SUCCESS);
    CHECK(MPI_T_cvar_get_num(&n) == MPI_T_ERR_NOT_INITIALIZED);
}

/* A session and what was made of it; MPI_Init is never called. */
static void session(void)
{
    MPI_Session s, second;
    MPI_Group world, odd;
    MPI_Comm comm, part, inter;
    MPI_Info info;
    MPI_Request r;
    char name[MPI_MAX_PSET_NAME_LEN];
    int sets, length, flag, in = -1, size, remote, sum;
    CHECK(MPI_Session_init(MPI_INFO_NULL, MPI_ERRORS_RETURN, &s) == MPI_SUCCESS);
    MPI_Session_get_num_psets(s, MPI_INFO_NULL, &sets);
    CHECK(sets >= 2);
    MPI_Initialized(&flag);
    CHECK(!flag);
    CHECK(MPI_Group_from_session_pset(s, "mpi://WORLD", &world) == MPI_SUCCESS);
    MPI_Group_rank(world, &rank);
    MPI_Group_size(world, &ranks);
    MPI_Comm_create_from_group(world, "one", MPI_INFO_NULL, MPI_ERRORS_RETURN, &comm);
    MPI_Isend(&rank, 1, MPI_INT, right(), 4, comm, &r);
    checkpoint_here();
    MPI_Recv(&in, 1, MPI_INT, left(), 4, comm, MPI_STATUS_IGNORE);
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    CHECK(in == left());
    CHECK(MPI_Session_init(MPI_INFO_NULL, MPI_ERRORS_RETURN, &second) == MPI_SUCCESS);
    length = sizeof name;
    MPI_Session_get_nth_pset(second, MPI_INFO_NULL, 1, &length, name);
    CHECK(strcmp(name, "mpi://SELF") == 0 && length == (int)strlen(name) + 1);
    MPI_Session_get_pset_info(s, "mpi://WORLD", &info);
    MPI_Info_get(info, "mpi_size", 20, name, &flag);
    CHECK(flag && atoi(name) == ranks);
    MPI_Info_free(&info);
    int mine[8], others[8], n = 0, m = 0;
    for (int k = 0; k < ranks; k++)
        if (k % 2 == rank % 2)
            mine[n++] = k;
        else
            others[m++] = k;
    MPI_Group other;
    MPI_Group_incl(world, n, mine, &odd);
    MPI_Group_incl(world, m, others, &other);
    MPI_Comm_create_from_group(odd, rank % 2 ? "odd" : "even", MPI_INFO_NULL, MPI_ERRORS_RETURN, &part);
    MPI_Comm_size(part, &size);
    CHECK(size == n);
    MPI_Intercomm_create_from_groups(odd, 0, other, 0, "both", MPI_INFO_NULL, MPI_ERRORS_RETURN, &inter);
    MPI_Comm_remote_size(inter, &remote);
    CHECK(remote == m);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, comm);
    CHECK(sum == ranks * (ranks - 1) / 2);
    CHECK(MPI_Group_from_session_pset(s, "mpi://none", &other) != MPI_SUCCESS);
    MPI_Comm_free(&inter);
    MPI_Comm_free(&part);
    MPI_Comm_free(&comm);
    MPI_Group_free(&world);
    MPI_Group_free(&odd);
    MPI_Session_finalize(&second);
    MPI_Session_finalize(&s);
    CHECK(s == MPI_SESSION_NULL);
    if (rank == 0)
        printf("ok\n");
    exit(0);
}

static MPI_Group everyone;

/* Makes a communicator by its name; what rank 0 says on it is the name's number. */
static void *named(void *name)
{
    MPI_Comm comm;
    int number = atoi(strchr(name, ' ')), said = rank == 0 ? number : -1;
    CHECK(MPI_Comm_create_from_group(everyone, name, MPI_INFO_NULL, MPI_ERRORS_RETURN, &comm) == MPI_SUCCESS);
    MPI_Bcast(&said, 1, MPI_INT, 0, comm);
    CHECK(said == number);
    MPI_Comm_free(&comm);
    return NULL;
}

/* Each rank has asked for another communicator when the checkpoint comes; hashed to 15 bits, the names are the same. */
static void names(void)
{
    char *all[] = {"library 13", "library 78"};
    pthread_t thread[2];
    MPI_Session s;
    MPI_Session_init(MPI_INFO_NULL, MPI_ERRORS_RETURN, &s);
    MPI_Group_from_session_pset(s, "mpi://WORLD", &everyone);
    pthread_create(&thread[0], NULL, named, all[rank % 2]);
    for (int i = 0; i < 100; i++)
        nap();
    checkpoint_here();
    pthread_create(&thread[1], NULL, named, all[1 - rank % 2]);
    pthread_join(thread[0], NULL);
    pthread_join(thread[1], NULL);
    MPI_Group_free(&everyone);
    MPI_Session_finalize(&s);
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {
        {"persistent", persistent},
        {"arrays", arrays},
        {"large", large},
        {"two_gib", two_gib},
        {"partitioned", partitioned},
        {"combined", combined},
        {"tool", tool},
        {"names", names},
        {NULL, NULL},
    };
    if (argc > 2 && strcmp(argv[1], "session") == 0) {
        go = argv[2];
        session();
    }
    /* Whoever has a session may have threads, whatever was asked for before. */
    return run_trap(argc, argv, traps, MPI_THREAD_SINGLE);
}
