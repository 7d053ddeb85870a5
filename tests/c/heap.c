/* heap.c: a heap that grows by the break alone, a line for each step, until the file GO is there: heap GO */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 5000 };

struct block {
    struct block *before;
    long words[WORDS];
};

int main(int argc, char **argv)
{
    struct block *last = NULL;
    const struct timespec nap = {0, 5000000};
    if (argc < 2)
        return 2;
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    for (long step = 1; access(argv[1], F_OK) != 0; step++) {
        struct block *b = malloc(sizeof *b);
        if (b == NULL)
            return 3;
        b->before = last;
        last = b;
        for (int i = 0; i < WORDS; i++)
            b->words[i] = step * WORDS + i;
        long at = step;
        for (; b != NULL; b = b->before, at--)
            for (int i = 0; i < WORDS; i += 100)
                if (b->words[i] != at * WORDS + i) {
                    printf("step %ld: block %ld has lost word %d\n", step, at, i);
                    return 1;
                }
        printf("step %ld\n", step);
        fflush(stdout);
        nanosleep(&nap, NULL);
    }
    printf("ok\n");
    return 0;
}
