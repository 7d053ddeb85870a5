/*
 * objects: makes and frees MPI objects of each kind, and prints how many the model has before and after.
 *
 * Usage: objects [COUNT]   (a million)
 *
 * Under splitproc the program ends with 1 if the model has grown; without it there is no model to look at.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *kinds[] = {"communicators", "datatypes", "requests", "groups",  "operators",
                              "infos",         "error handlers", "keyvals", "messages"};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* The model's pages, in KiB: what the process has resident. */
static long resident(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * 4;
}

static void add(void *in, void *inout, int *n, MPI_Datatype *type)
{
    (void)type;
    for (int i = 0; i < *n; i++)
        ((int *)inout)[i] += ((int *)in)[i];
}

static int keep(MPI_Comm comm, int key, void *value, void *extra)
{
    (void)comm, (void)key, (void)value, (void)extra;
    return MPI_SUCCESS;
}

static void handler(MPI_Comm *comm, int *code, ...) { (void)comm, (void)code; }

/* One of each, used and freed. */
static void round_of_all(int i)
{
    MPI_Comm comm, part;
    MPI_Datatype row, block;
    MPI_Group group, first;
    MPI_Info info;
    MPI_Op op;
    MPI_Errhandler errors;
    MPI_Request r[4];
    int key, out = i, in = 0, back, sum, zero = 0;
    MPI_Comm_dup(MPI_COMM_SELF, &comm);
    MPI_Comm_split(comm, 0, 0, &part);
    MPI_Type_contiguous(3, MPI_INT, &row);
    MPI_Type_vector(2, 1, 2, row, &block);
    MPI_Type_commit(&block);
    MPI_Comm_group(comm, &group);
    MPI_Group_incl(group, 1, &zero, &first);
    MPI_Info_create(&info);
    MPI_Info_set(info, "key", "value");
    MPI_Op_create(add, 1, &op);
    MPI_Comm_create_errhandler(handler, &errors);
    MPI_Comm_set_errhandler(comm, errors);
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, keep, &key, NULL);
    MPI_Comm_set_attr(comm, key, &out);
    MPI_Irecv(&in, 1, MPI_INT, 0, 0, comm, &r[0]);
    MPI_Issend(&out, 1, MPI_INT, 0, 0, comm, &r[1]);
    MPI_Iallreduce(&out, &sum, 1, MPI_INT, op, part, &r[2]);
    MPI_Recv_init(&back, 1, MPI_INT, 0, 1, comm, &r[3]);
    MPI_Waitall(3, r, MPI_STATUSES_IGNORE);
    MPI_Request_free(&r[3]);
    MPI_Allreduce_init(&out, &sum, 1, MPI_INT, MPI_SUM, part, MPI_INFO_NULL, &r[3]);
    MPI_Start(&r[3]);
    MPI_Wait(&r[3], MPI_STATUS_IGNORE);
    MPI_Request_free(&r[3]);
    MPI_Comm_free_keyval(&key);
    MPI_Errhandler_free(&errors);
    MPI_Op_free(&op);
    MPI_Info_free(&info);
    MPI_Group_free(&first);
    MPI_Group_free(&group);
    MPI_Type_free(&row);
    MPI_Type_free(&block);
    MPI_Comm_free(&part);
    MPI_Comm_free(&comm);
    if (in != i || sum != i)
        MPI_Abort(MPI_COMM_WORLD, 1);
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1000000, before[KINDS] = {0}, grown = 0;
    MPI_Init(&argc, &argv);
    long (*objects)(const char *) = (long (*)(const char *))dlsym(RTLD_DEFAULT, "splitproc_objects");
    for (int i = 0; i < 1000; i++)
        round_of_all(i);
    long pages = resident();
    for (int k = 0; objects && k < KINDS; k++)
        before[k] = objects(kinds[k]);
    for (long i = 0; i < count; i++)
        round_of_all(i);
    for (int k = 0; objects && k < KINDS; k++) {
        long after = objects(kinds[k]);
        printf("%-16s %6ld before, %6ld after %ld of them\n", kinds[k], before[k], after, count);
        grown += after != before[k];
    }
    printf("resident memory  %ld KiB before, %ld KiB after\n", pages, resident());
    MPI_Finalize();
    return grown != 0;
}
