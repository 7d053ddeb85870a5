! heat08: the plate of heat.F90 by the `mpi_f08` module. Rows are array sections, which the module's library makes datatypes of
! where it can (Open MPI 4 can't).
!
! Usage: heat08 -o FILE STEPS EVERY
module counted
   use mpi_f08
   implicit none
   integer :: copies = 0, deletes = 0, errors = 0, queries = 0, frees = 0
contains
   subroutine greater(in, inout, n, kind)
      use, intrinsic :: iso_c_binding, only: c_ptr, c_f_pointer
      type(c_ptr), value :: in, inout
      integer :: n, i
      type(MPI_Datatype) :: kind
      double precision, pointer :: a(:), b(:)
      if (kind /= MPI_DOUBLE_PRECISION) call MPI_Abort(MPI_COMM_WORLD, 3)
      call c_f_pointer(in, a, (/n/))
      call c_f_pointer(inout, b, (/n/))
      do i = 1, n
         if (abs(a(i)) > abs(b(i))) b(i) = a(i)
      end do
   end subroutine

   subroutine on_copy(comm, key, extra, value, copy, flag, ierr)
      type(MPI_Comm) :: comm
      integer :: key, ierr
      integer(kind=MPI_ADDRESS_KIND) :: extra, value, copy
      logical :: flag
      copies = copies + 1
      copy = value + extra
      flag = .true.
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_delete(comm, key, value, extra, ierr)
      type(MPI_Comm) :: comm
      integer :: key, ierr
      integer(kind=MPI_ADDRESS_KIND) :: value, extra
      deletes = deletes + 1
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_type_copy(kind, key, extra, value, copy, flag, ierr)
      type(MPI_Datatype) :: kind
      integer :: key, ierr
      integer(kind=MPI_ADDRESS_KIND) :: extra, value, copy
      logical :: flag
      copies = copies + 100
      copy = value - extra
      flag = .true.
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_type_delete(kind, key, value, extra, ierr)
      type(MPI_Datatype) :: kind
      integer :: key, ierr
      integer(kind=MPI_ADDRESS_KIND) :: value, extra
      deletes = deletes + 100
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_window_delete(window, key, value, extra, ierr)
      type(MPI_Win) :: window
      integer :: key, ierr
      integer(kind=MPI_ADDRESS_KIND) :: value, extra
      deletes = deletes + int(value)
      ierr = MPI_SUCCESS
   end subroutine

   subroutine on_error(comm, code)
      type(MPI_Comm) :: comm
      integer :: code, class
      call MPI_Error_class(code, class)
      if (class == MPI_ERR_RANK) errors = errors + 1
   end subroutine

   subroutine on_query(extra, status, ierr)
      integer(kind=MPI_ADDRESS_KIND) :: extra
      type(MPI_Status) :: status
      integer :: ierr
      queries = queries + 1
      call MPI_Status_set_elements(status, MPI_INTEGER, int(extra))
      call MPI_Status_set_cancelled(status, .false.)
      status%MPI_SOURCE = 7
      status%MPI_TAG = 8
      ierr = MPI_SUCCESS
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

program heat08
   use counted
   implicit none
   integer, parameter :: nx = 40, ny = 30
   double precision, asynchronous :: u(0:nx + 1, 0:ny + 1)
   double precision :: v(0:nx + 1, 0:ny + 1), most(2), total
   double precision, asynchronous :: bottom(3)
   integer :: rank, ranks, dims(2), at(2), west, east, south, north, steps, every, step, i, j, key, type_key, win_key, n, ierr, odd
   type(MPI_Comm) :: grid, dup, ring
   type(MPI_Op) :: op
   type(MPI_Errhandler) :: handler
   type(MPI_Request) :: requests(8), request
   type(MPI_Status) :: status, statuses(8)
   type(MPI_Win) :: window
   type(MPI_Datatype) :: apart, other, row
   integer(kind=MPI_ADDRESS_KIND) :: extra, value, places(2), type_value, win_value, win_size, win_unit
   logical :: flag, all_warm
   integer :: one(1), next(1), before(1), after(1)
   character(len=8) :: word, words(16)
   character(len=200) :: line
   character(len=256) :: argument

   call MPI_Init()
   call MPI_Comm_size(MPI_COMM_WORLD, ranks)
   call get_command_argument(3, argument)
   read (argument, *) steps
   call get_command_argument(4, argument)
   read (argument, *) every
   dims = 0
   call MPI_Dims_create(ranks, 2, dims)
   call MPI_Cart_create(MPI_COMM_WORLD, 2, dims, (/.false., .true./), .false., grid)
   call MPI_Comm_rank(grid, rank)
   call MPI_Cart_coords(grid, rank, 2, at)
   call MPI_Cart_shift(grid, 0, 1, west, east)
   call MPI_Cart_shift(grid, 1, 1, south, north)
   if (rank == 0) then
      call get_command_argument(2, argument)
      open (10, file=trim(argument), status='replace')
   end if

   call MPI_Op_create(greater, .true., op)
   extra = 5
   call MPI_Comm_create_keyval(on_copy, on_delete, key, extra)
   value = 1000 + rank
   call MPI_Comm_set_attr(grid, key, value)
   call MPI_Type_create_keyval(on_type_copy, on_type_delete, type_key, extra)
   call MPI_Comm_create_errhandler(on_error, handler)
   call MPI_Comm_set_errhandler(grid, handler)
   call MPI_Get_address(bottom(1), places(1))
   call MPI_Get_address(bottom(3), places(2))
   call MPI_Type_create_hindexed_block(2, 1, places, MPI_DOUBLE_PRECISION, apart)
   call MPI_Type_commit(apart)
   call MPI_Type_vector(ny, 1, nx + 2, MPI_DOUBLE_PRECISION, row)
   call MPI_Type_commit(row)
   call MPI_Type_set_attr(apart, type_key, value)
   win_size = 24
   call MPI_Win_create(bottom, win_size, 8, MPI_INFO_NULL, MPI_COMM_WORLD, window)
   call MPI_Win_create_keyval(MPI_WIN_NULL_COPY_FN, on_window_delete, win_key, extra)

   do j = 0, ny + 1
      do i = 0, nx + 1
         u(i, j) = sin(0.1d0*(i + nx*at(1))) + 0.01d0*(j + ny*at(2))
      end do
   end do

   do step = 1, steps
      if (MPI_SUBARRAYS_SUPPORTED) then
         call MPI_Irecv(u(0, 1:ny), ny, MPI_DOUBLE_PRECISION, west, 1, grid, requests(1))
         call MPI_Irecv(u(nx + 1, 1:ny), ny, MPI_DOUBLE_PRECISION, east, 2, grid, requests(2))
         call MPI_Isend(u(nx, 1:ny), ny, MPI_DOUBLE_PRECISION, east, 1, grid, requests(5))
         call MPI_Isend(u(1, 1:ny), ny, MPI_DOUBLE_PRECISION, west, 2, grid, requests(6))
      else
         call MPI_Irecv(u(0, 1), 1, row, west, 1, grid, requests(1))
         call MPI_Irecv(u(nx + 1, 1), 1, row, east, 2, grid, requests(2))
         call MPI_Isend(u(nx, 1), 1, row, east, 1, grid, requests(5))
         call MPI_Isend(u(1, 1), 1, row, west, 2, grid, requests(6))
      end if
      call MPI_Irecv(u(1:nx, 0), nx, MPI_DOUBLE_PRECISION, south, 3, grid, requests(3))
      call MPI_Irecv(u(1:nx, ny + 1), nx, MPI_DOUBLE_PRECISION, north, 4, grid, requests(4))
      call MPI_Isend(u(1:nx, ny), nx, MPI_DOUBLE_PRECISION, north, 3, grid, requests(7))
      call MPI_Isend(u(1:nx, 1), nx, MPI_DOUBLE_PRECISION, south, 4, grid, requests(8))
      if (mod(step, 2) == 0) then
         call MPI_Waitall(8, requests, MPI_STATUSES_IGNORE)
      else
         call MPI_Waitall(8, requests, statuses)
         if (statuses(4)%MPI_SOURCE /= north .or. statuses(3)%MPI_TAG /= 3) call MPI_Abort(MPI_COMM_WORLD, 9)
      end if
      do j = 1, ny
         do i = 1, nx
            v(i, j) = u(i, j) + 0.2d0*(u(i - 1, j) + u(i + 1, j) + u(i, j - 1) + u(i, j + 1) - 4*u(i, j))
         end do
      end do
      u(1:nx, 1:ny) = v(1:nx, 1:ny)
      if (mod(step, every) /= 0) cycle

      most(1) = -maxval(abs(u(1:nx, 1:ny)))
      most(2) = step
      call MPI_Allreduce(MPI_IN_PLACE, most, 2, MPI_DOUBLE_PRECISION, op, grid)
      call MPI_Sendrecv(u(1:nx - 1:3, 2), 13, MPI_DOUBLE_PRECISION, north, 5, v(2:nx:3, ny), 13, MPI_DOUBLE_PRECISION, &
                        south, 5, grid, MPI_STATUS_IGNORE)
      call MPI_Reduce(sum(u(1:nx, 1:ny)) + sum(v(2:nx:3, ny)), total, 1, MPI_DOUBLE_PRECISION, MPI_SUM, 0, grid)
      ! Once: Open MPI 4.1 does not come out of its twentieth, without splitproc too.
      if (step == 1) then
         one = 1
         next = modulo(rank + 1, ranks)
         call MPI_Dist_graph_create(grid, 1, (/rank/), one, next, MPI_UNWEIGHTED, MPI_INFO_NULL, .false., ring)
         call MPI_Dist_graph_neighbors_count(ring, i, j, flag)
         if (i /= 1 .or. j /= 1 .or. flag) call MPI_Abort(MPI_COMM_WORLD, 11)
         call MPI_Dist_graph_neighbors(ring, 1, before, MPI_UNWEIGHTED, 1, after, MPI_UNWEIGHTED)
         if (modulo(before(1) + 1, ranks) /= rank .or. after(1) /= next(1)) call MPI_Abort(MPI_COMM_WORLD, 12)
         call MPI_Comm_free(ring)
      end if
      call MPI_Comm_dup(grid, dup)
      call MPI_Comm_get_attr(dup, key, value, flag)
      if (.not. flag) call MPI_Abort(MPI_COMM_WORLD, 4)
      call MPI_Type_dup(apart, other)
      call MPI_Type_get_attr(other, type_key, type_value, flag)
      if (.not. flag) call MPI_Abort(MPI_COMM_WORLD, 5)
      call MPI_Send(step, 1, MPI_INTEGER, ranks + 3, 0, dup, ierr)
      call MPI_Error_class(ierr, odd)
      if (odd /= MPI_ERR_RANK) call MPI_Abort(MPI_COMM_WORLD, 6)
      bottom = rank + step*(/1, 2, 3/)
      call MPI_Bcast(MPI_BOTTOM, 1, other, ranks - 1, dup)
      call MPI_Type_free(other)
      call MPI_Comm_free(dup)
      win_value = 1000 + step
      call MPI_Win_set_attr(window, win_key, win_value)
      win_value = 0
      call MPI_Win_get_attr(window, win_key, win_value, flag)
      if (.not. flag .or. win_value /= 1000 + step) call MPI_Abort(MPI_COMM_WORLD, 8)
      call MPI_Win_get_attr(window, MPI_WIN_SIZE, win_size, flag)
      call MPI_Win_get_attr(window, MPI_WIN_DISP_UNIT, win_unit, flag)
      if (.not. flag .or. win_size /= 24 .or. win_unit /= 8) call MPI_Abort(MPI_COMM_WORLD, 10)
      call MPI_Win_delete_attr(window, win_key)
      call MPI_Allreduce(maxval(u) > 0, all_warm, 1, MPI_LOGICAL, MPI_LAND, grid)
      write (word, '(a1,i2.2,i5.5)') 'r', rank, step
      call MPI_Gather(word, 8, MPI_CHARACTER, words, 8, MPI_CHARACTER, 0, grid)
      extra = 9
      call MPI_Grequest_start(on_query, on_free, on_cancel, extra, request)
      call MPI_Grequest_complete(request)
      call MPI_Wait(request, status)
      call MPI_Get_count(status, MPI_INTEGER, n)
      if (n /= 9 .or. status%MPI_TAG /= 8 .or. request /= MPI_REQUEST_NULL) call MPI_Abort(MPI_COMM_WORLD, 7)
      if (rank == 0) then
         write (line, '(i7,2es24.16,3f9.0,a9,l2,7i7)') step, most(1), total, bottom, words(ranks), all_warm, &
            copies, deletes, errors, queries, frees, int(value), int(type_value)
         write (*, '(a)') trim(line)
         write (10, '(a)') trim(line)
         flush (6)
         flush (10)
      end if
      call MPI_Barrier(grid)
   end do
   call MPI_Win_free_keyval(win_key)
   call MPI_Win_free(window)
   call MPI_Comm_free_keyval(key)
   call MPI_Type_free_keyval(type_key)
   call MPI_Errhandler_free(handler)
   call MPI_Op_free(op)
   call MPI_Type_free(apart)
   call MPI_Type_free(row)
   call MPI_Comm_free(grid)
   call MPI_Finalize()
end program
