/*
 * Products of matrices by mma.h, a tile of 16 by 16 for each warp: halves, bfloat16, tf32, bytes. Each is compared with the host's, in double precision.
 *
 * Usage: cuda_matrices [STEPS [PAUSE in ms]].
 */
#include "cuda_told.h"
#include <cmath>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>
#include <type_traits>
#include <unistd.h>

using namespace nvcuda;

enum { SIZE = 64, TILE = 16 };

/* c = 2 · a · b + c, where b lies by columns. */
template <typename In, typename Part, typename Out, int K>
__global__ void multiply(const In *a, const In *b, Out *c)
{
    int row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    wmma::fragment<wmma::matrix_a, TILE, TILE, K, Part, wmma::row_major> left;
    wmma::fragment<wmma::matrix_b, TILE, TILE, K, Part, wmma::col_major> right;
    wmma::fragment<wmma::accumulator, TILE, TILE, K, Out> sum, old;
    wmma::fill_fragment(sum, Out(0));
    for (int k = 0; k < SIZE; k += K) {
        wmma::load_matrix_sync(left, a + row * SIZE + k, SIZE);
        wmma::load_matrix_sync(right, b + column * SIZE + k, SIZE);
        if constexpr (std::is_same<Part, wmma::precision::tf32>::value) {
            for (int i = 0; i < left.num_elements; i++)
                left.x[i] = wmma::__float_to_tf32(left.x[i]);
            for (int i = 0; i < right.num_elements; i++)
                right.x[i] = wmma::__float_to_tf32(right.x[i]);
        }
        wmma::mma_sync(sum, left, right, sum);
    }
    wmma::load_matrix_sync(old, c + row * SIZE + column, SIZE, wmma::mem_row_major);
    for (int i = 0; i < sum.num_elements; i++)
        sum.x[i] = Out(2) * sum.x[i] + old.x[i];
    wmma::store_matrix_sync(c + row * SIZE + column, sum, SIZE, wmma::mem_row_major);
}

static double value(unsigned i)
{
    return (i * 2654435761u >> 24) / 16.0 - 8;
}

/* How far the result is from the host's at most: rounding is allowed so much. */
template <typename In, typename Part, typename Out, int K>
static int wrong(const char *name, unsigned seed, double allowed)
{
    static In a[SIZE * SIZE], b[SIZE * SIZE], *da, *db;
    static Out c[SIZE * SIZE], *dc;
    static double wanted[SIZE * SIZE];
    if (!da) {
        CHECK(cudaMalloc(&da, sizeof a));
        CHECK(cudaMalloc(&db, sizeof b));
        CHECK(cudaMalloc(&dc, sizeof c));
        CHECK(cudaMemset(dc, 0, sizeof c));
    }
    /* Sums of halves are to have few places, and their rounding is to be small beside them. */
    double scale = std::is_same<Out, half>::value ? 1 / 16.0 : 1;
    for (int i = 0; i < SIZE * SIZE; i++) {
        a[i] = In(value(i + seed) * scale);
        b[i] = In(value(3 * i + seed + 1) * scale);
    }
    CHECK(cudaMemcpy(da, a, sizeof a, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(db, b, sizeof b, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(c, dc, sizeof c, cudaMemcpyDeviceToHost));
    for (int i = 0; i < SIZE * SIZE; i++) {
        double sum = 0;
        for (int k = 0; k < SIZE; k++)
            sum += double(float(a[i / SIZE * SIZE + k])) * double(float(b[i % SIZE * SIZE + k]));
        wanted[i] = 2 * sum + double(float(c[i]));
    }
    multiply<In, Part, Out, K><<<dim3(SIZE / TILE, SIZE / TILE), 32>>>(da, db, dc);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(c, dc, sizeof c, cudaMemcpyDeviceToHost));
    int n = 0;
    for (int i = 0; i < SIZE * SIZE; i++)
        n += !(fabs(double(float(c[i])) - wanted[i]) <= allowed * (1 + fabs(wanted[i])));
    printf(" %s: %s;", name, n ? "WRONG" : "as the host");
    return n;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 1, pause = argc > 2 ? atoi(argv[2]) : 0, bad = 0;
    for (int i = 1; i <= steps; i++) {
        printf("step %d:", i);
        bad += wrong<half, half, float, 16>("half", i, 1e-5);
        bad += wrong<half, half, half, 16>("half alone", i, 2e-2);
        bad += wrong<__nv_bfloat16, __nv_bfloat16, float, 16>("bfloat16", i, 1e-5);
        bad += wrong<float, wmma::precision::tf32, float, 8>("tf32", i, 1e-5);
        bad += wrong<signed char, signed char, int, 16>("bytes", i, 1e-6);
        printf("\n");
        fflush(stdout);
        usleep(pause * 1000);
    }
    return bad != 0;
}
