/* What the programs of one kind at a time share: they set something up, wait for GO, and use it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *go;

#define CHECK(condition)                                                  \
    do {                                                                  \
        if (!(condition)) {                                               \
            fprintf(stderr, "line %d: not so: %s (%s)\n", __LINE__, #condition, strerror(errno)); \
            exit(1);                                                      \
        }                                                                 \
    } while (0)

static void pause_a_little(void)
{
    struct timespec t = {0, 1000000};
    nanosleep(&t, NULL);
}

static void checkpoint_here(void)
{
    printf("ready\n");
    fflush(stdout);
    while (access(go, F_OK) != 0)
        pause_a_little();
}

struct kind {
    const char *name;
    void (*run)(void);
};

/* Runs the kind that the command line names. */
static int run_kind(int argc, char **argv, const struct kind *kinds, size_t count)
{
    if (argc != 3)
        return 2;
    go = argv[2];
    for (size_t k = 0; k < count; k++)
        if (strcmp(argv[1], kinds[k].name) == 0) {
            kinds[k].run();
            printf("ok\n");
            return 0;
        }
    return 2;
}
