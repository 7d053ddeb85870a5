/*
 * What CUDA's runtime and driver say of themselves, to a program that uses both: the last error of each thread, occupancy,
 * attributes that were set, where memory lies, a device that is full, a module whose kernel is looked for late; and what is refused by
 * name. At the end a kernel has an instruction that the CPU device does not know.
 *
 * Usage: cuda_claims [STEPS [PAUSE in ms]]. Each step prints the same, but for its number.
 */
#include "cuda.h"
#include <pthread.h>
#include <unistd.h>

#define HEAD ".version 7.8\n.target sm_90\n.address_size 64\n"

static const char ptx[] = HEAD
    ".visible .entry add(.param .u64 p, .param .u32 n)\n{\n"
    " .reg .b32 %r<3>; .reg .b64 %d0;\n"
    " ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n];\n"
    " ld.global.u32 %r1, [%d0]; add.u32 %r1, %r1, %r0; st.global.u32 [%d0], %r1;\n"
    " ret;\n}\n";

static const char late_ptx[] = HEAD
    ".visible .entry late(.param .u64 p)\n{\n"
    " .reg .b32 %r0; .reg .b64 %d0;\n"
    " ld.param.u64 %d0, [p]; ld.global.u32 %r0, [%d0]; mul.lo.u32 %r0, %r0, 3; st.global.u32 [%d0], %r0;\n"
    " ret;\n}\n";

static const char odd_ptx[] = HEAD
    ".visible .entry odd()\n{\n"
    " wgmma.fence.sync.aligned;\n"
    " ret;\n}\n";

int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *, void *, int, unsigned long);
int cuOccupancyMaxPotentialBlockSize(int *, int *, void *, void *, unsigned long, int);
int cuFuncSetAttribute(void *, int, int);
int cuFuncGetAttribute(int *, int, void *);
int cuDeviceGetAttribute(int *, int, int);
int cuGetExportTable(const void **, const void *);
int cuIpcGetMemHandle(void *, address);
int cuDeviceGetPCIBusId(char *, int, int);
int cuDeviceGetByPCIBusId(int *, const char *);
int cuPointerGetAttributes(unsigned, int *, void **, address);
int cuPointerSetAttribute(const void *, int, address);
int cudaMalloc(void **, unsigned long);
int cudaFree(void *);
int cudaGetLastError(void);
int cudaPeekAtLastError(void);
int cudaGetExportTable(const void **, const void *);
int cudaIpcGetMemHandle(void *, void *);
int cudaGraphicsMapResources(int, void **, void *);
int cudaSetDevice(int);
int cudaRuntimeGetVersion(int *);
int cudaMemcpy2D(void *, unsigned long, const void *, unsigned long, unsigned long, unsigned long, int);

enum { DYNAMIC_SHARED = 8, WARP = 10, MAJOR = 75 };

static int quiet = -1;

/* A thread of its own knows nothing of the others' errors. */
static void *other(void *unused)
{
    quiet = cudaGetLastError();
    return unused;
}

/* What is not told of memory that CUDA does not know is 0, or no device; a device by its address on the bus; flags that there are not. */
static void ask(int device)
{
    int which[] = {2, 9, 4}, found = -1, type = 7, number = 7;
    void *host = &host, *places[] = {&type, &number, &host}, *p;
    char bus[16];
    CHECK(cuPointerGetAttributes(3, which, places, (address)bus));
    CHECK(cuDeviceGetPCIBusId(bus, sizeof bus, device));
    int known = cuDeviceGetByPCIBusId(&found, bus), unknown = cuDeviceGetByPCIBusId(&found, "7f:1f.7");
    printf("memory %d %d %p, bus %d %d %d, flags %d\n", type, number, host, known, found, unknown, cuMemHostAlloc(&p, 4, 64));
}

