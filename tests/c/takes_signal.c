/* Wants handlers for all signals, by signal() and sigaction(), the host's stop signal too. Works until the file of
 * argument 1 is there; then all but those that the host keeps must have come. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t came[65];

static void handler(int signal)
{
    came[signal] = 1;
}

int main(int argc, char **argv)
{
    static const int wanted[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGALRM, SIGWINCH};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        signal(wanted[i], handler);
        sigaction(wanted[i], &action, NULL);
    }
    puts("ready");
    fflush(stdout);
    while (access(argv[argc - 1], F_OK) != 0)
        usleep(1000);
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (wanted[i] != SIGUSR2)
            raise(wanted[i]);
    puts(came[SIGHUP] + came[SIGUSR1] + came[SIGTERM] + came[SIGALRM] + came[SIGWINCH] == 5 ? "ok" : "lost");
    return 0;
}
