/*
 * headless: the main thread leaves by pthread_exit while others compute; the last of them ends the process,
 * with exit code 0 and the handlers of atexit.
 *
 * Usage: headless KIND GO
 *
 * Prints `ready` once only the others are left. They end when the file GO exists; then `ok` is printed, if
 * what each has computed is right and no thread was lost.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORKERS = 4 };

static const char *go;
static pthread_t first;
static atomic_int right;

static void at_exit(void)
{
    puts(right == WORKERS ? "ok" : "wrong");
}

static void *work(void *n)
{
    static _Thread_local unsigned long sum;
    unsigned long steps = 0, mine = (unsigned long)n + 1;
    if (mine == 1) {
        pthread_join(first, NULL);
        puts("ready");
        fflush(stdout);
    }
    do {
        for (int i = 0; i < 100000; i++, steps++)
            sum += mine;
    } while (access(go, F_OK) != 0);
    if (sum == steps * mine)
        right++;
    /* One of them is the last by far. */
    if (mine == 2)
        usleep(50000);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    go = argv[2];
    first = pthread_self();
    atexit(at_exit);
    for (unsigned long n = 0; n < WORKERS; n++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)n) != 0)
            return 3;
    }
    pthread_exit(NULL);
}
