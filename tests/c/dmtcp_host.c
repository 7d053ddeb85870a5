/* Stands in for DMTCP where there is none: a library that is preloaded after a plugin, has the plugin interface of
 * DMTCP 4 (-DAPI=3), DMTCP 5 (-DAPI=4) or of a DMTCP that is not known (-DAPI=5), and sends the events in DMTCP's order.
 *
 * An image is a forked copy of the process without what the plugin leaves out, which waits for `dmtcp_restart` (see
 * dmtcp_restart.c). Like a restored process it has another pid, fresh threads under the old stacks, the new launcher's
 * descriptors, and gets its own back while plugins are told of the restart.
 *
 * $HOST_DIR has: the sockets run-RANK (`c`: checkpoint, `k`: end), the key-value store, the images and a trace of events. */
#define _GNU_SOURCE
#include "dmtcp_host.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

enum event {
    INIT, EXIT, PRE_EXEC, POST_EXEC, ATFORK_PREPARE, ATFORK_PARENT, ATFORK_CHILD, ATFORK_FAILED, VFORK_PREPARE,
    VFORK_PARENT, VFORK_CHILD, VFORK_FAILED, PTHREAD_START, PTHREAD_EXIT, PTHREAD_RETURN, PRESUSPEND, PRECHECKPOINT,
    RESUME, RESTART, RUNNING, THREAD_RESUME, EVENTS
};

static const char *const names[EVENTS] = {
    "INIT", "EXIT", "PRE_EXEC", "POST_EXEC", "ATFORK_PREPARE", "ATFORK_PARENT", "ATFORK_CHILD", "ATFORK_FAILED",
    "VFORK_PREPARE", "VFORK_PARENT", "VFORK_CHILD", "VFORK_FAILED", "PTHREAD_START", "PTHREAD_EXIT", "PTHREAD_RETURN",
    "PRESUSPEND", "PRECHECKPOINT", "RESUME", "RESTART", "RUNNING", "THREAD_RESUME"};

/* Told in the opposite order of registration. */
static const int reversed[EVENTS] = {[EXIT] = 1, [ATFORK_PARENT] = 1, [ATFORK_CHILD] = 1, [ATFORK_FAILED] = 1,
                                     [VFORK_PARENT] = 1, [VFORK_CHILD] = 1, [VFORK_FAILED] = 1, [PTHREAD_EXIT] = 1,
                                     [PTHREAD_RETURN] = 1, [RESUME] = 1, [RESTART] = 1, [THREAD_RESUME] = 1};

struct plugin {
    const char *api, *dmtcp, *name, *author, *email, *description;
    void (*hook)(unsigned event, void *data);
};

struct area {
    uint64_t start, end, size, offset, prot, flags, device[2], inode, file_size, properties;
    char name[1024], rest[2984];
};

struct cxx_string {
    char *data;
    size_t len;
    char room[16];
};

struct thread {
    struct thread *next;
    int listed, tid, *tid_at;
    uintptr_t fs, sp;
    ucontext_t context;
    atomic_int known, stopped, ending;
    void *(*start)(void *);
    void *arg;
};

/* The host's own descriptors, and where an image keeps the program's (by number) until the restart. */
enum { OWN_FDS = 860, KEPT_FDS = 900, MOST_KEPT = 100, LOWER_FDS = 1024 };
enum { STOP_SIGNAL = SIGUSR2 };
/* Microseconds for which what is often too short to be met is drawn out. */
enum { MOMENT = 50000 };

static struct plugin plugins[16];
static int plugin_count, ranks = 1, barriers;
static const char *rank = "0", *folder;
static char *mark;
static struct thread main_thread, checkpoint_thread, *_Atomic threads;
static __thread struct thread *self;
static __thread volatile int allocating, late;
static atomic_int round, image_wanted, restored, resumed;
/* Read-locked while a thread is made or begins to end. */
static pthread_rwlock_t births = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static volatile int restoring;
static int image_socket = -1, connection = -1, environment = -1, request = -1, ready[2];
static char inherited[MOST_KEPT], kept[MOST_KEPT];
static off_t offsets[MOST_KEPT];

extern char **environ;
void dmtcp_initialize_plugin(void);
int dmtcp_skip_memory_region_ckpting(struct area *area) __attribute__((weak));

__attribute__((noreturn)) static void end(int code)
{
    unsigned char byte = (unsigned char)code;
    if (connection >= 0)
        send(connection, &byte, 1, MSG_NOSIGNAL);
    syscall(SYS_exit_group, code);
    __builtin_unreachable();
}

void _exit(int code)
{
    end(code);
}

static void give_up(const char *what)
{
    dprintf(2, "host: %s: %s\n", what, strerror(errno));
    end(99);
}

