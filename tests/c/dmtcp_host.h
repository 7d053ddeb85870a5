/* What the stand-in for DMTCP and its `dmtcp_restart` say to each other. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A message: bytes, and descriptors that go with the first of them. */
enum { MOST_BYTES = 1 << 16, MOST_FDS = 4 };

static inline struct sockaddr_un address(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strnlen(path, sizeof at.sun_path - 1));
    return at;
}

static inline long pass(int socket, int sends, char *bytes, size_t len, int *fds, int *count)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(MOST_FDS * sizeof(int))];
    } control = {{0}};
    struct iovec part = {bytes, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = sends ? CMSG_SPACE(*count * sizeof(int)) : sizeof control;
    struct cmsghdr *with = &control.head;
    if (sends) {
        with->cmsg_level = SOL_SOCKET;
        with->cmsg_type = SCM_RIGHTS;
        with->cmsg_len = CMSG_LEN(*count * sizeof(int));
        memcpy(CMSG_DATA(with), fds, *count * sizeof(int));
        return sendmsg(socket, &message, MSG_NOSIGNAL);
    }
    long got = recvmsg(socket, &message, 0);
    *count = got > 0 && message.msg_controllen ? (int)((with->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
    memcpy(fds, CMSG_DATA(with), *count * sizeof(int));
    return got;
}
