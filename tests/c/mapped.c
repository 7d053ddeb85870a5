/*
 * mapped: has a file mapped, shared and read-only.
 *
 * Usage: mapped FILE GO
 *
 * Prints `ready`, waits until the file GO exists, and prints the file's first byte.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int fd = argc == 3 ? open(argv[1], O_RDONLY) : -1;
    const char *at = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED || close(fd) != 0)
        return 2;
    printf("ready\n");
    fflush(stdout);
    struct timespec t = {0, 1000000};
    while (access(argv[2], F_OK) != 0)
        nanosleep(&t, NULL);
    printf("%c\n", *at);
    return 0;
}
