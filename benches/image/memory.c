/*
 * memory: holds so many MiB of random or compressible bytes.
 *
 * Usage: memory random|compressible MIB GO [FILE]
 *
 * Writes the same bytes to FILE, if named, and ends; else prints `ready`, waits until GO exists, checks
 * the bytes' sum and prints `ok`.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static uint64_t sum(const uint64_t *at, size_t words)
{
    uint64_t s = 0;
    for (size_t i = 0; i < words; i++)
        s = s * 31 + at[i];
    return s;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    size_t words = (size_t)atol(argv[2]) << 17;
    int random = strcmp(argv[1], "random") == 0;
    uint64_t *at = malloc(words * 8);
    /* Compressible: numbers of a simulation, say: the high bytes repeat. */
    for (size_t i = 0; i < words; i++)
        at[i] = random ? next() : (i >> 6) << 32 | (next() & 0xff);
    if (argc > 4) {
        FILE *file = fopen(argv[4], "w");
        return fwrite(at, 8, words, file) != words || fclose(file) != 0;
    }
    uint64_t was = sum(at, words);
    printf("ready\n");
    fflush(stdout);
    while (access(argv[3], F_OK) != 0)
        usleep(1000);
    printf("%s\n", sum(at, words) == was ? "ok" : "wrong");
    return 0;
}
