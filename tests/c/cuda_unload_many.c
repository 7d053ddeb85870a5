/*
 * Two modules by turns: each is loaded again after the other, so that there is always one that was loaded while one was there that is gone.
 *
 * Usage: cuda_unload_many TIMES PAUSE in ms.
 */
#include "cuda.h"
#include <unistd.h>

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .global .align 4 .u32 counter = 7;\n"
    ".visible .entry nothing()\n{\n ret;\n}\n";

int cuModuleUnload(void *);

int main(int argc, char **argv)
{
    int times = argc > 1 ? atoi(argv[1]) : 10, pause = argc > 2 ? atoi(argv[2]) : 0, device;
    void *context, *before = NULL, *module;
    address counter;
    unsigned seen;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    for (int i = 0; i < times; i++) {
        CHECK(cuModuleLoadData(&module, ptx));
        if (before)
            CHECK(cuModuleUnload(before));
        before = module;
    }
    printf("by turns\n");
    fflush(stdout);
    usleep(pause * 1000);
    CHECK(cuModuleUnload(before));
    CHECK(cuModuleLoadData(&module, ptx));
    printf("anew\n");
    fflush(stdout);
    usleep(pause * 1000);
    CHECK(cuModuleGetGlobal_v2(&counter, NULL, module, "counter"));
    CHECK(cuMemcpyDtoH_v2(&seen, counter, 4));
    printf("the end: %u\n", seen);
    return 0;
}
