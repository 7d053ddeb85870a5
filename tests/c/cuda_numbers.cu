/*
 * What parts of a warp find out by themselves, divisions of 128 bits, conversions and rounding at the ends of what numbers can be:
 * compared with what the host computes.
 */
#include "cuda_told.h"
#include <cfenv>
#include <cmath>
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cstring>
#include <vector>

namespace cg = cooperative_groups;
typedef unsigned long long u64;
typedef unsigned __int128 u128;

static int failed;

static void compare(const char *name, const u64 *seen, const std::vector<u64> &wanted)
{
    size_t wrong = 0;
    for (size_t i = 0; i < wanted.size(); i++)
        if (seen[i] != wanted[i] && wrong++ < 4)
            fprintf(stderr, "%s: %zu is %llx, not %llx\n", name, i, seen[i], wanted[i]);
    printf("%s: %s\n", name, wrong ? "WRONG" : "as the host");
    failed |= wrong > 0;
}

static u64 *managed(size_t n)
{
    u64 *p;
    CHECK(cudaMallocManaged(&p, n * sizeof *p));
    return p;
}

const int THREADS = 64, TOLD = 16;

__host__ __device__ static unsigned value(int thread) { return thread * 2654435761u >> 20 & 255; }

__global__ void tiles(u64 *out)
{
    auto tile = cg::tiled_partition<8>(cg::this_thread_block());
    unsigned v = value(threadIdx.x), mask = 255u << (threadIdx.x & 24);
    u64 *to = out + threadIdx.x * TOLD;
    int all = 0;
    *to++ = tile.ballot(v & 1);
    *to++ = tile.any(v > 230);
    *to++ = tile.all(v < 230);
    *to++ = tile.match_any(v & 3);
    *to++ = cg::reduce(cg::labeled_partition(tile, v % 3), v, cg::plus<unsigned>());
    *to++ = cg::binary_partition(tile, (v & 2) != 0).size();
    *to++ = __ballot_sync(mask, v & 4);
    *to++ = __any_sync(mask, v > 240) + 2 * __all_sync(mask, v < 240);
    *to++ = __match_any_sync(mask, v & 1);
    *to++ = __match_all_sync(mask, threadIdx.x / 24, &all);
    *to++ = all;
    *to++ = __reduce_add_sync(mask, v);
    *to++ = __reduce_max_sync(mask, v);
    /* Who is alone in its turn, and whoever comes with it. */
    unsigned sum = 0;
    for (unsigned i = 0; i < v % 8; i++)
        sum += __ballot_sync(__match_any_sync(__activemask(), v % 8), v & 1);
    *to++ = sum != 0;
}

static std::vector<u64> tiles_wanted()
{
    std::vector<u64> all;
    for (int t = 0; t < THREADS; t++) {
        u64 ballot = 0, any = 0, every = 1, match = 0, label = 0, half = 0, four = 0, any2 = 0, every2 = 1, same = 0, sum = 0, most = 0;
        unsigned mine = value(t);
        bool one = true, odd = false;
        for (int i = t & ~7; i < (t & ~7) + 8; i++) {
            unsigned v = value(i);
            ballot |= (u64)(v & 1) << i % 8, any |= v > 230, every &= v < 230, match |= (u64)((v & 3) == (mine & 3)) << i % 8;
            label += v % 3 == mine % 3 ? v : 0, half += (v & 2) == (mine & 2), four |= (u64)((v & 4) != 0) << i % 32;
            any2 |= v > 240, every2 &= v < 240, same |= (u64)((v & 1) == (mine & 1)) << i % 32, sum += v, most = v > most ? v : most;
            one &= i / 24 == t / 24;
        }
        for (int i = t & ~31; i < (t & ~31) + 32; i++)
            odd |= value(i) % 8 == mine % 8 && (mine & 1);
        u64 told[TOLD] = {ballot, any, every, match, label, half, four, any2 + 2 * every2, same, one ? 255u << (t & 24) : 0, one, sum, most, odd};
        all.insert(all.end(), told, told + TOLD);
    }
    return all;
}

__global__ void quotients(const u64 *in, u64 *out, int n)
{
    int i = threadIdx.x;
    if (i >= n)
        return;
    u128 a = (u128)in[3 * i] << 64 | in[3 * i + 1], b = in[3 * i + 2];
    __int128 c = (__int128)a, d = -(__int128)b;
    u128 results[] = {a / b, a % b, (u128)(c / d), (u128)(c % d)};
    for (int k = 0; k < 4; k++)
        out[8 * i + 2 * k] = (u64)results[k], out[8 * i + 2 * k + 1] = (u64)(results[k] >> 64);
}

