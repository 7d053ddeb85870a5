/* Threads that call lower halves in every state that a thread can be in.
 *
 *   splitproc launch --half one=half.so --half two=half.so -- crossing MODE GO DIR [THREADS]
 *
 * The threads work all the time, and check every result. `ready` is printed once each has worked for a while; they
 * go on until the file GO is there, and then `ok` is printed if nothing was wrong. DIR has the libraries that
 * are opened late. After a restart the halves are fresh: what a thread expects of them begins anew.
 */
#include "crossing.h"

enum { KEYS = 250, ROUNDS = 100, SHORT = 10000, MOST = 256 };

static int threads = 3;
static long (*upper_throw)(long);
static pthread_key_t keys[KEYS];
static atomic_long keys_destroyed;
static atomic_int working;

static void once_plug(int half)
{
    want("half_open", call(half, "half_open", (long)library("plug.so"), 0, 0), 0);
}

/* Every third thread, beginning with the second, uses nothing of the lower half's own storage. */
static void round_tls(int t, struct view *v)
{
    int h = (int)(mine % 2);
    unsigned generation = splitproc_enter();
    renew(v, generation);
    prepare(generation, once_plug);
    if (t % 3 == 1) {
        want("plain", call(halves[h], "half_plain", 41, 0, 0), 42);
    } else {
        want("static and dynamic TLS", call(halves[h], "half_count", t, 0, 0), ++v->count[h]);
        want("large dynamic TLS", call(halves[h], "plug_count", t, 0, 0), ++v->plug[h]);
    }
    splitproc_leave();
    upper_round(t);
}

static __thread int opener; /* of the late libraries: constructors ran on this thread's TLS */

static void once_late(int half)
{
    opener = 1;
    want("half_open", call(half, "half_open", (long)library("late.so"), 0, 0), 0);
    want("the late library's constructor", call(half, "late_first", 0, 0, 0), 40);
}

static void once_throw(int half)
{
    want("half_open", call(half, "half_open", (long)library("throw.so"), 0, 0), 0);
}

static void once_keys(int half)
{
    want("lower keys", call(half, "half_keys_make", 0, 0, 0), KEYS);
}

/* All threads know the half before the library that takes static TLS is opened. */
static void round_late(int t, struct view *v)
{
    int h = (int)(mine % 2);
    unsigned generation = splitproc_enter();
    if (v->generation != generation)
        opener = 0;
    renew(v, generation);
    want("TLS beside a late library", call(halves[h], "half_count", t, 0, 0), ++v->count[h]);
    if (v->count[h] > 20) {
        prepare(generation, once_late);
        long got = call(halves[h], "late_count", 0, 0, 0);
        if (v->late[h] == 40 && opener)
            v->late[h] = 42;
        want("late static TLS", got, ++v->late[h]);
    }
    splitproc_leave();
    upper_round(t);
}

/* An ending thread may still call: the half makes another thread for it, which ends with it too. */
static void upper_destroy(void *value)
{
    keys_destroyed++;
    splitproc_enter();
    want("a call from a destructor", call(halves[keys_destroyed % 2], "half_plain", 1, 0, 0), 2);
    splitproc_leave();
    free(value);
}

static void round_keys(int t, struct view *v)
{
    unsigned generation = splitproc_enter();
    renew(v, generation);
    prepare(generation, once_keys);
    for (int h = 0; h < 2; h++)
        want("lower keys", call(halves[h], "half_keys_check", t, 0, 0), 0);
    splitproc_leave();
    for (int i = 0; i < KEYS; i++) {
        char *value = pthread_getspecific(keys[i]), text[40];
        snprintf(text, sizeof text, "upper %d of %d", i, t);
        if (!value)
            want("pthread_setspecific", pthread_setspecific(keys[i], strdup(text)), 0);
        else if (strcmp(value, text) != 0)
            fail("an upper key", i);
    }
    upper_round(t);
}

static void once_lock(int half)
{
    want("a lock", call(half, "half_lock_init", 0, 0, 0), 0);
}

static void round_locks(int t, struct view *v)
{
    unsigned generation = splitproc_enter();
    renew(v, generation);
    prepare(generation, once_lock);
    for (int h = 0; h < 2; h++)
        want("a lock with priority inheritance", call(halves[h], "half_locked", 0, 0, 0), 1);
    splitproc_leave();
    upper_round(t);
}

