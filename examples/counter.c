/*
 * counter: one process that counts, with state of several kinds, and prints a line at each count.
 *
 *   gcc -O2 -o counter counter.c -lm
 *   splitproc launch --ckpt-dir ckpt -- ./counter 100 100
 *
 * Usage: counter [-o FILE] [COUNTS [MILLISECONDS]]
 *
 * The count is carried in the heap, in static data, on the stack, in thread-local storage, in an
 * anonymous mapping and in the C library's own random state; a signal handler adds to it; the
 * rounding mode, the working directory, the mask of signals, the pid and the arguments are checked.
 * All of them go into the number that is printed, so whatever a restart loses shows in the output.
 */
#include <errno.h>
#include <fenv.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t handled;
static uint64_t in_data = 1;
static __thread uint64_t in_tls = 2;
static FILE *out;

static void handler(int sig)
{
    (void)sig;
    handled = handled + 1;
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

static void fail(const char *what)
{
    fprintf(stderr, "counter: %s changed\n", what);
    exit(1);
}

/* Sleeps the whole time, however often it is interrupted. */
static void pause_for(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

int main(int argc, char **argv)
{
    int counts = 50;
    long ms = 20;
    const char *file = NULL;
    for (int c; (c = getopt(argc, argv, "o:")) != -1;) {
        if (c != 'o') {
            fprintf(stderr, "usage: counter [-o FILE] [COUNTS [MILLISECONDS]]\n");
            return 2;
        }
        file = optarg;
    }
    if (optind < argc)
        counts = atoi(argv[optind++]);
    if (optind < argc)
        ms = atol(argv[optind++]);
    if (file && !(out = fopen(file, "w"))) {
        perror(file);
        return 1;
    }

    enum { WORDS = 1 << 16 };
    uint64_t on_stack = 3;
    uint64_t *heap = calloc(WORDS, sizeof *heap);
    uint64_t *mapped = mmap(NULL, WORDS * sizeof *mapped, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!heap || mapped == MAP_FAILED) {
        perror("counter");
        return 1;
    }
    struct sigaction action = {0};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    sigset_t blocked, mask;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    srandom(7);
    umask(027);
    fesetround(FE_UPWARD);
    char cwd[4096], again[4096];
    if (!getcwd(cwd, sizeof cwd))
        return 1;
    pid_t pid = getpid();
    char *word = strdup(argv[0]);
    struct timespec last, t;
    clock_gettime(CLOCK_REALTIME, &last);

    for (int n = 1; n <= counts; n++) {
        pause_for(ms);
        raise(SIGUSR1);
        in_data = in_data * 6364136223846793005ULL + (uint64_t)handled;
        in_tls += in_data >> 7;
        on_stack ^= in_tls;
        heap[on_stack % WORDS] += (uint64_t)random();
        mapped[in_tls % WORDS] += heap[on_stack % WORDS];
        uint64_t sum = in_data ^ in_tls ^ on_stack;
        for (int i = 0; i < WORDS; i++)
            sum = sum * 31 + heap[i] + mapped[i];

        sigprocmask(SIG_BLOCK, NULL, &mask);
        if (!sigismember(&mask, SIGUSR2) || sigismember(&mask, SIGUSR1))
            fail("the signal mask");
        if (fegetround() != FE_UPWARD)
            fail("the rounding mode");
        if (!getcwd(again, sizeof again) || strcmp(cwd, again) != 0)
            fail("the working directory");
        if (getpid() != pid)
            fail("the pid");
        if (strcmp(word, argv[0]) != 0)
            fail("argv");
        mode_t m = umask(027);
        if (m != 027)
            fail("the umask");
        clock_gettime(CLOCK_REALTIME, &t);
        if (t.tv_sec < last.tv_sec)
            fail("the clock");
        last = t;

        char line[120];
        volatile double third = 3;
        snprintf(line, sizeof line, "count %d sum %016llx handled %d third %.17g\n", n,
                 (unsigned long long)sum, (int)handled, 1 / third);
        say(line);
    }
    say("done\n");
    if (out && fclose(out) != 0) {
        perror(file);
        return 1;
    }
    return 0;
}
