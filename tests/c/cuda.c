/*
 * A program of CUDA's driver API, whose kernels are PTX: device memory small and large, a module's variables, streams, events,
 * pinned, managed, registered and stream-ordered memory, an array, functions of the program that streams call.
 *
 * Usage: cuda [STEPS [PAUSE in ms]]. Each step prints a checksum of everything.
 * cuda spin MS: a kernel runs until the program, MS later, lets it end.
 * As cuda_heap.c, with kernels that could take memory from the device's heap.
 * As cuda_ranks.c, on 2 ranks: spin MS RANK's kernel runs on one rank, and rank 0 waits for a message from rank 1.
 */
#include "cuda.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef DECLARED
#define DECLARED
#endif

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n" DECLARED
    ".visible .global .align 4 .u32 counter;\n"
    ".visible .const .align 4 .u32 factor;\n"
    ".visible .entry step(.param .u64 p, .param .u32 n, .param .u32 add)\n{\n"
    " .reg .pred %q; .reg .b32 %r<12>; .reg .b64 %d<4>;\n"
    " ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n]; ld.param.u32 %r1, [add];\n"
    " cvta.to.global.u64 %d0, %d0;\n"
    " mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;\n"
    " mad.lo.u32 %r5, %r2, %r3, %r4;\n"
    " setp.ge.u32 %q, %r5, %r0; @%q bra DONE;\n"
    " mul.wide.u32 %d1, %r5, 4; add.u64 %d2, %d0, %d1;\n"
    " ld.const.u32 %r6, [factor]; ld.global.u32 %r7, [%d2];\n"
    " mad.lo.u32 %r8, %r7, %r6, %r1; add.u32 %r8, %r8, %r5;\n"
    " st.global.u32 [%d2], %r8;\n"
    " mov.u64 %d3, counter; atom.global.add.u32 %r9, [%d3], 1;\n"
    "DONE: ret;\n}\n"
    ".visible .entry spin(.param .u64 flag)\n{\n"
    " .reg .pred %q; .reg .b32 %r0; .reg .b64 %d0;\n"
    " ld.param.u64 %d0, [flag];\n"
    "LOOP: ld.volatile.global.u32 %r0, [%d0];\n"
    " setp.eq.u32 %q, %r0, 0; @%q bra LOOP;\n"
    " ret;\n}\n";

enum { STREAMS = 4, SMALL = 100, LARGE = 1 << 19, SIDE = 16 };

static unsigned long called;

static void later(void *data) { called += *(unsigned *)data; }

static void launch(void *f, unsigned long long p, unsigned n, unsigned add, void *stream)
{
    void *args[] = {&p, &n, &add};
    CHECK(cuLaunchKernel(f, (n + 127) / 128, 1, 1, 128, 1, 1, 0, stream, args, NULL));
}

static unsigned sum(const unsigned *p, int n)
{
    unsigned s = 0;
    for (int i = 0; i < n; i++)
        s = s * 31 + p[i];
    return s;
}

