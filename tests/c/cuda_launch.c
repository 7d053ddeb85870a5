/*
 * What compilers before CUDA 13 make of a program, by hand: a fat binary is registered with its kernel and variables, a kernel
 * is known by the address of a function of the program's, and launched by cudaLaunchKernel; in the default stream and in the
 * threads' own.
 *
 * Usage: cuda_launch [STEPS [PAUSE in ms]]
 */
#include "cuda_runtime.h"
#include <pthread.h>

#define PTX                                                                                                        \
    ".version 7.0\n.target sm_70\n.address_size 64\n"                                                              \
    ".visible .const .align 4 .u32 factor;\n.visible .global .align 4 .u32 launched;\n"                            \
    ".visible .entry step(.param .u64 p, .param .u32 n, .param .u32 add)\n{\n"                                     \
    " .reg .pred %q; .reg .b32 %r<12>; .reg .b64 %d<4>;\n"                                                         \
    " ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n]; ld.param.u32 %r1, [add];\n"                                    \
    " mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;\n"                                         \
    " mad.lo.u32 %r5, %r2, %r3, %r4;\n"                                                                            \
    " setp.ge.u32 %q, %r5, %r0; @%q bra DONE;\n"                                                                   \
    " mul.wide.u32 %d1, %r5, 4; add.u64 %d2, %d0, %d1; ld.const.u32 %r6, [factor];\n"                              \
    " ld.global.u32 %r7, [%d2]; mad.lo.u32 %r8, %r7, %r6, %r1; add.u32 %r8, %r8, %r5;\n"                           \
    " st.global.u32 [%d2], %r8; mov.u64 %d3, launched; atom.global.add.u32 %r9, [%d3], 1;\n"                       \
    "DONE: ret;\n}\n"

/* As fatbinary(1) writes it: a container with one entry, which is PTX. */
static const struct {
    unsigned magic;
    unsigned short version, header;
    unsigned long size;
    struct {
        unsigned short kind, version;
        unsigned header;
        unsigned long size;
        unsigned compressed, rest;
        unsigned short minor, major;
        unsigned architecture, name, name_size;
        unsigned long flags, nothing, plain;
    } entry;
    char text[(sizeof PTX + 7) / 8 * 8];
} binary __attribute__((aligned(8))) = {
    0xBA55ED50, 1, 16, sizeof binary - 16, {1, 0x101, 64, sizeof binary.text, 0, 0, 0, 7, 70, 0, 0, 0x11, 0, 0}, PTX};

static const struct {
    int magic, version;
    const void *data;
    void *files;
} wrapper = {0x466243B1, 1, &binary, NULL};

void **__cudaRegisterFatBinary(const void *);
void __cudaRegisterFatBinaryEnd(void **);
void __cudaUnregisterFatBinary(void **);
void __cudaRegisterFunction(void **, const void *, char *, const char *, int, void *, void *, void *, void *, int *);
void __cudaRegisterVar(void **, void *, char *, const char *, int, size_t, int, int);

enum { N = 1000 };
/* What the program knows of the device's variables. */
static unsigned factor, launched;
static void **handle;

/* The host's side of the kernel. */
static void step(unsigned *p, unsigned n, unsigned add)
{
    void *args[] = {&p, &n, &add};
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
    CHECK(__cudaPopCallConfiguration(&grid, &block, &shared, &stream));
    CHECK(cudaLaunchKernel((const void *)step, grid, block, args, shared, stream));
}

__attribute__((constructor)) static void enter(void)
{
    handle = __cudaRegisterFatBinary(&wrapper);
    __cudaRegisterFunction(handle, (const void *)step, "step", "step", -1, NULL, NULL, NULL, NULL, NULL);
    __cudaRegisterVar(handle, &factor, "factor", "factor", 0, 4, 1, 0);
    __cudaRegisterVar(handle, &launched, "launched", "launched", 0, 4, 0, 0);
    __cudaRegisterFatBinaryEnd(handle);
}

__attribute__((destructor)) static void leave(void) { __cudaUnregisterFatBinary(handle); }

static const dim3 grid = {(N + 63) / 64, 1, 1}, block = {64, 1, 1};

/* Launches in the thread's own stream. */
static void *own(void *given)
{
    unsigned *p = given, n = N, add = 5;
    void *args[] = {&p, &n, &add};
    CHECK(cudaLaunchKernel_ptsz((const void *)step, grid, block, args, 0, NULL));
    CHECK(cudaStreamSynchronize_ptsz(NULL));
    return NULL;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 5, pause = argc > 2 ? atoi(argv[2]) : 0;
    unsigned *p, *q, seen[2][N], n;
    CHECK(cudaMalloc((void **)&p, sizeof seen[0]));
    CHECK(cudaMalloc((void **)&q, sizeof seen[0]));
    CHECK(cudaMemset(p, 0, sizeof seen[0]));
    CHECK(cudaMemset(q, 1, sizeof seen[0]));
    for (int i = 1; i <= steps; i++) {
        pthread_t thread;
        unsigned times = 2 * i + 1;
        CHECK(cudaMemcpyToSymbol(&factor, &times, 4, 0, TO_DEVICE));
        usleep(pause * 1000);
        CHECK(__cudaPushCallConfiguration(grid, block, 0, NULL));
        step(p, N, i);
        CHECK(pthread_create(&thread, NULL, own, q));
        CHECK(pthread_join(thread, NULL));
        own(q);
        CHECK(cudaMemcpy(seen[0], p, sizeof seen[0], FROM_DEVICE));
        CHECK(cudaMemcpy_ptds(seen[1], q, sizeof seen[1], FROM_DEVICE));
        CHECK(cudaMemcpyFromSymbol(&n, &launched, 4, 0, FROM_DEVICE));
        CHECK(cudaGetLastError());
        printf("step %d: %08x %08x, %u\n", i, sum(seen[0], N), sum(seen[1], N), n / N);
        fflush(stdout);
    }
    return 0;
}
