// The examples' kernels and a few more, each compared with what the host computes in f64. The examples are taken as they are: only
// their main functions have other names.
//
// Usage: cuda_kernels. A line for each kernel; the product of matrices tells the processors' time that it took: with it a machine that does
// nothing else is done within as many seconds.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cooperative_groups.h>
#include <cstdlib>
#include <ctime>
#include <cuda_fp16.h>
#include <mpi.h>
#include <unistd.h>
#include <vector>

#define main heat_main
namespace heat {
#include "../../examples/cuda/heat2d-cuda.cu"
}
#undef main
#undef CHECK
#define main nbody_main
namespace nbody {
#include "../../examples/cuda/nbody.cu"
}
#undef main
#define main vectoradd_main
namespace vectoradd {
#include "../../examples/cuda/vectoradd.cu"
}
#undef main
#define main managed_main
namespace managed {
#include "../../examples/cuda/managed.cu"
}
#undef main
#define main streams_main
namespace streams {
#include "../../examples/cuda/streams.cu"
}
#undef main

static bool failed;

// Says how far the device's numbers are from the host's, as a part of the largest.
template <typename T> static void compare(const char *name, const std::vector<T> &device, const std::vector<double> &host, double limit) {
    double most = 0, off = 0;
    for (size_t i = 0; i < host.size(); i++) {
        most = std::max(most, std::fabs(host[i]));
        off = std::max(off, std::fabs((double)device[i] - host[i]));
    }
    bool good = device.size() == host.size() && off <= limit * most && most > 0;
    printf("%s: %s\n", name, good ? "as the host" : "differs");
    if (!good)
        fprintf(stderr, "%s: %g of %g, at most %g\n", name, off, most, limit);
    failed |= !good;
}

template <typename T> static T *to_device(const std::vector<T> &from) {
    T *p;
    CHECK(cudaMalloc(&p, from.size() * sizeof(T)));
    CHECK(cudaMemcpy(p, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice));
    return p;
}

template <typename T> static std::vector<T> to_host(const T *from, size_t n) {
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
    std::vector<T> to(n);
    CHECK(cudaMemcpy(to.data(), from, n * sizeof(T), cudaMemcpyDeviceToHost));
    CHECK(cudaFree((void *)from));
    return to;
}

static double number(unsigned i) { return (i * 2654435761u >> 8) / 16777216.0 - 0.5; }

static void bodies() {
    const int n = 256;
    std::vector<float4> from(n), velocity(n);
    for (int i = 0; i < n; i++) {
        from[i] = make_float4(number(4 * i), number(4 * i + 1), number(4 * i + 2), (number(4 * i + 3) + 1) / n);
        velocity[i] = make_float4(number(9 * i), number(7 * i), 0, 0);
    }
    float4 *a = to_device(from), *b = to_device(from), *v = to_device(velocity);
    nbody::move<<<n / nbody::TILE, nbody::TILE>>>(a, b, v, n, 0.25f);
    std::vector<float4> moved = to_host(b, n);
    std::vector<float> seen;
    std::vector<double> wanted;
    for (int i = 0; i < n; i++) {
        double x[3] = {from[i].x, from[i].y, from[i].z}, u[3] = {velocity[i].x, velocity[i].y, velocity[i].z}, pull[3] = {0, 0, 0};
        for (auto &other : from) {
            double d[3] = {other.x - x[0], other.y - x[1], other.z - x[2]};
            double r = 1 / std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2] + 1e-2);
            for (int k = 0; k < 3; k++)
                pull[k] += other.w * r * r * r * d[k];
        }
        for (int k = 0; k < 3; k++)
            wanted.push_back(x[k] + (u[k] + pull[k] * 0.25) * 0.25);
        seen.insert(seen.end(), {moved[i].x, moved[i].y, moved[i].z});
    }
    compare("nbody", seen, wanted, 1e-5);
}

