/* With -DLIBRARY a library, else a program: its constructor says NAME on stderr. */
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void begin(void)
{
    if (write(STDERR_FILENO, NAME " ", strlen(NAME " ")) < 0)
        _exit(1);
}

#ifndef LIBRARY
int main(void) { return write(STDERR_FILENO, "main\n", 5) != 5; }
#endif