static void steps(void *module, int n, int pause)
{
    void *step, *stream[STREAMS], *event[STREAMS], *begin, *end, *array;
    unsigned long long small[STREAMS], large, managed, counter, factor, seen;
    unsigned *pinned, *own, three = 3, *copy = malloc(LARGE * 4);
    CHECK(cuModuleGetFunction(&step, module, "step"));
    CHECK(cuModuleGetGlobal_v2(&counter, NULL, module, "counter"));
    CHECK(cuModuleGetGlobal_v2(&factor, NULL, module, "factor"));
    CHECK(cuMemcpyHtoD_v2(factor, &three, 4));
    CHECK(cuMemAlloc_v2(&large, LARGE * 4));
    CHECK(cuMemsetD32_v2(large, 7, LARGE));
    CHECK(cuMemAllocManaged(&managed, SMALL * 4, 1));
    memset((void *)managed, 1, SMALL * 4);
    CHECK(cuMemHostAlloc((void **)&pinned, SMALL * 4, 2));
    for (int i = 0; i < SMALL; i++)
        pinned[i] = i;
    if (posix_memalign((void **)&own, 4096, 4096))
        exit(1);
    memset(own, 2, 4096);
    CHECK(cuMemHostRegister_v2(own, 4096, 2));
    for (int s = 0; s < STREAMS; s++) {
        CHECK(cuMemAlloc_v2(&small[s], SMALL * 4));
        CHECK(cuMemsetD32_v2(small[s], s, SMALL));
        CHECK(cuStreamCreate(&stream[s], s % 2));
        CHECK(cuEventCreate(&event[s], 2));
    }
    struct array_description flat = {SIDE, SIDE, 3 /* unsigned, 32 bits */, 1};
    CHECK(cuArrayCreate_v2(&array, &flat));
    struct copy_2d into = {.source = {.type = 1, .host = own, .pitch = SIDE * 4},
                           .target = {.type = 3, .array = array}, .width = SIDE * 4, .height = SIDE};
    CHECK(cuMemcpy2D_v2(&into));
    CHECK(cuEventCreate(&begin, 0));
    CHECK(cuEventCreate(&end, 0));
    CHECK(cuEventRecord(begin, stream[0]));
    for (int i = 1; i <= n; i++) {
        unsigned long long fleeting;
        for (int s = 0; s < STREAMS; s++) {
            if (s)
                CHECK(cuStreamWaitEvent(stream[s], event[s - 1], 0));
            launch(step, small[s], SMALL, i, stream[s]);
            CHECK(cuEventRecord(event[s], stream[s]));
        }
        CHECK(cuMemAllocAsync(&fleeting, SMALL * 4, stream[3]));
        CHECK(cuMemcpyDtoDAsync_v2(fleeting, small[3], SMALL * 4, stream[3]));
        CHECK(cuMemcpyDtoHAsync_v2(pinned, fleeting, SMALL * 4, stream[3]));
        CHECK(cuMemFreeAsync(fleeting, stream[3]));
        CHECK(cuLaunchHostFunc(stream[3], later, pinned));
        launch(step, large, LARGE, i, (void *)2);
        launch(step, managed, SMALL, i, (void *)1);
        CHECK(cuMemHostGetDevicePointer_v2(&seen, own, 0));
        launch(step, seen, SMALL, i, NULL);
        CHECK(cuCtxSynchronize());
        unsigned launches, of_array[SIDE * SIDE];
        struct copy_2d out = {.source = {.type = 3, .array = array},
                              .target = {.type = 1, .host = of_array, .pitch = SIDE * 4}, .width = SIDE * 4, .height = SIDE};
        CHECK(cuMemcpy2D_v2(&out));
        CHECK(cuMemcpyDtoH_v2(copy, large, LARGE * 4));
        CHECK(cuMemcpyDtoH_v2(&launches, counter, 4));
        printf("step %d: %08x %08x %08x %08x %08x, counter %u, called %lu\n", i, sum(pinned, SMALL), sum(copy, LARGE),
               sum((unsigned *)managed, SMALL), sum(own, 1024), sum(of_array, SIDE * SIDE), launches, called);
        fflush(stdout);
        usleep(pause * 1000);
    }
    float ms;
    CHECK(cuEventRecord(end, stream[0]));
    CHECK(cuEventSynchronize(end));
    CHECK(cuEventElapsedTime(&ms, begin, end));
    printf("%s\n", ms > 0 && ms < 1e6 ? "time went on" : "time did not go on");
    CHECK(cuMemFree_v2(managed));
    CHECK(cuMemFreeHost(pinned));
    CHECK(cuMemHostUnregister(own));
    CHECK(cuArrayDestroy(array));
}

static unsigned *flag;
static int delay;

static void *lets_go(void *unused)
{
    usleep(delay * 1000);
    *(volatile unsigned *)flag = 1;
    return unused;
}

static void spin(void *module)
{
    void *f;
    unsigned long long seen;
    pthread_t thread;
    CHECK(cuModuleGetFunction(&f, module, "spin"));
    CHECK(cuMemHostAlloc((void **)&flag, 4, 2));
    *flag = 0;
    CHECK(cuMemHostGetDevicePointer_v2(&seen, flag, 0));
    void *args[] = {&seen};
    CHECK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
    printf("the kernel runs\n");
    fflush(stdout);
    pthread_create(&thread, NULL, lets_go, NULL);
    CHECK(cuStreamSynchronize(NULL));
    printf("the kernel has ended\n");
    fflush(stdout);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    int rank = 0;
#ifdef WITH_MPI
    int number = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
#endif
    void *context, *module;
    int device, spins = argc > 2 && !strcmp(argv[1], "spin");
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    if (spins)
        delay = atoi(argv[2]);
    if (spins && rank == atoi(argc > 3 ? argv[3] : "0"))
        spin(module);
    else if (!spins)
        steps(module, argc > 1 ? atoi(argv[1]) : 5, argc > 2 ? atoi(argv[2]) : 0);
#ifdef WITH_MPI
    if (rank == 1) {
        number = 42;
        MPI_Send(&number, 1, MPI_INT, 0, 7, MPI_COMM_WORLD);
    } else {
        MPI_Recv(&number, 1, MPI_INT, 1, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        printf("rank 0 has got %d\n", number);
    }
    MPI_Finalize();
#endif
    return 0;
}
