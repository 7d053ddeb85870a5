/* Communicators, groups, attributes, info, error handlers, topologies. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

static int copies, deletes;
static int copy(MPI_Comm c, int k, void *x, void *in, void *out, int *flag)
{
    copies++; *(void **)out = (char *)in + 1; *flag = 1; return MPI_SUCCESS;
}
static int del(MPI_Comm c, int k, void *v, void *x) { deletes++; return MPI_SUCCESS; }
static int errors;
static void handler(MPI_Comm *c, int *code, ...) { errors++; }

int main(int argc, char **argv)
{
    int rank, size, i, n, flag, r;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm dup, half, self, sub, made, inter, merged, idup, cart, row, graph, dist, node;
    int key, key2;
    void *v;
    MPI_Comm_create_keyval(copy, del, &key, 0);
    MPI_Comm_create_keyval(MPI_COMM_DUP_FN, MPI_COMM_NULL_DELETE_FN, &key2, 0);
    MPI_Comm_set_attr(MPI_COMM_WORLD, key, (void *)100);
    MPI_Comm_set_attr(MPI_COMM_WORLD, key2, (void *)200);
    MPI_Comm_dup(MPI_COMM_WORLD, &dup);
    MPI_Comm_get_attr(dup, key, &v, &flag);
    printf("%d: attr %ld %d copies %d\n", rank, (long)v, flag, copies);
    MPI_Comm_get_attr(dup, key2, &v, &flag);
    printf("%d: attr %ld %d\n", rank, (long)v, flag);
    MPI_Comm_compare(dup, MPI_COMM_WORLD, &r);
    printf("%d: compare %d\n", rank, r == MPI_CONGRUENT);
    int *ub;
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &ub, &flag);
    /* Over splitproc the bound is one that every library has. */
    printf("%d: tag_ub %d %d\n", rank, *ub >= (1 << 23) - 1, flag);

    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
    int hr, hs, sum;
    MPI_Comm_rank(half, &hr);
    MPI_Comm_size(half, &hs);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, half);
    printf("%d: split %d of %d sum %d\n", rank, hr, hs, sum);
    MPI_Comm_split(MPI_COMM_WORLD, rank == 0 ? MPI_UNDEFINED : 1, 0, &sub);
    printf("%d: undefined %d\n", rank, sub == MPI_COMM_NULL);
    if (sub != MPI_COMM_NULL) MPI_Comm_free(&sub);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &n);
    printf("%d: node %d\n", rank, n);

    /* two communicators over the same group do not mix */
    int a = rank, b = rank + 50, x = 0, y = 0;
    int next = (rank + 1) % size, prev = (rank + size - 1) % size;
    MPI_Request q[2];
    MPI_Isend(&a, 1, MPI_INT, next, 1, MPI_COMM_WORLD, &q[0]);
    MPI_Isend(&b, 1, MPI_INT, next, 1, dup, &q[1]);
    MPI_Recv(&y, 1, MPI_INT, prev, 1, dup, MPI_STATUS_IGNORE);
    MPI_Recv(&x, 1, MPI_INT, prev, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Waitall(2, q, MPI_STATUSES_IGNORE);
    printf("%d: two comms %d %d\n", rank, x, y);

    MPI_Group world, some, other;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    int ranks[2] = { size - 1, 0 };
    MPI_Group_incl(world, 2, ranks, &some);
    MPI_Group_rank(some, &r);
    MPI_Group_difference(world, some, &other);
    MPI_Group_size(other, &n);
    printf("%d: group %d %d\n", rank, r == MPI_UNDEFINED ? -1 : r, n);
    int to[2];
    MPI_Group_translate_ranks(some, 2, (int[]){ 0, 1 }, world, to);
    MPI_Group_compare(world, some, &r);
    printf("%d: translate %d %d compare %d\n", rank, to[0], to[1], r);
    MPI_Comm_create(MPI_COMM_WORLD, some, &made);
    if (made != MPI_COMM_NULL) {
        MPI_Comm_rank(made, &r);
        printf("%d: create %d\n", rank, r);
        MPI_Comm_free(&made);
    }
    if (rank == 0 || rank == size - 1) {
        MPI_Comm_create_group(MPI_COMM_WORLD, some, 5, &made);
        MPI_Comm_rank(made, &r);
        MPI_Bcast(&r, 1, MPI_INT, 0, made);
        printf("%d: create_group %d\n", rank, r);
        MPI_Comm_free(&made);
    }
    MPI_Group_free(&world); MPI_Group_free(&some);
    if (other != MPI_GROUP_EMPTY) MPI_Group_free(&other);

    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, rank % 2 ? (size - 2) / 2 * 2 : (size / 2) * 2 - 1, 9, &inter);
    MPI_Comm_remote_size(inter, &n);
    MPI_Comm_test_inter(inter, &flag);
    MPI_Comm_rank(inter, &r);
    printf("%d: inter %d %d %d\n", rank, r, n, flag);
    x = -1;
    MPI_Sendrecv(&rank, 1, MPI_INT, r, 3, &x, 1, MPI_INT, r, 3, inter, MPI_STATUS_IGNORE);
    MPI_Intercomm_merge(inter, rank % 2, &merged);
    MPI_Comm_rank(merged, &r);
    printf("%d: inter message %d merged %d\n", rank, x, r);
    MPI_Comm_idup(dup, &idup, &q[0]);
    MPI_Wait(&q[0], MPI_STATUS_IGNORE);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_MAX, idup);
    printf("%d: idup %d\n", rank, sum);
    MPI_Comm_free(&idup); MPI_Comm_free(&merged); MPI_Comm_free(&inter);

    MPI_Comm_set_name(dup, "twin");
    char name[MPI_MAX_OBJECT_NAME], val[64];
    MPI_Comm_get_name(dup, name, &n);
    printf("%d: name %s %d", rank, name, n);
    MPI_Comm_get_name(MPI_COMM_WORLD, name, &n);
    printf(" %s\n", name);
    MPI_Info info, info2;
    MPI_Info_create(&info);
    MPI_Info_set(info, "colour", "red"); MPI_Info_set(info, "size", "12");
    MPI_Info_dup(info, &info2);
    MPI_Info_delete(info, "size");
    MPI_Info_get_nkeys(info, &n);
    MPI_Info_get(info2, "size", 63, val, &flag);
    printf("%d: info %d %s %d", rank, n, val, flag);
    MPI_Info_get_nthkey(info2, 1, val);
    printf(" %s\n", val);
    MPI_Info_free(&info); MPI_Info_free(&info2);

    MPI_Errhandler eh;
    MPI_Comm_create_errhandler(handler, &eh);
    MPI_Comm_set_errhandler(dup, eh);
    MPI_Errhandler_free(&eh);
    MPI_Send(&a, 1, MPI_INT, size + 3, 1, dup);
    MPI_Comm_set_errhandler(dup, MPI_ERRORS_RETURN);
    r = MPI_Send(&a, -1, MPI_INT, 0, 1, dup);
    MPI_Error_class(r, &n);
    printf("%d: errors %d class %d\n", rank, errors, n == MPI_ERR_COUNT);

    int dims[2] = { 0, 0 }, per[2] = { 1, 0 }, co[2], s, d;
    MPI_Dims_create(size, 2, dims);
    MPI_Cart_create(MPI_COMM_WORLD, 2, dims, per, 0, &cart);
    MPI_Cart_coords(cart, rank, 2, co);
    MPI_Cart_shift(cart, 0, 1, &s, &d);
    printf("%d: cart %dx%d at %d,%d shift %d %d", rank, dims[0], dims[1], co[0], co[1], s, d);
    MPI_Cart_shift(cart, 1, 1, &s, &d);
    MPI_Topo_test(cart, &n);
    printf(" then %d %d topo %d\n", s, d, n == MPI_CART);
    int keep[2] = { 1, 0 }, nb[4] = { -1, -1, -1, -1 };
    MPI_Cart_sub(cart, keep, &row);
    MPI_Comm_size(row, &n);
    MPI_Neighbor_allgather(&rank, 1, MPI_INT, nb, 1, MPI_INT, cart);
    printf("%d: row %d neighbours %d %d %d %d\n", rank, n, nb[0], nb[1], nb[2], nb[3]);
    int src[1] = { prev }, dst[1] = { next }, w[1] = { 3 }, in, out;
    MPI_Dist_graph_create_adjacent(MPI_COMM_WORLD, 1, src, MPI_UNWEIGHTED, 1, dst, MPI_UNWEIGHTED, MPI_INFO_NULL, 0, &dist);
    MPI_Dist_graph_neighbors_count(dist, &in, &out, &flag);
    MPI_Neighbor_alltoall(&rank, 1, MPI_INT, nb, 1, MPI_INT, dist);
    printf("%d: dist %d %d %d got %d\n", rank, in, out, flag, nb[0]);
    int gi[64], ge[64];
    for (i = 0; i < size; i++) { gi[i] = i + 1; ge[i] = (i + 1) % size; }
    MPI_Graph_create(MPI_COMM_WORLD, size, gi, ge, 0, &graph);
    MPI_Graph_neighbors_count(graph, rank, &n);
    MPI_Graph_neighbors(graph, rank, 1, &s);
    printf("%d: graph %d %d\n", rank, n, s);
    MPI_Comm_free(&cart); MPI_Comm_free(&row); MPI_Comm_free(&dist); MPI_Comm_free(&graph); MPI_Comm_free(&node);
    MPI_Comm_free(&half);
    MPI_Comm_free(&dup);
    MPI_Comm_delete_attr(MPI_COMM_WORLD, key);
    printf("%d: copies %d deletes %d\n", rank, copies, deletes);
    MPI_Comm_free_keyval(&key); MPI_Comm_free_keyval(&key2);
    MPI_Finalize();
    return 0;
}
