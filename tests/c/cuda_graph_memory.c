/*
 * Graphs of CUDA's driver API with nodes that allocate and free memory: made one by one and captured; memory that a launch
 * leaves is freed in a stream, by another graph, by the next launch, and after its graph is gone.
 *
 * Usage: cuda_graph_memory [STEPS [PAUSE in ms]]. Each step prints what all memory holds.
 */
#include "cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { N = 3000, FREE_ON_LAUNCH = 1, INVALID = 1, UNSUPPORTED = 801 };

static void *context;

static unsigned sum(address at)
{
    static unsigned p[N];
    unsigned s = 0;
    CHECK(cuMemcpyDtoH_v2(p, at, sizeof p));
    for (int i = 0; i < N; i++)
        s = s * 31 + p[i] + i;
    return s;
}

static void must_fail(int code, int wanted, int line)
{
    if (code != wanted) {
        fprintf(stderr, "line %d: error %d, not %d\n", line, code, wanted);
        exit(2);
    }
}

static struct fill_node filling(address at, unsigned value)
{
    return (struct fill_node){at, 0, value, 4, N, 1};
}

/* A graph that allocates memory and fills it; the node that fills it. */
static void *filled(void **graph, address *at, unsigned value)
{
    struct memory_node m = {.properties = {.type = 1, .location = {1, 0}}, .size = N * 4};
    void *node, *fill;
    CHECK(cuGraphCreate(graph, 0));
    CHECK(cuGraphAddMemAllocNode(&node, *graph, NULL, 0, &m));
    struct fill_node f = filling(m.at, value);
    CHECK(cuGraphAddMemsetNode(&fill, *graph, &node, 1, &f, context));
    *at = m.at;
    return fill;
}

/* Two streams: one allocates, fills and copies, the other, which ends in the capture, frees. */
static void *captured(void *stream, address to, unsigned value)
{
    void *graph, *exec, *other, *event;
    address at;
    CHECK(cuStreamCreate(&other, 1));
    CHECK(cuEventCreate(&event, 2));
    CHECK(cuStreamBeginCapture_v2(stream, 0));
    CHECK(cuMemAllocAsync(&at, N * 4, stream));
    CHECK(cuMemsetD32Async(at, value, N, stream));
    CHECK(cuMemcpyDtoDAsync_v2(to, at, N * 4, stream));
    CHECK(cuEventRecord(event, stream));
    CHECK(cuStreamWaitEvent(other, event, 0));
    CHECK(cuMemFreeAsync(at, other));
    CHECK(cuEventRecord(event, other));
    CHECK(cuStreamWaitEvent(stream, event, 0));
    CHECK(cuStreamDestroy_v2(other));
    CHECK(cuStreamEndCapture(stream, &graph));
    CHECK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    CHECK(cuGraphDestroy(graph));
    CHECK(cuEventDestroy_v2(event));
    return exec;
}

