/* Ends the test where a call of CUDA does not give 0. */
#include <stdio.h>
#include <stdlib.h>

#define CHECK(call)                                                            \
    do {                                                                       \
        int code = (call);                                                     \
        if (code) {                                                            \
            fprintf(stderr, "line %d: %s: error %d\n", __LINE__, #call, code); \
            exit(1);                                                           \
        }                                                                      \
    } while (0)
