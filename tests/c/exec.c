/* A program that executes itself, in its own place or in a child's, and tells what it finds then. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char *self;

static int prefixed(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

/* Is this process splitproc's? */
static void where(FILE *to)
{
	char line[4096];
	int ours = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, maps))
		ours |= strstr(line, "lh-loader") != NULL;
	fclose(maps);
	fprintf(to, "%s\n", ours ? "under splitproc" : "without splitproc");
}

/* Everything that the kernel hands from one program to the next. */
static int show(int argc, char **argv, int named)
{
	char text[4096];
	for (int i = 0; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	if (named) {
		prctl(PR_GET_NAME, text);
		printf("name: %s\nexecfn: %s\n", text, (char *)getauxval(AT_EXECFN));
	}
	for (char **e = environ; *e; e++)
		if (prefixed(*e, "OWN="))
			printf("process: %s\n", atoi(*e + 4) == getpid() && getpid() == gettid() ? "the same" : "another");
		else if (!prefixed(*e, "LHINFO_PTR="))
			printf("variable: %s\n", *e);
	printf("folder: %s\numask: %o\nnice: %d\n", getcwd(text, sizeof text), umask(0), getpriority(PRIO_PROCESS, 0));
	for (int fd = 0; fd < 290; fd++) {
		int flags = fcntl(fd, F_GETFD);
		if (flags >= 0)
			printf("descriptor %d: %d, offset %ld\n", fd, flags, fd > 2 ? (long)lseek(fd, 0, SEEK_CUR) : 0);
	}
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	printf("open files: %ld, %ld\n", (long)files.rlim_cur, (long)files.rlim_max);
	sigset_t blocked, pending;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	sigpending(&pending);
	for (int n = 1; n < 63; n++) {
		struct sigaction action = { 0 };
		sigaction(n, NULL, &action);
		int is[3] = { sigismember(&blocked, n) == 1, sigismember(&pending, n) == 1, action.sa_handler == SIG_IGN };
		if (is[0] || is[1] || is[2] || action.sa_handler != SIG_DFL)
			printf("signal %d: blocked %d, pending %d, ignored %d, handled %d\n", n, is[0], is[1], is[2],
			       action.sa_handler != SIG_DFL && !is[2]);
	}
	struct itimerval left;
	getitimer(ITIMER_REAL, &left);
	printf("alarm: %d\n", left.it_value.tv_sec > 0);
	where(stderr);
	return 0;
}

static void handler(int number) { (void)number; }

/* States that a program inherits, and some that it does not. */
static void prepare(int quiet)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR2);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, quiet ? SIG_IGN : SIG_DFL);
	signal(SIGTERM, handler);
	umask(027);
	setpriority(PRIO_PROCESS, 0, 5);
	dup2(open(self, O_RDONLY), 70);
	dup2(open(self, O_RDONLY), 71);
	fcntl(71, F_SETFD, FD_CLOEXEC);
	lseek(70, 7, SEEK_SET);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ quiet ? 300 : 2000, quiet ? 600 : 20000 });
	if (quiet)
		close(0);
	alarm(100);
}

static char own[32];
static char *variables[] = { "B=2", own, "A=1", "odd", "A=again", "LD_PRELOAD=libm.so.6", "C=3", NULL };
static char *named[] = { "-odd name", "show", "a b", "", "--", "last", NULL };
static char *unnamed[] = { "odd", "unnamed", "a b", NULL };

static void *in_thread(void *unused)
{
	execve(self, named, variables);
	return unused;
}

static int go(const char *how)
{
	pthread_t thread;
	prepare(!strcmp(how, "thread"));
	sprintf(own, "OWN=%d", getpid());
	setenv("PATH", "/bin:.", 1);
	if (!strcmp(how, "execve"))
		execve(self, named, variables);
	if (!strcmp(how, "nameless"))
		execve(self, (char *[]){ NULL }, variables);
	if (!strcmp(how, "thread") && !pthread_create(&thread, NULL, in_thread, NULL))
		pthread_join(thread, NULL);
	if (!strcmp(how, "fexecve"))
		fexecve(open(self, O_RDONLY | O_CLOEXEC), unnamed, variables);
	if (!strcmp(how, "folder"))
		syscall(SYS_execveat, open(".", O_RDONLY | O_CLOEXEC), "linked", unnamed, variables, 0);
	if (!strcmp(how, "self"))
		execve("/proc/self/exe", unnamed, variables);
	if (!strcmp(how, "path"))
		execvpe("linked", named, variables);
	if (!strcmp(how, "script"))
		execve("./script", named, variables);
	if (!strcmp(how, "plain"))
		execvpe("plain", named, variables);
	perror(how);
	return 1;
}

