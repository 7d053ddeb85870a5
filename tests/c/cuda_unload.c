/*
 * Modules with a variable each. One is unloaded while another stays that was loaded later: it would lie elsewhere after a restart. Then
 * that one is loaded again.
 *
 * Usage: cuda_unload STEPS PAUSE in ms: for the first half of the steps the later module is as it was.
 */
#include "cuda.h"
#include <unistd.h>

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .global .align 4 .u32 counter = 5;\n"
    ".visible .entry count()\n{\n"
    " .reg .b32 %r0; .reg .b64 %d0;\n"
    " mov.u64 %d0, counter; atom.global.add.u32 %r0, [%d0], 1; ret;\n}\n";

int cuModuleUnload(void *);

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 4, pause = argc > 2 ? atoi(argv[2]) : 0, device;
    void *context, *first, *later, *count;
    address counter;
    unsigned seen;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&first, ptx));
    CHECK(cuModuleLoadData(&later, ptx));
    CHECK(cuModuleUnload(first));
    for (int i = 1; i <= steps; i++) {
        if (i == steps / 2) {
            CHECK(cuModuleUnload(later));
            CHECK(cuModuleLoadData(&later, ptx));
        }
        CHECK(cuModuleGetFunction(&count, later, "count"));
        CHECK(cuModuleGetGlobal_v2(&counter, NULL, later, "counter"));
        CHECK(cuLaunchKernel(count, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
        CHECK(cuMemcpyDtoH_v2(&seen, counter, 4));
        printf("step %d: %u\n", i, seen);
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
