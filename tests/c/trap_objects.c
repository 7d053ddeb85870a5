/* Traps of what is data: topologies, datatypes, attributes, handlers, info, handles after their end; see trap.h. */
#include "trap.h"
#include <mpi.h>

static int copies, deletes;

static int on_copy(MPI_Comm comm, int key, void *extra, void *in, void *out, int *flag)
{
    (void)comm, (void)key;
    copies++;
    CHECK(extra == &copies);
    *(void **)out = (char *)in + 1;
    *flag = 1;
    return MPI_SUCCESS;
}

static int on_delete_of_type(MPI_Datatype type, int key, void *value, void *extra)
{
    (void)type, (void)key, (void)value, (void)extra;
    deletes++;
    return MPI_SUCCESS;
}

static int on_delete(MPI_Comm comm, int key, void *value, void *extra)
{
    (void)comm, (void)key, (void)value;
    CHECK(extra == &copies);
    deletes++;
    return MPI_SUCCESS;
}

static int on_refused_copy(MPI_Comm comm, int key, void *extra, void *in, void *out, int *flag)
{
    (void)comm, (void)key, (void)extra, (void)in, (void)out, (void)flag;
    return MPI_ERR_OTHER;
}

/* A duplicate that an attribute's function refuses while it is being made. */
static void refused_duplicate(void)
{
    MPI_Comm from, to;
    MPI_Request r;
    int key;
    MPI_Comm_create_keyval(on_refused_copy, MPI_COMM_NULL_DELETE_FN, &key, NULL);
    MPI_Comm_dup(MPI_COMM_WORLD, &from);
    MPI_Comm_set_errhandler(from, MPI_ERRORS_RETURN);
    MPI_Comm_set_attr(from, key, NULL);
    CHECK(MPI_Comm_idup(from, &to, &r) != MPI_SUCCESS);
    CHECK(to == MPI_COMM_NULL && r == MPI_REQUEST_NULL);
    MPI_Comm_free_keyval(&key);
    MPI_Comm_free(&from);
}

/* Attributes with functions, on a communicator and on a datatype, and the predefined ones. */
static void attributes(void)
{
    MPI_Comm a, b;
    MPI_Datatype t, u, part, same;
    int key, dead, type_key, flag, *bound, *last, class, one;
    char base[4], *value;
    MPI_Comm_create_keyval(on_copy, on_delete, &key, &copies);
    MPI_Comm_create_keyval(MPI_COMM_DUP_FN, MPI_COMM_NULL_DELETE_FN, &dead, NULL);
    MPI_Type_create_keyval(MPI_TYPE_DUP_FN, on_delete_of_type, &type_key, NULL);
    MPI_Comm_dup(MPI_COMM_WORLD, &a);
    MPI_Comm_set_attr(a, key, base);
    MPI_Comm_set_attr(a, dead, base + 3);
    MPI_Comm_free_keyval(&dead); /* the attribute stays */
    MPI_Type_contiguous(3, MPI_INT, &t);
    MPI_Type_set_attr(t, type_key, base + 2);
    MPI_Add_error_class(&class);
    refused_duplicate();
    checkpoint_here();
    MPI_Comm_dup(a, &b);
    CHECK(copies == 1);
    MPI_Comm_get_attr(b, key, &value, &flag);
    CHECK(flag && value == base + 1);
    MPI_Comm_set_attr(b, key, base);
    CHECK(deletes == 1);
    MPI_Comm_delete_attr(b, key);
    CHECK(deletes == 2);
    MPI_Comm_get_attr(b, key, &value, &flag);
    CHECK(!flag);
    MPI_Comm_free(&b);
    CHECK(deletes == 2);
    MPI_Comm_free(&a);
    CHECK(deletes == 3);
    MPI_Type_dup(t, &u);
    MPI_Type_get_attr(u, type_key, &value, &flag);
    CHECK(flag && value == base + 2);
    MPI_Type_free(&u);
    CHECK(deletes == 4);
    MPI_Type_dup(MPI_INT, &part);
    MPI_Type_set_attr(part, type_key, base);
    MPI_Type_contiguous(2, part, &u);
    MPI_Type_get_contents(u, 1, 0, 1, &one, NULL, &same);
    MPI_Type_free(&u);
    MPI_Type_free(&same); /* the program still has the other handle */
    CHECK(deletes == 4);
    MPI_Type_get_attr(part, type_key, &value, &flag);
    CHECK(flag && value == base);
    MPI_Type_free(&part);
    MPI_Type_free(&t);
    CHECK(deletes == 6);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &bound, &flag);
    CHECK(flag && *bound >= 32767);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_LASTUSEDCODE, &last, &flag);
    CHECK(flag && *last >= class);
    MPI_Comm_free_keyval(&key);
    MPI_Type_free_keyval(&type_key);
}

