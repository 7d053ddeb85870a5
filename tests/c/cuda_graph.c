/*
 * Graphs of CUDA's driver API: one of explicit nodes of every kind, a child in it, a clone of it, and one captured from two
 * streams; launched, changed and updated again and again.
 *
 * Usage: cuda_graph [STEPS [PAUSE in ms]]. Each step prints what came of it; for a part of the pause a stream is captured.
 * cuda_graph hold MS: a stream is captured for so long.
 */
#include "cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry step(.param .u64 p, .param .u32 n, .param .u32 add)\n{\n"
    " .reg .pred %q; .reg .b32 %r<12>; .reg .b64 %d<4>;\n"
    " ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n]; ld.param.u32 %r1, [add];\n"
    " mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;\n"
    " mad.lo.u32 %r5, %r2, %r3, %r4;\n"
    " setp.ge.u32 %q, %r5, %r0; @%q bra DONE;\n"
    " mul.wide.u32 %d1, %r5, 4; add.u64 %d2, %d0, %d1;\n"
    " ld.global.u32 %r7, [%d2]; mad.lo.u32 %r8, %r7, 3, %r1; add.u32 %r8, %r8, %r5;\n"
    " st.global.u32 [%d2], %r8;\n"
    "DONE: ret;\n}\n";

enum { N = 300, CHILD = 4, COOPERATIVE = 2, BY_PRIORITY = 8 };

static unsigned long called, waited, turn;
static void *step, *context;
static address a, b, c;
static unsigned *seen, *given;

static void count(void *data)
{
    called += *(unsigned *)data;
    waited += turn;
}

/* What comes before the event that a graph waits for. */
static void late(void *data)
{
    usleep(5000);
    turn = (unsigned long)data;
}

static unsigned sum(const unsigned *p, int n)
{
    unsigned s = 0;
    for (int i = 0; i < n; i++)
        s = s * 31 + p[i];
    return s;
}

/* The parameters lie on the stack only: whoever keeps a node has to copy them. */
static int kernel(int (*f)(void *, void *, const struct kernel_node *), void *x, void *y, address p, unsigned add)
{
    unsigned n = N;
    void *args[] = {&p, &n, &add};
    struct kernel_node k = {step, {(N + 63) / 64, 1, 1}, {64, 1, 1}, 0, args, NULL, NULL, NULL};
    return f(x, y, &k);
}

static void *added;
static int add_to(void *graph, void *after, const struct kernel_node *k)
{
    return cuGraphAddKernelNode_v2(&added, graph, &after, after != NULL, k);
}

static int set(void *node, void *unused, const struct kernel_node *k)
{
    (void)unused;
    return cuGraphKernelNodeSetParams_v2(node, k);
}

static void launch(address p, unsigned add, void *stream)
{
    unsigned n = N;
    void *args[] = {&p, &n, &add};
    CHECK(cuLaunchKernel(step, (N + 63) / 64, 1, 1, 64, 1, 1, 0, stream, args, NULL));
}

/* A fill, a kernel that can be changed, a child with a kernel and a copy, an event recorded, another waited for, a host function. */
static void explicit_graph(void **graph, void **changing, void **in, void *event, void *gate)
{
    void *child, *fill, *copy, *record, *wait, *empty, *host, *node;
    unsigned long long cooperative[8] = {1};
    struct fill_node f = {a, 0, 5, 4, N, 1};
    struct copy_3d back = {{.type = 2, .device = b, .pitch = N * 4, .height = 1},
                           {.type = 1, .host = seen, .pitch = N * 4, .height = 1}, N * 4, 1, 1};
    struct copy_3d over = {{.type = 2, .device = a, .pitch = N * 4, .height = 1},
                           {.type = 2, .device = c, .pitch = N * 4, .height = 1}, N * 4, 1, 1};
    struct host_node h = {count, given};
    CHECK(cuGraphCreate(graph, 0));
    CHECK(cuGraphAddMemsetNode(&fill, *graph, NULL, 0, &f, context));
    CHECK(kernel(add_to, *graph, fill, a, 1));
    *changing = added;
    CHECK(cuGraphKernelNodeSetAttribute(added, COOPERATIVE, cooperative));
    CHECK(cuGraphCreate(&child, 0));
    CHECK(kernel(add_to, child, NULL, b, 7));
    CHECK(cuGraphAddMemcpyNode(&copy, child, &added, 1, &back, context));
    CHECK(cuGraphAddChildGraphNode(in, *graph, changing, 1, child));
    CHECK(cuGraphDestroy(child));
    CHECK(cuGraphAddEventRecordNode(&record, *graph, in, 1, event));
    CHECK(cuGraphAddEventWaitNode(&wait, *graph, &record, 1, gate));
    CHECK(cuGraphAddHostNode(&host, *graph, &wait, 1, &h));
    CHECK(cuGraphAddEmptyNode(&empty, *graph, &host, 1));
    CHECK(cuGraphAddMemcpyNode(&node, *graph, &empty, 1, &over, context));
    /* This one is made last, and comes first of all. */
    CHECK(kernel(add_to, *graph, NULL, b, 2));
    CHECK(cuGraphAddDependencies_v2(*graph, &added, &fill, NULL, 1));
}

