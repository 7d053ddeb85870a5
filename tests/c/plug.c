/* A library that halves open late. Built as it is, its TLS is dynamic and too large for a thread's static block;
 * with -DFIXED it takes static TLS, and its constructor uses it. */
#include <string.h>

#ifdef FIXED
static __thread long value __attribute__((tls_model("initial-exec"))) = 40;
static long seen;

__attribute__((constructor)) static void begin(void)
{
    seen = value;
    value += 2;
}

/* What the constructor found, then the calling thread's own count. */
long late_first(void)
{
    return seen;
}

long late_count(void)
{
    return ++value;
}
#else
static __thread long value = 7;
static __thread char large[64 << 10];

/* Counts the calling thread's calls from 8 on; -1: its memory has changed. */
long plug_count(long thread)
{
    if (value > 7 && (large[0] != (char)thread || large[sizeof large - 1] != (char)thread))
        return -1;
    memset(large, (int)thread, sizeof large);
    return ++value;
}
#endif
