//! Attributes for Fortran and C++: what Open MPI's libraries of these languages call to make keys and to set attributes, and
//! Fortran's functions of the standard's. `fortran` has what gets them.

use crate::Own;
use core::mem::transmute;
use mpi_abi::canonical::SUCCESS;
use mpi_abi::{error_to_canonical, numbers, Kind, OpenMpi};
use mpi_front::callbacks::keyval;
use mpi_front::{canonical, code, Front};

extern "C" {
    fn MPII_Keyval_set_proxy(key: i32, copy: usize, delete: usize);
    fn MPII_Comm_set_attr(object: i32, key: i32, value: usize, given: i32) -> i32;
    fn MPII_Type_set_attr(object: i32, key: i32, value: usize, given: i32) -> i32;
    fn MPII_Win_set_attr(object: i32, key: i32, value: usize, given: i32) -> i32;
}

/// The integers that Fortran's attributes are, as the model numbers them.
pub trait Integer: Copy + Default {
    /// The number.
    const GIVEN: i32;
    /// Of a word of the model's.
    fn of(word: usize) -> Self;
    /// To a word of the model's.
    fn word(self) -> usize;
}

impl Integer for isize {
    const GIVEN: i32 = 1;
    fn of(word: usize) -> isize {
        word as isize
    }
    fn word(self) -> usize {
        self as usize
    }
}

impl Integer for i32 {
    const GIVEN: i32 = 3;
    fn of(word: usize) -> i32 {
        word as i32
    }
    fn word(self) -> usize {
        self as usize
    }
}

/// Open MPI's numbers of what has attributes, from 1.
const HOLDERS: [Kind; 3] = [Kind::Comm, Kind::Datatype, Kind::Window];

fn holder(number: i32) -> Kind {
    HOLDERS[(number - 1).clamp(0, 2) as usize]
}

unsafe extern "C" fn copy<N: Integer, const HOLDER: usize>(
    function: usize,
    object: i32,
    key: i32,
    extra: usize,
    _given: i32,
    value: usize,
    new: *mut usize,
    flag: *mut i32,
) -> i32 {
    type Function<N> =
        unsafe extern "C" fn(*mut i32, *mut i32, *mut N, *mut N, *mut N, *mut i32, *mut i32);
    let mut object = Own::to_fortran(HOLDERS[HOLDER], object);
    let (mut key, mut extra, mut value) = (key, N::of(extra), N::of(value));
    let (mut copied, mut error) = (N::default(), SUCCESS);
    // SAFETY: the application made the key of such a function; the model has places for what it gets.
    unsafe {
        let f = transmute::<usize, Function<N>>(function);
        f(
            &mut object,
            &mut key,
            &mut extra,
            &mut value,
            &mut copied,
            flag,
            &mut error,
        );
        *new = copied.word();
    }
    error_to_canonical::<OpenMpi>(error)
}

unsafe extern "C" fn delete<N: Integer, const HOLDER: usize>(
    function: usize,
    object: i32,
    key: i32,
    _given: i32,
    value: usize,
    extra: usize,
) -> i32 {
    type Function<N> = unsafe extern "C" fn(*mut i32, *mut i32, *mut N, *mut N, *mut i32);
    let mut object = Own::to_fortran(HOLDERS[HOLDER], object);
    let (mut key, mut value, mut extra) = (key, N::of(value), N::of(extra));
    let mut error = SUCCESS;
    // SAFETY: the application made the key of such a function.
    unsafe {
        let f = transmute::<usize, Function<N>>(function);
        f(&mut object, &mut key, &mut value, &mut extra, &mut error);
    }
    error_to_canonical::<OpenMpi>(error)
}

