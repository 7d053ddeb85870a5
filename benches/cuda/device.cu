// What gpu.sh and benches/cuda/run measure.
//
//   device launches N       us for a launch of an empty kernel, of N in a row, and for one that is waited for
//   device copies MIB       GiB/s of cudaMemcpy between pinned memory and the device, to the host and back
//   device holds MIB GO     fills MIB of device memory with noise, says "ready", waits for the file GO, says "back", and checks
//                           memory and addresses: "ok"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <unistd.h>

#define CHECK(call)                                                                        \
    do {                                                                                   \
        cudaError_t e = (call);                                                            \
        if (e != cudaSuccess) {                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e)); \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

const size_t MIB = 1 << 20;

__device__ unsigned variable = 1;
__global__ void nothing() {}
__global__ void use(unsigned *p) { atomicAdd(p, variable); }

static double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void launches(int n) {
    nothing<<<1, 1>>>();
    CHECK(cudaDeviceSynchronize());
    double begin = now();
    for (int i = 0; i < n; i++)
        nothing<<<1, 1>>>();
    double launched = now();
    CHECK(cudaDeviceSynchronize());
    double done = now();
    for (int i = 0; i < n / 10; i++) {
        nothing<<<1, 1>>>();
        CHECK(cudaDeviceSynchronize());
    }
    printf("%.3f %.3f\n", 1e6 * (launched - begin) / n, 1e7 * (now() - done) / n);
}

static void copies(size_t mib) {
    char *host, *device;
    CHECK(cudaMallocHost(&host, mib * MIB));
    CHECK(cudaMalloc(&device, mib * MIB));
    memset(host, 1, mib * MIB);
    CHECK(cudaMemcpy(device, host, mib * MIB, cudaMemcpyHostToDevice));
    double best[2] = {1e9, 1e9};
    for (int round = 0; round < 3; round++) {
        double begin = now();
        CHECK(cudaMemcpy(host, device, mib * MIB, cudaMemcpyDeviceToHost));
        double middle = now();
        CHECK(cudaMemcpy(device, host, mib * MIB, cudaMemcpyHostToDevice));
        double took[2] = {middle - begin, now() - middle};
        for (int i = 0; i < 2; i++)
            best[i] = took[i] < best[i] ? took[i] : best[i];
    }
    printf("%.2f %.2f\n", mib / 1024.0 / best[0], mib / 1024.0 / best[1]);
}

static unsigned long noise = 88172645463325252ul;

static void fill(unsigned long *p) {
    for (size_t i = 0; i < MIB / 8; i++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        p[i] = noise;
    }
}

static void holds(size_t mib, const char *go) {
    unsigned long *pattern = (unsigned long *)malloc(MIB), *seen = (unsigned long *)malloc(MIB);
    char *device;
    unsigned *managed, *place, *later;
    fill(pattern);
    CHECK(cudaMalloc(&device, mib * MIB));
    CHECK(cudaMallocManaged(&managed, 4096));
    CHECK(cudaGetSymbolAddress((void **)&place, variable));
    *managed = 5;
    for (size_t i = 0; i < mib; i++) {
        pattern[0] = i;
        CHECK(cudaMemcpy(device + i * MIB, pattern, MIB, cudaMemcpyHostToDevice));
    }
    printf("ready\n");
    fflush(stdout);
    while (access(go, F_OK))
        usleep(1000);
    printf("back\n");
    fflush(stdout);
    int wrong = 0;
    for (size_t i = 0; i < mib; i++) {
        pattern[0] = i;
        CHECK(cudaMemcpy(seen, device + i * MIB, MIB, cudaMemcpyDeviceToHost));
        wrong += memcmp(seen, pattern, MIB) != 0;
    }
    use<<<1, 1>>>(managed);
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaGetSymbolAddress((void **)&later, variable));
    if (wrong || *managed != 6 || later != place)
        printf("wrong: %d MiB, managed %u, variable at %p, was at %p\n", wrong, *managed, (void *)later, (void *)place);
    else
        printf("ok\n");
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "launches"))
        launches(atoi(argv[2]));
    else if (argc > 2 && !strcmp(argv[1], "copies"))
        copies(atol(argv[2]));
    else if (argc > 3 && !strcmp(argv[1], "holds"))
        holds(atol(argv[2]), argv[3]);
    else
        return 2;
    return 0;
}
