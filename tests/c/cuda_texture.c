/*
 * Textures and surfaces: an array that is sampled between its elements and written as a surface, one that is looked at
 * element by element, memory in a line, layers, levels. What kernels read is compared with what the host computes.
 *
 * Usage: cuda_texture [STEPS [PAUSE in ms]]. Each step prints a checksum of what was read.
 */
#include "cuda.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD                                                                                         \
    " .reg .pred %q; .reg .b32 %r<16>; .reg .f32 %f<16>; .reg .b64 %d<6>;\n"                         \
    " ld.param.u64 %d0, [out]; ld.param.u64 %d1, [object];\n"                                        \
    " mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x;\n" /* x, y */                                      \
    " mov.u32 %r2, %ntid.x; mad.lo.u32 %r3, %r1, %r2, %r0; mul.wide.u32 %d2, %r3, 4; add.u64 %d0, %d0, %d2;\n" \
    " cvt.rn.f32.u32 %f0, %r0; cvt.rn.f32.u32 %f1, %r1;\n"
#define KERNEL(name, body) \
    ".visible .entry " name "(.param .u64 out, .param .u64 object)\n{\n" HEAD body " ret;\n}\n"

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    /* Between elements, in parts of the whole: ((x + 0.75) / 16, (y + 0.6) / 8). */
    KERNEL("between", " add.f32 %f2, %f0, 0f3F400000; mul.f32 %f2, %f2, 0f3D800000;\n"
                      " add.f32 %f3, %f1, 0f3F19999A; mul.f32 %f3, %f3, 0f3E000000;\n"
                      " tex.2d.v4.f32.f32 {%f4, %f5, %f6, %f7}, [%d1, {%f2, %f3}];\n st.global.f32 [%d0], %f4;\n")
    /* Elements of two channels, one beyond the end of each row. */
    KERNEL("elements", " add.f32 %f0, %f0, 0f3F800000;\n tex.2d.v4.u32.f32 {%r4, %r5, %r6, %r7}, [%d1, {%f0, %f1}];\n"
                       " mad.lo.u32 %r8, %r5, 1000, %r4; st.global.u32 [%d0], %r8;\n")
    KERNEL("line", " tex.1d.v4.s32.s32 {%r4, %r5, %r6, %r7}, [%d1, {%r3}];\n st.global.u32 [%d0], %r4;\n")
    KERNEL("layers", " tex.a2d.v4.f32.f32 {%f4, %f5, %f6, %f7}, [%d1, {%r1, %f0, %f0, %f0}];\n st.global.f32 [%d0], %f4;\n")
    KERNEL("levels", " tex.level.2d.v4.f32.f32 {%f4, %f5, %f6, %f7}, [%d1, {%f0, %f1}], 0f3F800000;\n st.global.f32 [%d0], %f4;\n")
    /* The surface becomes half of what it was, and more. */
    KERNEL("surface", " shl.b32 %r4, %r0, 2;\n suld.b.2d.b32.trap {%r5}, [%d1, {%r4, %r1}];\n mov.b32 %f4, %r5;\n"
                      " mul.f32 %f4, %f4, 0f3F000000; add.f32 %f4, %f4, 0f3F800000; add.f32 %f4, %f4, %f0; mov.b32 %r6, %f4;\n"
                      " sust.b.2d.b32.trap [%d1, {%r4, %r1}], {%r6};\n st.global.u32 [%d0], %r6;\n");

enum { W = 16, H = 8, UNSIGNED_16 = 2, SIGNED_32 = 10, FLOAT = 32, AS_THEY_ARE = 1, NORMALIZED = 2, CLAMP = 1, WRAP = 0 };

static void *module;
static address out;
static union { unsigned u[W * H]; float f[W * H]; } got;

static void run(const char *name, unsigned long long object)
{
    void *f, *args[] = {&out, &object};
    CHECK(cuModuleGetFunction(&f, module, name));
    CHECK(cuLaunchKernel(f, H, 1, 1, W, 1, 1, 0, NULL, args, NULL));
    CHECK(cuMemcpyDtoH_v2(got.u, out, sizeof got));
}

static void expect(const char *what, int i, double want, double have)
{
    if (fabs(want - have) > 1e-3 * (1 + fabs(want))) {
        fprintf(stderr, "%s %d: %g, not %g\n", what, i, have, want);
        exit(1);
    }
}

static unsigned sum(unsigned s)
{
    for (int i = 0; i < W * H; i++)
        s = s * 31 + got.u[i];
    return s;
}

/* Copies a slice of an array's, or all of it. */
static void fill(void *array, const void *from, unsigned long row, unsigned long rows, unsigned long slices)
{
    struct copy_3d c = {{.type = 1, .host = (void *)from, .pitch = row, .height = rows}, {.type = 3, .array = array}, row, rows, slices};
    CHECK(cuMemcpy3D_v2(&c));
}

static unsigned long long texture(struct resource r, int mode, int linear, unsigned flags)
{
    struct sampling s = {.beyond = {mode, mode, mode}, .filter = linear, .flags = flags, .most = 10};
    unsigned long long object;
    CHECK(cuTexObjectCreate(&object, &r, &s, NULL));
    return object;
}

