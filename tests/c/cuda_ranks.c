/* cuda.c as a program of two MPI ranks. */
#include <mpi.h>
#define WITH_MPI
#include "cuda.c"