/* What was wanted of memory; where that begins anew nothing is wanted. */
static int wanted(address p)
{
    char is[4] = {7, 7, 7, 7};
    CHECK(cuPointerGetAttribute(is, 6, p));
    return is[0] + 10 * (is[1] == 7);
}

static unsigned run(void *f, address p, unsigned n)
{
    unsigned seen;
    void *args[] = {&p, &n};
    CHECK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
    CHECK(cuMemcpyDtoH_v2(&seen, p, 4));
    return seen;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 2, pause = argc > 2 ? atoi(argv[2]) : 0, device, set = 100000;
    void *context, *module, *late, *odd, *f;
    address p;
    CHECK(cudaSetDevice(0));
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuModuleLoadData(&late, late_ptx));
    CHECK(cuModuleLoadData(&odd, odd_ptx));
    CHECK(cuModuleGetFunction(&f, module, "add"));
    CHECK(cuFuncSetAttribute(f, DYNAMIC_SHARED, set));
    CHECK(cudaMalloc((void **)&p, 4));
    CHECK(cuMemsetD32_v2(p, 0, 1));
    /* A row of 16 bytes in 8; the version of the library, which is libcudart.so.12. */
    char rows[64];
    int version, pitch = cudaMemcpy2D((void *)p, 8, rows, 16, 16, 4, 1);
    CHECK(cudaRuntimeGetVersion(&version));
    printf("runtime %d, a short pitch %d %d\n", version, pitch, cudaGetLastError());
    ask(device);
    for (int i = 1; i <= steps; i++) {
        void *huge, *small[3];
        char handle[64];
        const void *table = NULL;
        pthread_t thread;
        int blocks, best, grid, dynamic, warp, major, aligned = 1;
        int full = cudaMalloc(&huge, 1ul << 46);
        for (int j = 0; j < 3; j++) {
            CHECK(cudaMalloc(&small[j], 1 + 300 * j));
            aligned &= (address)small[j] % 256 == 0;
        }
        unsigned on = 1;
        int fresh = wanted((address)small[1]);
        CHECK(cuPointerSetAttribute(&on, 6, (address)small[1]));
        usleep(pause * 1000);
        CHECK(pthread_create(&thread, NULL, other, NULL));
        CHECK(pthread_join(thread, NULL));
        int peeked = cudaPeekAtLastError(), last = cudaGetLastError(), none = cudaGetLastError();
        CHECK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 256, 0));
        CHECK(cuOccupancyMaxPotentialBlockSize(&grid, &best, f, NULL, 0, 0));
        CHECK(cuFuncGetAttribute(&dynamic, DYNAMIC_SHARED, f));
        CHECK(cuDeviceGetAttribute(&warp, WARP, device));
        CHECK(cuDeviceGetAttribute(&major, MAJOR, device));
        int ipc = cudaIpcGetMemHandle(handle, small[0]), driver_ipc = cuIpcGetMemHandle(handle, p);
        int graphics = cudaGraphicsMapResources(0, NULL, NULL);
        int export = cudaGetExportTable(&table, handle) != 0 && cuGetExportTable(&table, handle) != 0 && !table;
        int refused = cudaGetLastError();
        printf("step %d: full %d, last %d %d %d, other thread %d, aligned %d; %d blocks, %d of %d, %d shared; %d %d; "
               "refused %d %d %d, %d, last %d; %u, wanted %d %d\n",
               i, full, peeked, last, none, quiet, aligned, blocks, grid, best, dynamic, warp, major, ipc, driver_ipc, graphics, export,
               refused, run(f, p, i), fresh, wanted((address)small[1] + 7));
        fflush(stdout);
        for (int j = 0; j < 3; j++)
            CHECK(cudaFree(small[j]));
    }
    CHECK(cuModuleGetFunction(&f, late, "late"));
    printf("looked for late: %u\n", run(f, p, 0));
    CHECK(cuModuleGetFunction(&f, odd, "odd"));
    CHECK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    printf("an odd instruction: %d\n", cuCtxSynchronize());
    return 0;
}
