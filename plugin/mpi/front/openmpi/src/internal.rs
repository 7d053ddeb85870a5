//! What Open MPI's library has for its own language libraries, and C functions that are not in the table.

macro_rules! attribute_functions {
    ($($copy:ident $null:ident $delete:ident)*) => { $(
        /// Copies an attribute's value.
        /// # Safety
        /// As an attribute copy function.
        #[no_mangle]
        pub unsafe extern "C" fn $copy(
            _o: usize, _k: i32, _x: usize, value: usize, new: *mut usize, flag: *mut i32,
        ) -> i32 {
            // SAFETY: the caller's.
            unsafe {
                new.write(value);
                flag.write(1);
            }
            0
        }

        /// Copies nothing.
        /// # Safety
        /// As an attribute copy function.
        #[no_mangle]
        pub unsafe extern "C" fn $null(
            _o: usize, _k: i32, _x: usize, _value: usize, _new: *mut usize, flag: *mut i32,
        ) -> i32 {
            // SAFETY: the caller's.
            unsafe { flag.write(0) };
            0
        }

        /// Does nothing.
        #[no_mangle]
        pub extern "C" fn $delete(_o: usize, _k: i32, _value: usize, _x: usize) -> i32 {
            0
        }
    )* };
}

attribute_functions! {
    OMPI_C_MPI_DUP_FN OMPI_C_MPI_NULL_COPY_FN OMPI_C_MPI_NULL_DELETE_FN
    OMPI_C_MPI_COMM_DUP_FN OMPI_C_MPI_COMM_NULL_COPY_FN OMPI_C_MPI_COMM_NULL_DELETE_FN
    OMPI_C_MPI_TYPE_DUP_FN OMPI_C_MPI_TYPE_NULL_COPY_FN OMPI_C_MPI_TYPE_NULL_DELETE_FN
    OMPI_C_MPI_WIN_DUP_FN OMPI_C_MPI_WIN_NULL_COPY_FN OMPI_C_MPI_WIN_NULL_DELETE_FN
}

/// Whether the library can take memory of CUDA: not ours to say, so no.
#[no_mangle]
pub extern "C" fn MPIX_Query_cuda_support() -> i32 {
    0
}

/// The same for ROCm.
#[no_mangle]
pub extern "C" fn MPIX_Query_rocm_support() -> i32 {
    0
}

mpi_front::without_std!();
