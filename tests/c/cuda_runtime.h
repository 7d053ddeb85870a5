/* What the tests use of CUDA's runtime as compilers before CUDA 13 use it, and clang still does: no header of CUDA's is needed. */
#include "cuda_check.h"
#include <stddef.h>
#include <unistd.h>

#ifdef __cplusplus
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
#define DEFAULT(value) = value
extern "C" {
#else
typedef struct {
    unsigned x, y, z;
} dim3;
#define DEFAULT(value)
#endif

typedef struct CUstream_st *cudaStream_t;
typedef int cudaError_t;
enum { TO_DEVICE = 1, FROM_DEVICE = 2 };

unsigned __cudaPushCallConfiguration(dim3, dim3, size_t DEFAULT(0), void * DEFAULT(0));
int __cudaPopCallConfiguration(dim3 *, dim3 *, size_t *, void *);
cudaError_t cudaLaunchKernel(const void *, dim3, dim3, void **, size_t, cudaStream_t);
cudaError_t cudaLaunchKernel_ptsz(const void *, dim3, dim3, void **, size_t, cudaStream_t);
cudaError_t cudaMalloc(void **, size_t);
cudaError_t cudaMemset(void *, int, size_t);
cudaError_t cudaMemcpy(void *, const void *, size_t, int);
cudaError_t cudaMemcpy_ptds(void *, const void *, size_t, int);
cudaError_t cudaMemcpyToSymbol(const void *, const void *, size_t, size_t, int);
cudaError_t cudaMemcpyFromSymbol(void *, const void *, size_t, size_t, int);
cudaError_t cudaStreamSynchronize_ptsz(cudaStream_t);
cudaError_t cudaGetLastError(void);

#ifdef __cplusplus
}
#endif

static inline unsigned sum(const unsigned *p, int n)
{
    unsigned s = 0;
    for (int i = 0; i < n; i++)
        s = s * 31 + p[i];
    return s;
}
