/* The library of crossing.c: a function that does nothing. */
long bench_empty(long x)
{
    return x;
}
