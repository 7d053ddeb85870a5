/*
 * What spoils the capture of a stream: calls that CUDA forbids while there is one. Some do it from any thread, some from the
 * capture's own, by both threads' modes; a thread that has chosen the relaxed mode keeps it over a restart.
 *
 * Usage: cuda_capture [STEPS [PAUSE in ms]]. Each step prints the same codes, but for its number.
 */
#include "cuda.h"
#include <pthread.h>
#include <unistd.h>

enum { GLOBAL, OF_THREAD, RELAXED };

int cuThreadExchangeStreamCaptureMode(int *);
int cuMemAllocPitch_v2(address *, unsigned long *, unsigned long, unsigned long, unsigned);
int cuStreamAddCallback(void *, void (*)(void *, int, void *), void *, unsigned);
int cuStreamQuery(void *);

static void *context, *stream, *event;
static address memory;
static unsigned seen;

/* The other thread allocates, or allocates and frees, in a mode of its own. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t turn;
    int mode, wanted, codes[2];
} other = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, GLOBAL, 0, {0}};

static void *serve(void *mode)
{
    int own = *(int *)mode;
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuThreadExchangeStreamCaptureMode(&own));
    pthread_mutex_lock(&other.lock);
    for (;;) {
        address p = 0;
        while (!other.wanted || other.mode != *(int *)mode)
            pthread_cond_wait(&other.turn, &other.lock);
        /* Where the first is forbidden, so is the second: it frees nothing. */
        other.codes[0] = cuMemAlloc_v2(&p, 100);
        other.codes[1] = cuMemFree_v2(p ? p : memory);
        other.wanted = 0;
        pthread_cond_broadcast(&other.turn);
    }
    return NULL;
}

static int asked(int mode)
{
    pthread_mutex_lock(&other.lock);
    other.mode = mode;
    other.wanted = 1;
    pthread_cond_broadcast(&other.turn);
    while (other.wanted)
        pthread_cond_wait(&other.turn, &other.lock);
    pthread_mutex_unlock(&other.lock);
    return other.codes[0] * 1000 + other.codes[1];
}

static void unused(void *s, int code, void *data)
{
    (void)s, (void)code, (void)data;
}

static void begin(int mode)
{
    CHECK(cuStreamBeginCapture_v2(stream, mode));
    CHECK(cuMemsetD8Async(memory, 1, 4, stream));
}

/* Does it give a graph, and what does it say? */
static void end(void)
{
    void *graph = &seen;
    int status = 9, code;
    CHECK(cuStreamIsCapturing(stream, &status));
    code = cuStreamEndCapture(stream, &graph);
    printf(" %d/%d%s;", status, code, graph ? "+" : "");
    if (graph)
        CHECK(cuGraphDestroy(graph));
}

static int own(int mode)
{
    CHECK(cuThreadExchangeStreamCaptureMode(&mode));
    return mode;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 2, pause = argc > 2 ? atoi(argv[2]) : 0, device, status;
    static int modes[] = {GLOBAL, OF_THREAD, RELAXED};
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuStreamCreate(&stream, 0));
    CHECK(cuEventCreate(&event, 0));
    CHECK(cuMemAlloc_v2(&memory, 4));
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, serve, &modes[i]);
    }
    for (int i = 1; i <= steps; i++) {
        address p;
        unsigned long pitch;
        void *host;
        printf("step %d:", i);
        /* The thread itself: what it forbids, and what it may do then. */
        begin(GLOBAL);
        printf(" %d", cuMemAlloc_v2(&p, 4));
        printf(" %d", cuMemsetD8Async(memory, 1, 4, stream));
        printf(" %d", cuStreamSynchronize(stream));
        end();
        printf(" %d", cuStreamEndCapture(stream, &host));
        begin(OF_THREAD);
        printf(" %d", cuMemAllocPitch_v2(&p, &pitch, 4, 4, 4));
        end();
        begin(GLOBAL);
        printf(" %d", cuMemAllocHost_v2(&host, 4));
        end();
        begin(GLOBAL);
        printf(" %d", cuMemAllocManaged(&p, 4, 1));
        end();
        begin(GLOBAL);
        printf(" %d", cuStreamQuery(stream));
        end();
        begin(GLOBAL);
        printf(" %d", cuCtxSynchronize());
        end();
        begin(GLOBAL);
        printf(" %d", cuMemFree_v2(memory));
        end();
        begin(GLOBAL);
        printf(" %d", cuMemcpyDtoH_v2(&seen, memory, 4));
        end();
        begin(GLOBAL);
        printf(" %d", cuStreamAddCallback(stream, unused, NULL, 0));
        end();
        begin(GLOBAL);
        CHECK(cuEventRecord(event, stream));
        printf(" %d", cuEventQuery(event));
        end();
        begin(RELAXED);
        CHECK(cuEventRecord(event, stream));
        printf(" %d", cuEventSynchronize(event));
        end();
        printf("\n own:");
        begin(RELAXED);
        printf(" %d", cuMemAlloc_v2(&p, 4));
        printf(" %d", cuMemFree_v2(p));
        end();
        own(RELAXED);
        begin(GLOBAL);
        printf(" %d", cuMemAlloc_v2(&p, 4));
        printf(" %d", cuMemFree_v2(p));
        end();
        own(GLOBAL);
        /* How the stream stands that would have to wait for it can't be told, which spoils nothing. */
        begin(GLOBAL);
        printf(" %d", cuStreamIsCapturing(NULL, &status));
        end();
        printf("\n others:");
        for (int mode = GLOBAL; mode <= RELAXED; mode++)
            for (int theirs = GLOBAL; theirs <= RELAXED; theirs++) {
                begin(mode);
                printf(" %d", asked(theirs));
                end();
            }
        printf("\n");
        fflush(stdout);
        usleep(pause * 1000);
    }
    return 0;
}