/* Two streams with an event between them, a fill, copies, a host function. */
static void *captured(void **stream, unsigned add, int hold)
{
    void *graph, *fork, *join, **after, *edges, *node;
    unsigned long n;
    int status;
    unsigned long long id;
    CHECK(cuEventCreate(&fork, 2));
    CHECK(cuEventCreate(&join, 2));
    CHECK(cuStreamBeginCapture_v2(stream[0], add % 3));
    CHECK(cuMemcpyHtoDAsync_v2(b, given, N * 4, stream[0]));
    CHECK(cuEventRecord(fork, stream[0]));
    CHECK(cuStreamWaitEvent(stream[1], fork, 0));
    launch(b, add, stream[0]);
    CHECK(cuMemsetD8Async(c, 3, N * 4, stream[1]));
    launch(c, add + 1, stream[1]);
    usleep(hold * 1000);
    CHECK(cuEventRecord(join, stream[1]));
    CHECK(cuStreamWaitEvent(stream[0], join, 0));
    CHECK(cuStreamGetCaptureInfo_v3(stream[0], &status, &id, &graph, &after, &edges, &n));
    if (status != 1 || n != 2)
        exit(2);
    CHECK(cuGraphAddEmptyNode(&node, graph, after, n));
    CHECK(cuStreamUpdateCaptureDependencies_v2(stream[0], &node, NULL, 1, 1));
    CHECK(cuLaunchHostFunc(stream[0], count, given + 1));
    CHECK(cuMemcpyDtoHAsync_v2(seen, b, N * 4, stream[0]));
    CHECK(cuStreamEndCapture(stream[0], &graph));
    CHECK(cuEventDestroy_v2(fork));
    CHECK(cuEventDestroy_v2(join));
    return graph;
}

/* How many nodes there are of each type, and how many edges. */
static void describe(void *graph, char *out)
{
    void *nodes[64];
    unsigned long n = 64, edges = 0;
    unsigned types[16] = {0}, type;
    CHECK(cuGraphGetNodes(graph, nodes, &n));
    CHECK(cuGraphGetEdges_v2(graph, NULL, NULL, NULL, &edges));
    for (unsigned long i = 0; i < n; i++) {
        CHECK(cuGraphNodeGetType(nodes[i], &type));
        types[type]++;
        if (type == CHILD) {
            void *child;
            unsigned long inner = 0;
            CHECK(cuGraphChildGraphNodeGetGraph(nodes[i], &child));
            CHECK(cuGraphGetNodes(child, NULL, &inner));
            types[8] += inner;
        }
    }
    sprintf(out, "%u%u%u%u%u%u%u%u (%u), %lu edges", types[0], types[1], types[2], types[3], types[4], types[5], types[6],
            types[7], types[8], edges);
}

/* The node in a child that launches a kernel. */
static void *inner_kernel(void *in)
{
    void *child, *nodes[2];
    unsigned long n = 2;
    unsigned type;
    CHECK(cuGraphChildGraphNodeGetGraph(in, &child));
    CHECK(cuGraphGetNodes(child, nodes, &n));
    CHECK(cuGraphNodeGetType(nodes[0], &type));
    if (n != 2 || type != 0)
        exit(3);
    return nodes[0];
}

/* Another like it is made now: the driver has to know all of the graph, with its edges and attributes. */
static unsigned launch_clone(void *graph, void *changing, void *stream, char *text)
{
    void *clone, *exec, *node;
    unsigned out[N];
    unsigned long long cooperative[8], flags;
    CHECK(cuGraphClone(&clone, graph));
    describe(clone, text);
    CHECK(cuGraphNodeFindInClone(&node, changing, clone));
    CHECK(cuGraphKernelNodeGetAttribute(node, COOPERATIVE, cooperative));
    CHECK(cuGraphInstantiateWithFlags(&exec, clone, BY_PRIORITY));
    CHECK(cuGraphExecGetFlags(exec, &flags));
    if ((int)cooperative[0] != 1 || flags != BY_PRIORITY)
        exit(4);
    CHECK(cuGraphDestroy(clone));
    CHECK(cuGraphLaunch(exec, stream));
    CHECK(cuStreamSynchronize(stream));
    CHECK(cuGraphExecDestroy(exec));
    CHECK(cuMemcpyDtoH_v2(out, c, N * 4));
    return sum(out, N) + sum(seen, N);
}