static void vectors() {
    const int n = 1000;
    const float factor = 0.3f;
    std::vector<float> a(n), b(n), c(n);
    std::vector<double> wanted(n);
    for (int i = 0; i < n; i++) {
        a[i] = number(i), b[i] = number(i + n);
        wanted[i] = a[i] + (double)factor * b[i];
    }
    CHECK(cudaMemcpyToSymbol(vectoradd::factor, &factor, sizeof factor));
    float *p = to_device(c);
    vectoradd::add<<<(n + 255) / 256, 256>>>(to_device(a), to_device(b), p, n);
    compare("vectoradd", to_host(p, n), wanted, 1e-6);
}

static void lists() {
    managed::Node *nodes;
    CHECK(cudaMallocManaged(&nodes, 2 * sizeof *nodes));
    nodes[0] = {nodes + 1, 1}, nodes[1] = {nullptr, 2};
    managed::step<<<1, 1>>>(nodes);
    CHECK(cudaDeviceSynchronize());
    std::vector<unsigned> seen = {nodes[0].value, nodes[1].value, managed::total};
    const double a = std::fmod(1664525.0 + 1013904223.0, 4294967296.0), b = std::fmod(2 * 1664525.0 + 1013904223.0, 4294967296.0);
    compare("managed", seen, {a, b, std::fmod(a + b, 4294967296.0)}, 0);
}

static void words() {
    const int n = 256;
    std::vector<unsigned> data(n);
    std::vector<double> wanted(n);
    for (int i = 0; i < n; i++) {
        data[i] = 1431655000u + i * 77;
        wanted[i] = std::fmod(data[i] * 3.0 + 1e9, 4294967296.0);
    }
    unsigned *p = to_device(data);
    streams::work<<<1, n>>>(p, 1000000000);
    compare("streams", to_host(p, n), wanted, 0);
}

static void plate() {
    const int size = 40, rows = 10, first = 12;
    std::vector<double> now((rows + 2) * size), wanted;
    for (size_t i = 0; i < now.size(); i++)
        now[i] = number(i);
    double *p = to_device(now), *q = to_device(now);
    heat::sweep<<<dim3(2, 3), dim3(32, 4)>>>(p, q, size, rows, first);
    wanted = now;
    for (int i = 1; i <= rows; i++)
        for (int j = 1; j < size - 1; j++) {
            const double *c = &now[i * size + j];
            wanted[i * size + j] = (c[-size] + c[size] + c[-1] + c[1]) / 4;
        }
    compare("heat2d-cuda", to_host(q, now.size()), wanted, 1e-14);
}

const int TILE = 16, N = 512;

__global__ void product(const float *a, const float *b, float *c, int n) {
    __shared__ float left[TILE][TILE], right[TILE][TILE];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * TILE + y, column = blockIdx.x * TILE + x;
    float sum = 0;
    for (int k = 0; k < n; k += TILE) {
        left[y][x] = a[row * n + k + x];
        right[y][x] = b[(k + y) * n + column];
        __syncthreads();
        for (int i = 0; i < TILE; i++)
            sum += left[y][i] * right[i][x];
        __syncthreads();
    }
    c[row * n + column] = sum;
}

static double matrices() {
    std::vector<float> a(N * N), b(N * N);
    std::vector<double> wanted(N * N);
    for (int i = 0; i < N * N; i++)
        a[i] = number(i), b[i] = number(i + N * N);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++)
            for (int j = 0; j < N; j++)
                wanted[i * N + j] += (double)a[i * N + k] * b[k * N + j];
    float *p = to_device(a), *q = to_device(b), *r = to_device(a);
    clock_t begin = clock();
    product<<<dim3(N / TILE, N / TILE), dim3(TILE, TILE)>>>(p, q, r, N);
    CHECK(cudaDeviceSynchronize());
    double took = (double)(clock() - begin) / CLOCKS_PER_SEC;
    compare("product of matrices", to_host(r, N * N), wanted, 1e-5);
    return took;
}

