/*
 * The host alone works on managed memory and on a managed variable, without a call of CUDA, while a checkpoint comes. In pass
 * n every word is made n, in order, and was n - 1.
 *
 * Usage: cuda_host_writes PASSES. Every 50th pass prints a line.
 */
#include "cuda.h"
#include <stdio.h>
#include <stdlib.h>

enum { WORDS = 1 << 18 };

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .global .attribute(.managed) .align 4 .u32 all[262144];\n"
    ".visible .entry nothing(.param .u64 p)\n{\n .reg .b64 %d;\n mov.u64 %d, all;\n ret;\n}\n";

static void pass(volatile unsigned *words, unsigned n)
{
    for (int i = 0; i < WORDS; i++) {
        if (words[i] != n - 1) {
            printf("in pass %u word %d is of pass %u\n", n, i, words[i]);
            exit(1);
        }
        words[i] = n;
    }
}

int main(int argc, char **argv)
{
    int passes = argc > 1 ? atoi(argv[1]) : 2000;
    void *context, *module;
    address memory, variable;
    CHECK(cuInit(0));
    CHECK(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuModuleGetGlobal_v2(&variable, NULL, module, "all"));
    CHECK(cuMemAllocManaged(&memory, WORDS * 4, 1));
    CHECK(cuMemsetD32_v2(memory, 0, WORDS));
    CHECK(cuCtxSynchronize());
    for (int n = 1; n <= passes; n++) {
        pass((unsigned *)memory, n);
        pass((unsigned *)variable, n);
        if (n % 50 == 0) {
            printf("pass %d\n", n);
            fflush(stdout);
        }
    }
    return 0;
}
