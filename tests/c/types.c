/* Derived datatypes: constructors, queries, contents, use after free, pack, non-contiguous messages. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <stddef.h>

struct item { char c; double d; int i[3]; };

static void show(int rank, const char *name, MPI_Datatype t)
{
    MPI_Aint lb, ext, tlb, text;
    int size, ni, na, nd, how;
    MPI_Type_size(t, &size);
    MPI_Type_get_extent(t, &lb, &ext);
    MPI_Type_get_true_extent(t, &tlb, &text);
    MPI_Type_get_envelope(t, &ni, &na, &nd, &how);
    printf("%d: %s size %d lb %ld extent %ld true %ld %ld envelope %d %d %d %d\n", rank, name, size, (long)lb, (long)ext, (long)tlb, (long)text, ni, na, nd, how);
}

int main(int argc, char **argv)
{
    int rank, size, i, n;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int next = (rank + 1) % size, prev = (rank + size - 1) % size;
    MPI_Datatype vec, idx, st, sub, res, hv, hi, ib, dup, dar;
    MPI_Type_vector(3, 2, 4, MPI_INT, &vec);
    int bl[3] = { 1, 2, 1 }, ds[3] = { 0, 3, 9 };
    MPI_Aint ad[3] = { 0, 24, 80 };
    MPI_Type_indexed(3, bl, ds, MPI_SHORT, &idx);
    MPI_Type_create_hvector(2, 1, 100, vec, &hv);
    MPI_Type_create_hindexed(3, bl, ad, MPI_DOUBLE, &hi);
    MPI_Type_create_indexed_block(3, 2, ds, MPI_FLOAT, &ib);
    int sl[3] = { 1, 1, 3 };
    MPI_Aint sd[3] = { offsetof(struct item, c), offsetof(struct item, d), offsetof(struct item, i) };
    MPI_Datatype tt[3] = { MPI_CHAR, MPI_DOUBLE, MPI_INT };
    MPI_Type_create_struct(3, sl, sd, tt, &st);
    MPI_Type_create_resized(st, 0, sizeof(struct item), &res);
    int gs[2] = { 6, 5 }, ss[2] = { 2, 3 }, so[2] = { 1, 2 };
    MPI_Type_create_subarray(2, gs, ss, so, MPI_ORDER_C, MPI_INT, &sub);
    int dist[2] = { MPI_DISTRIBUTE_BLOCK, MPI_DISTRIBUTE_CYCLIC }, da[2] = { MPI_DISTRIBUTE_DFLT_DARG, 1 }, ps[2] = { 2, 1 };
    MPI_Type_create_darray(2, rank % 2, 2, gs, dist, da, ps, MPI_ORDER_C, MPI_INT, &dar);
    MPI_Type_dup(vec, &dup);
    show(rank, "vector", vec); show(rank, "indexed", idx); show(rank, "hvector", hv); show(rank, "hindexed", hi);
    show(rank, "block", ib); show(rank, "struct", st); show(rank, "resized", res); show(rank, "subarray", sub);
    show(rank, "darray", dar); show(rank, "dup", dup); show(rank, "int", MPI_INT); show(rank, "double_int", MPI_DOUBLE_INT);
    int ci[20]; MPI_Aint ca[5]; MPI_Datatype cd[5];
    MPI_Type_get_contents(st, 4, 3, 3, ci, ca, cd);
    printf("%d: contents %d %d %ld %d\n", rank, ci[0], ci[3], (long)ca[2], cd[1] == MPI_DOUBLE);

    MPI_Type_free(&st);
    MPI_Type_commit(&res);
    struct item a[4], b[4];
    memset(b, 0, sizeof b);
    for (i = 0; i < 4; i++) { a[i].c = 'a' + i; a[i].d = rank + i; a[i].i[0] = i; a[i].i[2] = rank; }
    MPI_Status s;
    MPI_Request r[2];
    MPI_Irecv(b, 4, res, prev, 1, MPI_COMM_WORLD, &r[0]);
    MPI_Isend(a, 3, res, next, 1, MPI_COMM_WORLD, &r[1]);
    MPI_Type_free(&res);
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    printf("%d: struct %c %g %d %d\n", rank, b[2].c, b[2].d, b[2].i[2], b[3].i[0]);

    MPI_Type_commit(&vec);
    int m[16], o[16], p[16];
    for (i = 0; i < 16; i++) { m[i] = rank * 100 + i; o[i] = -1; p[i] = -1; }
    MPI_Sendrecv(m, 1, vec, next, 2, o, 6, MPI_INT, prev, 2, MPI_COMM_WORLD, &s);
    MPI_Sendrecv(m, 6, MPI_INT, next, 3, p, 1, vec, prev, 3, MPI_COMM_WORLD, &s);
    int c, e;
    MPI_Get_count(&s, vec, &c);
    MPI_Get_elements(&s, vec, &e);
    printf("%d: vector %d %d %d %d count %d elements %d\n", rank, o[0], o[2], o[5], p[9], c, e);
    MPI_Sendrecv(m, 4, MPI_INT, next, 3, p, 1, vec, prev, 3, MPI_COMM_WORLD, &s);
    MPI_Get_count(&s, vec, &c);
    MPI_Get_elements(&s, vec, &e);
    printf("%d: partial count %d elements %d\n", rank, c == MPI_UNDEFINED, e);
    MPI_Sendrecv_replace(m, 1, vec, next, 4, prev, 4, MPI_COMM_WORLD, &s);
    printf("%d: replace %d %d %d\n", rank, m[0], m[2], m[9]);

    char buf[256];
    int pos = 0, ps2;
    MPI_Pack(m, 1, vec, buf, 256, &pos, MPI_COMM_WORLD);
    MPI_Pack_size(1, vec, MPI_COMM_WORLD, &ps2);
    n = pos; pos = 0;
    MPI_Unpack(buf, n, &pos, o, 6, MPI_INT, MPI_COMM_WORLD);
    printf("%d: pack %d %d %d %d\n", rank, n, pos, ps2, o[5]);
    char name[MPI_MAX_OBJECT_NAME];
    MPI_Type_get_name(MPI_DOUBLE, name, &n);
    printf("%d: %s", rank, name);
    MPI_Type_set_name(vec, "stripe");
    MPI_Type_get_name(vec, name, &n);
    printf(" %s %d\n", name, n);
    MPI_Datatype f;
    MPI_Type_match_size(MPI_TYPECLASS_REAL, 8, &f);
    printf("%d: match %d\n", rank, f == MPI_DOUBLE || f == MPI_REAL8);
    MPI_Type_free(&vec); MPI_Type_free(&idx); MPI_Type_free(&hv); MPI_Type_free(&hi); MPI_Type_free(&ib);
    MPI_Type_free(&sub); MPI_Type_free(&dup); MPI_Type_free(&dar);
    printf("%d: null %d\n", rank, vec == MPI_DATATYPE_NULL);
    MPI_Finalize();
    return 0;
}
