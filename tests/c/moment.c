/*
 * Stops a program before one of its MPI calls: preloaded into each program of MPICH's test suite, so that
 * tests/conformance can take a checkpoint there. It interposes every MPI function under both its names, for the
 * libraries of Fortran call some by the one and some by the other.
 *
 * MOMENT_RANK and MOMENT_CALL: the rank, and the number of its call. It makes the file MOMENT_AT there, and
 * goes on when there is MOMENT_GO. With MOMENT_COUNT each rank writes its number of calls to that and its rank.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int PMPI_Initialized(int *);
int PMPI_Finalized(int *);

static const char *own_rank(void)
{
    const char *mpich = getenv("PMI_RANK");
    return mpich ? mpich : getenv("OMPI_COMM_WORLD_RANK");
}

static long calls, when = -1;
static int sessions;

__attribute__((used)) static void moment(void)
{
    int begun = 0, ended = 0;
    PMPI_Initialized(&begun);
    if (begun)
        PMPI_Finalized(&ended);
    if (!(begun || sessions) || ended)
        return;
    if (when < 0) {
        const char *call = getenv("MOMENT_CALL"), *rank = getenv("MOMENT_RANK"), *own = own_rank();
        when = call && rank && own && strcmp(rank, own) == 0 ? atol(call) : 0;
    }
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) != when)
        return;
    close(open(getenv("MOMENT_AT"), O_WRONLY | O_CREAT, 0666));
    while (access(getenv("MOMENT_GO"), F_OK) != 0)
        usleep(1000);
}

__attribute__((destructor)) static void count(void)
{
    const char *at = getenv("MOMENT_COUNT"), *own = own_rank();
    char name[4096];
    if (!at || !own)
        return;
    snprintf(name, sizeof name, "%s.%s", at, own);
    FILE *f = fopen(name, "w");
    if (f) {
        fprintf(f, "%ld\n", calls);
        fclose(f);
    }
}

/* Every function jumps to here, with its real one in a register that is no argument's. */
asm(".text\n"
    "moment_enter:\n"
    "  push %rdi; push %rsi; push %rdx; push %rcx; push %r8; push %r9; push %r11\n"
    "  call moment\n"
    "  pop %r11; pop %r9; pop %r8; pop %rcx; pop %rdx; pop %rsi; pop %rdi\n"
    "  jmp *%r11\n");
#define INTERPOSE(name)                                 \
    __attribute__((used)) static void *real_##name;     \
    asm(".globl MPI_" #name ", PMPI_" #name "\n"        \
        ".type MPI_" #name ", @function\n"              \
        ".type PMPI_" #name ", @function\n"             \
        "MPI_" #name ":\n"                              \
        "PMPI_" #name ":\n"                             \
        "  mov real_" #name "(%rip), %r11\n"            \
        "  jmp moment_enter\n"                          \
        ".size MPI_" #name ", . - MPI_" #name "\n"      \
        ".size PMPI_" #name ", . - PMPI_" #name "\n");
#include "names.h"
#undef INTERPOSE

/* A program of sessions has no MPI_Init. */
int MPI_Session_init(int info, int handler, void *session)
{
    int (*real)(int, int, void *) = (int (*)(int, int, void *))dlsym(RTLD_NEXT, "PMPI_Session_init");
    int code = real(info, handler, session);
    sessions = 1;
    return code;
}

int PMPI_Session_init(int info, int handler, void *session) __attribute__((alias("MPI_Session_init")));

__attribute__((constructor)) static void find(void)
{
#define INTERPOSE(name) real_##name = dlsym(RTLD_NEXT, "PMPI_" #name);
#include "names.h"
}
