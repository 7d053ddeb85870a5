/* Part of dmtcp_host.c: threads are known, stopped, copied and revived. */

/* Allocates nothing: the thread may have been stopped anywhere. */
static void leave_out(void)
{
    static char maps[1 << 20];
    long n, len = 0;
    int fd = open("/proc/self/maps", O_RDONLY);
    while ((n = read(fd, maps + len, sizeof maps - 1 - len)) > 0)
        len += n;
    close(fd);
    for (char *line = maps; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        static struct area area;
        area.start = strtoul(line, &line, 16);
        area.end = strtoul(line + 1, &line, 16);
        area.size = area.end - area.start;
        if (dmtcp_skip_memory_region_ckpting && dmtcp_skip_memory_region_ckpting(&area))
            munmap((void *)area.start, area.size);
    }
}

static int in_use(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* Runs a thread's saved context, as a task with this thread's number in its TCB. */
static void revive(struct thread *thread)
{
    long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                 CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    register int *parent __asm__("rdx") = thread->tid_at, *child __asm__("r10") = thread->tid_at;
    register uintptr_t fs __asm__("r8") = thread->fs;
    long result = SYS_clone;
    __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\tmov %[context], %%rdi\n\tcall *%[run]\n\thlt\n1:"
                     : "+a"(result)
                     : "D"(flags), "S"((thread->sp - 512) & ~15ul), "r"(parent), "r"(child), "r"(fs),
                       [context] "b"(&thread->context), [run] "r"(setcontext)
                     : "rcx", "r11", "memory");
    if (result < 0)
        give_up("clone");
}

/* The forked copy, on its only thread: what an image would not have goes, then it waits to be restarted. */
static void be_image(void)
{
    restoring = 1;
    restored = resumed = 0;
    mark[0] = '-';
    setsid();
    close(connection);
    close(environment);
    for (int fd = 0; fd < MOST_KEPT; fd++) {
        if (fd > 2 && !inherited[fd] && in_use(fd)) {
            char path[40];
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            /* The description is shared with the process that goes on. */
            int again = open(path, fcntl(fd, F_GETFL) & ~(O_CREAT | O_TRUNC | O_EXCL));
            kept[fd] = dup3(again >= 0 ? again : fd, KEPT_FDS + fd, 0) >= 0;
            if (again >= 0)
                lseek(KEPT_FDS + fd, offsets[fd], SEEK_SET), close(again);
        }
        close(fd);
    }
    close_range(MOST_KEPT, OWN_FDS - 1, 0);
    close_range(LOWER_FDS, ~0u, 0);
    leave_out();
    close(ready[0]);
    close(ready[1]);

    struct pollfd asked = {image_socket, POLLIN, 0};
    if (poll(&asked, 1, 120000) != 1)
        syscall(SYS_exit_group, 0);
    static char bytes[MOST_BYTES];
    int fds[MOST_FDS], count = 0, peer = accept(image_socket, NULL, NULL);
    long len = pass(peer, 0, bytes, sizeof bytes, fds, &count);
    if (len < 0)
        give_up("receive");
    connection = own_fd(peer);
    environment = own_fd(syscall(SYS_memfd_create, "environment", 1));
    if (write(environment, bytes, len) != len)
        give_up("environment");
    int pmi_fd = -1;
    for (char *v = bytes; v < bytes + len; v += strlen(v) + 1) {
        if (strncmp(v, "PMI_FD=", 7) == 0)
            pmi_fd = atoi(v + 7);
        if (strncmp(v, "HOST_DIR=", 9) == 0)
            folder = v + 9;
    }
    for (int i = 0; i < count; i++)
        fds[i] = own_fd(fds[i]);
    for (int i = 0; i < count; i++) {
        dup2(fds[i], i < 3 ? i : pmi_fd);
        close(fds[i]);
    }
    if (pmi_fd > 2 && !kept[pmi_fd])
        /* The program has that number for itself. */
        kept[pmi_fd] = dup3(1, KEPT_FDS + pmi_fd, 0) >= 0;
    for (struct thread *t = threads; t; t = t->next)
        if (t != &main_thread && (t->stopped || t == &checkpoint_thread))
            revive(t);
    *main_thread.tid_at = (int)syscall(SYS_set_tid_address, main_thread.tid_at);
}

