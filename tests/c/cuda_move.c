/*
 * A program that can go to another kind of device: its kernel is PTX and uses no variable; memory, streams, events, an array.
 *
 * Usage: cuda_move TARGET [STEPS [PAUSE in ms]], with the architecture of its PTX, as sm_70.
 */
#include "cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char ptx[] =
    ".version 7.0\n.target %s\n.address_size 64\n"
    ".visible .entry step(.param .u64 p, .param .u32 n, .param .u32 add)\n{\n"
    " .reg .pred %%q; .reg .b32 %%r<9>; .reg .b64 %%d<3>;\n"
    " ld.param.u64 %%d0, [p]; ld.param.u32 %%r0, [n]; ld.param.u32 %%r1, [add];\n"
    " cvta.to.global.u64 %%d0, %%d0;\n"
    " mov.u32 %%r2, %%ctaid.x; mov.u32 %%r3, %%ntid.x; mov.u32 %%r4, %%tid.x;\n"
    " mad.lo.u32 %%r5, %%r2, %%r3, %%r4;\n"
    " setp.ge.u32 %%q, %%r5, %%r0; @%%q bra DONE;\n"
    " mul.wide.u32 %%d1, %%r5, 4; add.u64 %%d2, %%d0, %%d1;\n"
    " ld.global.u32 %%r6, [%%d2]; mad.lo.u32 %%r7, %%r6, 3, %%r1; add.u32 %%r7, %%r7, %%r5;\n"
    " st.global.u32 [%%d2], %%r7;\n"
    "DONE: ret;\n}\n";

enum { N = 100000 };

int main(int argc, char **argv)
{
    int n = argc > 2 ? atoi(argv[2]) : 20, pause = argc > 3 ? atoi(argv[3]) : 20;
    static unsigned all[N];
    char text[sizeof ptx + 20];
    address memory;
    void *context, *module, *step, *stream, *event;
    snprintf(text, sizeof text, ptx, argc > 1 ? argv[1] : "sm_70");
    CHECK(cuInit(0));
    CHECK(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, text));
    CHECK(cuModuleGetFunction(&step, module, "step"));
    CHECK(cuMemAlloc_v2(&memory, sizeof all));
    CHECK(cuMemsetD32_v2(memory, 7, N));
    CHECK(cuStreamCreate(&stream, 1));
    CHECK(cuEventCreate(&event, 2));
    for (unsigned i = 1; i <= (unsigned)n; i++) {
        unsigned long sum = 0;
        unsigned length = N;
        void *args[] = {&memory, &length, &i};
        CHECK(cuLaunchKernel(step, (N + 127) / 128, 1, 1, 128, 1, 1, 0, stream, args, NULL));
        CHECK(cuEventRecord(event, stream));
        CHECK(cuEventSynchronize(event));
        CHECK(cuMemcpyDtoH_v2(all, memory, sizeof all));
        for (int k = 0; k < N; k++)
            sum = sum * 31 + all[k];
        printf("step %u: %016lx\n", i, sum);
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
