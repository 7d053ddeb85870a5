/*
 * Modules with variables of several sizes, unloaded in another order than they were loaded in, their places used again by others, at any step:
 * those that stay are where they were after a restart. In the end the device is reset, and begins again.
 *
 * Usage: cuda_unload [STEPS [PAUSE in ms]]. Each step prints what all variables hold, and whether they are where they were.
 */
#include "cuda.h"
#include <stdint.h>
#include <unistd.h>

#define MODULE(first, more)                                                                  \
    ".version 7.0\n.target sm_70\n.address_size 64\n"                                        \
    ".visible .global .align 4 .u32 counter = " #first ";\n"                                 \
    ".visible .global .align 8 .b8 room[" #more "];\n"                                       \
    ".visible .entry count()\n{\n"                                                           \
    " .reg .b32 %r0; .reg .b64 %d0;\n"                                                       \
    " mov.u64 %d0, counter; atom.global.add.u32 %r0, [%d0], 1; mov.u64 %d0, room; st.global.u32 [%d0], %r0; ret;\n}\n"

static const char *const images[] = {MODULE(5, 600), MODULE(50, 1500), MODULE(500, 3000), MODULE(5000, 100000)};

int cuModuleUnload(void *);
int cuDevicePrimaryCtxReset_v2(int);

enum { KINDS = 4, MOST = 12 };

static struct loaded {
    void *module, *count;
    address counter, room;
} all[MOST];

static void load(struct loaded *l, int kind)
{
    CHECK(cuModuleLoadData(&l->module, images[kind]));
    CHECK(cuModuleGetFunction(&l->count, l->module, "count"));
    CHECK(cuModuleGetGlobal_v2(&l->counter, NULL, l->module, "counter"));
    CHECK(cuModuleGetGlobal_v2(&l->room, NULL, l->module, "room"));
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 40, pause = argc > 2 ? atoi(argv[2]) : 0, device;
    void *context;
    uint32_t random = 1;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    for (int i = 0; i < steps; i++) {
        unsigned sum = 0, n = 0, moved = 0;
        if (i % 30 == 0) {
            if (i)
                CHECK(cuDevicePrimaryCtxReset_v2(device));
            for (int j = 0; j < MOST; j++)
                all[j].module = NULL;
            CHECK(cuDevicePrimaryCtxRetain(&context, device));
            CHECK(cuCtxSetCurrent(context));
        }
        random = random * 1664525 + 1013904223;
        struct loaded *l = &all[(random >> 20) % MOST];
        if (l->module) {
            CHECK(cuModuleUnload(l->module));
            l->module = NULL;
        } else {
            load(l, (random >> 10) % KINDS);
        }
        for (l = all; l < all + MOST; l++) {
            address counter;
            unsigned seen, room;
            if (!l->module)
                continue;
            CHECK(cuModuleGetGlobal_v2(&counter, NULL, l->module, "counter"));
            moved += counter != l->counter;
            CHECK(cuLaunchKernel(l->count, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
            CHECK(cuMemcpyDtoH_v2(&seen, l->counter, 4));
            CHECK(cuMemcpyDtoH_v2(&room, l->room, 4));
            moved += room + 1 != seen;
            sum = sum * 31 + seen;
            n++;
        }
        printf("step %d: %u modules, %u, %u moved\n", i, n, sum, moved);
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