static void round_throw(int t, struct view *v)
{
    unsigned generation = splitproc_enter();
    renew(v, generation);
    prepare(generation, once_throw);
    want("an exception in a lower half", call(halves[mine % 2], "throw_and_catch", t % 10, 0, 0), t % 10 + 1);
    splitproc_leave();
    want("an exception in the upper half", upper_throw(t % 10), t % 10 + 1);
    upper_round(t);
}

/* Upper-half functions that lower halves call, and that call the other half. */
static void *thunk;
static __thread long nested;

static long called_back(long x)
{
    upper_round(thread_number);
    int depth = (int)(x % 10);
    nested++;
    if (depth == 0)
        return x;
    return call(halves[depth % 2], "half_call_back", (long)thunk, x - 1, 3) + 1;
}

static long called_from_below(long x)
{
    char *block = malloc(50);
    snprintf(block, 50, "%ld", x * 2);
    long r = atol(block);
    free(block);
    return r;
}

static void *thunk_below;

static void round_callbacks(int t, struct view *v)
{
    renew(v, splitproc_enter());
    nested = 0;
    want("a nested callback", call(halves[0], "half_call_back", (long)thunk, 1000 + 5, 2), 1005);
    want("callbacks", nested, 6);
    want("a callback from a lower half's thread", call(halves[mine % 2], "half_thread_calls_back", (long)thunk_below, t, 0),
         2 * t);
    want("TLS after callbacks", call(halves[0], "half_count", t, 0, 0), ++v->count[0]);
    splitproc_leave();
}

static atomic_long signals;
static __thread long my_signals;

static void on_alarm(int number)
{
    int saved = errno;
    char *block = malloc(300);
    memset(block, number, 300);
    my_signals++;
    signals++;
    if (upper_plug)
        upper_plug(thread_number);
    free(block);
    errno = saved;
}

/* The handler uses malloc, so that only the lower half may be interrupted by it. */
static void mask(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(how, &set, NULL);
}

static void round_signals(int t, struct view *v)
{
    renew(v, splitproc_enter());
    void *count = splitproc_symbol(halves[0], "half_count");
    void *back = splitproc_symbol(halves[0], "half_call_back");
    if (v->count[0] == 0)
        want("TLS", splitproc_call(halves[0], count, 1, (long[]){t}), ++v->count[0]);
    mask(SIG_UNBLOCK);
    for (int i = 0; i < 50; i++)
        want("TLS in a storm of signals", splitproc_call(halves[0], count, 1, (long[]){t}), ++v->count[0]);
    want("a callback in it", splitproc_call(halves[0], back, 3, (long[]){(long)thunk_below, t, 3}), 2 * t);
    mask(SIG_BLOCK);
    splitproc_leave();
    mine = (mine + 1) % 1000003;
}

static const struct mode {
    const char *name;
    void (*round)(int, struct view *);
} modes[] = {
    {"tls", round_tls},     {"late", round_late},           {"keys", round_keys},
    {"throw", round_throw}, {"callbacks", round_callbacks}, {"signals", round_signals},
    {"short", round_tls},   {"small", NULL},                {"cancel", NULL},
    {"try", NULL},          {"idle", NULL},                 {"locks", round_locks},
};
static const struct mode *mode;

static void *work(void *arg)
{
    struct view view = fresh;
    int t = thread_number = (int)(long)arg;
    for (int n = 0, last = 0; !last; n++) {
        last = stop && n >= ROUNDS; /* one whole round after the restart, if there was one */
        mode->round(t, &view);
        if (n == ROUNDS)
            working++;
    }
    return NULL;
}

static void wait_for_go(void)
{
    puts("ready");
    fflush(stdout);
    while (access(go, F_OK) != 0)
        usleep(1000);
}

/* Many threads that work until told to stop. */
static void together(void)
{
    static pthread_t pool[MOST];
    for (long t = 0; t < threads; t++)
        want("pthread_create", pthread_create(&pool[t], NULL, work, (void *)t), 0);
    while (working < threads)
        usleep(1000);
    wait_for_go();
    stop = 1;
    for (int t = 0; t < threads; t++)
        pthread_join(pool[t], NULL);
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1)
        fail("/proc/self/statm", 0);
    fclose(f);
    return pages * 4;
}

static void *live_briefly(void *arg)
{
    struct view view = fresh;
    thread_number = (int)(long)arg % 100;
    splitproc_enter();
    round_tls(thread_number, &view);
    round_tls(thread_number, &view);
    for (int h = 0; h < 2; h++)
        call(halves[h], "half_forget", 0, 0, 0);
    splitproc_leave();
    return NULL;
}

