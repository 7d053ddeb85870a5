/*
 * Copies that go on beside their kernel, as CUDA's own headers have them: pipelines, barriers in shared memory, memcpy_async, primitives.
 * Each result is compared with what the host computes.
 *
 * Usage: cuda_async [STEPS [PAUSE in ms]].
 */
#include "cuda_told.h"
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <cuda_pipeline.h>
#include <unistd.h>

namespace cg = cooperative_groups;

enum { THREADS = 128, ROUNDS = 16, N = THREADS * ROUNDS };

/* A pipeline of two stages for a whole block: each round's part is brought while the one before is used. */
__global__ void stages(const int *in, int *out)
{
    __shared__ int part[2][THREADS];
    #pragma nv_diag_suppress static_var_with_dynamic_init
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
    auto block = cg::this_thread_block();
    auto pipe = cuda::make_pipeline(block, &state);
    int sum = 0;
    for (int fetch = 0, use = 0; use < ROUNDS; use++) {
        for (; fetch < ROUNDS && fetch < use + 2; fetch++) {
            pipe.producer_acquire();
            cuda::memcpy_async(block, part[fetch % 2], in + fetch * THREADS, sizeof(int) * THREADS, pipe);
            pipe.producer_commit();
        }
        pipe.consumer_wait();
        block.sync();
        sum = sum * 3 + part[use % 2][(threadIdx.x * 5 + use) % THREADS];
        block.sync();
        pipe.consumer_release();
    }
    out[threadIdx.x] = sum;
}

/* A barrier in shared memory: copies arrive at it as well as threads. */
__global__ void barriers(const int *in, int *out)
{
    __shared__ alignas(16) int part[THREADS];
    __shared__ cuda::barrier<cuda::thread_scope_block> bar;
    auto block = cg::this_thread_block();
    if (threadIdx.x == 0)
        init(&bar, THREADS);
    block.sync();
    int sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        cuda::memcpy_async(block, part, in + i * THREADS, cuda::aligned_size_t<16>(sizeof part), bar);
        bar.arrive_and_wait();
        sum = sum * 3 + part[(threadIdx.x * 5 + i) % THREADS];
        auto token = bar.arrive();
        bar.wait(std::move(token));
    }
    out[threadIdx.x] = sum;
}

/* Each thread's own copies by the primitives, four bytes at a time and sixteen; and a group's. */
__global__ void primitives(const int *in, int *out)
{
    __shared__ alignas(16) int part[2][THREADS];
    auto block = cg::this_thread_block();
    int sum = 0;
    for (int i = 0; i < ROUNDS; i += 2) {
        __pipeline_memcpy_async(&part[0][threadIdx.x], &in[i * THREADS + threadIdx.x], 4);
        if (threadIdx.x < THREADS / 4)
            __pipeline_memcpy_async(&part[1][4 * threadIdx.x], &in[(i + 1) * THREADS + 4 * threadIdx.x], 16);
        __pipeline_commit();
        __pipeline_wait_prior(0);
        block.sync();
        for (int j = 0; j < 2; j++)
            sum = sum * 3 + part[j][(threadIdx.x * 5 + i + j) % THREADS];
        block.sync();
    }
    cg::memcpy_async(block, part[0], in, sizeof part[0]);
    cg::wait(block);
    out[threadIdx.x] = sum + part[0][threadIdx.x];
}

static int wrong(const char *name, void (*kernel)(const int *, int *), const int *in, const int *device, int *out, bool more)
{
    static int found[THREADS];
    kernel<<<1, THREADS>>>(device, out);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(found, out, sizeof found, cudaMemcpyDeviceToHost));
    int n = 0;
    for (int t = 0; t < THREADS; t++) {
        unsigned sum = 0;
        for (int i = 0; i < ROUNDS; i++)
            sum = sum * 3 + in[i * THREADS + (t * 5 + i) % THREADS];
        n += (int)(sum + (more ? in[t] : 0)) != found[t];
    }
    printf(" %s: %s;", name, n ? "WRONG" : "as the host");
    return n;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 1, pause = argc > 2 ? atoi(argv[2]) : 0, bad = 0;
    static int in[N];
    int *device, *out;
    CHECK(cudaMalloc(&device, sizeof in));
    CHECK(cudaMalloc(&out, THREADS * sizeof *out));
    for (int i = 1; i <= steps; i++) {
        for (int j = 0; j < N; j++)
            in[j] = j * i + j / 7;
        CHECK(cudaMemcpy(device, in, sizeof in, cudaMemcpyHostToDevice));
        printf("step %d:", i);
        bad += wrong("stages", stages, in, device, out, false);
        bad += wrong("barriers", barriers, in, device, out, false);
        bad += wrong("primitives", primitives, in, device, out, true);
        printf("\n");
        fflush(stdout);
        usleep(pause * 1000);
    }
    return bad != 0;
}
