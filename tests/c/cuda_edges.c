/*
 * Graphs of CUDA's driver API whose edges have data, and batches of operations on numbers in memory, in graphs and in streams:
 * launched, changed, cloned and asked again and again.
 *
 * Usage: cuda_edges [STEPS [PAUSE in ms]]. Each step prints what came of it.
 */
#include "cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char ptx[] =
    ".version 7.8\n.target sm_90\n.address_size 64\n"
    ".visible .entry step(.param .u64 p, .param .u32 add)\n{\n"
    " .reg .b32 %r<3>; .reg .b64 %d0;\n"
    " ld.param.u64 %d0, [p]; ld.param.u32 %r0, [add];\n"
    " griddepcontrol.launch_dependents; griddepcontrol.wait;\n"
    " ld.global.u32 %r1, [%d0]; mad.lo.u32 %r1, %r1, 3, %r0; st.global.u32 [%d0], %r1;\n"
    " ret;\n}\n";

/* CUstreamBatchMemOpParams, and a node of them. */
struct operation {
    unsigned kind, barrier;
    address at;
    unsigned long long value;
    unsigned flags;
    address alias;
    unsigned long long rest;
};

struct batch {
    void *context;
    unsigned count;
    struct operation *operations;
    unsigned flags;
};

struct edge {
    unsigned char from_port, to_port, type, rest[5];
};

enum { WAIT_32 = 1, WRITE_32 = 2, WAIT_64 = 4, WRITE_64 = 5, BARRIER = 6, EQUAL = 1, BATCH = 12, LOSSY = 402 };

int cuStreamBatchMemOp_v2(void *, unsigned, struct operation *, unsigned);
int cuGraphAddBatchMemOpNode(void **, void *, void *const *, unsigned long, const struct batch *);
int cuGraphBatchMemOpNodeGetParams(void *, struct batch *);
int cuGraphBatchMemOpNodeSetParams(void *, const struct batch *);
int cuGraphExecBatchMemOpNodeSetParams(void *, void *, const struct batch *);
int cuGraphAddNode_v2(void **, void *, void *const *, const struct edge *, unsigned long, void *);
int cuGraphGetEdges(void *, void **, void **, unsigned long *);
int cuGraphNodeGetDependencies_v2(void *, void **, struct edge *, unsigned long *);
int cuGraphNodeGetDependentNodes_v2(void *, void **, struct edge *, unsigned long *);
int cuGraphRemoveDependencies_v2(void *, void **, void **, const struct edge *, unsigned long);

static const struct edge programmatic = {1, 0, 1, {0}};
static void *context, *step;
/* A number that kernels change, and two that batches write and wait for. */
static address number, marks;

static void *add_kernel(void *graph, void *after, const struct edge *edge, unsigned by)
{
    void *node, *args[] = {&number, &by};
    struct {
        int type, reserved[3];
        struct kernel_node kernel;
        char rest[248 - 16 - sizeof(struct kernel_node)];
    } what = {.kernel = {step, {1, 1, 1}, {1, 1, 1}, 0, args, NULL, NULL, NULL}};
    CHECK(cuGraphAddNode_v2(&node, graph, &after, edge, after != NULL, &what));
    return node;
}

/* Writes a value, waits for it, writes a second one. */
static struct batch batch(struct operation room[4], unsigned value)
{
    struct operation all[4] = {{.kind = WRITE_32, .at = marks, .value = value},
                               {.kind = BARRIER},
                               {.kind = WAIT_32, .at = marks, .value = value, .flags = EQUAL},
                               {.kind = WRITE_64, .at = marks + 8, .value = value * 10000000000ull}};
    memcpy(room, all, sizeof all);
    return (struct batch){context, 4, room, 0};
}

