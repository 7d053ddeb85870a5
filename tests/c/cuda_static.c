/* What a program does whose CUDA runtime is linked statically: it has device code, opens the driver's library, and asks for its
 * private tables. Prints the driver's code. */
#include <dlfcn.h>
#include <stdio.h>

__attribute__((section(".nv_fatbin"), used)) static const char code[16];

int main(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    int (*tables)(const void **, const void *) = driver ? (int (*)(const void **, const void *))dlsym(driver, "cuGetExportTable") : NULL;
    const void *table;
    printf("%d\n", tables ? tables(&table, code) : -1);
    return 0;
}
