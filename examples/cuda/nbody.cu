// Bodies that attract each other: tiles in shared memory, one step after another.
//
//   nvcc -cudart shared -o nbody nbody.cu && splitproc launch ./nbody [STEPS] [BODIES] [PAUSE in ms]
#include <cmath>
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

const int TILE = 64;

__global__ void move(const float4 *from, float4 *to, float4 *velocity, int n, float dt) {
    __shared__ float4 tile[TILE];
    int i = blockIdx.x * TILE + threadIdx.x;
    float4 me = from[i];
    float ax = 0, ay = 0, az = 0;
    for (int begin = 0; begin < n; begin += TILE) {
        tile[threadIdx.x] = from[begin + threadIdx.x];
        __syncthreads();
        for (int j = 0; j < TILE; j++) {
            float x = tile[j].x - me.x, y = tile[j].y - me.y, z = tile[j].z - me.z;
            float d = x * x + y * y + z * z + 1e-2f, r = 1 / sqrtf(d), f = tile[j].w * r * r * r;
            ax += f * x;
            ay += f * y;
            az += f * z;
        }
        __syncthreads();
    }
    float4 v = velocity[i];
    v.x += ax * dt;
    v.y += ay * dt;
    v.z += az * dt;
    velocity[i] = v;
    to[i] = make_float4(me.x + v.x * dt, me.y + v.y * dt, me.z + v.z * dt, me.w);
}

int main(int argc, char **argv) {
    const int steps = argc > 1 ? atoi(argv[1]) : 10, pause = argc > 3 ? atoi(argv[3]) : 0;
    const int n = (argc > 2 ? atoi(argv[2]) : 256) / TILE * TILE;
    std::vector<float4> bodies(n);
    unsigned seed = 1;
    auto random = [&] { return (seed = seed * 1664525u + 1013904223u) / 4294967296.0f; };
    for (auto &b : bodies)
        b = make_float4(random(), random(), random(), random() / n);
    float4 *from, *to, *velocity;
    CHECK(cudaMalloc(&from, n * sizeof(float4)));
    CHECK(cudaMalloc(&to, n * sizeof(float4)));
    CHECK(cudaMalloc(&velocity, n * sizeof(float4)));
    CHECK(cudaMemset(velocity, 0, n * sizeof(float4)));
    CHECK(cudaMemcpy(from, bodies.data(), n * sizeof(float4), cudaMemcpyHostToDevice));
    for (int step = 1; step <= steps; step++) {
        move<<<n / TILE, TILE>>>(from, to, velocity, n, 1e-3f);
        CHECK(cudaGetLastError());
        float4 *other = from;
        from = to;
        to = other;
        CHECK(cudaMemcpy(bodies.data(), from, n * sizeof(float4), cudaMemcpyDeviceToHost));
        double x = 0, y = 0, z = 0;
        for (auto &b : bodies) {
            x += b.x * b.w;
            y += b.y * b.w;
            z += b.z * b.w;
        }
        printf("step %d: centre %.9f %.9f %.9f\n", step, x, y, z);
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