int main(int argc, char **argv)
{
    int device, n = argc > 1 ? atoi(argv[1]) : 5, pause = argc > 2 ? atoi(argv[2]) : 0;
    void *context, *array, *pairs, *layered, *mipmapped, *level;
    unsigned long long between, gone, elements, line, layers, levels, surface;
    address memory;
    float f[W * H], l[H * W];
    unsigned short p[W * H * 2];
    int numbers[W * H];
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuMemAlloc_v2(&out, sizeof got));
    for (int i = 0; i < W * H; i++) {
        f[i] = i * i % 37;
        l[i] = i % W + 100 * (i / W);
        p[2 * i] = i;
        p[2 * i + 1] = 60000 + i;
        numbers[i] = -i * 3;
    }
    struct array_3d flat = {W, H, 0, FLOAT, 1, 2}, two = {W, H, 0, UNSIGNED_16, 2, 0}, layer = {W, 0, H, FLOAT, 1, 1};
    struct array_3d mip = {W, H, 0, FLOAT, 1, 0};
    CHECK(cuArray3DCreate_v2(&array, &flat));
    CHECK(cuArray3DCreate_v2(&pairs, &two));
    layer.height = 1;
    CHECK(cuArray3DCreate_v2(&layered, &layer));
    CHECK(cuMipmappedArrayCreate(&mipmapped, &mip, 3));
    CHECK(cuMipmappedArrayGetLevel(&level, mipmapped, 1));
    fill(array, f, W * 4, H, 1);
    fill(pairs, p, W * 4, H, 1);
    fill(layered, l, W * 4, 1, H);
    fill(level, f, W / 2 * 4, H / 2, 1);
    CHECK(cuMemAlloc_v2(&memory, sizeof numbers));
    CHECK(cuMemcpyHtoD_v2(memory, numbers, sizeof numbers));
    struct resource of_array = {.type = 0, .what = (unsigned long)array}, of_pairs = {.type = 0, .what = (unsigned long)pairs};
    struct resource of_line = {.type = 2, .what = memory, .format = SIGNED_32, .channels = 1, .size = sizeof numbers};
    struct resource of_layers = {.type = 0, .what = (unsigned long)layered}, of_levels = {.type = 1, .what = (unsigned long)mipmapped};
    /* One is gone when the others are used: their numbers stay all the same. */
    gone = texture(of_array, CLAMP, 0, 0);
    between = texture(of_array, WRAP, 1, NORMALIZED);
    elements = texture(of_pairs, CLAMP, 0, AS_THEY_ARE);
    CHECK(cuTexObjectDestroy(gone));
    line = texture(of_line, CLAMP, 0, AS_THEY_ARE);
    CHECK(cuTexObjectDestroy(line));
    layers = texture(of_layers, CLAMP, 0, 0);
    line = texture(of_line, CLAMP, 0, AS_THEY_ARE);
    levels = texture(of_levels, CLAMP, 0, 0);
    CHECK(cuSurfObjectCreate(&surface, &of_array));
    for (int i = 1; i <= n; i++) {
        unsigned s = 0;
        usleep(pause * 1000);
        run("between", between);
        s = sum(s);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                double b = round(256 * 0.25) / 256, a = round(256 * 0.1) / 256;
                const float *r = f + y * W, *t = f + (y + 1) % H * W;
                int z = (x + 1) % W;
                double want = (1 - a) * ((1 - b) * r[x] + b * r[z]) + a * ((1 - b) * t[x] + b * t[z]);
                if (fabs(want - got.f[y * W + x]) > 0.2)
                    expect("between", y * W + x, want, got.f[y * W + x]);
            }
        run("elements", elements);
        s = sum(s);
        for (int k = 0; k < W * H; k++) {
            int e = k % W == W - 1 ? k : k + 1;
            expect("elements", k, (60000.0 + e) * 1000 + e, got.u[k]);
        }
        run("line", line);
        s = sum(s);
        for (int k = 0; k < W * H; k++)
            expect("line", k, numbers[k], (int)got.u[k]);
        run("layers", layers);
        s = sum(s);
        for (int k = 0; k < W * H; k++)
            expect("layers", k, l[k], got.f[k]);
        run("levels", levels);
        s = sum(s);
        for (int k = 0; k < W * H; k++) {
            int x = k % W < W / 2 ? k % W : W / 2 - 1, y = k / W < H / 2 ? k / W : H / 2 - 1;
            expect("levels", k, f[y * (W / 2) + x], got.f[k]);
        }
        run("surface", surface);
        s = sum(s);
        for (int k = 0; k < W * H; k++) {
            double want = f[k] * 0.5f + 1 + k % W;
            expect("surface", k, want, got.f[k]);
            f[k] = got.f[k];
        }
        fill(level, f, W / 2 * 4, H / 2, 1);
        printf("step %d: %08x, objects %llu %llu %llu %llu %llu %llu\n", i, s, between, elements, line, layers, levels, surface);
        fflush(stdout);
    }
    return 0;
}
