/*
 * splitproc.h: lower halves of a program's own.
 *
 *   splitproc launch --half NAME=LIBRARY -- ./program
 *
 * loads LIBRARY in a lower half: with an ld.so, a libc and an address range of its own, never saved, and
 * loaded afresh at a restart. The program calls it through the functions below, from any thread.
 * docs/halves.md tells more.
 *
 * All are weak: a program that is run without splitproc finds them null, and links without any library.
 */
#ifndef SPLITPROC_H
#define SPLITPROC_H

#ifdef __cplusplus
extern "C" {
#endif

#define SPLITPROC_WEAK __attribute__((weak))

/* The lower half NAME, or -1. It stays the same over restarts. */
SPLITPROC_WEAK int splitproc_half(const char *name);

/* A symbol's address in a lower half, or a null pointer. Good until the next restart. */
SPLITPROC_WEAK void *splitproc_symbol(int half, const char *symbol);

/* Calls a function of the half with integers and pointers, as many as it takes. A checkpoint waits for its end. */
SPLITPROC_WEAK long splitproc_call(int half, void *function, int nargs, const long *args);

/* Restarts so far: when it has changed, the halves are fresh ones, which know nothing of the old ones. */
SPLITPROC_WEAK unsigned splitproc_generation(void);

/* Between the two no checkpoint is taken, so that addresses and handles stay good. Gives the generation. */
SPLITPROC_WEAK unsigned splitproc_enter(void);
SPLITPROC_WEAK void splitproc_leave(void);

/* For calls that wait for long: a checkpoint does not wait for this one, so it must have no effect until it
 * returns. 0: done, *result is set. 1: the halves are not those of `generation` any more, and the call has had
 * no effect: look symbols up again, then call again. */
SPLITPROC_WEAK int splitproc_try(unsigned generation, int half, void *function, int nargs, const long *args,
                                 long *result);

/* What a lower half is given in place of a function of the program (at most six integers and pointers). Good for
 * ever. Null: there are 64 already. */
SPLITPROC_WEAK void *splitproc_callback(void *function);

#ifdef __cplusplus
}
#endif
#endif
