/* Part of dmtcp_host.c: forks, and the lock that they take, which keeps a checkpoint out. As in DMTCP, around a checkpoint
 * a fork is an error or waits for ever, where a plugin does not keep it from coming then. */

/* DMTCP's numbers. */
enum { UNKNOWN, RUNS, PRESUSPENDS, SUSPENDED };

/* The newest checkpoint's number, and the newest one's that was ever done. */
static volatile int generation, done;
static volatile int state, is_child, child_stopped;
static atomic_int tickets, served;

struct computation {
    uint64_t host_and_time[2];
    int pid;
    unsigned generation;
};

struct computation dmtcp_get_computation_id(void)
{
    return (struct computation){.generation = generation};
}

/* This rank has come so far in the newest checkpoint. */
static void reached(const char *what)
{
    close(open(in_folder("%s-%d.%s", what, generation, rank), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

int dmtcp_get_coordinator_status(int *peers, int *running)
{
    *peers = ranks;
    *running = 1;
    char number[12];
    for (int other = 0; done > 0 && other < ranks; other++) {
        snprintf(number, sizeof number, "%d", other);
        *running &= access(in_folder("runs-%d.%s", done, number), F_OK) == 0;
    }
    return 0;
}

#ifdef WITHOUT_LOCK
static
#endif
unsigned current_state(void) __asm__("_ZN5dmtcp11WorkerState12currentStateEv");
#ifdef WITHOUT_LOCK
static
#endif
void lock_exclusive(void) __asm__("_ZN5dmtcp10ThreadSync28wrapperExecutionLockLockExclEv");

unsigned current_state(void)
{
    return state;
}

/* First come, first served. */
void lock_exclusive(void)
{
    int mine = atomic_fetch_add(&tickets, 1), now;
    while ((now = served) != mine)
        wait_while(&served, now);
}

static void unlock(void)
{
    add(&served);
}

/* A child is stopped for its parent's checkpoints, but not saved. */
static void *serve_child(void *unused)
{
    (void)unused;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (;;) {
        tell(RUNNING);
        state = RUNS;
        while (access(in_folder("wanted-%d.%s", generation + 1, rank), F_OK) != 0)
            usleep(500);
        generation++;
        state = PRESUSPENDS;
        tell(PRESUSPEND);
        child_stopped = 1;
        syscall(SYS_tgkill, getpid(), getpid(), STOP_SIGNAL);
        while (access(in_folder("runs-%d.%s", generation, rank), F_OK) != 0)
            usleep(500);
        child_stopped = 0;
        done = generation;
        tell(RESUME);
    }
    return NULL;
}

static void forked(void)
{
    is_child = 1;
    connection = -1;
    served = tickets = 0;
    tell(ATFORK_CHILD);
}

static void fork_begins(void)
{
    tell(ATFORK_PREPARE);
}

pid_t fork(void)
{
    pid_t (*next)(void) = dlsym(RTLD_NEXT, "fork");
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    int peers, running;
    pthread_t thread;
    if (state == UNKNOWN)
        return next();
    lock_exclusive();
#ifndef WITHOUT_LOCK
    dmtcp_get_coordinator_status(&peers, &running);
    errno = EPERM;
    if (current_state() != RUNS)
        give_up("a fork while a checkpoint begins");
    if (!running)
        give_up("a fork before all processes run again");
#endif
    pid_t pid = next();
    if (pid == 0)
        create(&thread, NULL, serve_child, NULL);
    else
        unlock();
    return pid;
}
