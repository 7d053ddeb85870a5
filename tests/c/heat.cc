/*
 * heat: a plate that cools, on a Cartesian grid of ranks, by MPI's C++ bindings.
 *
 * Usage: heat -o FILE STEPS EVERY
 *
 * Every EVERY steps it asks MPI for what the bindings have their own way for (operators, attributes, error handlers, exceptions),
 * and rank 0 prints a line, and writes it to FILE.
 */
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mpi.h>
#include <vector>

static int copies, deletes, errors, copied_types;

static void greater(const void *in, void *inout, int n, const MPI::Datatype &kind)
{
    const double *a = static_cast<const double *>(in);
    double *b = static_cast<double *>(inout);
    if (kind != MPI::DOUBLE)
        MPI::COMM_WORLD.Abort(3);
    for (int i = 0; i < n; i++)
        if (std::fabs(a[i]) > std::fabs(b[i]))
            b[i] = a[i];
}

static int on_copy(const MPI::Comm &comm, int, void *extra, void *value, void *copy, bool &flag)
{
    copies += comm.Get_topology() == MPI::CART;
    *static_cast<void **>(copy) = static_cast<char *>(value) + *static_cast<int *>(extra);
    flag = true;
    return MPI::SUCCESS;
}

static int on_delete(MPI::Comm &comm, int, void *, void *)
{
    deletes += comm.Get_topology() == MPI::CART;
    return MPI::SUCCESS;
}

/* The value is const in Open MPI's. */
template <class Value>
static int on_type_copy(const MPI::Datatype &type, int, void *, Value *value, void *copy, bool &flag)
{
    copied_types += type.Get_size();
    *static_cast<Value **>(copy) = value;
    flag = true;
    return MPI::SUCCESS;
}

static int on_type_delete(MPI::Datatype &, int, void *, void *)
{
    return MPI::SUCCESS;
}

static void on_error(MPI::Comm &comm, int *code, ...)
{
    if (comm.Get_size() > 0 && MPI::Get_error_class(*code) == MPI::ERR_RANK)
        errors++;
}

enum { NX = 40, NY = 30 };
static double u[NX + 2][NY + 2], v[NX + 2][NY + 2];

int main(int argc, char **argv)
{
    MPI::Init(argc, argv);
    const int ranks = MPI::COMM_WORLD.Get_size(), steps = std::atoi(argv[3]), every = std::atoi(argv[4]);
    int dims[2] = {0, 0}, at[2], west, east, south, north, extra = 5;
    const bool periods[2] = {false, true};
    MPI::Compute_dims(ranks, 2, dims);
    MPI::Cartcomm grid = MPI::COMM_WORLD.Create_cart(2, dims, periods, false);
    const int rank = grid.Get_rank();
    grid.Get_coords(rank, 2, at);
    grid.Shift(0, 1, west, east);
    grid.Shift(1, 1, south, north);
    FILE *file = rank == 0 ? std::fopen(argv[2], "w") : NULL;

    MPI::Datatype row = MPI::DOUBLE.Create_vector(NX, 1, NY + 2);
    row.Commit();
    const int type_key = MPI::Datatype::Create_keyval(on_type_copy, on_type_delete, NULL);
    row.Set_attr(type_key, u);
    MPI::Op op;
    op.Init(greater, true);
    const int key = MPI::Comm::Create_keyval(on_copy, on_delete, &extra);
    grid.Set_attr(key, reinterpret_cast<void *>(1000 + rank));
    MPI::Errhandler handler = MPI::Comm::Create_errhandler(on_error);

    for (int i = 0; i < NX + 2; i++)
        for (int j = 0; j < NY + 2; j++)
            u[i][j] = std::sin(0.1 * (i + NX * at[0])) + 0.01 * (j + NY * at[1]);

    for (int step = 1; step <= steps; step++) {
        MPI::Request r[8];
        r[0] = grid.Irecv(&u[0][1], NY, MPI::DOUBLE, west, 1);
        r[1] = grid.Irecv(&u[NX + 1][1], NY, MPI::DOUBLE, east, 2);
        r[2] = grid.Irecv(&u[1][0], 1, row, south, 3);
        r[3] = grid.Irecv(&u[1][NY + 1], 1, row, north, 4);
        r[4] = grid.Isend(&u[NX][1], NY, MPI::DOUBLE, east, 1);
        r[5] = grid.Isend(&u[1][1], NY, MPI::DOUBLE, west, 2);
        r[6] = grid.Isend(&u[1][NY], 1, row, north, 3);
        r[7] = grid.Isend(&u[1][1], 1, row, south, 4);
        MPI::Request::Waitall(8, r);
        for (int i = 1; i <= NX; i++)
            for (int j = 1; j <= NY; j++)
                v[i][j] = u[i][j] + 0.2 * (u[i - 1][j] + u[i + 1][j] + u[i][j - 1] + u[i][j + 1] - 4 * u[i][j]);
        double most[2] = {0, -static_cast<double>(step)}, sum = 0, total = 0;
        for (int i = 1; i <= NX; i++)
            for (int j = 1; j <= NY; j++) {
                u[i][j] = v[i][j];
                sum += u[i][j];
                if (std::fabs(u[i][j]) > std::fabs(most[0]))
                    most[0] = u[i][j];
            }
        if (step % every)
            continue;

        grid.Allreduce(MPI::IN_PLACE, most, 2, MPI::DOUBLE, op);
        grid.Reduce(&sum, &total, 1, MPI::DOUBLE, MPI::SUM, 0);
        MPI::Cartcomm dup = grid.Dup();
        void *value = NULL;
        if (!dup.Get_attr(key, &value))
            grid.Abort(4);
        dup.Set_errhandler(handler);
        dup.Send(&step, 1, MPI::INT, ranks + 3, 0);
        int thrown = 0;
        dup.Set_errhandler(MPI::ERRORS_THROW_EXCEPTIONS);
        try {
            dup.Send(&step, 1, MPI::INT, ranks + 3, 0);
        } catch (MPI::Exception &e) {
            thrown = e.Get_error_class() == MPI::ERR_RANK;
        }
        dup.Free();
        MPI::Datatype other = row.Dup();
        other.Free();
        if (rank == 0) {
            char line[200];
            std::snprintf(line, sizeof line, "%7d %.17g %g %.17g %d %d %d %d %d %zu\n", step, most[0], most[1], total, copies,
                          deletes, errors, copied_types, thrown, reinterpret_cast<size_t>(value));
            std::fputs(line, stdout);
            std::fputs(line, file);
            std::fflush(stdout);
            std::fflush(file);
        }
        grid.Barrier();
    }
    int freed = key, freed_type = type_key;
    MPI::Comm::Free_keyval(freed);
    MPI::Datatype::Free_keyval(freed_type);
    handler.Free();
    op.Free();
    row.Free();
    grid.Free();
    if (file)
        std::fclose(file);
    MPI::Finalize();
    return 0;
}
