/* Ends the test where a call of the runtime fails, with what the runtime says of it. */
#include <cstdio>
#include <cstdlib>

#define CHECK(call)                                                                          \
    do {                                                                                     \
        cudaError_t code = (call);                                                           \
        if (code != cudaSuccess) {                                                           \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #call, cudaGetErrorString(code)); \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)
