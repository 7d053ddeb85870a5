/*
 * Copies and fills that go beyond an allocation, by a byte or by many, fail with "invalid value" and touch nothing; those that end with it don't, nor those from its
 * middle: memory of every kind, in a line, in rows and in slices, at once, in streams and in graphs.
 *
 * Usage: cuda_ranges [STEPS [PAUSE in ms]]. Each step prints the same, but for its number.
 */
#include "cuda.h"
#include <string.h>
#include <unistd.h>

enum { INVALID = 1, N = 1000, PIECE = 2 << 20, TO_DEVICE = 1, TO_HOST = 2, ON_DEVICE = 3, EITHER = 4 };

int cudaMalloc(void **, unsigned long);
int cudaMallocAsync(void **, unsigned long, void *);
int cudaMallocManaged(void **, unsigned long, unsigned);
int cudaMallocHost(void **, unsigned long);
int cudaMallocPitch(void **, unsigned long *, unsigned long, unsigned long);
int cudaFree(void *);
int cudaMemcpy(void *, const void *, unsigned long, int);
int cudaMemcpyAsync(void *, const void *, unsigned long, int, void *);
int cudaMemcpy2D(void *, unsigned long, const void *, unsigned long, unsigned long, unsigned long, int);
int cudaMemset(void *, int, unsigned long);
int cudaMemsetAsync(void *, int, unsigned long, void *);
int cudaMemset2D(void *, unsigned long, int, unsigned long, unsigned long);
int cudaDeviceSynchronize(void);
int cuMemcpyDtoD_v2(address, address, unsigned long);
int cuMemcpyAtoD_v2(address, void *, unsigned long, unsigned long);
int cuMemcpyDtoA_v2(void *, unsigned long, address, unsigned long);
int cuMemsetD2D32_v2(address, unsigned long, unsigned, unsigned long, unsigned long);

static int calls, wrong;

