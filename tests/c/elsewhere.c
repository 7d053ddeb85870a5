/* FOLDER LINES: goes there, and prints where it is so many times. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char where[PATH_MAX];
    if (argc < 3 || chdir(argv[1]) != 0)
        return 2;
    for (int i = 0; i < atoi(argv[2]); i++) {
        puts(getcwd(where, sizeof where));
        fflush(stdout);
        usleep(20000);
    }
    return 0;
}
