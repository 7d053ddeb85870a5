/*
 * Much device memory, of which a quarter is written: noise in one MiB of four, behind it a freed piece; and a variable whose
 * first value is not zero, but the program's is.
 *
 * Usage: cuda_large MIB [STEPS [PAUSE in ms]]. Each step writes a MiB anew and prints a checksum of all.
 */
#include "cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .global .align 4 .u32 first = 5;\n"
    ".visible .entry nothing(.param .u64 p)\n{\n .reg .b64 %d;\n mov.u64 %d, first;\n ret;\n}\n";

static unsigned long noise = 88172645463325252ul;

static void fill(unsigned long *p)
{
    for (int i = 0; i < MIB / 8; i++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        p[i] = noise;
    }
}

int main(int argc, char **argv)
{
    int mib = argc > 1 ? atoi(argv[1]) : 64, n = argc > 2 ? atoi(argv[2]) : 20, pause = argc > 3 ? atoi(argv[3]) : 20;
    unsigned long *part = malloc(MIB);
    address large, freed, first;
    void *context, *module;
    unsigned zero = 0;
    CHECK(cuInit(0));
    CHECK(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuModuleGetGlobal_v2(&first, NULL, module, "first"));
    CHECK(cuMemcpyHtoD_v2(first, &zero, 4));
    CHECK(cuMemAlloc_v2(&large, (unsigned long)mib * MIB));
    CHECK(cuMemAlloc_v2(&freed, (unsigned long)mib * MIB));
    for (int i = 0; i < mib; i++) {
        fill(part);
        CHECK(cuMemcpyHtoD_v2(freed + (unsigned long)i * MIB, part, MIB));
        if (i % 4 == 1)
            CHECK(cuMemcpyHtoD_v2(large + (unsigned long)i * MIB, part, MIB));
    }
    CHECK(cuMemFree_v2(freed));
    for (int step = 1; step <= n; step++) {
        unsigned long sum = 0;
        unsigned value;
        fill(part);
        CHECK(cuMemcpyHtoD_v2(large + (step * 4ul + 1) % mib * MIB, part, MIB));
        for (int i = 0; i < mib; i++) {
            if (i % 4 != 1 && i % 8) /* of the others, which are zero, some */
                continue;
            CHECK(cuMemcpyDtoH_v2(part, large + (unsigned long)i * MIB, MIB));
            for (int k = 0; k < MIB / 8; k++)
                sum = sum * 31 + part[k];
        }
        CHECK(cuMemcpyDtoH_v2(&value, first, 4));
        printf("step %d: %016lx, first %u\n", step, sum, value);
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
