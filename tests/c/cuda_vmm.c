/*
 * Memory that the program itself reserves, makes and maps, on one device or two: mapped in pieces side by side, grown, moved to
 * other addresses, mapped nowhere for a while, let go while it is mapped, for reading only, and for nobody. Where there are two devices they have streams and
 * memory of their own, reach each other's, and copy to each other.
 *
 * Usage: cuda_vmm [STEPS [PAUSE in ms]]. Each step prints what all of it holds.
 */
#include "cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .global .align 4 .u32 launches;\n"
    /* Each element becomes what it was, plus what another has there, times 3. */
    ".visible .entry step(.param .u64 p, .param .u64 o, .param .u32 n, .param .u32 add)\n{\n"
    " .reg .pred %q; .reg .b32 %r<12>; .reg .b64 %d<6>;\n"
    " ld.param.u64 %d0, [p]; ld.param.u64 %d4, [o]; ld.param.u32 %r0, [n]; ld.param.u32 %r1, [add];\n"
    " mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;\n"
    " mad.lo.u32 %r5, %r2, %r3, %r4;\n"
    " setp.ge.u32 %q, %r5, %r0; @%q bra DONE;\n"
    " mul.wide.u32 %d1, %r5, 4; add.u64 %d2, %d0, %d1; add.u64 %d5, %d4, %d1;\n"
    " ld.global.u32 %r7, [%d2]; ld.global.u32 %r9, [%d5]; add.u32 %r7, %r7, %r9;\n"
    " mad.lo.u32 %r8, %r7, 3, %r1; add.u32 %r8, %r8, %r5;\n"
    " st.global.u32 [%d2], %r8;\n"
    " mov.u64 %d3, launches; atom.global.add.u32 %r10, [%d3], 1;\n"
    "DONE: ret;\n}\n";

enum { ENABLED_ALREADY = 704, NONE = 0, READ = 1, ALL = 3, MOST = 2, N = 1000, PIECE = 2 << 20 };

static unsigned sum(address at)
{
    static unsigned p[N];
    unsigned s = 0;
    CHECK(cuMemcpyDtoH_v2(p, at, sizeof p));
    for (int i = 0; i < N; i++)
        s = s * 31 + p[i];
    return s;
}

static void make(unsigned long long *handle, int device)
{
    struct properties p = {.type = 1, .location = {1, device}}, q;
    unsigned long granularity;
    CHECK(cuMemGetAllocationGranularity(&granularity, &p, 0));
    if (PIECE % granularity)
        exit(3);
    CHECK(cuMemCreate(handle, PIECE, &p, 0));
    CHECK(cuMemGetAllocationPropertiesFromHandle(&q, *handle));
    if (memcmp(&p, &q, sizeof p))
        exit(4);
}

static void map(address at, unsigned long long handle, int devices)
{
    struct access a[MOST] = {{{1, 0}, ALL}, {{1, 1}, ALL}};
    CHECK(cuMemMap(at, PIECE, 0, handle, 0));
    CHECK(cuMemSetAccess(at, PIECE, a, devices));
}

/* Memory that holds a number, and that devices may use in this way alone. */
static void held(address at, int devices, unsigned number, unsigned way)
{
    struct access a[MOST] = {{{1, 0}, way}, {{1, 1}, way}};
    unsigned long long handle;
    make(&handle, 0);
    map(at, handle, devices);
    CHECK(cuMemRelease(handle));
    CHECK(cuMemsetD32_v2(at, number, N));
    CHECK(cuMemSetAccess(at, PIECE, a, devices));
}

/* Are these the ways in which all devices may use memory? */
static void check_ways(address at, int devices, unsigned way)
{
    for (int d = 0; d < devices; d++) {
        struct location where = {1, d};
        unsigned long long flags;
        CHECK(cuMemGetAccess(&flags, &where, at));
        if (flags != way)
            exit(7);
    }
}

