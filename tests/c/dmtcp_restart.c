/* Stands in for `dmtcp_restart [OPTION]... IMAGE`: hands its environment and descriptors (PMI_FD too) to the process
 * that the image file names, and ends with its code; see dmtcp_host.c. */
#include "dmtcp_host.h"
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv)
{
    static char bytes[MOST_BYTES], path[sizeof(struct sockaddr_un)];
    FILE *image = fopen(argv[argc - 1], "r");
    if (!image || !fgets(path, sizeof path, image))
        return fprintf(stderr, "dmtcp_restart: %s is no image\n", argv[argc - 1]), 1;
    size_t len = 0;
    for (char **v = environ; *v; v++) {
        size_t more = strlen(*v) + 1;
        if (len + more > sizeof bytes)
            return 1;
        memcpy(bytes + len, *v, more);
        len += more;
    }
    struct sockaddr_un at = address(path);
    int to = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), size = MOST_BYTES * 2;
    setsockopt(to, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (connect(to, (struct sockaddr *)&at, sizeof at) != 0)
        return perror(path), 1;
    char *pmi = getenv("PMI_FD");
    int fds[MOST_FDS] = {0, 1, 2, pmi ? atoi(pmi) : 0}, count = pmi ? 4 : 3;
    if (pass(to, 1, bytes, len, fds, &count) < 0)
        return perror("dmtcp_restart: send"), 1;
    if (pmi)
        close(fds[3]);
    unsigned char code = 1, none;
    /* The code, when it is known; then the process's end. */
    if (read(to, &code, 1) == 1)
        while (read(to, &none, 1) == 1)
            ;
    return code;
}
