/* A trap for programs of the standard ABI: numbers, handles and functions that are others in MPI libraries. See trap.h. */
#include "trap.h"
#include <mpi.h>

static MPI_Comm comm_of_handler;
static int calls, deleted;

static void sum_of(void *in, void *inout, int *n, MPI_Datatype *type)
{
    CHECK(*type == MPI_LONG);
    for (int i = 0; i < *n; i++)
        ((long *)inout)[i] += ((long *)in)[i];
}

static void handler(MPI_Comm *comm, int *code, ...)
{
    int class;
    MPI_Error_class(*code, &class);
    CHECK(*comm == comm_of_handler && class == MPI_ERR_RANK);
    calls++;
}

static int copy(MPI_Comm comm, int key, void *extra, void *value, void *out, int *flag)
{
    (void)comm, (void)key, (void)extra;
    *(void **)out = (char *)value + 1;
    *flag = 1;
    return MPI_SUCCESS;
}

static int gone(MPI_Comm comm, int key, void *value, void *extra)
{
    (void)comm, (void)key, (void)value, (void)extra;
    deleted++;
    return MPI_SUCCESS;
}

/* What the library says of itself is the standard's, whatever is below. */
static void itself(void)
{
    int major, minor, flag, length = 8, n;
    char value[MPI_MAX_INFO_VAL];
    MPI_Info info;
    MPI_Abi_get_version(&major, &minor);
    CHECK(major == 1 && minor == 0);
    MPI_Get_version(&major, &minor);
    CHECK(major == 5);
    MPI_Abi_get_info(&info);
    MPI_Info_get_string(info, "mpi_aint_size", &length, value, &flag);
    CHECK(flag && strcmp(value, "8") == 0);
    MPI_Info_free(&info);
    MPI_Abi_get_fortran_info(&info);
    MPI_Info_get_nkeys(info, &n);
    CHECK(n >= 4 && info != MPI_INFO_NULL);
    MPI_Info_free(&info);
    CHECK(info == MPI_INFO_NULL);
    MPI_Query_thread(&n);
    CHECK(n == MPI_THREAD_SERIALIZED);
}

/* Control variables of MPI_T, as far as the library has any. */
static void tool(void)
{
    int provided, n, verbosity, bind, scope, length = 0, known = 0;
    MPI_Datatype type;
    MPI_T_init_thread(MPI_THREAD_SERIALIZED, &provided);
    MPI_T_cvar_get_num(&n);
    for (int i = 0; i < n; i++) {
        if (MPI_T_cvar_get_info(i, NULL, &length, &verbosity, &type, NULL, NULL, NULL, &bind, &scope) != MPI_SUCCESS)
            continue; /* Open MPI has numbers without a variable */
        known++;
        CHECK(verbosity >= MPI_T_VERBOSITY_USER_BASIC && verbosity <= MPI_T_VERBOSITY_MPIDEV_ALL);
        CHECK(bind == MPI_T_BIND_NO_OBJECT && scope >= MPI_T_SCOPE_CONSTANT && scope <= MPI_T_SCOPE_ALL_EQ);
        CHECK(MPI_T_cvar_get_info(i, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) == MPI_SUCCESS);
    }
    CHECK(known > 10);
    CHECK(MPI_T_cvar_get_index("no such variable", &n) == MPI_T_ERR_INVALID_NAME);
    MPI_T_finalize();
}

/* The numbers in what a datatype was made of, as the function with large counts tells them. */
static void contents_with_counts(MPI_Datatype part)
{
    MPI_Count sizes[2] = {6, 8}, subsizes[2] = {2, 3}, starts[2] = {1, 2}, counts[8];
    int whole[1] = {6}, distribs[1] = {MPI_DISTRIBUTE_BLOCK}, args[1] = {MPI_DISTRIBUTE_DFLT_DARG}, processes[1] = {ranks};
    int ints[8];
    MPI_Aint addresses[8];
    MPI_Datatype inner[2], made;
    MPI_Type_get_contents_c(part, 8, 0, 0, 1, ints, addresses, counts, inner);
    CHECK(ints[0] == 2 && ints[7] == MPI_ORDER_C && inner[0] == MPI_INT);
    MPI_Type_create_subarray_c(2, sizes, subsizes, starts, MPI_ORDER_FORTRAN, MPI_INT, &made);
    MPI_Type_get_contents_c(made, 2, 0, 6, 1, ints, addresses, counts, inner);
    CHECK(ints[0] == 2 && ints[1] == MPI_ORDER_FORTRAN && counts[5] == 2 && inner[0] == MPI_INT);
    MPI_Type_free(&made);
    MPI_Type_create_darray(ranks, rank, 1, whole, distribs, args, processes, MPI_ORDER_C, MPI_INT, &made);
    MPI_Type_get_contents_c(made, 8, 0, 0, 1, ints, addresses, counts, inner);
    CHECK(ints[4] == MPI_DISTRIBUTE_BLOCK && ints[5] == MPI_DISTRIBUTE_DFLT_DARG && ints[7] == MPI_ORDER_C);
    MPI_Type_free(&made);
}