unsafe fn create<N: Integer>(
    holder_number: i32,
    functions: [usize; 2],
    key: *mut i32,
    extra: N,
) -> i32 {
    macro_rules! proxies {
        ($holder:literal) => {
            [
                copy::<N, $holder> as *const () as usize,
                delete::<N, $holder> as *const () as usize,
            ]
        };
    }
    let (make, [copy, delete]): (unsafe extern "C" fn(usize, usize, usize, usize) -> i32, _) =
        match holder(holder_number) {
            Kind::Datatype => (canonical::Type_create_keyval, proxies!(1)),
            Kind::Window => (canonical::Win_create_keyval, proxies!(2)),
            _ => (canonical::Comm_create_keyval, proxies!(0)),
        };
    // SAFETY: the proxies call functions of this kind; `key` is a place for a key.
    unsafe {
        let answer = make(functions[0], functions[1], key as usize, extra.word());
        if answer == SUCCESS {
            MPII_Keyval_set_proxy(*key, copy, delete);
        }
        code::<Own>(answer)
    }
}

/// Makes a key of Fortran's.
///
/// # Safety
/// As of Open MPI's own.
#[no_mangle]
pub unsafe extern "C" fn ompi_attr_create_keyval_aint(
    holder: i32,
    copy: usize,
    delete: usize,
    key: *mut i32,
    extra: isize,
) -> i32 {
    // SAFETY: the caller's.
    unsafe { create(holder, [copy, delete], key, extra) }
}

/// Makes a key of old Fortran's.
///
/// # Safety
/// As of Open MPI's own.
#[no_mangle]
pub unsafe extern "C" fn ompi_attr_create_keyval_fint(
    holder: i32,
    copy: usize,
    delete: usize,
    key: *mut i32,
    extra: i32,
) -> i32 {
    // SAFETY: the caller's.
    unsafe { create(holder, [copy, delete], key, extra) }
}

/// Makes a key of C++'s, whose functions are C's.
///
/// # Safety
/// As of Open MPI's own.
#[no_mangle]
pub unsafe extern "C" fn ompi_attr_create_keyval(
    of: i32,
    copy: usize,
    delete: usize,
    key: usize,
    extra: usize,
) -> i32 {
    let functions = [copy, delete];
    // SAFETY: the caller's.
    unsafe {
        match holder(of) {
            Kind::Datatype => {
                keyval::<Own, 1>(canonical::Type_create_keyval, functions, key, extra)
            }
            Kind::Window => keyval::<Own, 2>(canonical::Win_create_keyval, functions, key, extra),
            _ => keyval::<Own, 0>(canonical::Comm_create_keyval, functions, key, extra),
        }
    }
}

unsafe fn set<N: Integer>(of: i32, object: usize, key: i32, value: N) -> i32 {
    let key = numbers::KEYVAL.to_canonical::<OpenMpi>(key);
    let set = match holder(of) {
        Kind::Datatype => MPII_Type_set_attr,
        Kind::Window => MPII_Win_set_attr,
        _ => MPII_Comm_set_attr,
    };
    // SAFETY: the caller's.
    code::<Own>(unsafe { set(Own::handle(object), key, value.word(), N::GIVEN) })
}

/// Sets an attribute of Fortran's.
///
/// # Safety
/// `object` is a handle.
#[no_mangle]
pub unsafe extern "C" fn ompi_attr_set_aint(
    holder: i32,
    object: usize,
    _table: usize,
    key: i32,
    value: isize,
) -> i32 {
    // SAFETY: the caller's.
    unsafe { set(holder, object, key, value) }
}

/// Sets an attribute of old Fortran's.
///
/// # Safety
/// `object` is a handle.
#[no_mangle]
pub unsafe extern "C" fn ompi_attr_set_fint(
    holder: i32,
    object: usize,
    _table: usize,
    key: i32,
    value: i32,
) -> i32 {
    // SAFETY: the caller's.
    unsafe { set(holder, object, key, value) }
}

/// What Fortran's library gets attributes by, out of a table of an object's: functions that `fortran` has others for, so these
/// are never called.
macro_rules! unused {
    ($($name:ident)*) => { $(
        /// Fails.
        #[no_mangle]
        pub extern "C" fn $name() -> i32 {
            code::<Own>(mpi_abi::canonical::ERR_OTHER)
        }
    )* };
}