static void make_image(void)
{
    for (int fd = 0; fd < MOST_KEPT; fd++)
        offsets[fd] = lseek(fd, 0, SEEK_CUR);
    int file = open(dmtcp_get_ckpt_filename(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    image_socket = listener("image");
    dprintf(file, "%s", in_folder("image-%s", rank));
    close(file);
    char none;
    if (pipe(ready) != 0)
        give_up("pipe");
    for (int i = 0; i < 2; i++)
        ready[i] = own_fd(ready[i]);
    /* The image's parent ends at once, without a signal: who kills the job with all its children leaves images alone. */
    long pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (pid < 0)
        give_up("clone");
    if (pid == 0) {
        if (syscall(SYS_fork) != 0)
            syscall(SYS_exit_group, 0);
        return be_image();
    }
    close(image_socket);
    close(ready[1]);
    if (read(ready[0], &none, 1) != 0 || syscall(SYS_wait4, pid, NULL, __WALL, NULL) != pid)
        give_up("image");
    close(ready[0]);
}

/* Threads. */

static void stop(int signal)
{
    struct thread *t = self;
    int error = errno, mine = round;
    while (child_stopped)
        usleep(500);
    if (is_child)
        return;
    late = allocating ? signal : 0;
    if (late)
        return;
    prctl(PR_GET_TID_ADDRESS, &t->tid_at);
    __asm__ volatile("mov %%rsp, %0" : "=r"(t->sp));
    __asm__ volatile("mov %%fs:0, %0" : "=r"(t->fs));
    getcontext(&t->context);
    if (!restoring) {
        atomic_store(&t->stopped, 1);
        while (round == mine) {
            wait_while(&round, mine);
            if (t == &main_thread && image_wanted == 1) {
                make_image();
                if (restoring)
                    break;
                add(&image_wanted);
            }
        }
    }
    if (restoring) {
        add(&restored);
        wait_while(&resumed, 0);
        tell(THREAD_RESUME);
    }
    atomic_store(&t->stopped, 0);
    errno = error;
}

/* As DMTCP does: no thread is stopped inside malloc, for plugins allocate while threads are stopped. */
static void allocated(void)
{
    if (--allocating == 0 && late)
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), STOP_SIGNAL);
}

#define ALLOCATOR(type, name, params, ...)                                                                             \
    extern type __libc_##name params;                                                                                  \
    type name params                                                                                                   \
    {                                                                                                                  \
        allocating++;                                                                                                  \
        type result = __libc_##name(__VA_ARGS__);                                                                      \
        allocated();                                                                                                   \
        return result;                                                                                                 \
    }

ALLOCATOR(void *, malloc, (size_t size), size)
ALLOCATOR(void *, calloc, (size_t count, size_t size), count, size)
ALLOCATOR(void *, realloc, (void *old, size_t size), old, size)
ALLOCATOR(void *, memalign, (size_t align, size_t size), align, size)

extern void __libc_free(void *old);

void free(void *old)
{
    allocating++;
    __libc_free(old);
    allocated();
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

int posix_memalign(void **at, size_t align, size_t size)
{
    *at = memalign(align, size);
    return *at ? 0 : ENOMEM;
}

static void enlist(struct thread *t)
{
    self = t;
    t->tid = (int)syscall(SYS_gettid);
    if (!t->listed) {
        t->listed = 1;
        t->next = threads;
        while (!atomic_compare_exchange_weak(&threads, &t->next, t))
            ;
    }
    t->known = 1;
}

static int lives(struct thread *t)
{
    if (t->tid && syscall(SYS_tgkill, getpid(), t->tid, 0) != 0)
        t->tid = 0; /* the number may be taken again */
    return t->tid != 0;
}

/* From here on the thread is not stopped any more, but waited for. */
static void ends(enum event event)
{
    pthread_rwlock_rdlock(&births);
    self->ending = 1;
    tell(event);
    pthread_rwlock_unlock(&births);
}

static void *run(void *thread)
{
    enlist(thread);
    tell(PTHREAD_START);
    void *result = self->start(self->arg);
    ends(PTHREAD_RETURN);
    return result;
}

void pthread_exit(void *value)
{
    void (*next)(void *) __attribute__((noreturn)) = dlsym(RTLD_NEXT, "pthread_exit");
    if (self)
        ends(PTHREAD_EXIT);
    next(value);
}

int pthread_create(pthread_t *made, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    struct thread *t = threads;
    int one = 1;
    if (self == &checkpoint_thread)
        give_up("a thread made by the host's own");
    while (t && (!t->ending || lives(t) || !atomic_compare_exchange_strong(&t->ending, &one, 0)))
        one = 1, t = t->next;
    if (!t)
        t = calloc(1, sizeof *t);
    t->known = 0;
    t->start = start;
    t->arg = arg;
    pthread_rwlock_rdlock(&births);
    int error = create(made, attributes, run, t);
    while (!error && !t->known)
        usleep(50);
    pthread_rwlock_unlock(&births);
    return error;
}

static int stop_all(void)
{
    volatile int count = 0;
    pthread_rwlock_wrlock(&births);
    for (struct thread *t = threads; t; t = t->next) {
        while (t->stopped && lives(t))
            usleep(100);
        if (t == &checkpoint_thread || !lives(t))
            continue;
        if (!t->ending)
            syscall(SYS_tgkill, getpid(), t->tid, STOP_SIGNAL);
        while (!t->stopped && lives(t))
            usleep(100);
        count += t->stopped;
    }
    pthread_rwlock_unlock(&births);
    return count;
}