static void steps(int n, int pause)
{
    void *stream[2], *event, *mark, *gate, *in, *graph, *changing, *exec, *clone, *of_clone, *cloned_exec, *plain, *capture, *orphan;
    unsigned long of_graph = 0;
    for (int i = 0; i < 2; i++)
        CHECK(cuStreamCreate(&stream[i], 1));
    CHECK(cuEventCreate(&event, 0));
    CHECK(cuEventCreate(&mark, 0));
    CHECK(cuEventCreate(&gate, 2));
    explicit_graph(&graph, &changing, &in, event, gate);
    CHECK(cuGraphInstantiateWithFlags(&exec, graph, BY_PRIORITY));
    CHECK(cuGraphClone(&clone, graph));
    CHECK(cuGraphNodeFindInClone(&of_clone, changing, clone));
    CHECK(kernel(set, of_clone, NULL, a, 1000));
    CHECK(cuGraphInstantiateWithFlags(&cloned_exec, clone, 0));
    plain = captured(stream, 0, 0);
    CHECK(cuGraphInstantiateWithFlags(&capture, plain, 0));
    /* One whose graph is gone. */
    orphan = captured(stream, 100, 0);
    void *orphan_exec;
    CHECK(cuGraphInstantiateWithFlags(&orphan_exec, orphan, 0));
    CHECK(cuGraphDestroy(orphan));
    for (int i = 1; i <= n; i++) {
        unsigned out[4][N];
        char text[3][64];
        float passed;
        unsigned long long flags;
        struct kernel_node k;
        unsigned add = i;
        unsigned long long p = a;
        unsigned len = N;
        void *args[] = {&p, &len, &add};
        struct kernel_node change = {step, {(N + 63) / 64, 1, 1}, {64, 1, 1}, 0, args, NULL, NULL, NULL};
        CHECK(cuGraphExecKernelNodeSetParams_v2(exec, changing, &change));
        CHECK(cuGraphNodeSetEnabled(cloned_exec, of_clone, i % 2));
        memset(args, 0, sizeof args);
        usleep(pause * 500);
        CHECK(kernel(set, inner_kernel(in), NULL, b, i));
        CHECK(cuLaunchHostFunc(stream[1], late, (void *)(unsigned long)i));
        CHECK(cuEventRecord(gate, stream[1]));
        CHECK(cuEventRecord(mark, stream[0]));
        CHECK(cuGraphLaunch(exec, stream[0]));
        CHECK(cuStreamSynchronize(stream[0]));
        CHECK(cuEventElapsedTime(&passed, mark, event));
        CHECK(cuGraphExecGetFlags(exec, &flags));
        if (passed < 0 || flags != BY_PRIORITY)
            exit(5);
        memcpy(out[0], seen, N * 4);
        CHECK(cuMemcpyDtoH_v2(out[1], c, N * 4));
        unsigned first = sum(out[0], N), second = sum(out[1], N);
        CHECK(cuGraphLaunch(cloned_exec, stream[1]));
        CHECK(cuStreamSynchronize(stream[1]));
        CHECK(cuMemcpyDtoH_v2(out[2], c, N * 4));
        CHECK(cuGraphLaunch(capture, stream[1]));
        CHECK(cuGraphLaunch(orphan_exec, stream[1]));
        CHECK(cuCtxSynchronize());
        CHECK(cuMemcpyDtoH_v2(out[3], c, N * 4));
        CHECK(cuGraphKernelNodeGetParams_v2(of_clone, &k));
        describe(graph, text[0]);
        describe(plain, text[1]);
        unsigned third = sum(out[2], N), fourth = sum(out[3], N), last = sum(seen, N);
        unsigned again = launch_clone(graph, changing, stream[0], text[2]);
        printf("step %d: %08x %08x %08x %08x %08x %08x, called %lu, waited %lu, %u; %s; %s; %s\n", i, first, second, third, fourth,
               last, again, called, waited, *(unsigned *)k.parameters[2], text[0], text[1], text[2]);
        fflush(stdout);
        if (i % 2) {
            unsigned long long told[3];
            void *new = captured(stream, i, pause / 2);
            CHECK(cuGraphExecUpdate_v2(capture, new, told));
            CHECK(cuGraphDestroy(plain));
            plain = new;
        }
    }
    CHECK(cuGraphGetNodes(graph, NULL, &of_graph));
    CHECK(cuGraphExecDestroy(exec));
    CHECK(cuGraphDestroy(graph));
    CHECK(cuGraphDestroy(clone));
    CHECK(cuGraphExecDestroy(cloned_exec));
    printf("%lu nodes\n", of_graph);
}

int main(int argc, char **argv)
{
    void *module;
    int device;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuModuleGetFunction(&step, module, "step"));
    CHECK(cuMemAlloc_v2(&a, N * 4));
    CHECK(cuMemAlloc_v2(&b, N * 4));
    CHECK(cuMemAlloc_v2(&c, N * 4));
    CHECK(cuMemsetD32_v2(b, 1, N));
    CHECK(cuMemHostAlloc((void **)&seen, N * 4, 2));
    CHECK(cuMemHostAlloc((void **)&given, N * 4, 2));
    for (int i = 0; i < N; i++)
        given[i] = i + 1;
    if (argc > 2 && !strcmp(argv[1], "hold")) {
        void *stream, *graph;
        CHECK(cuStreamCreate(&stream, 1));
        CHECK(cuStreamBeginCapture_v2(stream, 0));
        launch(a, 1, stream);
        printf("captured\n");
        fflush(stdout);
        usleep(atoi(argv[2]) * 1000);
        CHECK(cuStreamEndCapture(stream, &graph));
        printf("the capture has ended\n");
    } else
        steps(argc > 1 ? atoi(argv[1]) : 5, argc > 2 ? atoi(argv[2]) : 0);
    return 0;
}
