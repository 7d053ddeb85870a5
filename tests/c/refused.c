/*
 * refused: what a checkpoint must be refused for, one kind at a time. The program then goes on.
 *
 * Usage: refused KIND GO, as `state`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include "kind.h"

static void with_robust_mutex(void)
{
    pthread_mutexattr_t kind;
    pthread_mutex_t lock;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&lock, &kind);
    CHECK(pthread_mutex_lock(&lock) == 0);
    checkpoint_here();
    CHECK(pthread_mutex_unlock(&lock) == 0);
}

static void with_pi_mutex(void)
{
    pthread_mutexattr_t kind;
    pthread_mutex_t lock;
    pthread_mutexattr_init(&kind);
    CHECK(pthread_mutexattr_setprotocol(&kind, PTHREAD_PRIO_INHERIT) == 0);
    pthread_mutex_init(&lock, &kind);
    CHECK(pthread_mutex_lock(&lock) == 0);
    checkpoint_here();
    CHECK(pthread_mutex_unlock(&lock) == 0);
}

static void with_sysv(void)
{
    int id = shmget(IPC_PRIVATE, 8192, 0600);
    char *at = shmat(id, NULL, 0);
    CHECK(id >= 0 && at != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0);
    checkpoint_here();
    strcpy(at, "contents");
    CHECK(shmdt(at) == 0);
}

static void with_queue(void)
{
    char name[32], text[8192];
    snprintf(name, sizeof name, "/kernel-%d", getpid());
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT, 0600, NULL);
    CHECK(queue >= 0 && mq_unlink(name) == 0 && mq_send(queue, "contents", 9, 0) == 0);
    checkpoint_here();
    CHECK(mq_receive(queue, text, sizeof text, NULL) == 9);
}

static void with_child(void)
{
    int p[2], status;
    CHECK(pipe(p) == 0);
    pid_t child = fork();
    if (child == 0) {
        char c;
        close(p[1]);
        _exit(read(p[0], &c, 1) == 1 ? 0 : 1);
    }
    checkpoint_here();
    CHECK(write(p[1], "x", 1) == 1 && waitpid(child, &status, 0) == child && status == 0);
}

static void with_userfaultfd(void)
{
    int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    CHECK(fd >= 0);
    checkpoint_here();
    CHECK(close(fd) == 0);
}

static void with_io_uring(void)
{
    struct io_uring_params params = {0};
    int fd = syscall(SYS_io_uring_setup, 4, &params);
    if (fd < 0)
        fd = syscall(SYS_memfd_secret, 0); /* also a kernel object, where there is no io_uring */
    CHECK(fd >= 0);
    checkpoint_here();
    CHECK(close(fd) == 0);
}

static void with_aio(void)
{
    aio_context_t context = 0;
    CHECK(syscall(SYS_io_setup, 4, &context) == 0);
    checkpoint_here();
    CHECK(syscall(SYS_io_destroy, context) == 0);
}

static void with_device(void)
{
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
    CHECK(fd >= 0);
    checkpoint_here();
    CHECK(close(fd) == 0);
}

static void with_seccomp(void)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {1, &allow};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    checkpoint_here();
}

static void with_rights(void)
{
    int s[2];
    char control[CMSG_SPACE(sizeof(int))] = "";
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *at = CMSG_FIRSTHDR(&message);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    *at = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(at), &s[0], sizeof(int));
    CHECK(sendmsg(s[0], &message, 0) == 1);
    checkpoint_here();
    char c;
    CHECK(read(s[1], &c, 1) == 1);
}

/* A message of no length between others: what comes behind it would be taken for it. */
static void with_empty(int type)
{
    int s[2];
    char c[2];
    CHECK(socketpair(AF_UNIX, type, 0, s) == 0);
    CHECK(send(s[0], "a", 1, 0) == 1 && send(s[0], "", 0, 0) == 0 && send(s[0], "bc", 2, 0) == 2);
    checkpoint_here();
    CHECK(recv(s[1], c, 2, 0) == 1 && recv(s[1], c, 2, 0) == 0 && recv(s[1], c, 2, 0) == 2);
}

static void with_empty_packet(void) { with_empty(SOCK_SEQPACKET); }
static void with_empty_datagram(void) { with_empty(SOCK_DGRAM); }

static void with_lost_watch(void)
{
    int p[2], ep = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(pipe(p) == 0 && epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &event) == 0);
    int copy = dup(p[0]);
    close(p[0]); /* still watched: `copy` keeps the open file */
    checkpoint_here();
    CHECK(write(p[1], "x", 1) == 1 && epoll_wait(ep, &event, 1, 1000) == 1);
    close(copy);
}

static void with_fifo(void)
{
    CHECK(mkfifo("fifo", 0600) == 0);
    int fd = open("fifo", O_RDWR);
    CHECK(fd >= 0);
    checkpoint_here();
    CHECK(write(fd, "x", 1) == 1);
}

static void with_udp(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(bind(fd, (void *)&at, sizeof at) == 0);
    checkpoint_here();
    CHECK(close(fd) == 0);
}

static void with_lost_directory(void)
{
    CHECK(mkdir("lost", 0700) == 0 && chdir("lost") == 0 && rmdir("../lost") == 0);
    checkpoint_here();
    CHECK(chdir("/") == 0);
}

static void with_other_name(void)
{
    int fd = open("one", O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && link("one", "two") == 0 && unlink("one") == 0);
    checkpoint_here();
    CHECK(write(fd, "x", 1) == 1);
}

/* Only root can change its user: for others there is nothing to refuse, and nothing to test. */
static void with_user(void)
{
    CHECK(setresuid(-1, 65534, -1) == 0);
    checkpoint_here();
    CHECK(seteuid(0) == 0);
}

/* Memory without a name, of which a process that is no child has a mapping too. */
static void with_shared_memory(void)
{
    FILE *file = fopen("shared", "w+");
    CHECK(file && ftruncate(fileno(file), 4096) == 0);
    char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    CHECK(at != MAP_FAILED && fclose(file) == 0 && unlink("shared") == 0);
    pid_t child = fork();
    if (child == 0) {
        if (fork() == 0) {
            while (access(go, F_OK) != 0)
                pause_a_little();
            strcpy(at, "told");
        }
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, NULL, 0) == child);
    checkpoint_here();
    while (strcmp(at, "told") != 0)
        pause_a_little();
}

int main(int argc, char **argv)
{
    static const struct kind kinds[] = {
        {"shared", with_shared_memory},
        {"robust", with_robust_mutex},
        {"pi", with_pi_mutex},
        {"sysv", with_sysv},
        {"queue", with_queue},
        {"child", with_child},
        {"userfaultfd", with_userfaultfd},
        {"io_uring", with_io_uring},
        {"aio", with_aio},
        {"device", with_device},
        {"seccomp", with_seccomp},
        {"rights", with_rights},
        {"empty-packet", with_empty_packet},
        {"empty-datagram", with_empty_datagram},
        {"lost-watch", with_lost_watch},
        {"fifo", with_fifo},
        {"udp", with_udp},
        {"lost-directory", with_lost_directory},
        {"other-name", with_other_name},
        {"user", with_user},
    };
    return run_kind(argc, argv, kinds, sizeof kinds / sizeof kinds[0]);
}
