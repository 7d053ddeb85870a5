// The heat equation on a square plate: a strip of rows for each MPI rank's device, halos exchanged through the host.
//
//   nvcc -cudart shared -I MPI/include -o heat2d-cuda heat2d-cuda.cu -lmpich
//   mpirun.mpich -n 2 splitproc launch --ckpt-dir ckpt -- ./heat2d-cuda [SIZE [STEPS [PRINT_EVERY [PAUSE in ms]]]]
//
// For one number of ranks the output is always the same, byte for byte.
#include <cstdio>
#include <cstdlib>
#include <mpi.h>
#include <unistd.h>
#include <vector>

#define CHECK(call)                                                                        \
    do {                                                                                   \
        cudaError_t e = (call);                                                            \
        if (e != cudaSuccess) {                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e)); \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                  \
        }                                                                                  \
    } while (0)

// Rows 0 and `rows + 1` are the neighbours' edges; the plate's own edges stay as they are.
__global__ void sweep(const double *now, double *next, int size, int rows, int first) {
    int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y * blockDim.y + threadIdx.y + 1;
    if (i > rows || j >= size)
        return;
    int at = i * size + j, global = first + i - 1;
    if (global == 0 || global == size - 1 || j == 0 || j == size - 1)
        next[at] = now[at];
    else
        next[at] = 0.25 * (now[at - size] + now[at + size] + now[at - 1] + now[at + 1]);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, ranks, devices;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const int size = argc > 1 ? atoi(argv[1]) : 64, steps = argc > 2 ? atoi(argv[2]) : 100;
    const int every = argc > 3 ? atoi(argv[3]) : 10, pause = argc > 4 ? atoi(argv[4]) : 0;
    const int first = size * rank / ranks, rows = size * (rank + 1) / ranks - first;
    CHECK(cudaGetDeviceCount(&devices));
    CHECK(cudaSetDevice(rank % devices));
    const size_t row = size * sizeof(double), all = (rows + 2) * row;
    std::vector<double> plate((rows + 2) * size);
    for (int i = 0; i < rows + 2; i++)
        for (int j = 0; j < size; j++)
            plate[i * size + j] = (first + i - 1 == 0 || j == 0) ? 100 + j : 0;
    double *now, *next, *halo;
    CHECK(cudaMalloc(&now, all));
    CHECK(cudaMalloc(&next, all));
    CHECK(cudaMallocHost(&halo, 4 * row));
    CHECK(cudaMemcpy(now, plate.data(), all, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(next, plate.data(), all, cudaMemcpyHostToDevice));
    cudaStream_t stream;
    CHECK(cudaStreamCreate(&stream));
    const int up = rank > 0 ? rank - 1 : MPI_PROC_NULL, down = rank < ranks - 1 ? rank + 1 : MPI_PROC_NULL;
    double *top = halo, *bottom = halo + size, *above = halo + 2 * size, *below = halo + 3 * size;
    for (int step = 1; step <= steps; step++) {
        CHECK(cudaMemcpyAsync(top, now + size, row, cudaMemcpyDeviceToHost, stream));
        CHECK(cudaMemcpyAsync(bottom, now + rows * size, row, cudaMemcpyDeviceToHost, stream));
        CHECK(cudaStreamSynchronize(stream));
        MPI_Request requests[4];
        MPI_Irecv(above, size, MPI_DOUBLE, up, 1, MPI_COMM_WORLD, &requests[0]);
        MPI_Irecv(below, size, MPI_DOUBLE, down, 2, MPI_COMM_WORLD, &requests[1]);
        MPI_Isend(top, size, MPI_DOUBLE, up, 2, MPI_COMM_WORLD, &requests[2]);
        MPI_Isend(bottom, size, MPI_DOUBLE, down, 1, MPI_COMM_WORLD, &requests[3]);
        MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
        if (up != MPI_PROC_NULL)
            CHECK(cudaMemcpyAsync(now, above, row, cudaMemcpyHostToDevice, stream));
        if (down != MPI_PROC_NULL)
            CHECK(cudaMemcpyAsync(now + (rows + 1) * size, below, row, cudaMemcpyHostToDevice, stream));
        dim3 block(32, 4), grid((size + 31) / 32, (rows + 3) / 4);
        sweep<<<grid, block, 0, stream>>>(now, next, size, rows, first);
        CHECK(cudaGetLastError());
        std::swap(now, next);
        if (step % every == 0) {
            CHECK(cudaMemcpyAsync(plate.data(), now, all, cudaMemcpyDeviceToHost, stream));
            CHECK(cudaStreamSynchronize(stream));
            double mine = 0, sum = 0;
            for (int i = 1; i <= rows; i++)
                for (int j = 0; j < size; j++)
                    mine += plate[i * size + j] * (1 + (first + i + j) % 7);
            MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
            if (rank == 0) {
                printf("step %d checksum %.17g\n", step, sum);
                fflush(stdout);
            }
            usleep(pause * 1000);
        }
    }
    CHECK(cudaFree(now));
    CHECK(cudaFree(next));
    CHECK(cudaFreeHost(halo));
    MPI_Finalize();
    return 0;
}
