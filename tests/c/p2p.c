/* Point to point: modes, sendrecv, probes, wildcards, null process, truncation. Any number of ranks >= 2. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    int rank, size, i;
    MPI_Status s;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int next = (rank + 1) % size, prev = (rank + size - 1) % size;

    int v = rank * 10, got = -1, n;
    MPI_Sendrecv(&v, 1, MPI_INT, next, 1, &got, 1, MPI_INT, prev, 1, MPI_COMM_WORLD, &s);
    MPI_Get_count(&s, MPI_INT, &n);
    printf("%d: sendrecv %d from %d tag %d count %d\n", rank, got, s.MPI_SOURCE, s.MPI_TAG, n);
    MPI_Sendrecv_replace(&v, 1, MPI_INT, next, 2, prev, 2, MPI_COMM_WORLD, &s);
    printf("%d: replace %d\n", rank, v);

    double big[20000], in[20000];
    for (i = 0; i < 20000; i++) big[i] = rank + i;
    if (rank % 2 == 0 && rank + 1 < size) {
        MPI_Send(big, 20000, MPI_DOUBLE, rank + 1, 3, MPI_COMM_WORLD);
        MPI_Ssend(big, 10, MPI_DOUBLE, rank + 1, 4, MPI_COMM_WORLD);
        char *buf = malloc(4096 + MPI_BSEND_OVERHEAD);
        MPI_Buffer_attach(buf, 4096 + MPI_BSEND_OVERHEAD);
        MPI_Bsend(big, 100, MPI_DOUBLE, rank + 1, 5, MPI_COMM_WORLD);
        void *back; int bs;
        MPI_Buffer_detach(&back, &bs);
        printf("%d: detach %d %d\n", rank, back == buf, bs);
        MPI_Send(big, 7, MPI_DOUBLE, rank + 1, 6, MPI_COMM_WORLD);
        MPI_Send(big, 8, MPI_DOUBLE, rank + 1, 7, MPI_COMM_WORLD);
    } else if (rank % 2 == 1) {
        MPI_Recv(in, 20000, MPI_DOUBLE, rank - 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        printf("%d: big %g\n", rank, in[19999]);
        MPI_Recv(in, 10, MPI_DOUBLE, MPI_ANY_SOURCE, 4, MPI_COMM_WORLD, &s);
        printf("%d: ssend from %d\n", rank, s.MPI_SOURCE);
        MPI_Probe(rank - 1, 5, MPI_COMM_WORLD, &s);
        MPI_Get_count(&s, MPI_DOUBLE, &n);
        MPI_Recv(in, n, MPI_DOUBLE, s.MPI_SOURCE, s.MPI_TAG, MPI_COMM_WORLD, &s);
        printf("%d: probed %d %g\n", rank, n, in[n - 1]);
        MPI_Message m;
        MPI_Mprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &m, &s);
        MPI_Get_count(&s, MPI_DOUBLE, &n);
        MPI_Mrecv(in, n, MPI_DOUBLE, &m, &s);
        printf("%d: mprobed tag %d count %d null %d\n", rank, s.MPI_TAG, n, m == MPI_MESSAGE_NULL);
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        int e = MPI_Recv(in, 2, MPI_DOUBLE, rank - 1, 7, MPI_COMM_WORLD, &s), class;
        MPI_Error_class(e, &class);
        printf("%d: truncated %d\n", rank, class == MPI_ERR_TRUNCATE);
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
    }
    got = 77;
    MPI_Recv(&got, 1, MPI_INT, MPI_PROC_NULL, 0, MPI_COMM_WORLD, &s);
    MPI_Send(&got, 1, MPI_INT, MPI_PROC_NULL, 0, MPI_COMM_WORLD);
    MPI_Get_count(&s, MPI_INT, &n);
    printf("%d: null %d source %d count %d\n", rank, got, s.MPI_SOURCE == MPI_PROC_NULL, n);

    int flag = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, &s);
    printf("%d: iprobe %d\n", rank, flag);
    if (rank == 0) {
        int sum = 0;
        for (i = 1; i < size; i++) {
            MPI_Recv(&got, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &s);
            sum += got * s.MPI_TAG + s.MPI_SOURCE;
        }
        printf("0: any %d\n", sum);
    } else {
        v = rank;
        MPI_Send(&v, 1, MPI_INT, 0, 100 + rank, MPI_COMM_WORLD);
    }
    MPI_Finalize();
    return 0;
}