/* Cartesian, graph and distributed graph topologies: queries and collectives of neighbours. */
static void topologies(void)
{
    MPI_Comm cart, graph, dist, sub;
    int dims[2] = {1, ranks}, periods[2] = {0, 1}, keep[2] = {0, 1}, at[2], n, m, weighted, kind;
    int index[16], edges[32], in[4], out[4], weights[2] = {3, 4}, got[2], list[2], to[2];
    MPI_Cart_create(MPI_COMM_WORLD, 2, dims, periods, 0, &cart);
    MPI_Cart_sub(cart, keep, &sub);
    for (int k = 0; k < ranks; k++) { /* a ring, one way */
        index[k] = k + 1;
        edges[k] = (k + 1) % ranks;
    }
    MPI_Graph_create(MPI_COMM_WORLD, ranks, index, edges, 0, &graph);
    list[0] = left();
    to[0] = right();
    MPI_Dist_graph_create_adjacent(MPI_COMM_WORLD, 1, list, weights, 1, to, weights + 1, MPI_INFO_NULL, 0, &dist);
    checkpoint_here();
    MPI_Topo_test(cart, &kind);
    CHECK(kind == MPI_CART);
    MPI_Topo_test(graph, &kind);
    CHECK(kind == MPI_GRAPH);
    MPI_Topo_test(dist, &kind);
    CHECK(kind == MPI_DIST_GRAPH);
    MPI_Cart_coords(cart, rank, 2, at);
    CHECK(at[0] == 0 && at[1] == rank);
    MPI_Cartdim_get(sub, &n);
    MPI_Cart_shift(sub, 0, 1, &in[0], &in[1]);
    CHECK(n == 1 && in[0] == left() && in[1] == right());
    MPI_Cart_shift(cart, 0, 1, &in[0], &in[1]);
    CHECK(in[0] == MPI_PROC_NULL && in[1] == MPI_PROC_NULL);
    out[0] = 100 + rank;
    in[0] = in[1] = in[2] = in[3] = -1;
    MPI_Neighbor_allgather(out, 1, MPI_INT, in, 1, MPI_INT, cart);
    CHECK(in[0] == -1 && in[1] == -1 && in[2] == 100 + left() && in[3] == 100 + right());
    MPI_Neighbor_allgather(out, 1, MPI_INT, in, 1, MPI_INT, sub);
    CHECK(in[0] == 100 + left() && in[1] == 100 + right());
    MPI_Graphdims_get(graph, &n, &m);
    CHECK(n == ranks && m == ranks);
    MPI_Graph_neighbors_count(graph, rank, &n);
    MPI_Graph_neighbors(graph, rank, 1, got);
    CHECK(n == 1 && got[0] == right());
    MPI_Dist_graph_neighbors_count(dist, &n, &m, &weighted);
    CHECK(n == 1 && m == 1 && weighted);
    MPI_Dist_graph_neighbors(dist, 1, list, got, 1, to, got + 1);
    CHECK(list[0] == left() && to[0] == right() && got[0] == 3 && got[1] == 4);
    in[0] = -1;
    MPI_Neighbor_alltoall(out, 1, MPI_INT, in, 1, MPI_INT, dist);
    CHECK(in[0] == 100 + left());
    MPI_Comm_free(&cart);
    MPI_Comm_free(&sub);
    MPI_Comm_free(&graph);
    MPI_Comm_free(&dist);
}

