/* Wants handlers for all signals, by signal() and sigaction(), the host's stop signal too. Works until the file of
 * argument 1 is there; then all but those that the host keeps must have come. Before and after that a signal interrupts a
 * read, or does not, as siginterrupt() says. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static volatile sig_atomic_t came[65];

static void handler(int signal)
{
    came[signal] = 1;
}

static int restarts(int number)
{
    struct sigaction action;
    sigaction(number, NULL, &action);
    return (action.sa_flags & SA_RESTART) != 0;
}

/* Does SIGALRM interrupt a read from an empty pipe? */
static int interrupts(void)
{
    struct itimerval often = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
    int ends[2];
    char byte;
    siginterrupt(SIGALRM, 1);
    signal(SIGALRM, handler);
    if (restarts(SIGALRM) || pipe(ends) != 0)
        return 0;
    setitimer(ITIMER_REAL, &often, NULL);
    int code = read(ends[0], &byte, 1), error = errno;
    setitimer(ITIMER_REAL, &never, NULL);
    siginterrupt(SIGALRM, 0);
    return code < 0 && error == EINTR && restarts(SIGALRM);
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
    int interrupted = interrupts();
    puts("ready");
    fflush(stdout);
    while (access(argv[argc - 1], F_OK) != 0)
        usleep(1000);
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (wanted[i] != SIGUSR2)
            raise(wanted[i]);
    came[SIGALRM] = 0;
    raise(SIGALRM);
    interrupted += interrupts();
    signal(SIGALRM, handler);
    if (interrupted != 2 || !restarts(SIGALRM))
        puts("not interrupted");
    puts(came[SIGHUP] + came[SIGUSR1] + came[SIGTERM] + came[SIGALRM] + came[SIGWINCH] == 5 ? "ok" : "lost");
    return 0;
}
