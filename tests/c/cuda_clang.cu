/*
 * A program for clang's own CUDA mode, which launches kernels by cudaLaunchKernel.
 *
 * Usage: cuda_clang [STEPS [PAUSE in ms]]
 */
#include "cuda_runtime.h"

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __constant__ __attribute__((constant))

enum { N = 1000 };

__constant__ unsigned factor;
__device__ unsigned launched = 7;

__global__ void step(unsigned *p, unsigned n, unsigned add)
{
    unsigned i = __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x();
    if (i == 0)
        launched++;
    if (i < n)
        p[i] = p[i] * factor + add + i;
}

template <typename T> __global__ void twice(T *p, unsigned n)
{
    unsigned i = __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x();
    if (i < n)
        p[i] += p[i];
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 5, pause = argc > 2 ? atoi(argv[2]) : 0;
    unsigned *p, seen[N], n;
    CHECK(cudaMalloc((void **)&p, sizeof seen));
    CHECK(cudaMemset(p, 1, sizeof seen));
    for (int i = 1; i <= steps; i++) {
        unsigned times = 2 * i + 1;
        CHECK(cudaMemcpyToSymbol(&factor, &times, 4, 0, TO_DEVICE));
        usleep(pause * 1000);
        step<<<(N + 63) / 64, 64>>>(p, N, i);
        twice<<<dim3(N / 100, 1), dim3(100, 1)>>>(p, N);
        CHECK(cudaGetLastError());
        CHECK(cudaStreamSynchronize_ptsz(0));
        CHECK(cudaMemcpy(seen, p, sizeof seen, FROM_DEVICE));
        CHECK(cudaMemcpyFromSymbol(&n, &launched, 4, 0, FROM_DEVICE));
        printf("step %d: %08x, %u\n", i, sum(seen, N), n);
        fflush(stdout);
    }
    return 0;
}
