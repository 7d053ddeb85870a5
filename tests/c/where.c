/* A library that says where it was found. */
#ifndef NAME
#define NAME "nowhere"
#endif
const char *where(void) { return NAME; }
