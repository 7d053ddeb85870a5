/* What the tests use of CUDA's driver API, as it is on every machine: these have no CUDA. */
#include "cuda_check.h"

typedef unsigned long long address;

struct array_description {
    unsigned long width, height;
    unsigned format, channels;
};

struct copy_side {
    unsigned long x, y;
    int type;
    void *host;
    address device;
    void *array;
    unsigned long pitch;
};

struct copy_2d {
    struct copy_side source, target;
    unsigned long width, height;
};

int cuInit(unsigned);
int cuDeviceGet(int *, int);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuCtxSynchronize(void);
int cuModuleLoadData(void **, const void *);
int cuModuleGetFunction(void **, void *, const char *);
int cuModuleGetGlobal_v2(address *, unsigned long *, void *, const char *);
int cuMemAlloc_v2(address *, unsigned long);
int cuMemFree_v2(address);
int cuMemAllocAsync(address *, unsigned long, void *);
int cuMemFreeAsync(address, void *);
int cuMemAllocManaged(address *, unsigned long, unsigned);
int cuMemHostAlloc(void **, unsigned long, unsigned);
int cuMemAllocHost_v2(void **, unsigned long);
int cuMemFreeHost(void *);
int cuMemHostRegister_v2(void *, unsigned long, unsigned);
int cuMemHostUnregister(void *);
int cuMemHostGetDevicePointer_v2(address *, void *, unsigned);
int cuMemsetD32_v2(address, unsigned, unsigned long);
int cuMemcpyHtoD_v2(address, const void *, unsigned long);
int cuMemcpyDtoH_v2(void *, address, unsigned long);
int cuMemcpyDtoDAsync_v2(address, address, unsigned long, void *);
int cuMemcpyDtoHAsync_v2(void *, address, unsigned long, void *);
int cuMemcpy2D_v2(const struct copy_2d *);
int cuArrayCreate_v2(void **, const struct array_description *);
int cuArrayDestroy(void *);
int cuStreamCreate(void **, unsigned);
int cuStreamSynchronize(void *);
int cuStreamWaitEvent(void *, void *, unsigned);
int cuEventCreate(void **, unsigned);
int cuEventRecord(void *, void *);
int cuEventSynchronize(void *);
int cuEventElapsedTime(float *, void *, void *);
int cuLaunchHostFunc(void *, void (*)(void *), void *);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);

/* Graphs. */
struct kernel_node {
    void *function;
    unsigned grid[3], block[3], shared;
    void **parameters, **extra;
    void *kernel, *context;
};

struct fill_node {
    address to;
    unsigned long pitch;
    unsigned value, bytes;
    unsigned long width, height;
};

struct host_node {
    void (*function)(void *);
    void *data;
};

struct copy_3d_side {
    unsigned long x, y, z, level;
    int type;
    void *host;
    address device;
    void *array, *reserved;
    unsigned long pitch, height;
};

struct copy_3d {
    struct copy_3d_side source, target;
    unsigned long width, height, depth;
};

int cuMemsetD8Async(address, unsigned char, unsigned long, void *);
int cuMemcpyHtoDAsync_v2(address, const void *, unsigned long, void *);
int cuEventDestroy_v2(void *);
int cuEventRecordWithFlags(void *, void *, unsigned);
int cuEventQuery(void *);
int cuGraphCreate(void **, unsigned);
int cuGraphDestroy(void *);
int cuGraphClone(void **, void *);
int cuGraphNodeFindInClone(void **, void *, void *);
int cuGraphGetNodes(void *, void **, unsigned long *);
int cuGraphGetEdges_v2(void *, void **, void **, void *, unsigned long *);
int cuGraphNodeGetType(void *, unsigned *);
int cuGraphAddDependencies_v2(void *, void **, void **, void *, unsigned long);
int cuGraphAddKernelNode_v2(void **, void *, void **, unsigned long, const struct kernel_node *);
int cuGraphKernelNodeGetParams_v2(void *, struct kernel_node *);
int cuGraphKernelNodeSetParams_v2(void *, const struct kernel_node *);
int cuGraphExecKernelNodeSetParams_v2(void *, void *, const struct kernel_node *);
int cuGraphAddMemcpyNode(void **, void *, void **, unsigned long, const struct copy_3d *, void *);
int cuGraphMemcpyNodeGetParams(void *, struct copy_3d *);
int cuGraphAddMemsetNode(void **, void *, void **, unsigned long, const struct fill_node *, void *);
int cuGraphAddHostNode(void **, void *, void **, unsigned long, const struct host_node *);
int cuGraphAddEmptyNode(void **, void *, void **, unsigned long);
int cuGraphAddChildGraphNode(void **, void *, void **, unsigned long, void *);
int cuGraphChildGraphNodeGetGraph(void *, void **);
int cuGraphAddEventRecordNode(void **, void *, void **, unsigned long, void *);
int cuGraphAddEventWaitNode(void **, void *, void **, unsigned long, void *);
int cuGraphKernelNodeGetAttribute(void *, unsigned, void *);
int cuGraphKernelNodeSetAttribute(void *, unsigned, const void *);
int cuGraphExecGetFlags(void *, unsigned long long *);
int cuGraphInstantiateWithFlags(void **, void *, unsigned long long);
int cuGraphExecDestroy(void *);
int cuGraphExecUpdate_v2(void *, void *, void *);
int cuGraphLaunch(void *, void *);
int cuGraphNodeSetEnabled(void *, void *, unsigned);
int cuStreamBeginCapture_v2(void *, int);
int cuStreamEndCapture(void *, void **);
int cuStreamIsCapturing(void *, int *);
int cuStreamGetCaptureInfo_v3(void *, int *, unsigned long long *, void **, void ***, void **, unsigned long *);
int cuStreamUpdateCaptureDependencies_v2(void *, void **, void *, unsigned long, unsigned);

