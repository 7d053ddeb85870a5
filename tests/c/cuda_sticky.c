/*
 * A kernel's fault stays: every call of CUDA's that needs the context gives the same error, of either API, until the device is
 * reset; then all of it works again, and its variables are new ones.
 *
 * Usage: cuda_sticky [STEPS [PAUSE in ms]]. Each step prints the same, but for its number. Lines "faulty" and "reset" tell
 * which it is.
 */
#include "cuda.h"
#include <string.h>
#include <unistd.h>

#define HEAD ".version 7.8\n.target sm_90\n.address_size 64\n"

static const char ptx[] = HEAD
    ".visible .global .align 4 .u32 counter = 5;\n"
    ".visible .entry add(.param .u64 p, .param .u32 n)\n{\n"
    " .reg .b32 %r<3>; .reg .b64 %d0;\n"
    " ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n];\n"
    " ld.global.u32 %r1, [counter]; add.u32 %r1, %r1, %r0; st.global.u32 [counter], %r1; st.global.u32 [%d0], %r1;\n"
    " ret;\n}\n";

int cudaMalloc(void **, unsigned long);
int cudaFree(void *);
int cudaMallocHost(void **, unsigned long);
int cudaFreeHost(void *);
int cudaHostRegister(void *, unsigned long, unsigned);
int cudaHostUnregister(void *);
int cudaMallocManaged(void **, unsigned long, unsigned);
int cudaMallocAsync(void **, unsigned long, void *);
int cudaFreeAsync(void *, void *);
int cudaMallocPitch(void **, unsigned long *, unsigned long, unsigned long);
int cudaMemcpy(void *, const void *, unsigned long, int);
int cudaMemcpyAsync(void *, const void *, unsigned long, int, void *);
int cudaMemset(void *, int, unsigned long);
int cudaMemGetInfo(unsigned long *, unsigned long *);
int cudaEventCreate(void **);
int cudaEventRecord(void *, void *);
int cudaEventQuery(void *);
int cudaEventSynchronize(void *);
int cudaEventElapsedTime(float *, void *, void *);
int cudaStreamCreate(void **);
int cudaStreamQuery(void *);
int cudaStreamSynchronize(void *);
int cudaStreamWaitEvent(void *, void *, unsigned);
int cudaLaunchHostFunc(void *, void (*)(void *), void *);
int cudaDeviceSynchronize(void);
int cudaDeviceReset(void);
int cudaDeviceGetAttribute(int *, int, int);
int cudaGetDevice(int *);
int cudaSetDevice(int);
int cudaGetDeviceCount(int *);
int cudaGetLastError(void);
int cudaPeekAtLastError(void);
int cuMemGetInfo_v2(unsigned long *, unsigned long *);
int cuStreamQuery(void *);
int cuCtxGetCurrent(void **);

static void nothing(void *unused)
{
    (void)unused;
}

/* How many calls there were, and how many gave this error. */
static int calls, wrong;