/* Threads that hardly live, eight at a time. */
static void briefly(long from, long to)
{
    for (long n = from; n < to; n += 8) {
        pthread_t pool[8];
        for (int i = 0; i < 8; i++)
            want("pthread_create", pthread_create(&pool[i], NULL, live_briefly, (void *)(n + i)), 0);
        for (int i = 0; i < 8; i++)
            pthread_join(pool[i], NULL);
    }
}

static void short_lived(void)
{
    stop = 1; /* what a thread has allocated it frees at once */
    briefly(0, SHORT / 5);
    long before = resident_kib();
    briefly(SHORT / 5, SHORT);
    long after = resident_kib();
    if (after > before + 2048)
        fail("KiB more are resident after 10,000 threads than after 2,000", after - before);
    puts("ready");
    fflush(stdout);
    for (long n = 0; access(go, F_OK) != 0; n += 8)
        briefly(n, n + 8);
}

/* A thread with the smallest stack calls all the time. */
static void *on_small_stack(void *arg)
{
    long n = 0;
    unsigned generation = -1;
    for (; !stop || n < ROUNDS; n++) {
        unsigned now = splitproc_enter();
        if (now != generation)
            mine = 0;
        generation = now;
        void *count = splitproc_symbol(halves[0], "half_count");
        want("TLS on a small stack", splitproc_call(halves[0], count, 1, (long[]){(long)arg}), ++mine);
        splitproc_leave();
        if (n == ROUNDS)
            working++;
    }
    return NULL;
}

static void small_stacks(void)
{
    pthread_attr_t attr;
    pthread_t pool[4];
    pthread_attr_init(&attr);
    want("pthread_attr_setstacksize", pthread_attr_setstacksize(&attr, 16384), 0);
    for (long t = 0; t < 4; t++)
        want("pthread_create", pthread_create(&pool[t], &attr, on_small_stack, (void *)t), 0);
    while (working < 4)
        usleep(1000);
    wait_for_go();
    stop = 1;
    for (int t = 0; t < 4; t++)
        pthread_join(pool[t], NULL);
}

static atomic_int come_out, came_out;
static atomic_long turns;

static void *to_be_cancelled(void *arg)
{
    void *function = splitproc_symbol(halves[0], "half_sleep_until");
    pthread_setcanceltype(arg ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED, NULL);
    want("a cancelled thread's call",
         splitproc_call(halves[0], function, 2, (long[]){(long)&come_out, (long)&turns}), 77);
    came_out = 1;
    while (!stop)
        pthread_testcancel();
    return NULL;
}

/* Goes in and out all the time. */
static void *to_be_cancelled_anywhere(void *arg)
{
    void *function = splitproc_symbol(halves[0], "half_plain");
    for (;;) {
        splitproc_call(halves[0], function, 1, (long[]){1});
        turns++;
        pthread_testcancel();
    }
    return arg;
}

/* pthread_cancel reaches a thread that is inside a lower half once it is out, and not before. */
static void cancelled(void)
{
    for (int n = 0; n < 20; n++) {
        pthread_t thread;
        void *result = NULL;
        come_out = came_out = 0;
        turns = 0;
        want("pthread_create", pthread_create(&thread, NULL, to_be_cancelled, n % 2 ? &thread : NULL), 0);
        while (turns == 0)
            usleep(100);
        want("pthread_cancel", pthread_cancel(thread), 0);
        for (long since = turns; turns < since + 5;)
            if (pthread_tryjoin_np(thread, NULL) == 0)
                fail("it ended inside the lower half", turns);
        come_out = 1;
        want("pthread_join", pthread_join(thread, &result), 0);
        want("the lower half's function came to its end", come_out, 2);
        if (n % 2 == 0)
            want("it came out", came_out, 1);
        want("it was cancelled", result == PTHREAD_CANCELED, 1);
    }
    /* On its way in as well. */
    for (int n = 0; n < 2000; n++) {
        pthread_t thread;
        void *result = NULL;
        turns = 0;
        want("pthread_create", pthread_create(&thread, NULL, to_be_cancelled_anywhere, NULL), 0);
        while (turns < n % 50 + 1)
            sched_yield();
        want("pthread_cancel", pthread_cancel(thread), 0);
        want("pthread_join", pthread_join(thread, &result), 0);
        want("it was cancelled", result == PTHREAD_CANCELED, 1);
    }
    wait_for_go();
}

