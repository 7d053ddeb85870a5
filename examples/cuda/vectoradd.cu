// Adds vectors on the device, again and again, and says after each round what came out.
//
//   nvcc -cudart shared -o vectoradd vectoradd.cu && splitproc launch ./vectoradd [ROUNDS] [PAUSE in ms]
#include <cstdio>
#include <cstdlib>
#include <unistd.h>
#include <vector>

#define CHECK(call)                                                                        \
    do {                                                                                   \
        cudaError_t e = (call);                                                            \
        if (e != cudaSuccess) {                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e)); \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

__constant__ float factor;
__device__ unsigned long long rounds_done;

__global__ void add(const float *a, const float *b, float *c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        c[i] = a[i] + factor * b[i];
    if (i == 0)
        rounds_done++;
}

int main(int argc, char **argv) {
    const int n = 1 << 16, rounds = argc > 1 ? atoi(argv[1]) : 10, pause = argc > 2 ? atoi(argv[2]) : 0;
    std::vector<float> a(n), b(n);
    for (int i = 0; i < n; i++) {
        a[i] = i % 1000;
        b[i] = i % 17;
    }
    float *da, *db, *dc, half = 0.5f;
    CHECK(cudaMalloc(&da, n * sizeof(float)));
    CHECK(cudaMalloc(&db, n * sizeof(float)));
    CHECK(cudaMalloc(&dc, n * sizeof(float)));
    CHECK(cudaMemcpyToSymbol(factor, &half, sizeof half));
    CHECK(cudaMemcpy(da, a.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(db, b.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    for (int round = 1; round <= rounds; round++) {
        add<<<(n + 255) / 256, 256>>>(da, db, dc, n);
        CHECK(cudaGetLastError());
        CHECK(cudaDeviceSynchronize());
        CHECK(cudaMemcpy(a.data(), dc, n * sizeof(float), cudaMemcpyDeviceToHost));
        double sum = 0;
        int wrong = 0;
        for (int i = 0; i < n; i++) {
            sum += a[i];
            wrong += a[i] != i % 1000 + 0.5f * round * (i % 17);
        }
        unsigned long long done;
        CHECK(cudaMemcpyFromSymbol(&done, rounds_done, sizeof done));
        printf("round %d: sum %.1f, %d wrong, %llu launches\n", round, sum, wrong, done);
        fflush(stdout);
        float *old = da;
        da = dc;
        dc = old;
        usleep(pause * 1000);
    }
    CHECK(cudaFree(da));
    CHECK(cudaFree(db));
    CHECK(cudaFree(dc));
    return 0;
}
