/* The other part of cuda_parts. */
#include "cuda_parts.h"

__device__ int total = 3;
__constant__ int factors[4];
__device__ int *where = &places[1];
static __device__ int own = 1000;
static __device__ __noinline__ int helper(int x) { return (x * 5 + 1) ^ own; }
static __device__ int after(int x) { return helper(x) + 1; }
__device__ int (*functions[2])(int) = {after, helper};

__device__ int beyond(int x) { return x % 1000 + own; }

struct Shifted : Shape {
    const Shape *inner;
    __device__ explicit Shifted(const Shape *s) : inner(s) {}
    __device__ int area(int x) const override { return inner->area(x) + 1; }
};

__device__ __noinline__ int other_area(const Shape *inner, int x)
{
    Shifted shifted(inner);
    const Shape *shape = &shifted;
    return shape->area(x) + twice(0);
}

static __global__ void raise() { own += 2; }

void raise_other() { raise<<<1, 1>>>(); }

void set_factors()
{
    const int from[4] = {11, 12, 13, 14};
    CHECK(cudaMemcpyToSymbol(factors, from, sizeof from));
}

int total_now()
{
    int now;
    CHECK(cudaMemcpyFromSymbol(&now, total, sizeof now));
    return now;
}