/* A thread that waits in a lower half, in a call that a checkpoint does not wait for. */
static void *to_wait(void *arg)
{
    long result = 0, half = halves[(long)arg % 2];
    unsigned generation;
    do {
        generation = splitproc_enter();
        void *function = splitproc_symbol(half, "half_sleep_until");
        splitproc_leave();
        if (splitproc_try(generation, half, function, 2, (long[]){(long)&come_out, (long)&turns}, &result) == 0)
            break;
        want("only a restart cuts a call short", splitproc_generation() > generation, 1);
    } while (1);
    want("a waiting thread's call", result, 77);
    upper_round((int)(long)arg);
    return NULL;
}

static void waiting(void)
{
    pthread_t pool[8];
    for (long t = 0; t < 8; t++)
        want("pthread_create", pthread_create(&pool[t], NULL, to_wait, (void *)t), 0);
    while (turns < 100)
        usleep(1000);
    wait_for_go();
    come_out = 1;
    for (int t = 0; t < 8; t++)
        pthread_join(pool[t], NULL);
}

/* A thread that has used a lower half's keys, and ends without having called it again: perhaps after a restart. */
static void *to_idle(void *arg)
{
    struct view view = fresh;
    thread_number = (int)(long)arg;
    round_keys(thread_number, &view);
    working++;
    while (!stop)
        usleep(1000);
    return NULL;
}

static void idle(void)
{
    pthread_t pool[8];
    for (long t = 0; t < 8; t++)
        want("pthread_create", pthread_create(&pool[t], NULL, to_idle, (void *)t), 0);
    while (working < 8)
        usleep(1000);
    wait_for_go();
    stop = 1;
    for (int t = 0; t < 8; t++)
        pthread_join(pool[t], NULL);
    want("upper values destroyed", keys_destroyed, 8 * KEYS);
}

/* Each thread's values were destroyed once, in both halves; a lower half's go when its thread ends, a moment after
 * the one that it was lent to. */
static void all_destroyed(void)
{
    want("upper values destroyed", keys_destroyed, (long)threads * KEYS);
    for (int h = 0; h < 2; h++) {
        long gone;
        while ((gone = call(halves[h], "half_keys_destroyed", 0, 0, 0)) < (long)threads * KEYS)
            if (gone < 0)
                fail("a lower value was destroyed twice", gone);
        want("lower values destroyed", gone, (long)threads * KEYS);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    for (mode = modes; strcmp(mode->name, argv[1]) != 0;)
        if (++mode == modes + sizeof modes / sizeof *modes)
            return 2;
    go = argv[2];
    dir = argv[3];
    if (argc > 4)
        threads = atoi(argv[4]);
    halves[0] = splitproc_half("one");
    halves[1] = splitproc_half("two");
    void *plug = dlopen(library("plug.so"), RTLD_NOW), *thrower = dlopen(library("throw.so"), RTLD_NOW);
    if (halves[0] < 0 || halves[1] < 0 || !plug || !thrower)
        fail("the halves or libraries are not there", 0);
    upper_plug = (long (*)(long))dlsym(plug, "plug_count");
    upper_throw = (long (*)(long))dlsym(thrower, "throw_and_catch");
    thunk = splitproc_callback((void *)called_back);
    thunk_below = splitproc_callback((void *)called_from_below);

    if (mode->round == round_keys || strcmp(mode->name, "idle") == 0)
        for (int i = 0; i < KEYS; i++)
            want("pthread_key_create", pthread_key_create(&keys[i], upper_destroy), 0);
    if (mode->round == round_signals) {
        struct sigaction action = {.sa_handler = on_alarm};
        struct itimerval often = {{0, 200}, {0, 200}};
        mask(SIG_BLOCK);
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &often, NULL);
    }
    if (strcmp(mode->name, "short") == 0)
        short_lived();
    else if (strcmp(mode->name, "small") == 0)
        small_stacks();
    else if (strcmp(mode->name, "cancel") == 0)
        cancelled();
    else if (strcmp(mode->name, "try") == 0)
        waiting();
    else if (strcmp(mode->name, "idle") == 0)
        idle();
    else
        together();
    if (mode->round == round_keys)
        all_destroyed();
    if (mode->round == round_signals && signals == 0)
        fail("no signal came", 0);
    puts("ok");
    return 0;
}
