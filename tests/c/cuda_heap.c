/* cuda.c, whose kernels could take memory from the device's heap. */
#define DECLARED ".extern .func (.param .b64 at) malloc (.param .b64 size);\n"
#include "cuda.c"
