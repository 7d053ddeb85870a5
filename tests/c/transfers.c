/*
 * transfers: threads that write more than a pipe or a socket holds, or receive more than there is, while checkpoints
 * are taken. No call may end with a part of its work done.
 *
 * Usage: transfers MICROSECONDS GO
 *
 * Prints `ready` once all transfer. The other sides take and give a little every so many microseconds, and all that is
 * left when the file GO exists. Then a write that nobody reads is cancelled. Then `ok`.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 4 << 20, LITTLE = 4096 };

static const char *go;
static long pause_us;
static atomic_int begun;

static void check(int right, const char *what, long got)
{
    if (!right) {
        fprintf(stderr, "%s: %ld\n", what, got);
        exit(1);
    }
}

static unsigned char byte_at(long i)
{
    return (unsigned char)(i % 251);
}

static void slowly(void)
{
    if (access(go, F_OK) != 0)
        usleep(pause_us);
}

struct side {
    const char *what;
    int fds[2], socket, waitall;
};

/* Gives all at once, or little by little where the other side waits for all. */
static void *give(void *side)
{
    struct side *s = side;
    unsigned char *data = malloc(SIZE);
    for (long i = 0; i < SIZE; i++)
        data[i] = byte_at(i);
    begun++;
    if (s->waitall) {
        for (long i = 0; i < SIZE; i += LITTLE, slowly())
            check(write(s->fds[1], data + i, LITTLE) == LITTLE, "a little", i);
    } else {
        long n = s->socket ? send(s->fds[1], data, SIZE, 0) : write(s->fds[1], data, SIZE);
        check(n == SIZE, s->what, n);
    }
    close(s->fds[1]);
    return NULL;
}

static void *take(void *side)
{
    struct side *s = side;
    unsigned char *data = malloc(SIZE);
    if (s->waitall) {
        begun++;
        long n = recv(s->fds[0], data, SIZE, MSG_WAITALL);
        check(n == SIZE, s->what, n);
    } else {
        long all = 0, n;
        while ((n = read(s->fds[0], data + all, LITTLE)) > 0) {
            all += n;
            slowly();
        }
        check(all == SIZE, "what came", all);
    }
    for (long i = 0; i < SIZE; i++)
        check(data[i] == byte_at(i), "a wrong byte", i);
    return NULL;
}

static atomic_int cleaned;

static void clean(void *unused)
{
    (void)unused;
    cleaned = 1;
}

/* Writes more than anybody will read, until it is cancelled. */
static void *never(void *fd)
{
    static char data[SIZE];
    pthread_cleanup_push(clean, NULL);
    long n = write(*(int *)fd, data, SIZE);
    check(0, "a write that nobody reads", n);
    pthread_cleanup_pop(0);
    return NULL;
}

int main(int argc, char **argv)
{
    struct side sides[] = {
        {.what = "a write to a pipe"},
        {.what = "a write to a socket", .socket = 1},
        {.what = "a receive of all", .socket = 1, .waitall = 1},
    };
    enum { SIDES = sizeof sides / sizeof *sides };
    if (argc < 3)
        return 2;
    pause_us = atol(argv[1]);
    go = argv[2];
    pthread_t threads[2 * SIDES], cancelled;
    int unread[2];
    void *result;
    check(pipe(unread) == 0, "a pipe", 0);
    pthread_create(&cancelled, NULL, never, &unread[1]);
    for (int i = 0; i < SIDES; i++) {
        int made = sides[i].socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, sides[i].fds) : pipe(sides[i].fds);
        check(made == 0, "making it", made);
        pthread_create(&threads[2 * i], NULL, give, &sides[i]);
        pthread_create(&threads[2 * i + 1], NULL, take, &sides[i]);
    }
    while (begun < SIDES + 1)
        usleep(1000);
    usleep(20000);
    puts("ready");
    fflush(stdout);
    for (int i = 0; i < 2 * SIDES; i++)
        pthread_join(threads[i], NULL);
    pthread_cancel(cancelled);
    pthread_join(cancelled, &result);
    check(result == PTHREAD_CANCELED && cleaned, "a cancelled write", cleaned);
    puts("ok");
    return 0;
}
