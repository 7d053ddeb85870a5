#!/usr/bin/python3
"""MPI in C first, by mpi4py; Fortran's library is opened later, and asked for what lies inside MPI's objects."""
from ctypes import CDLL, byref, c_int, c_long

from mpi4py import MPI

comm = MPI.COMM_WORLD.Dup()
library = CDLL("libmpi_mpifh.so.40")
handle, error, found, value = c_int(comm.py2f()), c_int(-1), c_int(0), c_long(0)
group, part, size, zero = c_int(0), c_int(0), c_int(0), c_int(0)
library.mpi_comm_get_attr_(byref(handle), byref(c_int(MPI.TAG_UB)), byref(value), byref(found), byref(error))
assert error.value == 0 and found.value == 1 and value.value == comm.Get_attr(MPI.TAG_UB)
library.mpi_comm_group_(byref(handle), byref(group), byref(error))
library.mpi_group_incl_(byref(group), byref(c_int(1)), byref(zero), byref(part), byref(error))
library.mpi_group_size_(byref(part), byref(size), byref(error))
assert error.value == 0 and size.value == 1 and MPI.Group.f2py(part.value).size == 1
print("ok")