#define GIVES(wanted, call)                                                              \
    do {                                                                                 \
        int code = (call);                                                               \
        calls++;                                                                         \
        if (code != (wanted)) {                                                          \
            wrong++;                                                                     \
            printf("line %d: %s: %d, not %d\n", __LINE__, #call, code, wanted);          \
        }                                                                                \
    } while (0)

static char host[4 * PIECE];

static struct copy_2d rows_from(char *at, unsigned long x, unsigned long y, unsigned long width, unsigned long height)
{
    return (struct copy_2d){.source = {.x = x, .y = y, .type = 2, .device = (address)at, .pitch = 100},
                            .target = {.type = 1, .host = host, .pitch = width},
                            .width = width,
                            .height = height};
}

static struct copy_3d slices_to(char *at, unsigned long z, unsigned long depth)
{
    return (struct copy_3d){.source = {.type = 1, .host = host, .pitch = 10, .height = 10},
                            .target = {.z = z, .type = 4, .device = (address)at, .pitch = 10, .height = 10},
                            .width = 10,
                            .height = 10,
                            .depth = depth};
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 2, pause = argc > 2 ? atoi(argv[2]) : 0;
    static char registered[N];
    char *a, *b, *pool, *managed, *pinned, *pitched;
    unsigned long pitch, size = N;
    void *stream, *array, *graph, *node;
    address mapped;
    struct array_description shape = {N, 0, 1, 1};
    struct properties made = {.type = 1, .location = {1, 0}};
    struct access all = {{1, 0}, 3};

    CHECK(cudaMalloc((void **)&a, N));
    CHECK(cudaMalloc((void **)&b, N));
    CHECK(cudaMallocAsync((void **)&pool, N, NULL));
    CHECK(cudaMallocManaged((void **)&managed, N, 1));
    CHECK(cudaMallocHost((void **)&pinned, N));
    CHECK(cudaMallocPitch((void **)&pitched, &pitch, 100, 10));
    CHECK(cuMemHostRegister_v2(registered, N, 0));
    CHECK(cuStreamCreate(&stream, 0));
    CHECK(cuArrayCreate_v2(&array, &shape));
    CHECK(cuMemAddressReserve(&mapped, 3 * PIECE, 0, 0, 0));
    for (int i = 0; i < 2; i++) {
        unsigned long long piece;
        CHECK(cuMemCreate(&piece, PIECE, &made, 0));
        CHECK(cuMemMap(mapped + i * PIECE, PIECE, 0, piece, 0));
        CHECK(cuMemRelease(piece));
    }
    CHECK(cuMemSetAccess(mapped, 2 * PIECE, &all, 1));
    if (b - a != 1024)
        printf("they are no neighbours: %ld\n", b - a);
    for (int i = 1; i <= steps; i++) {
        char *gone;
        struct copy_2d rows;
        struct copy_3d slices;
        struct fill_node fill = {(address)a, 100, 7, 4, 25, 10};
        memset(host, i, size);
        CHECK(cudaMemset(b, 9, N));
        /* In a line. */
        GIVES(0, cudaMemcpy(a, host, N, TO_DEVICE));
        GIVES(0, cudaMemcpy(a + 500, host, 500, TO_DEVICE));
        GIVES(0, cudaMemcpy(a + N, host, 0, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy(a, host, N + 1, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy(a + 500, host, 501, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy(a + 500, host, 1024, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy(a + N, host, 1, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy(b - 1, host, 1, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy(host, a, N + 1, TO_HOST));
        GIVES(INVALID, cudaMemcpy(host, a, -1ul, TO_HOST));
        GIVES(INVALID, cudaMemcpy(a, b, N + 1, ON_DEVICE));
        GIVES(INVALID, cudaMemcpy(b, a + 1, N, ON_DEVICE));
        GIVES(INVALID, cudaMemcpy(a, host, N + 1, EITHER));
        GIVES(INVALID, cudaMemcpyAsync(a, host, N + 1, TO_DEVICE, stream));
        GIVES(INVALID, cudaMemcpyAsync(pinned, a + 1, N, TO_HOST, stream));
        GIVES(0, cudaMemcpyAsync(pinned, a, N, TO_HOST, stream));
        GIVES(INVALID, cudaMemset(a, 1, N + 1));
        GIVES(INVALID, cudaMemsetAsync(a + 1, 1, N, stream));
        GIVES(INVALID, cuMemsetD32_v2((address)a, 1, 251));
        GIVES(INVALID, cuMemsetD32_v2((address)a, 1, 1ul << 62));
        GIVES(0, cuMemsetD32_v2((address)a, 1, 250));
        GIVES(INVALID, cuMemcpyDtoD_v2((address)b, (address)a, N + 1));
        /* In rows and slices. */
        GIVES(0, cudaMemcpy2D(a, 100, host, 100, 100, 10, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy2D(a, 100, host, 100, 100, 11, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy2D(a, 101, host, 100, 100, 10, TO_DEVICE));
        GIVES(0, cudaMemset2D(pitched, pitch, 1, 100, 10));
        GIVES(INVALID, cudaMemset2D(pitched, pitch, 1, pitch, 11));
        GIVES(0, cuMemsetD2D32_v2((address)a, 100, 1, 25, 10));
        GIVES(INVALID, cuMemsetD2D32_v2((address)a, 104, 1, 25, 10));
        rows = rows_from(a, 50, 2, 50, 8);
        GIVES(0, cuMemcpy2D_v2(&rows));
        rows = rows_from(a, 51, 2, 50, 8);
        GIVES(INVALID, cuMemcpy2D_v2(&rows));
        rows = rows_from(a, 50, 3, 50, 8);
        GIVES(INVALID, cuMemcpy2D_v2(&rows));
        slices = slices_to(a, 2, 8);
        GIVES(0, cuMemcpy3D_v2(&slices));
        slices = slices_to(a, 3, 8);
        GIVES(INVALID, cuMemcpy3D_v2(&slices));
        GIVES(0, cuMemcpyAtoD_v2((address)a, array, 0, N));
        GIVES(INVALID, cuMemcpyAtoD_v2((address)a + 1, array, 0, N));
        GIVES(0, cuMemcpyDtoA_v2(array, 0, (address)a, N));
        GIVES(INVALID, cuMemcpyDtoA_v2(array, 0, (address)a + 1, N));
        /* Nodes. */
        CHECK(cuGraphCreate(&graph, 0));
        slices = slices_to(a, 0, 10);
        GIVES(0, cuGraphAddMemcpyNode(&node, graph, NULL, 0, &slices, NULL));
        slices = slices_to(a, 0, 11);
        GIVES(INVALID, cuGraphAddMemcpyNode(&node, graph, NULL, 0, &slices, NULL));
        GIVES(0, cuGraphAddMemsetNode(&node, graph, NULL, 0, &fill, NULL));
        fill.height = 11;
        GIVES(INVALID, cuGraphAddMemsetNode(&node, graph, NULL, 0, &fill, NULL));
        CHECK(cuGraphDestroy(graph));
        /* Memory of other kinds. */
        GIVES(0, cudaMemcpy(pool, host, N, TO_DEVICE));
        GIVES(INVALID, cudaMemcpy(pool, host, N + 1, TO_DEVICE));
        GIVES(0, cudaMemcpy(managed, a, N, EITHER));
        GIVES(INVALID, cudaMemset(managed, 1, 1 << 20));
        GIVES(0, cudaMemcpy(pinned + 1, a, N - 1, TO_HOST));
        GIVES(0, cudaMemcpy(registered + 1, a, N - 1, TO_HOST));
        GIVES(0, cudaMemcpy((void *)mapped, host, 2 * PIECE, TO_DEVICE));
        GIVES(0, cudaMemset((void *)(mapped + PIECE - 5), 1, 10));
        GIVES(INVALID, cudaMemset((void *)(mapped + PIECE), 1, PIECE + 1));
        GIVES(INVALID, cudaMemset((void *)(mapped + 2 * PIECE), 1, 1));
        /* What is freed is nobody's. */
        CHECK(cudaMalloc((void **)&gone, N));
        CHECK(cudaFree(gone));
        GIVES(INVALID, cudaMemcpy(gone, host, 1, TO_DEVICE));
        CHECK(cudaDeviceSynchronize());
        CHECK(cudaMemcpy(host, b, N, TO_HOST));
        int touched = 0;
        for (int j = 0; j < N; j++)
            touched += host[j] != 9;
        printf("step %d: %d calls, %d wrong, %d bytes touched\n", i, calls, wrong, touched);
        fflush(stdout);
        calls = 0;
        usleep(pause * 1000);
    }
    return wrong != 0;
}
