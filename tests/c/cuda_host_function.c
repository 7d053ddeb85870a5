/*
 * A host function that waits for a thread which calls CUDA, and lines that kernels print: they come out where the program waits
 * for them, after what it has printed itself.
 *
 * Usage: cuda_host_function [STEPS [PAUSE in ms]]: prints two lines a step, both at its end.
 * cuda_host_function hold MS: a host function takes so long.
 */
#include "cuda.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

int cuStreamQuery(void *);

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);\n"
    ".global .align 1 .b8 text[18] = {107, 101, 114, 110, 101, 108, 32, 37, 100, 32, 111, 102, 32, 37, 100, 10, 0, 0};\n"
    ".visible .entry say(.param .u64 p, .param .u32 step, .param .u32 steps)\n{\n"
    " .local .align 8 .b8 words[8];\n"
    " .reg .b64 %d<6>; .reg .b32 %r<6>;\n"
    " mov.u64 %d1, words; cvta.local.u64 %d2, %d1;\n"
    " ld.param.u64 %d0, [p]; ld.param.u32 %r0, [step]; ld.param.u32 %r1, [steps];\n"
    " st.u32 [%d2], %r0; st.u32 [%d2+4], %r1;\n"
    " atom.global.add.u32 %r3, [%d0], 1;\n"
    " mov.u64 %d3, text; cvta.global.u64 %d4, %d3;\n"
    " {\n .param .b64 a; .param .b64 b; .param .b32 r;\n"
    "  st.param.b64 [a], %d4; st.param.b64 [b], %d2;\n"
    "  call.uni (r), vprintf, (a, b);\n"
    "  ld.param.b32 %r2, [r];\n }\n"
    " ret;\n}\n";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int begun;
static int called;

/* It waits for the lock, which the thread has until it has called CUDA once more. */
static void takes_lock(void *unused)
{
    begun = 1;
    pthread_mutex_lock(&lock);
    called++;
    pthread_mutex_unlock(&lock);
    (void)unused;
}

static void takes_long(void *ms)
{
    begun = 1;
    usleep(*(int *)ms * 1000);
}

static void launch(void *say, address p, int step, int steps, void *stream)
{
    void *args[] = {&p, &step, &steps};
    CHECK(cuLaunchKernel(say, 1, 1, 1, 1, 1, 1, 0, stream, args, NULL));
}

int main(int argc, char **argv)
{
    int hold = argc > 2 && !strcmp(argv[1], "hold") ? atoi(argv[2]) : 0;
    int steps = argc > 1 ? atoi(argv[1]) : 2, pause = argc > 2 ? atoi(argv[2]) : 0, device;
    void *context, *module, *say, *streams[2];
    unsigned printed;
    address p;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuModuleGetFunction(&say, module, "say"));
    CHECK(cuMemAlloc_v2(&p, 4));
    CHECK(cuMemsetD32_v2(p, 0, 1));
    for (int i = 0; i < 2; i++)
        CHECK(cuStreamCreate(&streams[i], 1));
    if (hold) {
        CHECK(cuLaunchHostFunc(streams[0], takes_long, &hold));
        while (!begun)
            usleep(100);
        printf("it has begun\n");
        fflush(stdout);
        CHECK(cuStreamSynchronize(streams[0]));
        printf("it has ended\n");
        return 0;
    }
    for (int i = 1; i <= steps; i++) {
        begun = 0;
        pthread_mutex_lock(&lock);
        CHECK(cuLaunchHostFunc(streams[0], takes_lock, NULL));
        while (!begun)
            usleep(100);
        launch(say, p, i, steps, streams[1]);
        /* It has printed, and nobody has waited for it. */
        while (cuStreamQuery(streams[1]))
            usleep(100);
        usleep(pause * 1000);
        printf("host %d, ", i);
        launch(say, p, i, steps, streams[1]);
        pthread_mutex_unlock(&lock);
        printf("%d called\n", i);
        if (i % 3 == 0)
            CHECK(cuCtxSynchronize());
        for (int j = 0; j < 2; j++)
            if (i % 3 == 1)
                CHECK(cuStreamSynchronize(streams[j]));
            else
                while (cuStreamQuery(streams[j]))
                    usleep(100);
        /* A copy is a wait, too. */
        CHECK(cuMemcpyDtoH_v2(&printed, p, 4));
        printf("so far %d and %u\n", called, printed);
        fflush(stdout);
    }
    return 0;
}
