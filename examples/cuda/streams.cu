// 128 streams, each with its own work: copies from pinned memory, kernels, events between streams, callbacks.
//
//   nvcc -cudart shared -o streams streams.cu && splitproc launch ./streams [ROUNDS] [PAUSE in ms]
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

#define CHECK(call)                                                                        \
    do {                                                                                   \
        cudaError_t e = (call);                                                            \
        if (e != cudaSuccess) {                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e)); \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

const int STREAMS = 128, LENGTH = 256;
static std::atomic<long> called, sum;

__global__ void work(unsigned *data, unsigned by) {
    data[threadIdx.x] = data[threadIdx.x] * 3 + by;
}

static void CUDART_CB later(cudaStream_t, cudaError_t, void *data) {
    sum += *(unsigned *)data % 1000;
    called++;
}

static void CUDART_CB last(void *) { called++; }

int main(int argc, char **argv) {
    const int rounds = argc > 1 ? atoi(argv[1]) : 5, pause = argc > 2 ? atoi(argv[2]) : 0;
    unsigned *host, *device[STREAMS];
    cudaStream_t stream[STREAMS];
    cudaEvent_t event[STREAMS], first;
    int least, greatest;
    CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    CHECK(cudaMallocHost(&host, STREAMS * LENGTH * sizeof(unsigned)));
    CHECK(cudaEventCreate(&first));
    for (int s = 0; s < STREAMS; s++) {
        CHECK(cudaMalloc(&device[s], LENGTH * sizeof(unsigned)));
        CHECK(cudaStreamCreateWithPriority(&stream[s], cudaStreamNonBlocking, s % 2 ? least : greatest));
        CHECK(cudaEventCreateWithFlags(&event[s], cudaEventDisableTiming));
        for (int i = 0; i < LENGTH; i++)
            host[s * LENGTH + i] = s + i;
    }
    CHECK(cudaEventRecord(first, stream[0]));
    for (int round = 1; round <= rounds; round++) {
        for (int s = 0; s < STREAMS; s++) {
            unsigned *mine = host + s * LENGTH;
            const size_t bytes = LENGTH * sizeof(unsigned);
            CHECK(cudaMemcpyAsync(device[s], mine, bytes, cudaMemcpyHostToDevice, stream[s]));
            if (s > 0)
                CHECK(cudaStreamWaitEvent(stream[s], event[s - 1], 0));
            work<<<1, LENGTH, 0, stream[s]>>>(device[s], s);
            CHECK(cudaEventRecord(event[s], stream[s]));
            CHECK(cudaMemcpyAsync(mine, device[s], bytes, cudaMemcpyDeviceToHost, stream[s]));
            CHECK(cudaStreamAddCallback(stream[s], later, mine, 0));
        }
        CHECK(cudaLaunchHostFunc(stream[STREAMS - 1], last, nullptr));
        for (int s = 0; s < STREAMS; s++)
            CHECK(cudaStreamSynchronize(stream[s]));
        unsigned check = 0;
        for (int i = 0; i < STREAMS * LENGTH; i++)
            check = check * 31 + host[i];
        printf("round %d: %08x, %ld calls, sum %ld\n", round, check, called.load(), sum.load());
        fflush(stdout);
        usleep(pause * 1000);
    }
    cudaEvent_t end;
    float ms;
    CHECK(cudaEventCreate(&end));
    CHECK(cudaEventRecord(end, stream[0]));
    CHECK(cudaEventSynchronize(end));
    CHECK(cudaEventElapsedTime(&ms, first, end));
    printf("time went on: %s\n", ms > 0 ? "yes" : "no");
    return 0;
}