static char *in_folder(const char *format, ...)
{
    static __thread char path[200];
    int n = snprintf(path, sizeof path, "%s/", folder);
    va_list rest;
    va_start(rest, format);
    vsnprintf(path + n, sizeof path - n, format, rest);
    va_end(rest);
    return path;
}

static int own_fd(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS);
    if (high < 0)
        give_up("descriptor");
    close(fd);
    return high;
}

static void wait_while(atomic_int *word, int value)
{
    syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void add(atomic_int *word)
{
    atomic_fetch_add(word, 1);
    syscall(SYS_futex, word, FUTEX_WAKE, 1 << 30, NULL, NULL, 0);
}

static void tell(enum event event);
#include "dmtcp_forks.h"

/* The plugin interface. */

#ifdef WITHOUT_REGISTER
#define dmtcp_register_plugin own_register
#endif

void dmtcp_register_plugin(struct plugin plugin)
{
    char known[] = {'0' + API, 0};
    if (strcmp(plugin.api, known) != 0) {
        dprintf(2, "host: plugin API %s, not %s\n", plugin.api, known);
        end(99);
    }
    plugins[plugin_count++] = plugin;
}

#if API == 3
int dmtcp_real_to_virtual_pid(int pid)
{
    return pid;
}
#elif API == 4
int dmtcp_pid_real_to_virtual(int pid)
{
    return pid;
}
#endif

int dmtcp_get_ckpt_signal(void)
{
    return STOP_SIGNAL;
}

/* The program can't have the host's signal, and is not told. */
int sigaction(int signal, const struct sigaction *new, struct sigaction *old)
{
    int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    return signal == STOP_SIGNAL ? 0 : next(signal, new, old);
}

void (*signal(int number, void (*handler)(int)))(int)
{
    void (*(*next)(int, void (*)(int)))(int) = dlsym(RTLD_NEXT, "signal");
    return number == STOP_SIGNAL ? SIG_IGN : next(number, handler);
}

const char *dmtcp_get_ckpt_filename(void)
{
    static char name[200];
    return strcpy(name, in_folder("ckpt_%s.dmtcp", rank));
}

int dmtcp_protected_environ_fd(void)
{
    return environment;
}

#ifndef WITHOUT_STORE
int kv_set(struct cxx_string *id, struct cxx_string *key, struct cxx_string *value, struct cxx_string *old)
    __asm__("_ZN5dmtcp4kvdb3setERKNSt7__cxx1112basic_stringIcSt11char_traitsIcENS_10DmtcpAllocIcEEEES9_S9_PS7_");
int kv_get(struct cxx_string *id, struct cxx_string *key, struct cxx_string *value)
    __asm__("_ZN5dmtcp4kvdb3getERKNSt7__cxx1112basic_stringIcSt11char_traitsIcENS_10DmtcpAllocIcEEEES9_PS7_");

int kv_set(struct cxx_string *id, struct cxx_string *key, struct cxx_string *value, struct cxx_string *old)
{
    (void)old;
    char temporary[200];
    strcpy(temporary, in_folder("new.%s.%s.%s", id->data, key->data, rank));
    int fd = open(temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, value->data, value->len) != (ssize_t)value->len)
        return 1;
    close(fd);
    return rename(temporary, in_folder("kv.%s.%s", id->data, key->data)) != 0;
}

int kv_get(struct cxx_string *id, struct cxx_string *key, struct cxx_string *value)
{
    struct stat about;
    int fd = open(in_folder("kv.%s.%s", id->data, key->data), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0)
        return 1;
    if (value->data != value->room)
        free(value->data);
    value->data = value->room;
    if ((size_t)about.st_size >= sizeof value->room)
        value->data = malloc(about.st_size + 1);
    value->len = read(fd, value->data, about.st_size);
    value->data[value->len] = 0;
    close(fd);
    return 0;
}
#endif

/* Events. */