int main(int argc, char **argv)
{
    int devices, n = argc > 1 ? atoi(argv[1]) : 5, pause = argc > 2 ? atoi(argv[2]) : 0;
    void *context[MOST], *module[MOST], *step[MOST], *stream[MOST];
    address range, other, ways, plain[MOST], launches[MOST];
    unsigned long long piece[3], away, back;
    CHECK(cuInit(0));
    CHECK(cuDeviceGetCount(&devices));
    if (devices > MOST)
        devices = MOST;
    for (int d = 0; d < devices; d++) {
        CHECK(cuDevicePrimaryCtxRetain(&context[d], d));
        CHECK(cuCtxSetCurrent(context[d]));
        CHECK(cuModuleLoadData(&module[d], ptx));
        CHECK(cuModuleGetFunction(&step[d], module[d], "step"));
        CHECK(cuModuleGetGlobal_v2(&launches[d], NULL, module[d], "launches"));
        CHECK(cuStreamCreate(&stream[d], 1));
        CHECK(cuMemAlloc_v2(&plain[d], N * 4));
        CHECK(cuMemsetD32_v2(plain[d], 10 * d + 1, N));
    }
    for (int d = 0; d < devices; d++) {
        int can = 0;
        CHECK(cuCtxSetCurrent(context[d]));
        CHECK(cuDeviceCanAccessPeer(&can, d, 1 - d < devices ? 1 - d : d));
        if (can != (devices == 2))
            exit(5);
        if (can)
            CHECK(cuCtxEnablePeerAccess(context[1 - d], 0));
    }
    CHECK(cuCtxSetCurrent(context[0]));
    CHECK(cuMemAddressReserve(&range, 4 * PIECE, 0, 0, 0));
    CHECK(cuMemAddressReserve(&other, PIECE, 0, range + 8 * PIECE, 0));
    /* Two pieces side by side, the second on the last device; a third is mapped now and then; one is let go at once. */
    for (int i = 0; i < 3; i++)
        make(&piece[i], i == 1 ? devices - 1 : 0);
    map(range, piece[0], devices);
    map(range + PIECE, piece[1], devices);
    map(range + 2 * PIECE, piece[2], devices);
    CHECK(cuMemRelease(piece[0]));
    for (int i = 0; i < 3; i++)
        CHECK(cuMemsetD32_v2(range + i * PIECE, 7 + i, N));
    make(&away, 0);
    map(other, away, devices);
    CHECK(cuMemsetD32_v2(other, 99, N));
    CHECK(cuMemUnmap(other, PIECE));
    /* Two that may be read only, and not be used at all. */
    CHECK(cuMemAddressReserve(&ways, 2 * PIECE, 0, 0, 0));
    held(ways, devices, 55, READ);
    held(ways + PIECE, devices, 66, NONE);
    for (int i = 1; i <= n; i++) {
        unsigned count = 0, len = N, add = i, far;
        /* The third piece is at one of two places, or nowhere, while the program sleeps. */
        CHECK(cuMemUnmap(range + 2 * PIECE, PIECE));
        usleep(pause * 500);
        map(range + 3 * PIECE, piece[2], devices);
        for (int d = 0; d < devices; d++) {
            address mine = range + d * PIECE, theirs = plain[devices - 1 - d];
            void *args[] = {&mine, &theirs, &len, &add};
            CHECK(cuCtxSetCurrent(context[d]));
            CHECK(cuLaunchKernel(step[d], (N + 63) / 64, 1, 1, 64, 1, 1, 0, stream[d], args, NULL));
            CHECK(cuStreamSynchronize(stream[d]));
            unsigned own;
            CHECK(cuMemcpyDtoH_v2(&own, launches[d], 4));
            count = count * 1000 + own / N;
            int device, far_device;
            CHECK(cuPointerGetAttribute(&device, 9, plain[d]));
            CHECK(cuPointerGetAttribute(&far_device, 9, range + d * PIECE));
            if (device != d || far_device != d)
                exit(6);
            if (devices == 2 && cuCtxEnablePeerAccess(context[1 - d], 0) != ENABLED_ALREADY)
                exit(8);
        }
        CHECK(cuCtxSetCurrent(context[0]));
        CHECK(cuMemcpyPeer(plain[0], context[0], range + PIECE, context[devices - 1], N * 4));
        CHECK(cuMemcpyPeer(plain[devices - 1], context[devices - 1], range, context[0], N * 4));
        check_ways(range, devices, ALL);
        check_ways(ways, devices, READ);
        check_ways(ways + PIECE, devices, NONE);
        far = sum(range + 3 * PIECE);
        usleep(pause * 500);
        CHECK(cuMemRetainAllocationHandle(&back, (void *)(range + 3 * PIECE)));
        if (back != piece[2])
            exit(7);
        CHECK(cuMemRelease(back));
        CHECK(cuMemsetD32_v2(range + 3 * PIECE, far, N));
        CHECK(cuMemUnmap(range + 3 * PIECE, PIECE));
        map(range + 2 * PIECE, piece[2], devices);
        printf("step %d: %08x %08x %08x %08x %08x, %u\n", i, sum(range), sum(range + PIECE), far, sum(plain[0]),
               sum(plain[devices - 1]), count);
        fflush(stdout);
    }
    map(other, away, devices);
    struct access all = {{1, 0}, ALL};
    CHECK(cuMemSetAccess(ways + PIECE, PIECE, &all, 1));
    printf("%08x %08x %08x\n", sum(other), sum(ways), sum(ways + PIECE));
    CHECK(cuMemUnmap(range, 3 * PIECE));
    CHECK(cuMemUnmap(other, PIECE));
    CHECK(cuMemUnmap(ways, 2 * PIECE));
    CHECK(cuMemRelease(away));
    CHECK(cuMemAddressFree(range, 4 * PIECE));
    CHECK(cuMemAddressFree(other, PIECE));
    CHECK(cuMemAddressFree(ways, 2 * PIECE));
    return 0;
}
