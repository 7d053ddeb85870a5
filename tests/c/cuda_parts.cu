/*
 * Device code in two parts, linked by nvcc (-rdc=true; cuda_parts_other.cu is the other one): functions, variables and constants of the other's; names
 * that both have for themselves alone, a template that both have, virtual functions, a function by its address.
 *
 * Usage: cuda_parts [STEPS [PAUSE in ms]]. Each step's result is compared with the host's.
 */
#include "cuda_parts.h"
#include <cstdlib>
#include <unistd.h>

__device__ int places[2] = {7, 8};
static __device__ int own = 100;
static __device__ __noinline__ int helper(int x) { return x * own; }

struct Square : Shape {
    __device__ int area(int x) const override { return x * x; }
};

__global__ void step(int *data, int which)
{
    int i = threadIdx.x;
    Square square;
    const Shape *shape = &square;
    int sum = beyond(data[i]) + helper(i) + factors[i % 4] + twice(i) + shape->area(i) + other_area(shape, i);
    sum += functions[which](i) + *where + places[0];
    data[i] = sum;
    if (i == 0)
        atomicAdd(&total, 1);
}

static __global__ void raise() { own++; }

int main(int argc, char **argv)
{
    const int steps = argc > 1 ? atoi(argv[1]) : 20, pause = argc > 2 ? atoi(argv[2]) : 0, n = 128;
    int *data, host[n] = {}, seen[n], own_now = 100, other_now = 1000, count = 3;
    CHECK(cudaMalloc(&data, sizeof host));
    CHECK(cudaMemset(data, 0, sizeof host));
    set_factors();
    for (int s = 0; s < steps; s++) {
        raise<<<1, 1>>>();
        raise_other();
        own_now++, other_now += 2;
        step<<<1, n>>>(data, s % 2);
        CHECK(cudaMemcpy(seen, data, sizeof seen, cudaMemcpyDeviceToHost));
        unsigned sum = 0;
        for (int i = 0; i < n; i++) {
            int to = (i * 5 + 1) ^ other_now;
            host[i] = (host[i] % 1000 + other_now) + i * own_now + (i % 4 + 11) + 2 * i + i * i + (i * i + 1) + (s % 2 ? to : to + 1) + 8 + 7;
            if (host[i] != seen[i]) {
                printf("step %d, %d: %d, not %d\n", s, i, seen[i], host[i]);
                return 1;
            }
            sum = sum * 31 + seen[i];
        }
        count++;
        if (total_now() != count) {
            printf("step %d: total is %d, not %d\n", s, total_now(), count);
            return 1;
        }
        printf("step %d: %u, total %d\n", s, sum, count);
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
