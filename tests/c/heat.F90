! heat: a plate that cools, on a Cartesian grid of ranks, by the `mpi` module, or mpif.h with -DMPIF_H.
!
! Usage: heat -o FILE STEPS EVERY
!
! Every EVERY steps it asks MPI for something of each kind that Fortran has its own way for (functions of its own, LOGICAL, strings,
! MPI_BOTTOM, MPI_IN_PLACE, statuses that are ignored), and rank 0 prints a line, and writes it to FILE.
module counted
#ifndef MPIF_H
   use mpi
#endif
   implicit none
#ifdef MPIF_H
   include 'mpif.h'
#endif
   integer :: copies = 0, deletes = 0, errors = 0, queries = 0, frees = 0
contains
   ! The greater of two by their absolute values.
   subroutine greater(in, inout, n, kind)
      integer :: n, kind, i
      double precision :: in(n), inout(n)
      if (kind /= MPI_DOUBLE_PRECISION) call MPI_Abort(MPI_COMM_WORLD, 3, i)
      do i = 1, n
         if (abs(in(i)) > abs(inout(i))) inout(i) = in(i)
      end do
   end subroutine

   subroutine on_copy(comm, key, extra, value, copy, flag, ierr)
      integer :: comm, key, ierr
      integer(kind=MPI_ADDRESS_KIND) :: extra, value, copy
      logical :: flag
      copies = copies + 1
      copy = value + extra
      flag = .true.
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_delete(comm, key, value, extra, ierr)
      integer :: comm, key, ierr
      integer(kind=MPI_ADDRESS_KIND) :: value, extra
      deletes = deletes + 1
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_old_copy(comm, key, extra, value, copy, flag, ierr)
      integer :: comm, key, extra, value, copy, ierr
      logical :: flag
      copies = copies + 100
      copy = value - extra
      flag = .true.
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_error(comm, code)
      integer :: comm, code, class, ierr
      call MPI_Error_class(code, class, ierr)
      if (class == MPI_ERR_RANK) errors = errors + 1
   end subroutine

   subroutine on_query(extra, status, ierr)
      integer(kind=MPI_ADDRESS_KIND) :: extra
      integer :: status(MPI_STATUS_SIZE), ierr
      queries = queries + 1
      call MPI_Status_set_elements(status, MPI_INTEGER, int(extra), ierr)
      call MPI_Status_set_cancelled(status, .false., ierr)
      status(MPI_SOURCE) = 7
      status(MPI_TAG) = 8
   end subroutine

   subroutine on_free(extra, ierr)
      integer(kind=MPI_ADDRESS_KIND) :: extra
      integer :: ierr
      frees = frees + 1
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_cancel(extra, complete, ierr)
      integer(kind=MPI_ADDRESS_KIND) :: extra
      logical :: complete
      integer :: ierr
      ierr = MPI_SUCCESS
   end subroutine
end module