static void wide()
{
    const int n = 200;
    u64 *in = managed(3 * n), *out = managed(8 * n), state = 88172645463325252ull;
    std::vector<u64> wanted;
    for (int i = 0; i < 3 * n; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        in[i] = state >> state % 64;
        in[i] += i % 3 == 2 && in[i] == 0;
    }
    quotients<<<1, 256>>>(in, out, n);
    CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < n; i++) {
        u128 a = (u128)in[3 * i] << 64 | in[3 * i + 1], b = in[3 * i + 2];
        __int128 c = (__int128)a, d = -(__int128)b;
        for (u128 r : {a / b, a % b, (u128)(c / d), (u128)(c % d)})
            wanted.insert(wanted.end(), {(u64)r, (u64)(r >> 64)});
    }
    compare("128 bits", out, wanted);
}

template <class T> __host__ __device__ static u64 bits(T x)
{
    u64 b = 0;
    memcpy(&b, &x, sizeof x);
    return b;
}

enum { ROUNDED = 12 };

__global__ void roundings(const double *in, u64 *out, int n)
{
    int i = threadIdx.x;
    if (i >= n)
        return;
    double a = in[i], b = in[(i + 1) % n], c = in[(i + 5) % n];
    u64 *to = out + ROUNDED * i, whole = bits(a);
    *to++ = bits(__dadd_ru(a, b)), *to++ = bits(__dmul_rz(a, b)), *to++ = bits(__dmul_rd(a, b)), *to++ = bits(__ddiv_rd(a, b));
    *to++ = bits(__ddiv_ru(a, b)), *to++ = bits(__dsqrt_rz(a)), *to++ = bits(__dsqrt_ru(a)), *to++ = bits(__fma_rd(a, b, c));
    *to++ = bits(__fma_ru(a, b, c)), *to++ = bits(__fma_rz(a, -b, c));
    *to++ = bits(__ull2float_rd(whole)), *to++ = bits(__ll2float_ru((long long)whole));
}

/* In the way that is set, which the compiler has not to know. */
template <class F> static u64 by(int way, F f)
{
    fesetround(way);
    volatile auto result = f();
    fesetround(FE_TONEAREST);
    return bits(decltype(f())(result));
}

static void rounded()
{
    std::vector<double> in = {5e-324, 0.5, 1.5e-323, 1e-200, -3e-160, 1e308, 1e-310, 7, 3, 2.2250738585072019e-308, 1.1, -1e-5, 1e-300, 4.4e-323, 1e300, 18446744073709551615., -2.5e-310, 1e15};
    int n = in.size();
    double *p;
    u64 *out = managed(ROUNDED * n);
    std::vector<u64> wanted;
    CHECK(cudaMallocManaged(&p, n * sizeof *p));
    for (int i = 0; i < n; i++)
        p[i] = in[i] = std::fabs(in[i]) * (i % 5 == 4 ? -1 : 1);
    roundings<<<1, 64>>>(p, out, n);
    CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < n; i++) {
        volatile double a = in[i], b = in[(i + 1) % n], c = in[(i + 5) % n];
        volatile u64 whole = bits((double)a);
        const int down = FE_DOWNWARD, up = FE_UPWARD, zero = FE_TOWARDZERO;
        u64 told[] = {
            by(up, [&] { return a + b; }), by(zero, [&] { return a * b; }), by(down, [&] { return a * b; }), by(down, [&] { return a / b; }),
            by(up, [&] { return a / b; }), by(zero, [&] { return sqrt(a); }), by(up, [&] { return sqrt(a); }), by(down, [&] { return fma(a, b, c); }),
            by(up, [&] { return fma(a, b, c); }), by(zero, [&] { return fma(a, -b, c); }),
            by(down, [&] { return (float)(u64)whole; }), by(up, [&] { return (float)(long long)whole; }),
        };
        for (int k = 0; k < ROUNDED; k++) {
            /* A number that is none has other bits on a device. */
            bool none = (k == 5 || k == 6) && a < 0;
            wanted.push_back(none ? out[ROUNDED * i + k] : told[k]);
        }
    }
    compare("rounding", out, wanted);
}

__global__ void integers(double none, u64 *out)
{
    *out++ = (unsigned)__double2int_rz(none), *out++ = (unsigned)__double2int_rn(none), *out++ = __double2uint_rz(none);
    *out++ = __double2ll_rz(none), *out++ = (unsigned)__float2int_rz((float)none), *out++ = __float2ull_rz((float)none);
}

int main()
{
    u64 *out = managed(THREADS * TOLD);
    CHECK(cudaMemset(out, 0, THREADS * TOLD * sizeof *out));
    tiles<<<1, THREADS>>>(out);
    CHECK(cudaDeviceSynchronize());
    compare("parts of warps", out, tiles_wanted());
    wide();
    rounded();
    integers<<<1, 1>>>(NAN, out);
    CHECK(cudaDeviceSynchronize());
    /* As the PTX ISA has it. */
    compare("no numbers", out, {1u << 31, 1u << 31, 1u << 31, 1ull << 63, 0, 1ull << 63});
    return failed;
}