/* How many nodes of each kind a graph has. */
static void describe(void *graph, address at)
{
    void *nodes[8];
    unsigned long n = 8;
    unsigned type, types[12] = {0};
    CHECK(cuGraphGetNodes(graph, nodes, &n));
    for (unsigned long i = 0; i < n; i++) {
        CHECK(cuGraphNodeGetType(nodes[i], &type));
        types[type]++;
        struct memory_node m;
        address freed;
        if (type == 10) {
            CHECK(cuGraphMemAllocNodeGetParams(nodes[i], &m));
            if (m.at != at || m.size != N * 4)
                exit(3);
        } else if (type == 11) {
            CHECK(cuGraphMemFreeNodeGetParams(nodes[i], &freed));
            if (freed != at)
                exit(4);
        }
    }
    printf(" %lu %u %u %u", n, types[2], types[10], types[11]);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 5, pause = argc > 2 ? atoi(argv[2]) : 0, device;
    void *stream, *graph, *fill, *exec, *freeing, *free_exec, *again, *again_exec, *capture, *node;
    address left, kept, copy, single = 0;
    unsigned long long used, most, none = 0;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuStreamCreate(&stream, 1));
    CHECK(cuMemAlloc_v2(&copy, N * 4));
    fill = filled(&graph, &left, 0);
    CHECK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    CHECK(cuGraphCreate(&freeing, 0));
    CHECK(cuGraphAddMemFreeNode(&node, freeing, NULL, 0, left));
    CHECK(cuGraphInstantiateWithFlags(&free_exec, freeing, 0));
    filled(&again, &kept, 44);
    CHECK(cuGraphInstantiateWithFlags(&again_exec, again, FREE_ON_LAUNCH));
    capture = captured(stream, copy, 77);
    must_fail(cuGraphAddMemFreeNode(&node, freeing, NULL, 0, left), INVALID, __LINE__);
    must_fail(cuGraphAddMemFreeNode(&node, graph, NULL, 0, left), INVALID, __LINE__);
    must_fail(cuGraphAddMemFreeNode(&node, graph, NULL, 0, copy), INVALID, __LINE__);
    must_fail(cuGraphClone(&node, graph), UNSUPPORTED, __LINE__);
    must_fail(cuGraphAddChildGraphNode(&node, freeing, NULL, 0, graph), UNSUPPORTED, __LINE__);
    must_fail(cuGraphInstantiateWithFlags(&node, graph, 0), UNSUPPORTED, __LINE__);
    must_fail(cuGraphDestroyNode(fill), UNSUPPORTED, __LINE__);
    for (int i = 1; i <= n; i++) {
        unsigned before = single ? sum(single) : 0;
        struct fill_node f = filling(left, i);
        if (single)
            CHECK(cuMemFree_v2(single));
        must_fail(cuMemFreeAsync(left, stream), INVALID, __LINE__);
        CHECK(cuGraphExecMemsetNodeSetParams(exec, fill, &f, context));
        CHECK(cuGraphLaunch(exec, stream));
        must_fail(cuGraphLaunch(exec, stream), INVALID, __LINE__);
        CHECK(cuGraphLaunch(again_exec, stream));
        CHECK(cuGraphLaunch(capture, stream));
        /* Of one whose graphs are gone, memory is left. */
        void *once, *once_exec;
        filled(&once, &single, 100 + i);
        CHECK(cuGraphInstantiateWithFlags(&once_exec, once, 0));
        CHECK(cuGraphLaunch(once_exec, stream));
        CHECK(cuGraphExecDestroy(once_exec));
        CHECK(cuGraphDestroy(once));
        CHECK(cuStreamSynchronize(stream));
        usleep(pause * 500);
        printf("step %d: %08x %08x %08x %08x", i, before, sum(left), sum(kept), sum(copy));
        CHECK(cuMemsetD32_v2(kept, 0, N));
        if (i % 2)
            CHECK(cuGraphLaunch(free_exec, stream));
        else
            CHECK(cuMemFreeAsync(left, stream));
        must_fail(cuGraphLaunch(free_exec, stream), INVALID, __LINE__);
        CHECK(cuMemsetD32_v2(copy, 0, N));
        CHECK(cuDeviceGetGraphMemAttribute(device, 0, &used));
        CHECK(cuDeviceGetGraphMemAttribute(device, 1, &most));
        usleep(pause * 500);
        describe(graph, left);
        describe(freeing, left);
        printf(", %llu of %llu\n", used, most);
        fflush(stdout);
    }
    CHECK(cuStreamSynchronize(stream));
    CHECK(cuMemFree_v2(single));
    CHECK(cuMemFreeAsync(kept, stream));
    CHECK(cuGraphExecDestroy(again_exec));
    CHECK(cuGraphDestroy(again));
    CHECK(cuGraphExecDestroy(exec));
    CHECK(cuGraphDestroy(graph));
    CHECK(cuGraphExecDestroy(capture));
    CHECK(cuDeviceGraphMemTrim(device));
    CHECK(cuDeviceSetGraphMemAttribute(device, 1, &none));
    CHECK(cuDeviceGetGraphMemAttribute(device, 0, &used));
    CHECK(cuDeviceGetGraphMemAttribute(device, 1, &most));
    printf("%llu of %llu\n", used, most);
    return 0;
}