/* The program's own virtual memory management, and several devices. */
struct location {
    int type, number;
};

struct properties {
    unsigned type, handles;
    struct location location;
    void *windows;
    unsigned char flags[8];
};

struct access {
    struct location location;
    unsigned flags;
};

int cuDeviceGetCount(int *);
int cuDeviceCanAccessPeer(int *, int, int);
int cuCtxEnablePeerAccess(void *, unsigned);
int cuMemcpyPeer(address, void *, address, void *, unsigned long);
int cuPointerGetAttribute(void *, int, address);
int cuMemAddressReserve(address *, unsigned long, unsigned long, address, unsigned long long);
int cuMemAddressFree(address, unsigned long);
int cuMemCreate(unsigned long long *, unsigned long, const struct properties *, unsigned long long);
int cuMemRelease(unsigned long long);
int cuMemMap(address, unsigned long, unsigned long, unsigned long long, unsigned long long);
int cuMemUnmap(address, unsigned long);
int cuMemSetAccess(address, unsigned long, const struct access *, unsigned long);
int cuMemGetAccess(unsigned long long *, const struct location *, address);
int cuMemGetAllocationGranularity(unsigned long *, const struct properties *, unsigned);
int cuMemGetAllocationPropertiesFromHandle(struct properties *, unsigned long long);
int cuMemRetainAllocationHandle(unsigned long long *, void *);

/* Graphs' own memory. */
struct memory_node {
    struct {
        unsigned type, handles;
        struct location location;
        void *windows;
        unsigned long most;
        unsigned char rest[56];
    } properties;
    const struct access *access;
    unsigned long accesses, size;
    address at;
};

int cuMemsetD32Async(address, unsigned, unsigned long, void *);
int cuStreamDestroy_v2(void *);
int cuGraphDestroyNode(void *);
int cuGraphExecMemsetNodeSetParams(void *, void *, const struct fill_node *, void *);
int cuGraphAddMemAllocNode(void **, void *, void **, unsigned long, struct memory_node *);
int cuGraphAddMemFreeNode(void **, void *, void **, unsigned long, address);
int cuGraphMemAllocNodeGetParams(void *, struct memory_node *);
int cuGraphMemFreeNodeGetParams(void *, address *);
int cuDeviceGetGraphMemAttribute(int, int, void *);
int cuDeviceSetGraphMemAttribute(int, int, void *);
int cuDeviceGraphMemTrim(int);

/* Textures and surfaces. */
struct array_3d {
    unsigned long width, height, depth;
    unsigned format, channels, flags;
};

struct resource {
    unsigned type;
    address what;
    unsigned format, channels;
    unsigned long size, height, pitch;
    unsigned char rest[96];
};

struct sampling {
    unsigned beyond[3], filter, flags, anisotropy, level_filter;
    float bias, least, most, border[4];
    int reserved[12];
};

int cuArray3DCreate_v2(void **, const struct array_3d *);
int cuMemcpy3D_v2(const struct copy_3d *);
int cuMipmappedArrayCreate(void **, const struct array_3d *, unsigned);
int cuMipmappedArrayGetLevel(void **, void *, unsigned);
int cuTexObjectCreate(unsigned long long *, const struct resource *, const struct sampling *, const void *);
int cuTexObjectDestroy(unsigned long long);
int cuSurfObjectCreate(unsigned long long *, const struct resource *);
