/*
 * Threads that use the program's device code for the first time at once, and threads that end objects and make them again: textures,
 * whose numbers are given again, and managed memory, whose addresses are.
 *
 * Usage: cuda_threads [STEPS [PAUSE in ms]]. What is said at the end of each step is the same, but for its number.
 */
#include "cuda_told.h"
#include <atomic>
#include <thread>
#include <unistd.h>
#include <vector>

enum { THREADS = 16, ROUNDS = 4000, N = 256 };

__device__ int seen;
__managed__ int shared;

__global__ void first(int *out) { atomicAdd(&seen, 1), atomicAdd(&shared, 1), *out = 1; }
__global__ void second(int *out) { atomicAdd(&seen, 1), atomicAdd(&shared, 1), *out = 2; }
__global__ void read(cudaTextureObject_t texture, int *out) { *out = tex1Dfetch<int>(texture, 3); }
__global__ void add(int *all, int n) { all[threadIdx.x] += n; }

template <class F> static void each(F f)
{
    std::vector<std::thread> all;
    for (int i = 0; i < THREADS; i++)
        all.emplace_back(f, i);
    for (auto &thread : all)
        thread.join();
}

static cudaTextureObject_t texture_of(int *memory)
{
    cudaResourceDesc what = {};
    what.resType = cudaResourceTypeLinear;
    what.res.linear.devPtr = memory;
    what.res.linear.desc = cudaCreateChannelDesc<int>();
    what.res.linear.sizeInBytes = N * sizeof *memory;
    cudaTextureDesc how = {};
    how.readMode = cudaReadModeElementType;
    cudaTextureObject_t made;
    CHECK(cudaCreateTextureObject(&made, &what, &how, nullptr));
    return made;
}

static int kind(const void *at)
{
    cudaPointerAttributes attributes;
    CHECK(cudaPointerGetAttributes(&attributes, at));
    return attributes.type + 10 * (attributes.hostPointer == at);
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 1, pause = argc > 2 ? atoi(argv[2]) : 0, *memory[THREADS], *managed[THREADS], *out, used;
    cudaTextureObject_t texture[THREADS];
    CHECK(cudaMalloc(&out, sizeof *out));
    std::atomic<int> ready{0};
    each([&](int i) {
        for (ready++; ready < THREADS;)
            ;
        i % 2 ? first<<<1, 1>>>(out) : second<<<1, 1>>>(out);
        CHECK(cudaDeviceSynchronize());
    });
    CHECK(cudaMemcpyFromSymbol(&used, seen, sizeof used));
    for (int i = 0; i < THREADS; i++) {
        std::vector<int> numbers(N, 100 + i);
        CHECK(cudaMalloc(&memory[i], N * sizeof(int)));
        CHECK(cudaMemcpy(memory[i], numbers.data(), N * sizeof(int), cudaMemcpyHostToDevice));
        texture[i] = texture_of(memory[i]);
        CHECK(cudaMallocManaged(&managed[i], N * sizeof(int)));
    }
    each([&](int i) {
        for (int round = 0; round < ROUNDS; round++) {
            CHECK(cudaDestroyTextureObject(texture[i]));
            texture[i] = texture_of(memory[i]);
            CHECK(cudaFree(managed[i]));
            CHECK(cudaMallocManaged(&managed[i], N * sizeof(int)));
        }
        for (int j = 0; j < N; j++)
            managed[i][j] = 1000 * i + j;
    });
    for (int step = 1; step <= steps; step++) {
        int textures = 0, wrong = 0, kinds = 0;
        for (int i = 0; i < THREADS; i++) {
            int value = 0;
            read<<<1, 1>>>(texture[i], out);
            CHECK(cudaMemcpy(&value, out, sizeof value, cudaMemcpyDeviceToHost));
            textures += value == 100 + i;
            add<<<1, N>>>(managed[i], 1);
            CHECK(cudaDeviceSynchronize());
            for (int j = 0; j < N; j++)
                wrong += managed[i][j] != 1000 * i + j + step;
            kinds += kind(managed[i]) == 13;
        }
        void *variable;
        CHECK(cudaGetSymbolAddress(&variable, seen));
        printf("step %d: %d %d of %d threads, %d textures, %d wrong in %d managed, variables %d %d\n", step, used, shared, THREADS,
               textures, wrong, kinds, kind(&shared), kind(variable));
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
