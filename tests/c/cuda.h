/* What the tests use of CUDA's driver API, as it is on every machine: these have no CUDA. */
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
