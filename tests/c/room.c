/*
 * room: stacks and address space, one kind at a time.
 *
 * Usage: room KIND GO, as `state`. Its nested function wants a stack that code may run on.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "kind.h"

static int apply(int (*function)(int), int x)
{
    return function(x);
}

/* As gfortran passes an internal procedure that uses its host's variables. */
static void with_nested_function(void)
{
    int sum = 1;
    int add(int x) { return sum += x; }
    CHECK(apply(add, 2) == 3);
    checkpoint_here();
    CHECK(apply(add, 4) == 7);
}

static int deep(int mib)
{
    volatile char block[1 << 20];
    memset((char *)block, mib, sizeof block);
    return (mib ? deep(mib - 1) : 0) + block[mib];
}

/* As solvers do at the start of main, and then use large automatic arrays. */
static void with_larger_stack(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_STACK, &limit) == 0);
    limit.rlim_cur = 200 << 20;
    CHECK(setrlimit(RLIMIT_STACK, &limit) == 0);
    CHECK(deep(100) == 100 * 101 / 2);
    checkpoint_here();
    CHECK(deep(150) == 150 * 151 / 2 - 256 * 23);
}

static void take_several(void)
{
    for (int i = 0; i < 16; i++)
        CHECK(mmap(NULL, 512 << 10, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

/* What is above a mapping that has grown in place is found again; and a reservation of a TiB has room. */
static void with_address_space(void)
{
    size_t tib = (size_t)1 << 40, gib = (size_t)1 << 30;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *large = mmap(NULL, tib, PROT_READ | PROT_WRITE, flags, -1, 0);
    CHECK(large != MAP_FAILED);
    strcpy(large + tib / 2, "in the middle");
    char *grows = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, flags, -1, 0);
    for (size_t len = gib; len <= 80 * gib; len += 20 * gib) {
        char *grown = mremap(grows, len == gib ? 1 << 20 : len - 20 * gib, len, MREMAP_MAYMOVE);
        CHECK(grown != MAP_FAILED);
        grows = grown;
    }
    take_several();
    checkpoint_here();
    CHECK(strcmp(large + tib / 2, "in the middle") == 0);
    take_several();
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static _Atomic pid_t number;

static void *waiter(void *unused)
{
    number = gettid();
    pthread_mutex_lock(&held);
    pthread_mutex_unlock(&held);
    return unused;
}

/* After a restart the kernel may give a child the number that a thread goes by. */
static void with_child(void)
{
    pthread_t thread;
    pthread_mutex_lock(&held);
    CHECK(pthread_create(&thread, NULL, waiter, NULL) == 0);
    while (!number)
        pause_a_little();
    checkpoint_here();
    pid_t child = 0;
    for (int try = 0; try < 1000 && child != number; try++) {
        int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
        if (last < 0 || dprintf(last, "%d", number - 1) < 0) {
            fprintf(stderr, "skipped: only root can choose a child's number\n");
            break;
        }
        close(last);
        if ((child = fork()) == 0)
            for (;;)
                pause();
        int status = 0;
        CHECK(child > 0 && kill(child, SIGTERM) == 0);
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
        /* Still taken by another process: it will be through soon. */
        pause_a_little();
    }
    pthread_mutex_unlock(&held);
    CHECK(pthread_join(thread, NULL) == 0);
}

static sigjmp_buf faulted;
static void on_fault(int number)
{
    siglongjmp(faulted, number);
}

static int faults(volatile char *at)
{
    int came = sigsetjmp(faulted, 1);
    if (came == 0)
        (void)*at;
    return came == SIGSEGV;
}

/* As glibc protects the ends of stacks since 2.42: within memory that can be read, for all that the kernel lists. */
static void with_guards(void)
{
    enum { PAGE = 4096, PAGES = 64 };
    char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    for (int i = 0; i < PAGES; i++)
        at[i * PAGE] = (char)i;
    int guards = madvise(at + 3 * PAGE, 2 * PAGE, 102 /* MADV_GUARD_INSTALL */) == 0;
    if (!guards)
        fprintf(stderr, "skipped: this kernel has no guard regions\n");
    signal(SIGSEGV, on_fault);
    for (int i = 0; i < 2; i++) {
        for (int p = 0; p < PAGES; p++)
            CHECK(guards && (p == 3 || p == 4) ? faults(at + p * PAGE) : at[p * PAGE] == p);
        if (i == 0)
            checkpoint_here();
    }
}

/* As daemons do: all of the program's descriptors, and none but those. */
static void with_closed_descriptors(void)
{
    int file = open("closed", O_RDWR | O_CREAT, 0600);
    CHECK(file > 2 && close_range(3, ~0u, 0) == 0 && fcntl(file, F_GETFD) == -1 && errno == EBADF);
    checkpoint_here();
    CHECK(open("closed", O_RDONLY) == file && close_range(file, file, 0) == 0 && close(file) == -1);
}

/* Named as the file GO is. */
static char *shared_by_name(char *name, size_t size)
{
    snprintf(name, size, "/%s", go);
    for (char *c = name + 1; *c; c++)
        if (*c == '/')
            *c = '-';
    int shm = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    CHECK(shm >= 0 && ftruncate(shm, 8192) == 0);
    char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, shm, 0);
    CHECK(at != MAP_FAILED && close(shm) == 0);
    return at;
}

/* A reboot, or the program itself when it goes on after the checkpoint, takes the bytes away. */
static void with_named_memory(void)
{
    char name[256];
    char *at = shared_by_name(name, sizeof name);
    int to_read = shm_open(name, O_RDONLY, 0);
    char *reads = mmap(NULL, 8192, PROT_READ, MAP_SHARED, to_read, 0);
    CHECK(reads != MAP_FAILED && close(to_read) == 0);
    strcpy(at, "first");
    strcpy(at + 4096, "second");
    checkpoint_here();
    CHECK(strcmp(at, "first") == 0 && strcmp(at + 4096, "second") == 0);
    at[100] = '!';
    CHECK(strcmp(reads, "first") == 0 && reads[100] == '!');
    int again = shm_open(name, O_RDWR, 0);
    CHECK(again >= 0 && pwrite(again, "other", 6, 4096) == 6 && strcmp(at + 4096, "other") == 0);
    CHECK(shm_unlink(name) == 0);
}

int main(int argc, char **argv)
{
    static const struct kind kinds[] = {
        {"named", with_named_memory},
        {"closed", with_closed_descriptors},
        {"guards", with_guards},
        {"nested", with_nested_function},
        {"stack", with_larger_stack},
        {"addresses", with_address_space},
        {"child", with_child},
    };
    return run_kind(argc, argv, kinds, sizeof kinds / sizeof kinds[0]);
}