// Sums by shuffles within warps, by shared memory within blocks, by atomics between them; the largest by votes and integers.
__global__ void sums(const float *from, double *sum, int n) {
    __shared__ double warps[32];
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    double mine = i < n ? from[i] : 0;
    for (int by = 16; by > 0; by /= 2)
        mine += __shfl_down_sync(~0u, mine, by);
    if (lane == 0)
        warps[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < blockDim.x / 32; w++)
            mine += warps[w];
        atomicAdd(sum, mine);
    }
    unsigned positive = __popc(__ballot_sync(~0u, i < n && from[i] > 0));
    if (lane == 0)
        atomicAdd(sum + 1, (double)positive);
}

static void reductions() {
    const int n = 10000;
    std::vector<float> data(n);
    double sum = 0, positive = 0;
    for (int i = 0; i < n; i++) {
        data[i] = number(i) + 0.1;
        sum += data[i];
        positive += data[i] > 0;
    }
    double *p = to_device(std::vector<double>(2));
    sums<<<(n + 127) / 128, 128>>>(to_device(data), p, n);
    compare("sums", to_host(p, 2), {sum, positive}, 1e-12);
}

__global__ void functions(const float *from, float *to, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        float x = from[i];
        switch (i % 8) {
        case 0: x = expf(x); break;
        case 1: x = logf(2 + x); break;
        case 2: x = sinf(20 * x); break;
        case 3: x = sqrtf(1 + x); break;
        case 4: x = powf(1 + x, 2.5f); break;
        case 5: x = erff(x); break;
        case 6: x = tanhf(x); break;
        default: x = __half2float(__hfma(__float2half(x), __float2half(2), __float2half(1))); break;
        }
        to[i] = x;
    }
}

static void mathematics() {
    const int n = 4096;
    std::vector<float> data(n);
    std::vector<double> wanted(n);
    for (int i = 0; i < n; i++) {
        // Few bits, so that an f16 has all of them.
        double x = data[i] = std::floor(number(i) * 256) / 256;
        const double by[] = {std::exp(x), std::log(2 + x), std::sin(20 * x), std::sqrt(1 + x), std::pow(1 + x, 2.5), std::erf(x), std::tanh(x), 2 * x + 1};
        wanted[i] = by[i % 8];
    }
    float *p = to_device(data);
    functions<<<n / 64, 64>>>(p, p, n);
    compare("functions", to_host(p, n), wanted, 1e-6);
}

// All blocks meet between the rounds.
__global__ void meet(unsigned *data, int rounds) {
    auto grid = cooperative_groups::this_grid();
    unsigned n = gridDim.x * blockDim.x, i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int round = 0; round < rounds; round++) {
        unsigned next = data[(i + 65) % n];
        grid.sync();
        data[i] = data[i] % 65536 + next % 65536;
        grid.sync();
    }
}

static void grids() {
    unsigned n = 5 * 64;
    int rounds = 6;
    std::vector<unsigned> data(n);
    for (unsigned i = 0; i < n; i++)
        data[i] = i * 77 + 1;
    std::vector<double> wanted(data.begin(), data.end());
    for (int round = 0; round < rounds; round++) {
        auto before = wanted;
        for (unsigned i = 0; i < n; i++)
            wanted[i] = std::fmod(before[i], 65536) + std::fmod(before[(i + 65) % n], 65536);
    }
    unsigned *p = to_device(data);
    void *args[] = {&p, &rounds};
    CHECK(cudaLaunchCooperativeKernel((const void *)meet, dim3(5), dim3(64), args, 0, 0));
    compare("grids", to_host(p, n), wanted, 0);
}

int main() {
    bodies();
    vectors();
    lists();
    words();
    plate();
    reductions();
    mathematics();
    grids();
    double seconds = matrices();
    fprintf(stderr, "the product of matrices took %.2f s\n", seconds);
    printf("512 by 512 within 5 s: %s\n", seconds < 5 ? "yes" : "no");
    return failed;
}