#define STICKY(call)                                                                   \
    do {                                                                               \
        int code = (call);                                                             \
        calls++;                                                                       \
        if (code != 700) {                                                             \
            wrong++;                                                                   \
            printf("line %d: %s: %d, not 700\n", __LINE__, #call, code);               \
        }                                                                              \
    } while (0)

struct all {
    void *module, *function, *stream, *event, *device, *later, *managed, *pinned;
};

static char registered[8192];

static void make(struct all *a)
{
    CHECK(cudaSetDevice(0));
    CHECK(cudaMalloc(&a->device, 4096));
    CHECK(cudaMallocAsync(&a->later, 4096, NULL));
    CHECK(cudaMallocManaged(&a->managed, 4096, 1));
    CHECK(cudaMallocHost(&a->pinned, 4096));
    CHECK(cudaHostRegister(registered, sizeof registered, 0));
    CHECK(cudaStreamCreate(&a->stream));
    CHECK(cudaEventCreate(&a->event));
    CHECK(cuModuleLoadData(&a->module, ptx));
    CHECK(cuModuleGetFunction(&a->function, a->module, "add"));
}

static int launch(struct all *a, address p, unsigned n)
{
    void *args[] = {&p, &n};
    return cuLaunchKernel(a->function, 1, 1, 1, 1, 1, 1, 0, a->stream, args, NULL);
}

/* All of it works: what the kernel has left, and how long it took. */
static unsigned use(struct all *a)
{
    unsigned seen = 0;
    float ms = -1;
    void *first;
    CHECK(cudaEventCreate(&first));
    CHECK(cudaEventRecord(first, a->stream));
    CHECK(cudaMemset(a->device, 0, 4096));
    CHECK(launch(a, (address)a->device, 2));
    CHECK(cudaEventRecord(a->event, a->stream));
    CHECK(cudaStreamSynchronize(a->stream));
    CHECK(cudaEventElapsedTime(&ms, first, a->event));
    CHECK(cudaMemcpy(&seen, a->device, 4, 2));
    CHECK(cudaMemcpy(a->later, a->device, 4096, 3));
    CHECK(cudaFreeAsync(a->later, a->stream));
    CHECK(cudaMallocAsync(&a->later, 4096, a->stream));
    *(unsigned *)a->managed = seen;
    *(unsigned *)a->pinned = seen;
    CHECK(cudaMemcpy(a->managed, a->pinned, 4, 4));
    return ms >= 0 && *(unsigned *)a->managed == seen ? seen : 0;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 2, pause = argc > 2 ? atoi(argv[2]) : 0;
    static struct all a;
    void *p;
    unsigned long n, m;
    float ms;
    int code;
    for (int i = 1; i <= steps; i++) {
        make(&a);
        unsigned before = use(&a);
        void *of;
        CHECK(cudaMallocAsync(&of, 4096, NULL));
        CHECK(cudaFreeAsync(of, a.stream));
        CHECK(launch(&a, 16, 2));
        STICKY(cudaDeviceSynchronize());
        STICKY(cudaMalloc(&p, 100));
        STICKY(cudaMalloc(&p, 8 << 20));
        STICKY(cudaMalloc(&p, 0));
        STICKY(cudaFree(a.device));
        STICKY(cudaFree(NULL));
        STICKY(cudaMallocHost(&p, 100));
        STICKY(cudaFreeHost(a.pinned));
        STICKY(cudaMallocManaged(&p, 100, 1));
        STICKY(cudaMallocAsync(&p, 100, a.stream));
        STICKY(cudaFreeAsync(a.later, a.stream));
        STICKY(cudaMallocPitch(&p, &n, 100, 10));
        STICKY(cudaHostUnregister(registered));
        STICKY(cudaMemcpy(&n, a.device, 4, 2));
        STICKY(cudaMemcpyAsync(&n, a.device, 4, 2, a.stream));
        STICKY(cudaMemset(a.device, 0, 4));
        STICKY(cudaMemGetInfo(&n, &m));
        STICKY(cudaEventCreate(&p));
        STICKY(cudaEventRecord(a.event, a.stream));
        STICKY(cudaEventQuery(a.event));
        STICKY(cudaEventSynchronize(a.event));
        STICKY(cudaEventElapsedTime(&ms, a.event, a.event));
        STICKY(cudaStreamCreate(&p));
        STICKY(cudaStreamQuery(a.stream));
        STICKY(cudaStreamSynchronize(a.stream));
        STICKY(cudaStreamWaitEvent(a.stream, a.event, 0));
        STICKY(cudaLaunchHostFunc(a.stream, nothing, NULL));
        STICKY(launch(&a, (address)a.device, 2));
        STICKY(cudaPeekAtLastError());
        STICKY(cudaGetLastError());
        STICKY(cudaGetLastError());
        STICKY(cuCtxSynchronize());
        STICKY(cuMemAlloc_v2((address *)&p, 100));
        STICKY(cuMemFree_v2((address)a.device));
        STICKY(cuMemAllocHost_v2(&p, 100));
        STICKY(cuMemGetInfo_v2(&n, &m));
        STICKY(cuModuleLoadData(&p, ptx));
        STICKY(cuModuleGetFunction(&p, a.module, "add"));
        STICKY(cuStreamCreate(&p, 0));
        STICKY(cuStreamQuery(NULL));
        STICKY(cuStreamDestroy_v2(a.stream));
        STICKY(cuEventCreate(&p, 0));
        STICKY(cuEventDestroy_v2(a.event));
        STICKY(cuMemHostAlloc(&p, 100, 0));
        /* What asks for no context goes on. */
        CHECK(cudaGetDevice(&code));
        CHECK(cudaGetDeviceCount(&code));
        CHECK(cudaDeviceGetAttribute(&code, 75, 0));
        CHECK(cuCtxGetCurrent(&p));
        printf("step %d faulty: %d calls, %d wrong, %u\n", i, calls, wrong, before);
        fflush(stdout);
        usleep(pause * 1000);
        CHECK(cudaDeviceReset());
        CHECK(cudaGetLastError());
        make(&a);
        printf("step %d reset: %u\n", i, use(&a));
        fflush(stdout);
        usleep(pause * 1000);
        CHECK(cudaDeviceReset());
        calls = 0;
    }
    return wrong != 0;
}
