/*
 * What CUDA calls its errors, all numbers that there may be: a line each with the number, the runtime's name and text, and the driver's.
 *
 * Usage: cuda_names [LIBRARY]. With a library it is that one's answers, and there is no driver's name.
 */
#include <dlfcn.h>
#include <stdio.h>

const char *cudaGetErrorName(int);
const char *cudaGetErrorString(int);
int cuGetErrorName(int, const char **);

typedef const char *said(int);

int main(int argc, char **argv)
{
    said *name = cudaGetErrorName, *text = cudaGetErrorString;
    if (argc > 1) {
        void *library = dlopen(argv[1], RTLD_NOW);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        name = (said *)dlsym(library, "cudaGetErrorName");
        text = (said *)dlsym(library, "cudaGetErrorString");
    }
    for (int code = -1; code <= 10001; code++) {
        const char *driver = "";
        if (argc == 1 && cuGetErrorName(code, &driver))
            driver = "";
        printf("%d|%s|%s|%s\n", code, name(code), text(code), driver);
    }
    return 0;
}