static void trace(const char *event, const char *plugin)
{
    int fd = open(in_folder("trace-%s", rank), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
    dprintf(fd, "%s %s\n", event, plugin);
    close(fd);
}

static void tell(enum event event)
{
    for (int i = 0; i < plugin_count; i++) {
        struct plugin *plugin = &plugins[reversed[event] ? plugin_count - 1 - i : i];
        if (!is_child && (event < PTHREAD_START || (event > PTHREAD_RETURN && event < THREAD_RESUME)))
            trace(names[event], plugin->name);
        plugin->hook(event, NULL);
    }
}

/* The program's descriptors come back, over whatever has their numbers. */
static void own_hook(unsigned event, void *data)
{
    (void)data;
    for (int fd = 0; event == RESTART && fd < MOST_KEPT; fd++) {
        if (kept[fd] && dup3(KEPT_FDS + fd, fd, 0) != fd)
            give_up("dup3");
        if (kept[fd])
            close(KEPT_FDS + fd);
        kept[fd] = 0;
    }
}

__attribute__((visibility("hidden"))) void own_plugin(void)
{
    char known[] = {'0' + API, 0};
    struct plugin own = {strdup(known), "", "host", "", "", "", own_hook};
    dmtcp_register_plugin(own);
}

/* All ranks have come here. */
static void barrier(const char *name)
{
    int number = barriers++;
    close(open(in_folder("%s-%d.%s", name, number, rank), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    for (int other = 0; other < ranks; other++)
        while (access(in_folder("%s-%d.%d", name, number, other), F_OK) != 0)
            usleep(200);
}

static int listener(const char *name)
{
    struct sockaddr_un at = address(in_folder("%s-%s", name, rank));
    unlink(at.sun_path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 4) != 0)
        give_up(at.sun_path);
    return own_fd(fd);
}

#include "dmtcp_image.h"

static void checkpoint(void)
{
    generation++;
    reached("wanted");
    state = PRESUSPENDS;
    tell(PRESUSPEND);
    barrier("suspend");
    lock_exclusive();
    usleep(MOMENT);
    int count = stop_all();
    state = SUSPENDED;
    unlock();
    lock_exclusive();
    unlock();
    tell(PRECHECKPOINT);
    restored = 0;
    prctl(PR_GET_TID_ADDRESS, &checkpoint_thread.tid_at);
    __asm__ volatile("mov %%rsp, %0" : "=r"(checkpoint_thread.sp));
    __asm__ volatile("mov %%fs:0, %0" : "=r"(checkpoint_thread.fs));
    getcontext(&checkpoint_thread.context);
    if (!restoring) {
        /* `round` is the word that the threads wait on. */
        atomic_store(&image_wanted, 1);
        while (image_wanted == 1) {
            syscall(SYS_futex, &round, FUTEX_WAKE, 1 << 30, NULL, NULL, 0);
            usleep(200);
        }
        image_wanted = 0;
        barrier("written");
        done = generation;
        tell(RESUME);
        if (write(request, "c", 1) != 1)
            give_up("reply");
        add(&round);
        usleep(MOMENT * atoi(rank));
        state = RUNS;
        reached("runs");
        return;
    }
    while (restored < count)
        wait_while(&restored, restored);
    for (struct thread *t = threads; t; t = t->next)
        t->tid = t->stopped || t == &checkpoint_thread ? *t->tid_at : 0;
    barrier("restart");
    done = generation;
    tell(RESTART);
    state = RUNS;
    reached("runs");
    close(request);
    image_wanted = restoring = 0;
    add(&resumed);
}

static void *serve(void *unused)
{
    (void)unused;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    enlist(&checkpoint_thread);
    for (;;) {
        state = RUNS;
        tell(RUNNING);
        int listens = listener("run");
        request = own_fd(accept4(listens, NULL, NULL, SOCK_CLOEXEC));
        close(listens);
        char what = 0;
        if (read(request, &what, 1) == 1 && what == 'k')
            end(137);
        checkpoint();
        close(request);
    }
    return NULL;
}

/* Beginning and end. */

static void at_exit(int code, void *unused)
{
    (void)unused;
    tell(EXIT);
    unsigned char byte = (unsigned char)code;
    if (connection >= 0)
        send(connection, &byte, 1, MSG_NOSIGNAL);
}

void dmtcp_initialize_plugin(void)
{
    own_plugin();
    void (*next)(void) = dlsym(RTLD_NEXT, "dmtcp_initialize_plugin");
    if (next)
        next();
}

__attribute__((constructor)) static void begin(void)
{
    static char none[1];
    pthread_t thread;
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    folder = getenv("HOST_DIR");
    if (!folder)
        return;
    if (getenv("PMI_RANK"))
        rank = getenv("PMI_RANK"), ranks = atoi(getenv("PMI_SIZE"));
    for (int fd = 3; fd < MOST_KEPT; fd++)
        inherited[fd] = (char)in_use(fd);
    mark = none;
    for (char **v = environ; *v; v++)
        if (strncmp(*v, "E2E_JOB=", 8) == 0)
            mark = *v;
    enlist(&main_thread);
    dmtcp_initialize_plugin();
    tell(INIT);
    struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    int (*install)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    install(STOP_SIGNAL, &action, NULL);
    pthread_atfork(fork_begins, NULL, forked);
    on_exit(at_exit, NULL);
    create(&thread, NULL, serve, NULL);
}