unused! { ompi_attr_get_aint ompi_attr_get_fint }

/// Fortran's functions of the standard's, each under all of its names.
macro_rules! standard {
    ($integer:ty: $($body:ident $($name:ident)*;)*) => { $($(standard!(@ $body $integer, $name);)*)* };
    (@ duplicate $n:ty, $name:ident) => {
        /// Copies an attribute's value.
        /// # Safety
        /// As Fortran calls an attribute copy function.
        #[no_mangle]
        pub unsafe extern "C" fn $name(
            _o: usize, _k: usize, _x: usize, value: *const $n, new: *mut $n, flag: *mut i32, error: *mut i32,
        ) {
            // SAFETY: the caller's.
            unsafe {
                *new = *value;
                *flag = 1;
                *error = SUCCESS;
            }
        }
    };
    (@ nothing $n:ty, $name:ident) => {
        /// Copies nothing.
        /// # Safety
        /// As Fortran calls an attribute copy function.
        #[no_mangle]
        pub unsafe extern "C" fn $name(
            _o: usize, _k: usize, _x: usize, _value: usize, _new: usize, flag: *mut i32, error: *mut i32,
        ) {
            // SAFETY: the caller's.
            unsafe {
                *flag = 0;
                *error = SUCCESS;
            }
        }
    };
    (@ delete $n:ty, $name:ident) => {
        /// Does nothing.
        /// # Safety
        /// As Fortran calls an attribute delete function.
        #[no_mangle]
        pub unsafe extern "C" fn $name(_o: usize, _k: usize, _value: usize, _x: usize, error: *mut i32) {
            // SAFETY: the caller's.
            unsafe { *error = SUCCESS };
        }
    };
}

standard! { i32:
    duplicate mpi_dup_fn mpi_dup_fn_ mpi_dup_fn__ MPI_DUP_FN ompi_dup_fn_f;
    nothing mpi_null_copy_fn mpi_null_copy_fn_ mpi_null_copy_fn__ MPI_NULL_COPY_FN ompi_null_copy_fn_f;
    delete mpi_null_delete_fn mpi_null_delete_fn_ mpi_null_delete_fn__ MPI_NULL_DELETE_FN ompi_null_delete_fn_f;
}

standard! { isize:
    duplicate mpi_comm_dup_fn mpi_comm_dup_fn_ mpi_comm_dup_fn__ MPI_COMM_DUP_FN ompi_comm_dup_fn_f
        mpi_type_dup_fn mpi_type_dup_fn_ mpi_type_dup_fn__ MPI_TYPE_DUP_FN ompi_type_dup_fn_f
        mpi_win_dup_fn mpi_win_dup_fn_ mpi_win_dup_fn__ MPI_WIN_DUP_FN ompi_win_dup_fn_f;
    nothing mpi_comm_null_copy_fn mpi_comm_null_copy_fn_ mpi_comm_null_copy_fn__ MPI_COMM_NULL_COPY_FN ompi_comm_null_copy_fn_f
        mpi_type_null_copy_fn mpi_type_null_copy_fn_ mpi_type_null_copy_fn__ MPI_TYPE_NULL_COPY_FN ompi_type_null_copy_fn_f
        mpi_win_null_copy_fn mpi_win_null_copy_fn_ mpi_win_null_copy_fn__ MPI_WIN_NULL_COPY_FN ompi_win_null_copy_fn_f;
    delete mpi_comm_null_delete_fn mpi_comm_null_delete_fn_ mpi_comm_null_delete_fn__ MPI_COMM_NULL_DELETE_FN
        ompi_comm_null_delete_fn_f
        mpi_type_null_delete_fn mpi_type_null_delete_fn_ mpi_type_null_delete_fn__ MPI_TYPE_NULL_DELETE_FN
        ompi_type_null_delete_fn_f
        mpi_win_null_delete_fn mpi_win_null_delete_fn_ mpi_win_null_delete_fn__ MPI_WIN_NULL_DELETE_FN
        ompi_win_null_delete_fn_f;
}
