/*
 * The driver's linker: two texts, of which one uses the other's function and variable; loaded, unloaded and linked again at every step. What can't be
 * linked is an error, and the log says why.
 *
 * Usage: cuda_link [STEPS [PAUSE in ms]].
 */
#include "cuda.h"
#include <string.h>
#include <unistd.h>

#define HEAD ".version 7.0\n.target sm_70\n.address_size 64\n"

static const char user[] = HEAD
    ".extern .func (.param .b32 result) next (.param .b32 x);\n"
    ".extern .global .align 4 .u32 counter;\n"
    ".global .align 4 .u32 step = 10;\n"
    ".visible .entry count()\n{\n"
    " .reg .b32 %r<3>; .reg .b64 %d;\n"
    " ld.global.u32 %r0, [counter]; ld.global.u32 %r1, [step];\n"
    " { .param .b32 x; .param .b32 y; st.param.b32 [x], %r0; call.uni (y), next, (x); ld.param.b32 %r2, [y]; }\n"
    " add.u32 %r2, %r2, %r1; st.global.u32 [counter], %r2; ret;\n}\n";

static const char used[] = HEAD
    ".visible .global .align 4 .u32 counter = 5;\n"
    ".global .align 4 .u32 step = 1;\n"
    ".visible .func (.param .b32 result) next (.param .b32 x)\n{\n"
    " .reg .b32 %r<3>;\n"
    " ld.param.u32 %r0, [x]; ld.global.u32 %r1, [step]; add.u32 %r2, %r0, %r1; st.param.b32 [result], %r2; ret;\n}\n";

int cuLinkCreate_v2(unsigned, int *, void **, void **);
int cuLinkAddData_v2(void *, int, const void *, unsigned long, const char *, unsigned, int *, void **);
int cuLinkComplete(void *, void **, unsigned long *);
int cuLinkDestroy(void *);
int cuModuleUnload(void *);
int cuModuleLoadDataEx(void **, const void *, unsigned, int *, void **);
int cuLibraryLoadData(void **, const void *, int *, void **, unsigned, void *, void *, unsigned);

enum { PTX = 1, ERROR_LOG = 5, ERROR_LOG_SIZE = 6, GLOBAL_SYMBOLS = 17, INVALID_PTX = 218, NOT_SUPPORTED = 801 };

static void *linked(void)
{
    void *state, *image, *module;
    unsigned long size;
    CHECK(cuLinkCreate_v2(0, NULL, NULL, &state));
    CHECK(cuLinkAddData_v2(state, PTX, user, sizeof user, "user", 0, NULL, NULL));
    CHECK(cuLinkAddData_v2(state, PTX, used, sizeof used, "used", 0, NULL, NULL));
    CHECK(cuLinkComplete(state, &image, &size));
    CHECK(cuModuleLoadData(&module, image));
    CHECK(cuLinkDestroy(state));
    return module;
}

/* What a driver says of code: nothing if it takes it, else why not; and how long that is. */
static int told(int way, const char *text, unsigned wrong)
{
    int options[] = {ERROR_LOG, ERROR_LOG_SIZE}, symbols[] = {GLOBAL_SYMBOLS};
    char log[64];
    void *values[] = {log, (void *)sizeof log}, *made;
    memset(log, '#', sizeof log);
    int code = way ? cuModuleLoadDataEx(&made, text, 2, options, values) : cuLibraryLoadData(&made, text, options, values, 2, NULL, NULL, 0);
    int refused = way ? cuModuleLoadDataEx(&made, text, 1, symbols, values) : cuLibraryLoadData(&made, text, symbols, values, 1, NULL, NULL, 0);
    return (code != 0) == wrong && (log[0] != 0) == wrong && strlen(log) == (unsigned)(unsigned long)values[1] && refused == NOT_SUPPORTED;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 40, pause = argc > 2 ? atoi(argv[2]) : 0, device;
    int options[] = {ERROR_LOG, ERROR_LOG_SIZE};
    char log[64];
    void *values[] = {log, (void *)sizeof log}, *context, *state, *image, *module = NULL, *count;
    unsigned expected = 0;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuLinkCreate_v2(2, options, values, &state));
    CHECK(cuLinkAddData_v2(state, PTX, used, sizeof used, "used", 0, NULL, NULL));
    CHECK(cuLinkAddData_v2(state, PTX, used, sizeof used, "again", 0, NULL, NULL));
    if (cuLinkComplete(state, &image, NULL) != INVALID_PTX || !strstr(log, "counter"))
        return printf("two definitions are linked, and the log says: %s\n", log);
    CHECK(cuLinkDestroy(state));
    for (int way = 0; way < 2; way++)
        if (!told(way, used, 0) || !told(way, HEAD ".visible .entry x() { bogus", 1))
            return printf("code is loaded in way %d, and what is said of it is something else\n", way);
    for (int i = 0; i < steps; i++) {
        address counter;
        unsigned seen;
        if (i % 5 == 0) {
            if (module)
                CHECK(cuModuleUnload(module));
            module = linked();
            expected = 5;
        }
        CHECK(cuModuleGetFunction(&count, module, "count"));
        CHECK(cuModuleGetGlobal_v2(&counter, NULL, module, "counter"));
        CHECK(cuLaunchKernel(count, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
        CHECK(cuMemcpyDtoH_v2(&seen, counter, 4));
        expected += 11;
        if (seen != expected)
            return printf("step %d: %u, not %u\n", i, seen, expected);
        printf("step %d: %u\n", i, seen);
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