/* What can't be executed: the caller is told, and goes on. */
static int errors(void)
{
	char *argv[] = { "x", NULL };
	char *large = malloc(1 << 20);
	memset(large, 'x', (1 << 20) - 1);
	large[(1 << 20) - 1] = 0;
	char *too_large[] = { "x", large, NULL };
	const char *files[] = { "missing", "missing/x", "file", "folder", "file/x", "text", "lost-script", "lost-program",
				"loop", "damaged", "empty", "turning", "bare", "" };
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		execve(files[i], argv, environ);
		printf("%s: %s\n", files[i], strerror(errno));
	}
	execve(self, too_large, environ);
	printf("too large: %s\n", strerror(errno));
	syscall(SYS_execve, NULL, argv, environ);
	printf("no path: %s\n", strerror(errno));
	syscall(SYS_execveat, AT_FDCWD, "linked", argv, environ, AT_SYMLINK_NOFOLLOW);
	printf("link: %s\n", strerror(errno));
	syscall(SYS_execveat, AT_FDCWD, self, argv, environ, 0x40000000);
	printf("odd flags: %s\n", strerror(errno));
	syscall(SYS_execveat, 444, "linked", argv, environ, 0);
	printf("closed descriptor: %s\n", strerror(errno));
	syscall(SYS_execveat, 444, "", argv, environ, AT_EMPTY_PATH);
	printf("closed descriptor itself: %s\n", strerror(errno));
	return 0;
}

static int children(void)
{
	char *argv[] = { "exec", "where", NULL };
	pid_t pid;
	for (volatile int i = 0; i < 3; i++) {
		if (i == 2)
			posix_spawn(&pid, self, NULL, NULL, argv, environ);
		else if (!(pid = i ? vfork() : fork())) {
			execve(self, argv, environ);
			_exit(1);
		}
		waitpid(pid, NULL, 0);
	}
	if (system("./linked where"))
		return 1;
	execve(self, argv, environ);
	return 1;
}

static void ids(void) { printf("process %d, thread %d, parent %d\n", getpid(), gettid(), getppid()); }

int main(int argc, char **argv)
{
	static char path[4096];
	char number[16];
	self = path;
	if (readlink("/proc/self/exe", path, sizeof path - 1) < 0)
		return 1;
	const char *what = argc > 1 ? argv[1] : "show";
	/* Nothing may be left in a buffer. */
	setvbuf(stdout, NULL, _IONBF, 0);
	if (!strcmp(what, "show") || !strcmp(what, "unnamed"))
		return show(argc, argv, !strcmp(what, "show"));
	if (!strcmp(what, "go"))
		return go(argv[2]);
	if (!strcmp(what, "errors"))
		return errors();
	if (!strcmp(what, "where")) {
		where(stdout);
		return 0;
	}
	if (!strcmp(what, "children"))
		return children();
	if (!strcmp(what, "later") && argc > 3) {
		/* Executes itself when a file is there, with the arguments behind its name. */
		ids();
		while (access(argv[2], F_OK))
			usleep(1000);
		argv[2] = "exec";
		execv(self, argv + 2);
	}
	if (!strcmp(what, "chain")) {
		printf("%s\n", argv[2]);
		if (!atoi(argv[2]))
			return 0;
		/* Each time the checkpoint is a little further. */
		kill(getpid(), SIGUSR1);
		usleep(atoi(argv[2]) * 100);
		sprintf(number, "%d", atoi(argv[2]) - 1);
		execl(self, "exec", "chain", number, NULL);
	}
	if (!strcmp(what, "last")) {
		ids();
		return 0;
	}
	perror(what);
	return 1;
}
