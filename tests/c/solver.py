#!/usr/bin/python3
"""A plate that cools, by mpi4py: each step solves a linear system by conjugate gradients, over rows that the ranks share.

Usage: solver.py -o FILE STEPS EVERY

Every EVERY steps all ranks tell rank 0 what they have, in messages of Python objects, and rank 0 prints a line, and writes it to FILE.
"""
import sys
from array import array

from mpi4py import MPI

N = 12
STIFF = 0.4

world = MPI.COMM_WORLD
line = world.Create_cart([world.size], periods=[False])
rank = line.rank
above, below = line.Shift(0, 1)
first, last = rank * N // line.size, (rank + 1) * N // line.size
rows = last - first


def most(a, b, kind):
    """An operator of the program's own."""
    x, y = memoryview(a).cast("d"), memoryview(b).cast("d")
    for i in range(len(y)):
        y[i] = max(x[i], y[i])


MOST = MPI.Op.Create(most, commute=True)


def plate(value=lambda i, j: 0.0):
    """The rank's rows, with a row above and one below."""
    return array("d", (value(first + i - 1, j) for i in range(rows + 2) for j in range(N)))


def total(x):
    """The sum over all ranks."""
    buffer = array("d", [x])
    line.Allreduce(MPI.IN_PLACE, buffer)
    return buffer[0]


def dot(x, y):
    return total(sum(x[i] * y[i] for i in range(N, N * (rows + 1))))


def applied(x):
    """The system's matrix times a plate, whose rows above and below are got from the neighbours."""
    upper, lower = array("d", bytes(8 * N)), array("d", bytes(8 * N))
    wanted = [line.Irecv(upper, source=above, tag=1), line.Irecv(lower, source=below, tag=2)]
    line.Send(x[N * rows : N * (rows + 1)], dest=below, tag=1)
    line.Send(x[N : 2 * N], dest=above, tag=2)
    MPI.Request.Waitall(wanted)
    x[:N], x[N * (rows + 1) :] = upper, lower
    y = plate()
    for i in range(N, N * (rows + 1)):
        sides = x[i - N] + x[i + N]
        if i % N:
            sides += x[i - 1]
        if i % N < N - 1:
            sides += x[i + 1]
        y[i] = x[i] + STIFF * (4 * x[i] - sides)
    return y


def solved(b, x):
    """Solves for b, from a guess; the number of iterations as well."""
    ax = applied(x)
    r = array("d", (b[i] - ax[i] for i in range(len(b))))
    p, old, count = array("d", r), dot(r, r), 0
    while old > 1e-20:
        ap = applied(p)
        alpha = old / dot(p, ap)
        for i in range(N, N * (rows + 1)):
            x[i] += alpha * p[i]
            r[i] -= alpha * ap[i]
        new = dot(r, r)
        p = array("d", (r[i] + new / old * p[i] for i in range(len(r))))
        old, count = new, count + 1
    return x, count


def main():
    _, path, steps, every = sys.argv[1:]
    file = open(path, "w") if rank == 0 else None
    u = plate(lambda i, j: (i * 7 + j * 3) % 11 / 11.0)
    iterations = 0
    for step in range(1, int(steps) + 1):
        u, count = solved(u, array("d", u))
        iterations += count
        # It is warmed where the step says.
        if first <= step % N < last:
            u[N * (step % N - first + 1) + step * 5 % N] += 1.0
        if step % int(every):
            continue
        peak = array("d", [max(u[N : N * (rows + 1)]), float(step)])
        line.Allreduce(MPI.IN_PLACE, [peak, MPI.DOUBLE], op=MOST)
        told = line.gather({"rank": rank, "sum": sum(u[N : N * (rows + 1)])}, root=0)
        heat = dot(u, u)
        if rank == 0:
            text = f"{step} {iterations} {peak[0]!r} {heat!r} {[(t['rank'], t['sum']) for t in told]}\n"
            for out in (sys.stdout, file):
                out.write(text)
                out.flush()
        line.Barrier()


main()
