// Host and device take turns at the same pages of managed memory, and at a managed variable.
//
//   nvcc -cudart shared -o managed managed.cu && splitproc launch ./managed [ROUNDS] [PAUSE in ms]
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

struct Node {
    Node *next;
    unsigned value;
};

__managed__ unsigned total;

__global__ void step(Node *first) {
    unsigned sum = 0;
    for (Node *n = first; n; n = n->next) {
        n->value = n->value * 1664525u + 1013904223u;
        sum += n->value;
    }
    total = sum;
}

int main(int argc, char **argv) {
    const int n = 100, rounds = argc > 1 ? atoi(argv[1]) : 10, pause = argc > 2 ? atoi(argv[2]) : 0;
    Node *nodes[n];
    for (int i = n - 1; i >= 0; i--) {
        CHECK(cudaMallocManaged(&nodes[i], sizeof(Node)));
        nodes[i]->next = i + 1 < n ? nodes[i + 1] : nullptr;
        nodes[i]->value = i;
    }
    for (int round = 1; round <= rounds; round++) {
        step<<<1, 1>>>(nodes[0]);
        CHECK(cudaDeviceSynchronize());
        unsigned sum = 0;
        for (Node *node = nodes[0]; node; node = node->next)
            sum += node->value;
        printf("round %d: host %u, device %u\n", round, sum, total);
        fflush(stdout);
        for (Node *node = nodes[0]; node; node = node->next)
            node->value ^= round;
        usleep(pause * 1000);
    }
    for (Node *node : nodes)
        CHECK(cudaFree(node));
    return 0;
}
