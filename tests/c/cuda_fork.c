/*
 * Forked children call CUDA: before their parent has initialised it, and after that, while other threads of the parent are inside. Each call
 * gives a child "not initialised" at once, the child ends as it would anyway, and the parent goes on.
 *
 * Usage: cuda_fork [STEPS [PAUSE in ms]]. Each step prints the same, but for its number.
 */
#include "cuda.h"
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_INITIALIZED = 3, CHILDREN = 20, AT_MOST = 60 };

int cudaMalloc(void **, unsigned long);
int cudaFree(void *);
int cudaMallocHost(void **, unsigned long);
int cudaMallocAsync(void **, unsigned long, void *);
int cudaMemcpy(void *, const void *, unsigned long, int);
int cudaMemset(void *, int, unsigned long);
int cudaGetDeviceCount(int *);
int cudaSetDevice(int);
int cudaStreamCreate(void **);
int cudaStreamSynchronize(void *);
int cudaDeviceSynchronize(void);
int cudaDeviceReset(void);
int cudaGetLastError(void);
int cudaPeekAtLastError(void);
const char *cudaGetErrorName(int);
int cuGetErrorName(int, const char **);
int cuStreamQuery(void *);

static void *memory, *context, *function;
static volatile int over;

static int child(void)
{
    int n, wrong = 0, code;
    void *p, *args[] = {NULL};
    const char *name = NULL;
#define REFUSED(call) wrong += (code = (call), code == NOT_INITIALIZED ? 0 : (fprintf(stderr, "%s: %d\n", #call, code), 1))
    REFUSED(cudaDeviceSynchronize());
    REFUSED(cudaMalloc(&p, 100));
    REFUSED(cudaMallocAsync(&p, 100, NULL));
    REFUSED(cudaMallocHost(&p, 100));
    REFUSED(cudaFree(memory));
    REFUSED(cudaMemcpy(&n, memory, 4, 2));
    REFUSED(cudaMemset(memory, 0, 4));
    REFUSED(cudaGetDeviceCount(&n));
    REFUSED(cudaSetDevice(0));
    REFUSED(cudaStreamCreate(&p));
    REFUSED(cudaStreamSynchronize(NULL));
    REFUSED(cudaDeviceReset());
    REFUSED(cudaPeekAtLastError());
    REFUSED(cudaGetLastError());
    REFUSED(cuInit(0));
    REFUSED(cuDeviceGet(&n, 0));
    REFUSED(cuCtxSetCurrent(context));
    REFUSED(cuCtxSynchronize());
    REFUSED(cuMemAlloc_v2((address *)&p, 100));
    REFUSED(cuStreamQuery(NULL));
    REFUSED(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
    wrong += strcmp(cudaGetErrorName(NOT_INITIALIZED), "cudaErrorInitializationError") != 0;
    wrong += cuGetErrorName(NOT_INITIALIZED, &name) != 0 || strcmp(name, "CUDA_ERROR_NOT_INITIALIZED") != 0;
    return wrong;
}

/* How many children found all as it is to be, and ended by themselves. */
static int children(int n)
{
    int fine = 0, status;
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            /* One that hangs is ended by this. */
            alarm(AT_MOST);
            exit(child());
        }
        fine += pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return fine;
}

/* Is inside all the time. */
static void *busy(void *unused)
{
    while (!over) {
        void *p, *q;
        CHECK(cudaMalloc(&p, 3 << 20));
        CHECK(cudaMallocAsync(&q, 100, NULL));
        CHECK(cudaMemset(p, 1, 100));
        CHECK(cudaFree(p));
        CHECK(cudaFree(q));
    }
    return unused;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 2, pause = argc > 2 ? atoi(argv[2]) : 0;
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("before: %d of 1\n", children(1));
    CHECK(cudaMalloc(&memory, 4));
    CHECK(cudaMemset(memory, 0, 4));
    for (int i = 1; i <= steps; i++) {
        pthread_t thread[2];
        int seen;
        over = 0;
        for (int j = 0; j < 2; j++)
            CHECK(pthread_create(&thread[j], NULL, busy, NULL));
        int fine = children(CHILDREN);
        over = 1;
        for (int j = 0; j < 2; j++)
            CHECK(pthread_join(thread[j], NULL));
        CHECK(cudaMemset(memory, i, 4));
        CHECK(cudaMemcpy(&seen, memory, 4, 2));
        printf("step %d: %d of %d, the parent has its memory: %d\n", i, fine, CHILDREN, seen == i * 0x01010101);
        usleep(pause * 1000);
    }
    return 0;
}