/* Derived types of all constructors: sent, taken apart and described after the checkpoint. */
static void types(void)
{
    struct part {
        char c;
        double d[2];
        int i;
    } mine[3], theirs[3];
    int blocks[3] = {1, 2, 1}, sizes[2] = {4, 6}, subsizes[2] = {2, 3}, starts[2] = {1, 2}, n, na, nd, how, ints[8];
    MPI_Aint places[3] = {offsetof(struct part, c), offsetof(struct part, d), offsetof(struct part, i)}, lb, extent;
    MPI_Datatype kinds[3] = {MPI_CHAR, MPI_DOUBLE, MPI_INT}, record, element, block, inner[1], real[2];
    MPI_Type_create_f90_real(12, MPI_UNDEFINED, &real[0]);
    MPI_Type_create_struct(3, blocks, places, kinds, &record);
    MPI_Type_create_resized(record, 0, sizeof(struct part), &element);
    MPI_Type_free(&record); /* still a part of the other */
    MPI_Type_commit(&element);
    MPI_Type_create_subarray(2, sizes, subsizes, starts, MPI_ORDER_C, MPI_INT, &block);
    MPI_Type_commit(&block);
    MPI_Type_set_name(block, "block");
    for (int k = 0; k < 3; k++)
        mine[k] = (struct part){'a' + rank, {rank, k}, 10 * rank + k};
    memset(theirs, 0, sizeof theirs);
    checkpoint_here();
    MPI_Sendrecv(mine, 3, element, right(), 1, theirs, 3, element, left(), 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (int k = 0; k < 3; k++)
        CHECK(theirs[k].c == 'a' + left() && theirs[k].d[0] == left() && theirs[k].d[1] == k &&
              theirs[k].i == 10 * left() + k);
    MPI_Type_get_extent(element, &lb, &extent);
    CHECK(lb == 0 && extent == sizeof(struct part));
    MPI_Type_get_envelope(element, &n, &na, &nd, &how);
    CHECK(how == MPI_COMBINER_RESIZED && n == 0 && na == 2 && nd == 1);
    MPI_Aint addresses[2];
    MPI_Type_get_contents(element, 0, 2, 1, ints, addresses, inner);
    CHECK(addresses[1] == sizeof(struct part));
    MPI_Type_get_envelope(inner[0], &n, &na, &nd, &how);
    CHECK(how == MPI_COMBINER_STRUCT && n == 4 && na == 3 && nd == 3);
    MPI_Type_free(&inner[0]);
    MPI_Type_get_envelope(block, &n, &na, &nd, &how);
    CHECK(how == MPI_COMBINER_SUBARRAY && n == 8 && nd == 1);
    MPI_Type_get_contents(block, n, na, nd, ints, addresses, inner);
    CHECK(ints[0] == 2 && ints[2] == 6 && ints[4] == 3 && ints[6] == 2 && ints[7] == MPI_ORDER_C && inner[0] == MPI_INT);
    char name[MPI_MAX_OBJECT_NAME];
    MPI_Type_get_name(block, name, &n);
    CHECK(strcmp(name, "block") == 0);
    int grid[24], flat[6], position = 0;
    fill(grid, 24, 1);
    MPI_Pack(grid, 1, block, flat, sizeof flat, &position, MPI_COMM_WORLD);
    CHECK(position == sizeof flat && flat[0] == grid[8] && flat[5] == grid[16]);
    MPI_Type_free(&element);
    MPI_Type_free(&block);
    MPI_Type_create_f90_real(12, MPI_UNDEFINED, &real[1]);
    CHECK(real[0] == real[1]); /* nobody may free one */
}

static int seen;
static void on_error(MPI_Comm *comm, int *code, ...)
{
    int class;
    (void)comm;
    MPI_Error_class(*code, &class);
    seen = class;
}

/* Handlers stay; handles that were freed give an error of the right class, and no crash. */
static void handles(void)
{
    MPI_Comm a, b, gone;
    MPI_Datatype type, old_type;
    MPI_Op op, old_op;
    MPI_Request r, old;
    MPI_Group group, old_group;
    MPI_Errhandler user, found;
    MPI_Info info, other;
    int value = 1, sum, n, flag, key = 0;
    char text[32], name[MPI_MAX_OBJECT_NAME], latin[101] = "";
    memset(latin, 0xe9, 100); /* no UTF-8 */
    MPI_Comm_dup(MPI_COMM_WORLD, &a);
    MPI_Comm_set_name(a, latin);
    MPI_Type_set_name(MPI_INT, latin);
    MPI_Comm_create_errhandler(on_error, &user);
    MPI_Comm_set_errhandler(a, user);
    MPI_Errhandler_free(&user);
    MPI_Comm_dup(a, &b); /* inherits */
    MPI_Info_create(&info);
    MPI_Info_set(info, "first", "one");
    MPI_Info_set(info, "second", "two");
    MPI_Info_set(info, "\xe9", latin + 80);
    MPI_Comm_set_info(b, info);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_dup(MPI_COMM_WORLD, &gone);
    MPI_Comm dead = gone;
    MPI_Comm_free(&gone);
    MPI_Type_contiguous(2, MPI_INT, &type);
    MPI_Type_commit(&type);
    old_type = type;
    MPI_Type_free(&type);
    MPI_Op_create((MPI_User_function *)on_error, 1, &op);
    old_op = op;
    MPI_Op_free(&op);
    MPI_Comm_group(MPI_COMM_WORLD, &group);
    old_group = group;
    MPI_Group_free(&group);
    MPI_Recv_init(&value, 1, MPI_INT, 0, 0, MPI_COMM_WORLD, &r);
    old = r;
    MPI_Request_free(&r);
    checkpoint_here();
    MPI_Send(&value, 1, MPI_INT, ranks, 0, b);
    CHECK(seen == MPI_ERR_RANK);
    MPI_Comm_get_errhandler(b, &found);
    CHECK(found != MPI_ERRORS_RETURN && found != MPI_ERRORS_ARE_FATAL);
    MPI_Errhandler_free(&found);
    MPI_Info_get(info, "second", 31, text, &flag);
    CHECK(flag && strcmp(text, "two") == 0);
    MPI_Info_get_nkeys(info, &n);
    MPI_Info_get_nthkey(info, 0, text);
    CHECK(n == 3 && strcmp(text, "first") == 0);
    MPI_Info_get(info, "\xe9", 31, text, &flag);
    CHECK(flag && strcmp(text, latin + 80) == 0);
    MPI_Comm_get_name(a, name, &n);
    CHECK(n == 100 && strcmp(name, latin) == 0);
    MPI_Type_get_name(MPI_INT, name, &n);
    CHECK(n == 100 && strcmp(name, latin) == 0);
    MPI_Info_dup(info, &other);
    MPI_Info_delete(other, "first");
    CHECK(class_of(MPI_Info_delete(other, "first")) == MPI_ERR_INFO_NOKEY);
    MPI_Info_free(&other);
    MPI_Info_free(&info);
    CHECK(class_of(MPI_Comm_size(dead, &n)) == MPI_ERR_COMM);
    CHECK(class_of(MPI_Comm_rank(MPI_COMM_NULL, &n)) == MPI_ERR_COMM);
    CHECK(class_of(MPI_Send(&value, 1, old_type, 0, 0, MPI_COMM_WORLD)) == MPI_ERR_TYPE);
    CHECK(class_of(MPI_Send(&value, 1, MPI_DATATYPE_NULL, 0, 0, MPI_COMM_WORLD)) == MPI_ERR_TYPE);
    CHECK(class_of(MPI_Send(&value, -1, MPI_INT, 0, 0, MPI_COMM_WORLD)) == MPI_ERR_COUNT);
    CHECK(class_of(MPI_Send(&value, 1, MPI_INT, 0, -5, MPI_COMM_WORLD)) == MPI_ERR_TAG);
    CHECK(class_of(MPI_Allreduce(&value, &sum, 1, MPI_INT, old_op, MPI_COMM_WORLD)) == MPI_ERR_OP);
    CHECK(class_of(MPI_Group_size(old_group, &n)) == MPI_ERR_GROUP);
    CHECK(class_of(MPI_Start(&old)) == MPI_ERR_REQUEST);
    CHECK(class_of(MPI_Comm_free_keyval(&key)) == MPI_ERR_KEYVAL);
    MPI_Comm_free(&a);
    MPI_Comm_free(&b);
}

static void add(void *in, void *inout, int *n, MPI_Datatype *type)
{
    CHECK(*type == MPI_INT);
    for (int i = 0; i < *n; i++)
        ((int *)inout)[i] += ((int *)in)[i];
}

static void twice_the_sum(void *in, void *inout, int *n, MPI_Datatype *type)
{
    CHECK(*type == MPI_INT);
    for (int i = 0; i < *n; i++)
        ((int *)inout)[i] = 2 * (((int *)in)[i] + ((int *)inout)[i]);
}

/* More operators than any library has a name for; one too many is refused. */
static void operators(void)
{
    static MPI_Op ops[5000];
    int n, code = MPI_SUCCESS, one = 1, sum;
    for (n = 0; n < 500; n++)
        MPI_Op_create(n % 2 ? twice_the_sum : add, 1, &ops[n]);
    MPI_Op_free(&ops[100]);
    checkpoint_here();
    for (int i = 0; i < 500; i += 33) {
        MPI_Allreduce(&one, &sum, 1, MPI_INT, ops[i], MPI_COMM_WORLD);
        CHECK(sum == (i % 2 ? 2 * ranks : ranks));
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    for (; n < 5000 && code == MPI_SUCCESS; n++)
        code = MPI_Op_create(add, 1, &ops[n]);
    CHECK(n == 4096 + 2 && class_of(code) == MPI_ERR_OTHER);
    MPI_Op_free(&ops[7]);
    MPI_Op_create(twice_the_sum, 1, &ops[7]);
    MPI_Allreduce(&one, &sum, 1, MPI_INT, ops[7], MPI_COMM_WORLD);
    CHECK(sum == 2 * ranks);
}

/* What the library has told of itself stays as it was, whichever library it is now. */
static void told(void)
{
    enum { KEYS = 6, CLASSES = 70, CODES = CLASSES + 3 };
    int keys[KEYS] = {MPI_TAG_UB, MPI_HOST, MPI_IO, MPI_WTIME_IS_GLOBAL, MPI_UNIVERSE_SIZE, MPI_APPNUM};
    int codes[CODES], *own = codes + CLASSES, values[KEYS], there[KEYS], *value, flag, n, of;
    char version[MPI_MAX_LIBRARY_VERSION_STRING], now[MPI_MAX_LIBRARY_VERSION_STRING];
    static char texts[CODES][MPI_MAX_ERROR_STRING];
    for (int k = 0; k < KEYS; k++) {
        MPI_Comm_get_attr(MPI_COMM_WORLD, keys[k], &value, &there[k]);
        values[k] = there[k] ? *value : 0;
    }
    CHECK(there[0] && values[0] >= 32767 && values[0] < 1 << 23);
    for (int k = 0; k < CLASSES; k++)
        codes[k] = k;
    MPI_Add_error_class(&own[0]);
    MPI_Add_error_code(own[0], &own[1]);
    MPI_Add_error_code(MPI_ERR_OTHER, &own[2]);
    MPI_Add_error_string(own[0], "a class");
    MPI_Add_error_string(own[1], "a code");
    MPI_Add_error_string(own[2], "another");
    for (int k = 0; k < CODES; k++)
        MPI_Error_string(codes[k], texts[k], &n);
    CHECK(strcmp(texts[CLASSES], "a class") == 0 && strcmp(texts[CLASSES + 1], "a code") == 0);
    CHECK(strcmp(texts[CLASSES + 2], "another") == 0);
    MPI_Get_library_version(version, &n);
    checkpoint_here();
    for (int k = 0; k < KEYS; k++) {
        MPI_Comm_get_attr(MPI_COMM_WORLD, keys[k], &value, &flag);
        CHECK(flag == there[k] && (!flag || *value == values[k]));
    }
    for (int k = 0; k < CODES; k++) {
        MPI_Error_string(codes[k], now, &n);
        CHECK(strcmp(now, texts[k]) == 0 && (int)strlen(now) == n);
    }
    MPI_Error_class(own[1], &of);
    CHECK(of == own[0]);
    MPI_Error_class(own[2], &of);
    CHECK(of == MPI_ERR_OTHER);
    MPI_Get_library_version(now, &n);
    CHECK(strcmp(now, version) == 0);
}

/* The arguments and the environment are the ones that the program was started with. */
static void environment(void)
{
    char before[64];
    const char *path = getenv("PATH"), *set = getenv("TRAP_VALUE");
    CHECK(path && set);
    snprintf(before, sizeof before, "%s", set);
    setenv("TRAP_OWN", "mine", 1);
    checkpoint_here();
    CHECK(getenv("TRAP_VALUE") == set && strcmp(set, before) == 0 && strcmp(set, "before") == 0);
    CHECK(strcmp(getenv("TRAP_OWN"), "mine") == 0 && getenv("PATH") == path);
}

/* Error classes and codes of the program's that it has deleted: their numbers are given again, their texts are not. Of MPICH's kind alone. */
static void deleted(void)
{
#ifdef MPICH_VERSION
    int first[2], code[2], class[2], n, of;
    char text[MPI_MAX_ERROR_STRING];
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    for (int round = 0; round < 100; round++) {
        for (int k = 0; k < 2; k++) {
            MPI_Add_error_class(&class[k]);
            MPI_Add_error_code(class[k], &code[k]);
            MPI_Error_string(code[k], text, &n);
            CHECK(!strstr(text, "of round"));
            snprintf(text, sizeof text, "code %d of round %d", k, round);
            MPI_Add_error_string(code[k], text);
            CHECK(round == 0 || code[k] == first[k]);
            first[k] = code[k];
        }
        if (round == 50)
            checkpoint_here();
        for (int k = 0; k < 2; k++) {
            MPI_Error_string(code[k], text, &n);
            MPI_Error_class(code[k], &of);
            CHECK(atoi(text + 5) == k && atoi(strstr(text, "round ") + 6) == round && of == class[k]);
            CHECK(k == 1 || MPIX_Delete_error_string(code[k]) == MPI_SUCCESS);
            CHECK(MPIX_Delete_error_code(code[k]) == MPI_SUCCESS);
            CHECK(MPIX_Delete_error_class(class[k]) == MPI_SUCCESS);
        }
        CHECK(MPIX_Delete_error_code(code[0]) != MPI_SUCCESS);
    }
#endif
}

static int hinted(MPI_Comm comm, const char *key)
{
    char text[8];
    MPI_Info info;
    int flag;
    MPI_Comm_get_info(comm, &info);
    MPI_Info_get(info, key, sizeof text - 1, text, &flag);
    MPI_Info_free(&info);
    return flag && strcmp(text, "true") == 0;
}

/* Hints of a communicator: they are added to, and a duplicate has none of them. */
static void hints(void)
{
    static const char *const keys[] = {"mpi_assert_no_any_tag", "mpi_assert_exact_length"};
    MPI_Comm given, plain, later, split;
    MPI_Request r;
    MPI_Info info[2];
    for (int k = 0; k < 2; k++) {
        MPI_Info_create(&info[k]);
        MPI_Info_set(info[k], keys[k], "true");
    }
    MPI_Comm_dup_with_info(MPI_COMM_WORLD, info[0], &given);
    MPI_Comm_dup(given, &plain);
    MPI_Comm_idup(given, &later, &r);
    MPI_Wait(&r, MPI_STATUS_IGNORE);
    MPI_Comm_set_info(given, info[1]);
    MPI_Comm_split_type(given, MPI_COMM_TYPE_SHARED, 0, info[0], &split);
    checkpoint_here();
    CHECK(hinted(split, keys[0]) && !hinted(split, keys[1]));
    for (int k = 0; k < 2; k++) {
        CHECK(hinted(given, keys[k]) && !hinted(plain, keys[k]) && !hinted(later, keys[k]));
        MPI_Info_free(&info[k]);
    }
    MPI_Comm_free(&given);
    MPI_Comm_free(&plain);
    MPI_Comm_free(&later);
    MPI_Comm_free(&split);
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {
        {"attributes", attributes}, {"topologies", topologies},   {"types", types},
        {"handles", handles},       {"environment", environment}, {"told", told},
        {"operators", operators},   {"hints", hints},
        {"deleted", deleted},
        {NULL, NULL},
    };
    char **first = argv;
    int n = argc, result = run_trap(argc, argv, traps, MPI_THREAD_FUNNELED);
    return result || n != 3 || argv != first || argv[3] != NULL || strcmp(argv[2], go) != 0;
}
