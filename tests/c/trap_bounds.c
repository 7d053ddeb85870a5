/* Traps of datatypes that a restart over another MPI library would have otherwise; see trap.h. */
#include "trap.h"
#include <mpi.h>

struct range {
    int from, to;
};

/* Sends three elements one way as bytes and the other way as bytes that become elements; all bytes are where they belong,
 * which the ranges of an element's data and its extent at the checkpoint say. */
static void exchange(MPI_Datatype type, MPI_Aint lb, MPI_Aint extent, const struct range *data)
{
    enum { ELEMENTS = 3, ROOM = 1024, BASE = 100 };
    unsigned char mine[ROOM], flat[ROOM], theirs[ROOM], wanted[ROOM];
    int n = 0;
    MPI_Aint now[2];
    MPI_Type_get_extent(type, &now[0], &now[1]);
    CHECK(now[0] == lb && now[1] == extent);
    memset(wanted, 0xee, ROOM);
    memset(theirs, 0xee, ROOM);
    for (int i = 0; i < ROOM; i++)
        mine[i] = 7 * i % 251;
    for (int e = 0; e < ELEMENTS; e++)
        for (const struct range *r = data; r->to > r->from; r++)
            for (int i = r->from; i < r->to; i++, n++)
                wanted[BASE + e * extent + i] = mine[BASE + e * extent + i];
    MPI_Sendrecv(mine + BASE, ELEMENTS, type, right(), 1, flat, n, MPI_BYTE, left(), 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Sendrecv(flat, n, MPI_BYTE, right(), 2, theirs + BASE, ELEMENTS, type, left(), 2, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    CHECK(memcmp(theirs, wanted, ROOM) == 0);
}

/* Datatypes whose bounds MPI leaves to the library, and others made of them: they are what the first library made them. */
static void bounds(void)
{
    enum { KINDS = 6 };
    static const struct range data[KINDS][5] = {
        {{0, 28}}, {{0, 8}, {12, 20}}, {{0, 8}, {12, 20}}, {{0, 4}, {8, 9}}, {{0, 8}, {12, 20}}, {{0, 28}},
    };
    int blocks[2] = {1, 1};
    MPI_Aint places[2] = {0, 24}, near[2] = {0, 12}, odd[2] = {0, 8}, lb[KINDS], extent[KINDS];
    MPI_Datatype three, vector, record[2], pair[2] = {MPI_INT, MPI_CHAR}, types[KINDS];
    MPI_Type_contiguous(3, MPI_DOUBLE, &three);
    MPI_Type_create_resized(three, 0, 24, &vector);
    record[0] = vector;
    record[1] = MPI_INT;
    MPI_Type_create_struct(2, blocks, places, record, &types[0]);
    MPI_Type_create_hvector(2, 1, 12, MPI_DOUBLE, &types[1]);
    MPI_Type_create_hindexed(2, blocks, near, MPI_DOUBLE, &types[2]);
    MPI_Type_create_struct(2, blocks, odd, pair, &types[3]);
    MPI_Type_dup(types[1], &types[4]);
    MPI_Type_contiguous(1, types[0], &types[5]);
    for (int k = 0; k < KINDS; k++) {
        MPI_Type_commit(&types[k]);
        MPI_Type_get_extent(types[k], &lb[k], &extent[k]);
        exchange(types[k], lb[k], extent[k], data[k]);
    }
    checkpoint_here();
    for (int k = 0; k < KINDS; k++) {
        exchange(types[k], lb[k], extent[k], data[k]);
        MPI_Type_free(&types[k]);
    }
    MPI_Type_free(&three);
    MPI_Type_free(&vector);
}

/* A datatype that Open MPI has elsewhere than MPI says. */
static void backwards(void)
{
    MPI_Datatype type;
    MPI_Type_vector(2, 1, -1, MPI_CHAR, &type);
    MPI_Type_set_name(type, "backwards");
    checkpoint_here();
    MPI_Type_free(&type);
}

int main(int argc, char **argv)
{
    static const struct trap traps[] = {{"bounds", bounds}, {"backwards", backwards}, {NULL, NULL}};
    return run_trap(argc, argv, traps, MPI_THREAD_FUNNELED);
}