/* All edges, with their data, in a line. */
static void describe(void *graph, void *node, char *out)
{
    void *from[16], *to[16], *before[16], *after[16];
    struct edge data[16], in[16], behind[16];
    unsigned long n = 16, ins = 16, outs = 16, lossy = 16;
    unsigned sum = 0;
    CHECK(cuGraphGetEdges_v2(graph, from, to, (void *)data, &n));
    for (unsigned long i = 0; i < n; i++)
        sum = sum * 5 + data[i].from_port * 2 + data[i].type;
    CHECK(cuGraphNodeGetDependencies_v2(node, before, in, &ins));
    CHECK(cuGraphNodeGetDependentNodes_v2(node, after, behind, &outs));
    sprintf(out, "%lu edges %u, before %lu %u, after %lu %u, plain %d", n, sum, ins, in[0].type, outs, behind[0].type,
            cuGraphGetEdges(graph, from, to, &lossy) == LOSSY);
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 5, pause = argc > 2 ? atoi(argv[2]) : 0, device;
    void *module, *stream[2], *graph, *exec, *nodes[3], *memory, *captured, *captured_exec, *clone;
    struct operation room[4];
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuModuleGetFunction(&step, module, "step"));
    CHECK(cuMemAlloc_v2(&number, 4));
    CHECK(cuMemAlloc_v2(&marks, 16));
    CHECK(cuMemsetD32_v2(number, 0, 1));
    CHECK(cuMemsetD32_v2(marks, 0, 4));
    for (int i = 0; i < 2; i++)
        CHECK(cuStreamCreate(&stream[i], 1));
    CHECK(cuGraphCreate(&graph, 0));
    nodes[0] = add_kernel(graph, NULL, NULL, 1);
    nodes[1] = add_kernel(graph, nodes[0], &programmatic, 2);
    nodes[2] = add_kernel(graph, nodes[1], NULL, 3);
    CHECK(cuGraphAddDependencies_v2(graph, &nodes[0], &nodes[2], (void *)&programmatic, 1));
    struct batch first = batch(room, 1);
    CHECK(cuGraphAddBatchMemOpNode(&memory, graph, &nodes[2], 1, &first));
    CHECK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    /* A stream's batch becomes a node. */
    CHECK(cuStreamBeginCapture_v2(stream[0], 0));
    batch(room, 77);
    CHECK(cuStreamBatchMemOp_v2(stream[0], 4, room, 0));
    CHECK(cuStreamEndCapture(stream[0], &captured));
    CHECK(cuGraphInstantiateWithFlags(&captured_exec, captured, 0));
    for (int i = 1; i <= steps; i++) {
        unsigned seen, type;
        unsigned long long told[2][2];
        char text[2][80];
        struct batch now = batch(room, i), asked, of_capture;
        void *of_clone, *of_captured;
        unsigned long one = 1;
        CHECK(cuGraphExecBatchMemOpNodeSetParams(exec, memory, &now));
        CHECK(cuGraphBatchMemOpNodeSetParams(memory, &now));
        memset(room, 0, sizeof room);
        usleep(pause * 1000);
        CHECK(cuGraphLaunch(exec, stream[0]));
        /* The second stream waits for what the graph writes at its end. */
        struct operation waits = {.kind = WAIT_64, .at = marks + 8, .value = i * 10000000000ull};
        CHECK(cuStreamBatchMemOp_v2(stream[1], 1, &waits, 0));
        CHECK(cuStreamSynchronize(stream[1]));
        CHECK(cuStreamSynchronize(stream[0]));
        CHECK(cuMemcpyDtoH_v2(&seen, number, 4));
        CHECK(cuMemcpyDtoH_v2(told[0], marks, 16));
        CHECK(cuGraphLaunch(captured_exec, stream[0]));
        CHECK(cuStreamSynchronize(stream[0]));
        CHECK(cuMemcpyDtoH_v2(told[1], marks, 16));
        CHECK(cuMemsetD32_v2(marks, 0, 4));
        CHECK(cuGraphBatchMemOpNodeGetParams(memory, &asked));
        CHECK(cuGraphGetNodes(captured, &of_captured, &one));
        CHECK(cuGraphNodeGetType(of_captured, &type));
        CHECK(cuGraphBatchMemOpNodeGetParams(of_captured, &of_capture));
        CHECK(cuGraphClone(&clone, graph));
        CHECK(cuGraphNodeFindInClone(&of_clone, nodes[1], clone));
        describe(graph, nodes[1], text[0]);
        describe(clone, of_clone, text[1]);
        CHECK(cuGraphDestroy(clone));
        printf("step %d: %08x, %llu %llu, %llu %llu, node %u of %u, %llu, %llu; %s; %s\n", i, seen, told[0][0], told[0][1], told[1][0],
               told[1][1], type, asked.count, asked.operations[2].value, of_capture.operations[0].value, text[0], text[1]);
        fflush(stdout);
        /* Another edge, of the same two nodes. */
        if (i % 2)
            CHECK(cuGraphRemoveDependencies_v2(graph, &nodes[0], &nodes[2], &programmatic, 1));
        else
            CHECK(cuGraphAddDependencies_v2(graph, &nodes[0], &nodes[2], (void *)&programmatic, 1));
    }
    return 0;
}