program heat
   use counted
   implicit none
   integer, parameter :: nx = 40, ny = 30
   double precision :: u(0:nx + 1, 0:ny + 1), v(0:nx + 1, 0:ny + 1), most(2), total, bottom(3)
   integer :: ierr, rank, ranks, grid, dims(2), at(2), west, east, south, north, row
   integer :: op, key, old_key, handler, steps, every, step, i, j, requests(8), dup, odd, request
   integer :: status(MPI_STATUS_SIZE), n, old_value, apart, lengths(2)
   integer(kind=MPI_ADDRESS_KIND) :: extra, value, places(2)
   logical :: periods(2), flag, all_warm
   character(len=8) :: word, words(16)
   character(len=200) :: line
   character(len=256) :: argument

   call MPI_Init(ierr)
   call MPI_Comm_size(MPI_COMM_WORLD, ranks, ierr)
   call get_command_argument(3, argument)
   read (argument, *) steps
   call get_command_argument(4, argument)
   read (argument, *) every
   dims = 0
   periods = (/.false., .true./)
   call MPI_Dims_create(ranks, 2, dims, ierr)
   call MPI_Cart_create(MPI_COMM_WORLD, 2, dims, periods, .false., grid, ierr)
   call MPI_Comm_rank(grid, rank, ierr)
   call MPI_Cart_coords(grid, rank, 2, at, ierr)
   call MPI_Cart_shift(grid, 0, 1, west, east, ierr)
   call MPI_Cart_shift(grid, 1, 1, south, north, ierr)
   if (rank == 0) then
      call get_command_argument(2, argument)
      open (10, file=trim(argument), status='replace')
   end if

   call MPI_Type_vector(ny, 1, nx + 2, MPI_DOUBLE_PRECISION, row, ierr)
   call MPI_Type_commit(row, ierr)
   call MPI_Op_create(greater, .true., op, ierr)
   extra = 5
   call MPI_Comm_create_keyval(on_copy, on_delete, key, extra, ierr)
   value = 1000 + rank
   call MPI_Comm_set_attr(grid, key, value, ierr)
   call MPI_Keyval_create(on_old_copy, MPI_NULL_DELETE_FN, old_key, 3, ierr)
   call MPI_Attr_put(grid, old_key, 77, ierr)
   call MPI_Comm_create_errhandler(on_error, handler, ierr)
   call MPI_Comm_set_errhandler(grid, handler, ierr)
   lengths = (/1, 1/)
   call MPI_Get_address(bottom(1), places(1), ierr)
   call MPI_Get_address(bottom(3), places(2), ierr)
   call MPI_Type_create_hindexed(2, lengths, places, MPI_DOUBLE_PRECISION, apart, ierr)
   call MPI_Type_commit(apart, ierr)

   do j = 0, ny + 1
      do i = 0, nx + 1
         u(i, j) = sin(0.1d0*(i + nx*at(1))) + 0.01d0*(j + ny*at(2))
      end do
   end do

   do step = 1, steps
      call MPI_Irecv(u(0, 1), 1, row, west, 1, grid, requests(1), ierr)
      call MPI_Irecv(u(nx + 1, 1), 1, row, east, 2, grid, requests(2), ierr)
      call MPI_Irecv(u(1, 0), nx, MPI_DOUBLE_PRECISION, south, 3, grid, requests(3), ierr)
      call MPI_Irecv(u(1, ny + 1), nx, MPI_DOUBLE_PRECISION, north, 4, grid, requests(4), ierr)
      call MPI_Isend(u(nx, 1), 1, row, east, 1, grid, requests(5), ierr)
      call MPI_Isend(u(1, 1), 1, row, west, 2, grid, requests(6), ierr)
      call MPI_Isend(u(1, ny), nx, MPI_DOUBLE_PRECISION, north, 3, grid, requests(7), ierr)
      call MPI_Isend(u(1, 1), nx, MPI_DOUBLE_PRECISION, south, 4, grid, requests(8), ierr)
      call MPI_Waitall(8, requests, MPI_STATUSES_IGNORE, ierr)
      do j = 1, ny
         do i = 1, nx
            v(i, j) = u(i, j) + 0.2d0*(u(i - 1, j) + u(i + 1, j) + u(i, j - 1) + u(i, j + 1) - 4*u(i, j))
         end do
      end do
      u(1:nx, 1:ny) = v(1:nx, 1:ny)
      if (mod(step, every) /= 0) cycle

      most(1) = -maxval(abs(u(1:nx, 1:ny)))
      most(2) = step
      call MPI_Allreduce(MPI_IN_PLACE, most, 2, MPI_DOUBLE_PRECISION, op, grid, ierr)
      call MPI_Reduce(sum(u(1:nx, 1:ny)), total, 1, MPI_DOUBLE_PRECISION, MPI_SUM, 0, grid, ierr)
      call MPI_Comm_dup(grid, dup, ierr)
      call MPI_Comm_get_attr(dup, key, value, flag, ierr)
      if (.not. flag) call MPI_Abort(MPI_COMM_WORLD, 4, ierr)
      call MPI_Attr_get(dup, old_key, old_value, flag, ierr)
      if (.not. flag) call MPI_Abort(MPI_COMM_WORLD, 5, ierr)
      call MPI_Send(step, 1, MPI_INTEGER, ranks + 3, 0, dup, ierr)
      call MPI_Error_class(ierr, odd, ierr)
      if (odd /= MPI_ERR_RANK) call MPI_Abort(MPI_COMM_WORLD, 6, ierr)
      bottom = rank + step*(/1, 2, 3/)
      call MPI_Bcast(MPI_BOTTOM, 1, apart, ranks - 1, dup, ierr)
      call MPI_Comm_free(dup, ierr)
      call MPI_Allreduce(maxval(u) > 0, all_warm, 1, MPI_LOGICAL, MPI_LAND, grid, ierr)
      write (word, '(a1,i2.2,i5.5)') 'r', rank, step
      call MPI_Gather(word, 8, MPI_CHARACTER, words, 8, MPI_CHARACTER, 0, grid, ierr)
      extra = 9
      call MPI_Grequest_start(on_query, on_free, on_cancel, extra, request, ierr)
      call MPI_Grequest_complete(request, ierr)
      call MPI_Wait(request, status, ierr)
      call MPI_Get_count(status, MPI_INTEGER, n, ierr)
      if (n /= 9 .or. status(MPI_TAG) /= 8 .or. request /= MPI_REQUEST_NULL) call MPI_Abort(MPI_COMM_WORLD, 7, ierr)
      if (rank == 0) then
         write (line, '(i7,2es24.16,3f9.0,a9,l2,7i7)') step, most(1), total, bottom, words(ranks), all_warm, &
            copies, deletes, errors, queries, frees, int(value), old_value
         write (*, '(a)') trim(line)
         write (10, '(a)') trim(line)
         flush (6)
         flush (10)
      end if
      call MPI_Barrier(grid, ierr)
   end do
   call MPI_Comm_free_keyval(key, ierr)
   call MPI_Keyval_free(old_key, ierr)
   call MPI_Errhandler_free(handler, ierr)
   call MPI_Op_free(op, ierr)
   call MPI_Type_free(row, ierr)
   call MPI_Type_free(apart, ierr)
   call MPI_Comm_free(grid, ierr)
   call MPI_Finalize(ierr)
end program
