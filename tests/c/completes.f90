! completes: persistent requests of Fortran's, and others, completed by each of the functions for it; with statuses and without.
!
! Usage: completes -o FILE STEPS EVERY
program completes
   use mpi
   implicit none
   integer, parameter :: n = 4
   integer :: steps, every, step, rank, ranks, next, before, ierr, k, i, many, at, total
   integer :: requests(n), indices(n), statuses(MPI_STATUS_SIZE, n), status(MPI_STATUS_SIZE)
   integer :: sent(2), got(2)
   logical :: flag, done(n)
   character(len=64) :: argument, line
   call MPI_INIT(ierr)
   call MPI_COMM_RANK(MPI_COMM_WORLD, rank, ierr)
   call MPI_COMM_SIZE(MPI_COMM_WORLD, ranks, ierr)
   call get_command_argument(3, argument)
   read (argument, *) steps
   call get_command_argument(4, argument)
   read (argument, *) every
   if (rank == 0) then
      call get_command_argument(2, argument)
      open (10, file=trim(argument), status='replace')
   end if
   next = mod(rank + 1, ranks)
   before = mod(rank + ranks - 1, ranks)
   ! The first two are persistent, the others are made in each step.
   call MPI_RECV_INIT(got(1), 1, MPI_INTEGER, before, 1, MPI_COMM_WORLD, requests(1), ierr)
   call MPI_SEND_INIT(sent(1), 1, MPI_INTEGER, next, 1, MPI_COMM_WORLD, requests(2), ierr)
   total = 0
   do step = 1, steps
      sent = (/step + rank, 3*step - rank/)
      got = -1
      done = .false.
      call MPI_STARTALL(2, requests, ierr)
      call MPI_IRECV(got(2), 1, MPI_INTEGER, before, 2, MPI_COMM_WORLD, requests(3), ierr)
      call MPI_ISEND(sent(2), 1, MPI_INTEGER, next, 2, MPI_COMM_WORLD, requests(4), ierr)
      k = mod(step, 10)
      select case (k)
      case (0)
         do i = 1, n
            call MPI_WAIT(requests(i), status, ierr)
            if (i == 1) total = mod(total + status(MPI_TAG) + status(MPI_SOURCE), 1000003)
         end do
      case (1)
         do i = n, 1, -1
            call MPI_WAIT(requests(i), MPI_STATUS_IGNORE, ierr)
         end do
      case (2)
         call MPI_WAITALL(n, requests, statuses, ierr)
         total = mod(total + statuses(MPI_TAG, 1) + 10*statuses(MPI_TAG, 3) + statuses(MPI_SOURCE, 3), 1000003)
      case (3)
         call MPI_WAITALL(n, requests, MPI_STATUSES_IGNORE, ierr)
      case (4)
         do i = 1, n
            call MPI_WAITANY(n, requests, at, status, ierr)
            call once(at)
         end do
         call MPI_WAITANY(n, requests, at, status, ierr)
         if (at > 0) call MPI_ABORT(MPI_COMM_WORLD, 4, ierr)
      case (5)
         do while (.not. all(done))
            call MPI_WAITSOME(n, requests, many, indices, statuses, ierr)
            do i = 1, many
               call once(indices(i))
            end do
         end do
         call MPI_WAITSOME(n, requests, many, indices, statuses, ierr)
         if (many > 0) call MPI_ABORT(MPI_COMM_WORLD, 5, ierr)
      case (6)
         do i = 1, n
            flag = .false.
            do while (.not. flag)
               call MPI_TEST(requests(i), flag, status, ierr)
            end do
         end do
      case (7)
         flag = .false.
         do while (.not. flag)
            call MPI_TESTALL(n, requests, flag, statuses, ierr)
         end do
         total = mod(total + statuses(MPI_TAG, 1) + 10*statuses(MPI_TAG, 3), 1000003)
      case (8)
         do while (.not. all(done))
            call MPI_TESTANY(n, requests, at, flag, MPI_STATUS_IGNORE, ierr)
            if (flag) call once(at)
         end do
      case (9)
         do while (.not. all(done))
            call MPI_TESTSOME(n, requests, many, indices, MPI_STATUSES_IGNORE, ierr)
            do i = 1, many
               call once(indices(i))
            end do
         end do
      end select
      if (ierr /= MPI_SUCCESS .or. any(requests(1:2) == MPI_REQUEST_NULL) .or. any(requests(3:4) /= MPI_REQUEST_NULL)) &
         call MPI_ABORT(MPI_COMM_WORLD, 2, ierr)
      if (got(1) /= step + before .or. got(2) /= 3*step - before) call MPI_ABORT(MPI_COMM_WORLD, 3, ierr)
      total = mod(7*total + got(1) + got(2), 1000003)
      if (rank == 0 .and. mod(step, every) == 0) then
         write (line, '(i9,i9)') step, total
         write (*, '(a)') trim(line)
         write (10, '(a)') trim(line)
         flush (6)
         flush (10)
      end if
   end do
   call MPI_REQUEST_FREE(requests(1), ierr)
   call MPI_REQUEST_FREE(requests(2), ierr)
   call MPI_FINALIZE(ierr)
contains
   ! Each request is completed once, and has its number from one on.
   subroutine once(number)
      integer :: number
      if (number < 1 .or. number > n) call MPI_ABORT(MPI_COMM_WORLD, 6, ierr)
      if (done(number)) call MPI_ABORT(MPI_COMM_WORLD, 7, ierr)
      done(number) = .true.
   end subroutine
end program
