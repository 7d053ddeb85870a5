/*
 * threads: threads that each have state of their own, and check it all the time.
 *
 *   gcc -O2 -o threads threads.c -lpthread             (add -fopenmp for the OpenMP part)
 *   splitproc launch --ckpt-dir ckpt -- ./threads 8 2000
 *
 * Usage: threads [-o FILE] [THREADS [ROUNDS]]
 *
 * In each round every thread mixes a number kept in thread-local storage, keeps a list of malloced
 * blocks whose contents it verifies, and uses a pthread key. The threads meet at a barrier and the
 * main thread prints `round N` and a checksum over all of them. A thread that finds its state
 * changed by somebody else says so and the program exits with code 1.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 64 };

static int threads = 4, rounds = 500;
static pthread_barrier_t work, done;
static pthread_key_t key;
static uint64_t *sums; /* one for each thread, after each round */
static FILE *out;

static __thread uint64_t state;
static __thread char padding[300]; /* some size, so that a wrong TLS layout shows */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

static void wrong(int t, const char *what)
{
    fprintf(stderr, "thread %d: %s is not what it was\n", t, what);
    _exit(1);
}

static void say(const char *line)
{
    fputs(line, stdout);
    fflush(stdout);
    if (out) {
        fputs(line, out);
        fflush(out);
    }
}

static void *run(void *arg)
{
    int t = (int)(long)arg;
    unsigned char *blocks[BLOCKS] = {0};
    size_t lengths[BLOCKS] = {0};
    uint64_t mine = mix(t + 1);

    state = mine;
    memset(padding, t + 1, sizeof padding);
    pthread_setspecific(key, &state);
    for (int n = 0; n < rounds; n++) {
        pthread_barrier_wait(&work);
        for (int i = 0; i < 200; i++) {
            if (state != mine)
                wrong(t, "a thread-local variable");
            if (pthread_getspecific(key) != &state)
                wrong(t, "a thread's key");
            mine = mix(mine + i);
            state = mine;
            int b = (int)(mine % BLOCKS);
            for (size_t k = 0; k < lengths[b]; k++)
                if (blocks[b][k] != (unsigned char)(t + b))
                    wrong(t, "a block of memory");
            free(blocks[b]);
            lengths[b] = 1 + mine / BLOCKS % 2000;
            blocks[b] = malloc(lengths[b]);
            if (!blocks[b])
                abort();
            memset(blocks[b], t + b, lengths[b]);
        }
        for (size_t k = 0; k < sizeof padding; k++)
            if (padding[k] != (char)(t + 1))
                wrong(t, "thread-local storage");
        sums[t] = mine;
        pthread_barrier_wait(&done);
    }
    for (int b = 0; b < BLOCKS; b++)
        free(blocks[b]);
    return NULL;
}

/* The same number, made by a team of OpenMP threads where there are any. */
static uint64_t team(int n)
{
    uint64_t sum = 0;
#ifdef _OPENMP
#pragma omp parallel for reduction(+ : sum) schedule(dynamic)
#endif
    for (int i = 0; i < 64; i++)
        sum += mix((uint64_t)n * 64 + i);
    return sum;
}

int main(int argc, char **argv)
{
    const char *file = NULL;
    for (int c; (c = getopt(argc, argv, "o:")) != -1;) {
        if (c != 'o') {
            fprintf(stderr, "usage: threads [-o FILE] [THREADS [ROUNDS]]\n");
            return 2;
        }
        file = optarg;
    }
    if (optind < argc)
        threads = atoi(argv[optind++]);
    if (optind < argc)
        rounds = atoi(argv[optind++]);
    if (threads < 1 || rounds < 0) {
        fprintf(stderr, "threads: at least one thread\n");
        return 2;
    }
    if (file && !(out = fopen(file, "w"))) {
        perror(file);
        return 1;
    }
    sums = calloc((size_t)threads, sizeof *sums);
    pthread_t *pool = calloc((size_t)threads, sizeof *pool);
    pthread_barrier_init(&work, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&done, NULL, (unsigned)threads + 1);
    pthread_key_create(&key, NULL);
    for (long t = 0; t < threads; t++)
        if (pthread_create(&pool[t], NULL, run, (void *)t) != 0) {
            perror("pthread_create");
            return 1;
        }
    for (int n = 0; n < rounds; n++) {
        pthread_barrier_wait(&work);
        pthread_barrier_wait(&done);
        uint64_t sum = team(n);
        for (int t = 0; t < threads; t++)
            sum = mix(sum + sums[t]);
        char line[80];
        snprintf(line, sizeof line, "round %d sum %016llx\n", n + 1, (unsigned long long)sum);
        say(line);
    }
    for (int t = 0; t < threads; t++)
        pthread_join(pool[t], NULL);
    char line[80];
    snprintf(line, sizeof line, "done: %d threads, %d rounds\n", threads, rounds);
    say(line);
    if (out && fclose(out) != 0) {
        perror(file);
        return 1;
    }
    return 0;
}