/* The values of attributes of several windows stay apart; what a query for neighbours does not fill stays as it was. */
static void windows_and_graph(MPI_Win win)
{
    MPI_Win other;
    MPI_Comm graph;
    int *kinds[2], flag, index[64], edges[64], got[64];
    MPI_Win_create_dynamic(MPI_INFO_NULL, MPI_COMM_WORLD, &other);
    MPI_Win_get_attr(win, MPI_WIN_CREATE_FLAVOR, &kinds[0], &flag);
    MPI_Win_get_attr(other, MPI_WIN_CREATE_FLAVOR, &kinds[1], &flag);
    CHECK(*kinds[0] == MPI_WIN_FLAVOR_ALLOCATE && *kinds[1] == MPI_WIN_FLAVOR_DYNAMIC);
    MPI_Win_free(&other);
    for (int k = 0; k < ranks; k++) {
        index[k] = k + 1;
        edges[k] = (k + 1) % ranks;
    }
    MPI_Graph_create(MPI_COMM_WORLD, ranks, index, edges, 0, &graph);
    memset(got, -1, sizeof got);
    MPI_Graph_neighbors(graph, rank, 64, got);
    CHECK(got[0] == right() && got[1] == -1 && got[63] == -1);
    memset(got, -1, sizeof got);
    MPI_Graph_get(graph, ranks, 64, index, got);
    CHECK(got[rank] == right() && got[63] == -1);
    MPI_Comm_free(&graph);
}

