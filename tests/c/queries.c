/* Functions that tell and make things without communication: prints what they give. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, size;
static int noted;

static void note(MPI_Comm *comm, int *code, ...)
{
    (void)comm;
    MPI_Error_class(*code, &noted);
}

static int attributes_copied(MPI_Comm comm, int key, void *extra, void *in, void *out, int *flag)
{
    (void)comm, (void)key, (void)extra;
    *(void **)out = in;
    *flag = 1;
    return MPI_SUCCESS;
}

static void extent(const char *name, MPI_Datatype type)
{
    MPI_Count lb, extent, true_lb, true_extent, size;
    MPI_Type_get_extent_x(type, &lb, &extent);
    MPI_Type_get_true_extent_x(type, &true_lb, &true_extent);
    MPI_Type_size_x(type, &size);
    printf("%s: %lld %lld, %lld %lld, %lld\n", name, (long long)lb, (long long)extent, (long long)true_lb,
           (long long)true_extent, (long long)size);
}

static void types(void)
{
    int blocks[2] = {2, 1}, places[2] = {0, 3}, flag;
    MPI_Aint far[2] = {0, 16}, position = 0, length, at, other;
    MPI_Datatype made, old[2] = {MPI_INT, MPI_DOUBLE};
    int value[6], back[6] = {0};
    char buffer[64];
    MPI_Type_create_hindexed_block(2, 1, far, MPI_INT, &made);
    extent("hindexed block", made);
    MPI_Type_free(&made);
    MPI_Type_create_f90_real(6, MPI_UNDEFINED, &made);
    extent("f90 real", made);
    MPI_Type_create_f90_complex(12, MPI_UNDEFINED, &made);
    extent("f90 complex", made);
    MPI_Type_create_f90_integer(6, &made);
    extent("f90 integer", made);
    MPI_Type_create_indexed_block(2, 1, places, MPI_INT, &made);
    MPI_Type_commit(&made);
    extent("indexed block", made);
    for (int i = 0; i < 6; i++)
        value[i] = rank + i;
    MPI_Pack_external_size("external32", 1, made, &length);
    MPI_Pack_external("external32", value, 1, made, buffer, sizeof buffer, &position);
    printf("packed %ld %ld, %d\n", (long)length, (long)position, buffer[3]);
    position = 0;
    MPI_Unpack_external("external32", buffer, sizeof buffer, &position, back, 1, made);
    printf("unpacked %d %d %d\n", back[0], back[2], back[3]);
    int key;
    MPI_Type_create_keyval(MPI_TYPE_NULL_COPY_FN, MPI_TYPE_NULL_DELETE_FN, &key, NULL);
    MPI_Type_set_attr(made, key, value);
    MPI_Type_delete_attr(made, key);
    MPI_Type_get_attr(made, key, &at, &flag);
    printf("attribute of a type %d\n", flag);
    MPI_Type_free_keyval(&key);
    MPI_Type_free(&made);
    MPI_Status status;
    MPI_Count count;
    memset(&status, 0, sizeof status);
    MPI_Status_set_elements_x(&status, MPI_INT, 12345);
    MPI_Get_elements_x(&status, MPI_INT, &count);
    printf("elements %lld\n", (long long)count);
    MPI_Get_address(&value[0], &at);
    MPI_Get_address(&value[4], &other);
    printf("addresses %ld %ld\n", (long)MPI_Aint_diff(other, at), (long)(MPI_Aint_add(at, 16) - other));
#if MPI_VERSION < 5
    MPI_Aint lb;
    MPI_Address(&value[1], &other);
    printf("address %ld\n", (long)(other - at));
    MPI_Type_struct(2, blocks, far, old, &made);
    MPI_Type_extent(made, &length);
    MPI_Type_lb(made, &lb);
    MPI_Type_ub(made, &other);
    printf("struct %ld %ld %ld\n", (long)length, (long)lb, (long)other);
    MPI_Type_free(&made);
    MPI_Type_hvector(3, 1, 12, MPI_INT, &made);
    extent("hvector", made);
    MPI_Type_free(&made);
    MPI_Type_hindexed(2, blocks, far, MPI_INT, &made);
    extent("hindexed", made);
    MPI_Type_free(&made);
#endif
}

static void print_group(const char *name, MPI_Group group)
{
    MPI_Group world;
    int n, r, from[16], to[16];
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_size(group, &n);
    MPI_Group_rank(group, &r);
    for (int i = 0; i < n; i++)
        from[i] = i;
    MPI_Group_translate_ranks(group, n, from, world, to);
    printf("%s: %d of %d:", name, r == MPI_UNDEFINED ? -1 : r, n);
    for (int i = 0; i < n; i++)
        printf(" %d", to[i]);
    printf("\n");
    MPI_Group_free(&world);
}

static void groups(void)
{
    MPI_Group world, a, b, c;
    int first[1] = {0}, back[1][3] = {{size - 1, 0, -1}}, even[1][3] = {{0, size - 1, 2}};
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_excl(world, 1, first, &a);
    print_group("excl", a);
    MPI_Group_range_incl(world, 1, even, &b);
    print_group("range_incl", b);
    MPI_Group_range_incl(world, 1, back, &c);
    print_group("backwards", c);
    MPI_Group_free(&c);
    MPI_Group_range_excl(world, 1, even, &c);
    print_group("range_excl", c);
    MPI_Group_free(&c);
    MPI_Group_union(b, a, &c);
    print_group("union", c);
    MPI_Group_free(&c);
    MPI_Group_intersection(a, b, &c);
    print_group("intersection", c);
    MPI_Group_free(&c);
    MPI_Group_free(&a);
    MPI_Group_free(&b);
    MPI_Group_free(&world);
}

static void errors(void)
{
    int class, code, of, len;
    char text[MPI_MAX_ERROR_STRING];
    MPI_Errhandler handler, found;
    MPI_Comm comm;
    MPI_Add_error_class(&class);
    MPI_Add_error_code(class, &code);
    MPI_Add_error_string(code, "one of ours");
    MPI_Error_class(code, &of);
    MPI_Error_string(code, text, &len);
    printf("code %d, %s, %d\n", of == class, text, len);
    MPI_Error_string(MPI_ERR_RANK, text, &len);
    printf("%s\n", text);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
#if MPI_VERSION < 5
    MPI_Errhandler_create(note, &handler);
    MPI_Errhandler_set(comm, handler);
    MPI_Errhandler_get(comm, &found);
#else
    MPI_Comm_create_errhandler(note, &handler);
    MPI_Comm_set_errhandler(comm, handler);
    MPI_Comm_get_errhandler(comm, &found);
#endif
    printf("handler %d\n", found == handler);
    MPI_Errhandler_free(&found);
    MPI_Comm_call_errhandler(comm, MPI_ERR_TAG);
    printf("called %d\n", noted == MPI_ERR_TAG);
    MPI_Errhandler_free(&handler);
    MPI_Comm_disconnect(&comm);
    printf("disconnected %d\n", comm == MPI_COMM_NULL);
}

static void communicators(void)
{
    MPI_Info info, got;
    MPI_Comm comm, pair, inter;
    MPI_Group group;
    int flag, len, n, dims[2] = {0, 0}, periods[2] = {1, 0}, at[2], to;
    char value[32];
    void *attribute;
    MPI_Info_create(&info);
    MPI_Info_set(info, "splitproc_test", "a value");
    MPI_Info_get_valuelen(info, "splitproc_test", &len, &flag);
    printf("length %d %d\n", len, flag);
    MPI_Comm_dup_with_info(MPI_COMM_WORLD, info, &comm);
    MPI_Info_free(&info);
    MPI_Comm_get_info(comm, &got);
    MPI_Info_get(got, "no_such_key", 31, value, &flag);
    printf("info %d\n", flag);
    MPI_Info_free(&got);
    int key;
#if MPI_VERSION < 5
    MPI_Keyval_create(attributes_copied, MPI_NULL_DELETE_FN, &key, NULL);
    MPI_Attr_put(comm, key, &noted);
    MPI_Comm_dup(comm, &pair);
    MPI_Attr_get(pair, key, &attribute, &flag);
    printf("attribute %d %d\n", flag, attribute == &noted);
    MPI_Attr_delete(pair, key);
    MPI_Attr_get(pair, key, &attribute, &flag);
    printf("deleted %d\n", flag);
    MPI_Keyval_free(&key);
    MPI_Comm_free(&pair);
#endif
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &pair);
    MPI_Intercomm_create(pair, 0, MPI_COMM_WORLD, 1 - rank % 2, 5, &inter);
    MPI_Comm_remote_group(inter, &group);
    print_group("remote", group);
    MPI_Group_free(&group);
    MPI_Comm_free(&inter);
    MPI_Comm_free(&pair);
    MPI_Comm_free(&comm);

    MPI_Dims_create(size, 2, dims);
    MPI_Cart_map(MPI_COMM_WORLD, 2, dims, periods, &n);
    printf("mapped %d\n", n);
    MPI_Cart_create(MPI_COMM_WORLD, 2, dims, periods, 0, &comm);
    MPI_Cart_get(comm, 2, dims, periods, at);
    at[0] += 1;
    MPI_Cart_rank(comm, at, &to);
    printf("cart %d %d, %d %d, %d %d, below %d\n", dims[0], dims[1], periods[0], periods[1], at[0], at[1], to);
    MPI_Comm_free(&comm);
    int index[16], edges[16], nodes, count;
    for (int k = 0; k < size; k++) {
        index[k] = k + 1;
        edges[k] = (k + 1) % size;
    }
    MPI_Graph_map(MPI_COMM_WORLD, size, index, edges, &n);
    MPI_Graph_create(MPI_COMM_WORLD, size, index, edges, 0, &comm);
    MPI_Graphdims_get(comm, &nodes, &count);
    memset(edges, 0, sizeof edges);
    MPI_Graph_get(comm, 16, 16, index, edges);
    printf("graph %d, %d %d, %d %d\n", n, nodes, count, index[size - 1], edges[0]);
    MPI_Comm_free(&comm);
    int source[1] = {rank}, degree[1] = {1}, target[1] = {(rank + 1) % size}, in, out, weighted;
    MPI_Dist_graph_create(MPI_COMM_WORLD, 1, source, degree, target, MPI_UNWEIGHTED, MPI_INFO_NULL, 0, &comm);
    MPI_Dist_graph_neighbors_count(comm, &in, &out, &weighted);
    MPI_Dist_graph_neighbors(comm, 1, &n, MPI_UNWEIGHTED, 1, &to, MPI_UNWEIGHTED);
    printf("dist graph %d %d %d, %d %d\n", in, out, weighted, n, to);
    MPI_Comm_free(&comm);
}

static void add(void *in, void *inout, int *n, MPI_Datatype *type)
{
    (void)type;
    for (int i = 0; i < *n; i++)
        ((int *)inout)[i] += 10 * ((int *)in)[i];
}

int main(int argc, char **argv)
{
    int flag, version, minor, len, commutes, mine[3] = {1, 2, 3}, sum[3] = {4, 5, 6};
    char name[MPI_MAX_PROCESSOR_NAME];
    void *memory;
    MPI_Op op;
    MPI_Initialized(&flag);
    printf("initialized %d", flag);
    MPI_Finalized(&flag);
    printf(", finalized %d\n", flag);
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Initialized(&flag);
    MPI_Get_version(&version, &minor);
    MPI_Get_processor_name(name, &len);
    printf("initialized %d, version %d, on %s, %d\n", flag, version >= 3 && minor >= 0, name, len);
    double start = MPI_Wtime(), tick = MPI_Wtick();
    while (MPI_Wtime() - start < 0.001)
        ;
    printf("time %d, tick %d, profile %d\n", start > 0, tick > 0 && tick < 0.01, MPI_Pcontrol(1));
    MPI_Alloc_mem(1 << 20, MPI_INFO_NULL, &memory);
    memset(memory, 1, 1 << 20);
    printf("memory %d\n", MPI_Free_mem(memory));
    MPI_Op_create(add, 0, &op);
    MPI_Op_commutative(op, &commutes);
    MPI_Reduce_local(mine, sum, 3, MPI_INT, op);
    printf("own %d: %d %d %d\n", commutes, sum[0], sum[1], sum[2]);
    MPI_Op_free(&op);
    MPI_Op_commutative(MPI_MAX, &commutes);
    MPI_Reduce_local(mine, sum, 3, MPI_INT, MPI_PROD);
    printf("product %d: %d %d %d\n", commutes, sum[0], sum[1], sum[2]);
    types();
    groups();
    errors();
    communicators();
    MPI_Finalize();
    MPI_Finalized(&flag);
    printf("finalized %d\n", flag);
    return 0;
}
