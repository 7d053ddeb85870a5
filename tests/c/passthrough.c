/* Writes to both outputs, some of it not text, copies its arguments, and exits with a code. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    static const unsigned char bytes[] = {0, 1, 0x7f, 0x80, 0xff, '\n', 0};
    if (argc < 2)
        return 99;
    fwrite(bytes, 1, sizeof bytes, stdout);
    for (int i = 2; i < argc; i++)
        printf("<%s>", argv[i]);
    const char *value = getenv("PASSTHROUGH");
    printf("[%s]", value ? value : "");
    for (char **e = environ; *e; e++)
        if (__builtin_strncmp(*e, "SPLITPROC_", 10) == 0)
            printf("{%s}", *e);
    fputs("a complaint, without a newline", stderr);
    fflush(stdout);
    if (atoi(argv[1]) == -1)
        abort();
    return atoi(argv[1]);
}