static void everything(void)
{
    int in[3] = {-1, -1, -1}, out = 40 + rank, key, flag, *at, ints[8], n, class;
    long sum, one = rank + 1;
    MPI_Aint addresses[8];
    MPI_Comm dup, split;
    MPI_Datatype part, inner[2];
    MPI_Errhandler e;
    MPI_File file;
    MPI_Op op;
    MPI_Request r[3];
    MPI_Status s[3];
    MPI_Win win;
    void *value;

    itself();
    tool();
    MPI_Comm_dup(MPI_COMM_WORLD, &dup);
    MPI_Comm_create_keyval(copy, gone, &key, NULL);
    MPI_Comm_set_attr(dup, key, in);
    MPI_Comm_create_errhandler(handler, &e);
    MPI_Comm_set_errhandler(dup, e);
    MPI_Op_create(sum_of, 1, &op);
    int sizes[2] = {6, 8}, subsizes[2] = {2, 3}, starts[2] = {1, 2};
    MPI_Type_create_subarray(2, sizes, subsizes, starts, MPI_ORDER_C, MPI_INT, &part);
    MPI_Type_commit(&part);
    MPI_Buffer_attach(MPI_BUFFER_AUTOMATIC, 0);
    MPI_Win_allocate(sizeof(int), sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &at, &win);
    *at = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock(MPI_LOCK_EXCLUSIVE, right(), 0, win);
    MPI_Accumulate(&out, 1, MPI_INT, right(), 0, 1, MPI_INT, MPI_REPLACE, win);
    MPI_File_open(MPI_COMM_WORLD, "standard", MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file);
    MPI_File_seek(file, rank * sizeof out, MPI_SEEK_SET);
    MPI_File_write_all(file, &out, 1, MPI_INT, &s[0]);
    MPI_Get_count(&s[0], MPI_INT, &n);
    CHECK(n == 1);

    MPI_Irecv(&in[0], 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, dup, &r[0]);
    MPI_Irecv(&in[1], 1, MPI_INT, MPI_PROC_NULL, 3, dup, &r[1]);
    MPI_Iallreduce(&one, &sum, 1, MPI_LONG, MPI_SUM, dup, &r[2]);
    checkpoint_here();

    MPI_Bsend(&out, 1, MPI_INT, right(), 7, dup);
    MPI_Waitall(3, r, s);
    CHECK(r[0] == MPI_REQUEST_NULL && in[0] == 40 + left() && s[0].MPI_SOURCE == left() && s[0].MPI_TAG == 7);
    CHECK(s[1].MPI_SOURCE == MPI_PROC_NULL && s[1].MPI_TAG == MPI_ANY_TAG && sum == ranks * (ranks + 1) / 2);
    sum = 0;
    MPI_Allreduce(&one, &sum, 1, MPI_LONG, op, dup);
    CHECK(sum == ranks * (ranks + 1) / 2);
    MPI_Get_count(&s[0], MPI_INT, &n);
    CHECK(n == 1);
    MPI_Buffer_detach(&value, &n);
    CHECK(value == MPI_BUFFER_AUTOMATIC);

    comm_of_handler = dup;
    MPI_Send(&out, 1, MPI_INT, ranks + 5, 0, dup);
    CHECK(calls == 1);
    MPI_Comm_dup(dup, &split);
    MPI_Comm_get_attr(split, key, &value, &flag);
    CHECK(flag && value == (char *)in + 1);
    MPI_Comm_free(&split);
    CHECK(split == MPI_COMM_NULL && deleted == 1);
    MPI_Comm_split(MPI_COMM_WORLD, rank == 0 ? MPI_UNDEFINED : 1, 0, &split);
    CHECK((split == MPI_COMM_NULL) == (rank == 0));
    if (rank != 0)
        MPI_Comm_free(&split);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &split);
    MPI_Comm_compare(split, MPI_COMM_WORLD, &n);
    CHECK(n == MPI_CONGRUENT);
    MPI_Comm_free(&split);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &at, &flag);
    CHECK(flag && *at >= 32767);

    MPI_Type_get_contents(part, 8, 0, 1, ints, addresses, inner);
    CHECK(ints[0] == 2 && ints[7] == MPI_ORDER_C && inner[0] == MPI_INT);
    windows_and_graph(win);
    contents_with_counts(part);
    MPI_Type_get_envelope(part, &n, &n, &n, &class);
    CHECK(class == MPI_COMBINER_SUBARRAY);

    MPI_Win_unlock(right(), win);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_get_attr(win, MPI_WIN_BASE, &at, &flag);
    CHECK(flag && *at == 40 + left());
    MPI_Win_get_attr(win, MPI_WIN_CREATE_FLAVOR, &at, &flag);
    CHECK(flag && *at == MPI_WIN_FLAVOR_ALLOCATE);
    /* Since MPI 4.1 this is no error where the memory is not shared. */
    MPI_Win_shared_query(win, rank, addresses, &n, &value);
    CHECK(addresses[0] == sizeof(int) && n == sizeof(int) && *(int *)value == 40 + left());
    MPI_Win_shared_query(win, right(), addresses, &n, &value);
    CHECK(addresses[0] == 0 && n == 0 && value == NULL);
    MPI_Win_set_errhandler(win, MPI_ERRORS_RETURN);
    MPI_Error_class(MPI_Win_unlock(right(), win), &class);
    CHECK(class == MPI_ERR_RMA_SYNC);
    MPI_Win_free(&win);

    MPI_File_seek(file, -(MPI_Offset)sizeof out, MPI_SEEK_CUR);
    MPI_File_read(file, &n, 1, MPI_INT, MPI_STATUS_IGNORE);
    CHECK(n == 40 + rank);
    MPI_File_close(&file);
    CHECK(file == MPI_FILE_NULL);
    MPI_Error_class(MPI_File_open(MPI_COMM_SELF, "not there", MPI_MODE_RDONLY, MPI_INFO_NULL, &file), &class);
    CHECK(class == MPI_ERR_NO_SUCH_FILE);

    itself();
    tool();
    MPI_Op_free(&op);
    MPI_Type_free(&part);
    MPI_Errhandler_free(&e);
    MPI_Comm_free(&dup);
    CHECK(op == MPI_OP_NULL && part == MPI_DATATYPE_NULL && e == MPI_ERRHANDLER_NULL && deleted == 2);
}

static const struct trap traps[] = {{"everything", everything}, {NULL, NULL}};

int main(int argc, char **argv) { return run_trap(argc, argv, traps, MPI_THREAD_SERIALIZED); }
