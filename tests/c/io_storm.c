/* FILE GO: requests of a file, under checkpoint after checkpoint, until the file GO is there: each rank writes its own part
 * and reads it, and its neighbour's of the round before. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { N = 64 };

int main(int argc, char **argv)
{
    int rank, ranks, n, out[N], in[N], old[N], stop = 0;
    MPI_File file;
    MPI_Request r[3];
    MPI_Status s[3];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc < 3)
        MPI_Abort(MPI_COMM_WORLD, 2);
    MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file);
    MPI_File_set_size(file, (MPI_Offset)(2 * ranks) * (MPI_Offset)sizeof out);
    if (rank == 0) {
        printf("ready\n");
        fflush(stdout);
    }
    for (int round = 0; !stop; round++) {
        MPI_Offset at = (MPI_Offset)(round % 2 * ranks + rank) * (MPI_Offset)sizeof out;
        MPI_Offset before = (MPI_Offset)((round + 1) % 2 * ranks + (rank + 1) % ranks) * (MPI_Offset)sizeof out;
        for (int i = 0; i < N; i++)
            out[i] = round * 1000 + rank * 100 + i;
        MPI_File_iwrite_at(file, at, out, N, MPI_INT, &r[0]);
        MPI_File_iread_at_all(file, before, old, N, MPI_INT, &r[1]);
        MPI_Waitall(2, r, s);
        MPI_File_iread_at(file, at, in, N, MPI_INT, &r[2]);
        MPI_Wait(&r[2], &s[2]);
        MPI_Get_count(&s[2], MPI_INT, &n);
        for (int i = 0; i < N; i++)
            if (n != N || in[i] != out[i] || (round > 0 && old[i] != (round - 1) * 1000 + (rank + 1) % ranks * 100 + i)) {
                fprintf(stderr, "rank %d, round %d: %d, %d, %d of %d\n", rank, round, in[i], old[i], n, i);
                MPI_Abort(MPI_COMM_WORLD, 1);
            }
        MPI_Barrier(MPI_COMM_WORLD);
        stop = access(argv[2], F_OK) == 0;
        MPI_Bcast(&stop, 1, MPI_INT, 0, MPI_COMM_WORLD);
    }
    MPI_File_close(&file);
    if (rank == 0)
        printf("ok\n");
    MPI_Finalize();
    return 0;
}
