//! Functions of the application that the model calls with canonical handles: each is called by one of ours that knows it.
//!
//! The model keeps an operator's or error handler's function and gives it to ours. Attributes, generalized requests
//! and data representations have an extra state, which becomes the address of a record of ours.

use crate::{canonical, code, own, own_file, Front};
use core::mem::transmute;
use core::sync::atomic::{AtomicPtr, Ordering::*};
use mpi_abi::canonical::{Status, SUCCESS};
use mpi_abi::{error_to_canonical, Kind};

extern "C" {
    fn malloc(n: usize) -> *mut u8;
    fn free(at: *mut u8);
    fn abort() -> !;
    /// Gives an operator a function that calls the application's, which may be changed as well (0: it is not); that
    /// which it was before.
    pub fn splitproc_op_caller(op: i32, caller: Operator, function: usize) -> usize;
    /// Gives an error handler a function that calls the application's.
    pub fn splitproc_errhandler_caller(handler: i32, caller: Handler);
}

/// What calls an operator: the two buffers, how many, of what canonical datatype, and the application's function.
pub type Operator = unsafe extern "C" fn(usize, usize, i32, i32, usize);

/// Calls an operator of the application's that counts in `N`.
///
/// # Safety
/// The model calls it, with a function that the application made an operator of.
pub unsafe extern "C" fn operator<A: Front, N: From<i32>>(
    a: usize,
    b: usize,
    count: i32,
    datatype: i32,
    function: usize,
) {
    type Function<N> = unsafe extern "C" fn(usize, usize, *mut N, *mut usize);
    let mut datatype = own::<A>(Kind::Datatype, datatype);
    // SAFETY: the caller's.
    unsafe { transmute::<usize, Function<N>>(function)(a, b, &mut count.into(), &mut datatype) };
}

/// What calls an error handler: the kind of object (0: a communicator or session, 1: a file, 2: a window), the place of its
/// canonical handle, the place of the canonical code, and the application's function.
pub type Handler = unsafe extern "C" fn(i32, *mut i32, *mut i32, usize);

/// The kinds of objects that an error handler is called for.
pub const HANDLED: [Kind; 3] = [Kind::Comm, Kind::File, Kind::Window];

/// The handle of the object that an error handler is called for.
///
/// # Safety
/// As the model calls [`handler`].
pub unsafe fn handled<A: Front>(kind: i32, at: *mut i32) -> usize {
    match HANDLED[kind as usize] {
        // SAFETY: the caller's; a file's handle is a word.
        Kind::File => own_file::<A>(unsafe { at.cast::<usize>().read_unaligned() }),
        // SAFETY: the caller's.
        kind => own::<A>(kind, unsafe { *at }),
    }
}

/// Calls an error handler of the application's.
///
/// # Safety
/// The model calls it, with a function that the application made an error handler of.
pub unsafe extern "C" fn handler<A: Front>(
    kind: i32,
    at: *mut i32,
    error: *mut i32,
    function: usize,
) {
    type Function = unsafe extern "C" fn(*mut usize, *mut i32, ...);
    // SAFETY: the caller's.
    unsafe {
        let (mut object, mut value) = (handled::<A>(kind, at), code::<A>(*error));
        transmute::<usize, Function>(function)(&raw mut object, &raw mut value);
    }
}

/// Three words: of an attribute its copy function, its delete function and their extra state.
type Words = [usize; 3];

/// All records of three words: a program that makes keys again and again makes them of the same functions.
static RECORDS: AtomicPtr<Listed> = AtomicPtr::new(core::ptr::null_mut());

struct Listed {
    words: Words,
    next: *mut Listed,
}

fn record<T>(value: T) -> *mut T {
    // SAFETY: malloc's memory is aligned for all that is recorded here; without memory MPI's functions can't say so.
    unsafe {
        let at = malloc(size_of::<T>()).cast::<T>();
        if at.is_null() {
            abort();
        }
        at.write(value);
        at
    }
}

/// The address of a record of these words, which stays.
pub fn kept(words: Words) -> usize {
    let mut at = RECORDS.load(Acquire);
    let first = at;
    // SAFETY: what is listed stays.
    while let Some(listed) = unsafe { at.as_ref() } {
        if listed.words == words {
            return at as usize;
        }
        at = listed.next;
    }
    let new = record(Listed { words, next: first });
    let mut next = first;
    // SAFETY: `new` is nobody else's until it is listed.
    while let Err(newer) = RECORDS.compare_exchange(next, new, AcqRel, Acquire) {
        next = newer;
        unsafe { (*new).next = newer };
    }
    new as usize
}

/// The standard's `MPI_*_DUP_FN`.
const DUP: usize = 1;

/// The three kinds of objects that have attributes.
const HOLDERS: [Kind; 3] = [Kind::Comm, Kind::Datatype, Kind::Window];

unsafe extern "C" fn copy<A: Front, const K: usize>(
    object: i32,
    key: i32,
    record: *const Words,
    value: usize,
    new: *mut usize,
    flag: *mut i32,
) -> i32 {
    // SAFETY: the record is ours, the rest as of any attribute copy function.
    unsafe {
        let [copy, _, extra] = *record;
        match copy {
            0 => {
                *flag = 0;
                SUCCESS
            }
            DUP => {
                *new = value;
                *flag = 1;
                SUCCESS
            }
            f => {
                type F =
                    unsafe extern "C" fn(usize, i32, usize, usize, *mut usize, *mut i32) -> i32;
                let own = own::<A>(HOLDERS[K], object);
                error_to_canonical::<A::Abi>(transmute::<usize, F>(f)(
                    own, key, extra, value, new, flag,
                ))
            }
        }
    }
}

unsafe extern "C" fn delete<A: Front, const K: usize>(
    object: i32,
    key: i32,
    value: usize,
    record: *const Words,
) -> i32 {
    // SAFETY: as for `copy`.
    unsafe {
        let [_, delete, extra] = *record;
        if delete == 0 {
            return SUCCESS;
        }
        type F = unsafe extern "C" fn(usize, i32, usize, usize) -> i32;
        let own = own::<A>(HOLDERS[K], object);
        error_to_canonical::<A::Abi>(transmute::<usize, F>(delete)(own, key, value, extra))
    }
}

/// Makes a key by a canonical function.
///
/// # Safety
/// The functions are of the kind's types, and `key` is a place for one.
pub unsafe fn keyval<A: Front, const K: usize>(
    make: unsafe extern "C" fn(usize, usize, usize, usize) -> i32,
    functions: [usize; 2],
    key: usize,
    extra: usize,
) -> i32 {
    let [copy_fn, delete_fn] = functions;
    let words = [copy_fn, delete_fn, extra];
    let copy = copy::<A, K> as *const () as usize;
    let delete = delete::<A, K> as *const () as usize;
    // SAFETY: the caller's; the record stays.
    code::<A>(unsafe { make(copy, delete, key, kept(words)) })
}

/// A generalized request's functions, and their extra state.
#[allow(missing_docs)]
pub struct Generalized {
    pub query: usize,
    pub free: usize,
    pub cancel: usize,
    pub extra: usize,
}

impl Generalized {
    /// Frees a record, after its last use.
    ///
    /// # Safety
    /// `generalized` made it.
    pub unsafe fn end(record: *mut Generalized) {
        // SAFETY: malloc gave it.
        unsafe { free(record.cast()) };
    }
}

unsafe extern "C" fn query<A: Front>(record: *const Generalized, status: *mut Status) -> i32 {
    // SAFETY: the record is ours; the model passes a status.
    unsafe {
        let g = &*record;
        let mut own: A::Status = (*status).into();
        let f: unsafe extern "C" fn(usize, *mut A::Status) -> i32 = transmute(g.query);
        let answer = f(g.extra, &raw mut own);
        *status = own.into();
        error_to_canonical::<A::Abi>(answer)
    }
}

unsafe extern "C" fn release<A: Front>(record: *mut Generalized) -> i32 {
    // SAFETY: the record is ours, and this is its last use.
    unsafe {
        let f: unsafe extern "C" fn(usize) -> i32 = transmute((*record).free);
        let answer = f((*record).extra);
        Generalized::end(record);
        error_to_canonical::<A::Abi>(answer)
    }
}

unsafe extern "C" fn cancel<A: Front>(record: *const Generalized, complete: i32) -> i32 {
    // SAFETY: the record is ours.
    unsafe {
        let f: unsafe extern "C" fn(usize, i32) -> i32 = transmute((*record).cancel);
        error_to_canonical::<A::Abi>(f((*record).extra, complete))
    }
}

/// Starts a generalized request whose functions these three of ours call, which get the record.
///
/// # Safety
/// They do so; the last use of the record ends it.
pub unsafe fn generalized(
    functions: Generalized,
    [query, release, cancel]: [usize; 3],
    out: &mut i32,
) -> i32 {
    let record = record(functions) as usize;
    // SAFETY: the caller's.
    unsafe { canonical::Grequest_start(query, release, cancel, record, &raw mut *out as usize) }
}

/// Starts a generalized request.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn grequest_start<A: Front>(functions: Generalized, out: usize) -> i32 {
    let callers = [
        query::<A> as *const () as usize,
        release::<A> as *const () as usize,
        cancel::<A> as *const () as usize,
    ];
    let mut request = 0i32;
    // SAFETY: the caller's.
    unsafe {
        let answer = generalized(functions, callers, &mut request);
        crate::put::<A>(out, Kind::Request, request);
        code::<A>(answer)
    }
}

/// A data representation's functions, and their extra state.
struct Representation {
    read: usize,
    write: usize,
    extent: usize,
    extra: usize,
}

type Convert = unsafe extern "C" fn(usize, usize, i64, usize, i64, usize) -> i32;

unsafe fn converted<A: Front>(f: usize, words: [usize; 4], t: i32, extra: usize) -> i32 {
    let [user, count, file, position] = words;
    let datatype = own::<A>(Kind::Datatype, t);
    // SAFETY: the application registered a conversion function; an int count is the low half of the word.
    unsafe {
        let f: Convert = transmute(f);
        error_to_canonical::<A::Abi>(f(
            user,
            datatype,
            count as i64,
            file,
            position as i64,
            extra,
        ))
    }
}

unsafe extern "C" fn read<A: Front>(
    user: usize,
    t: i32,
    count: usize,
    file: usize,
    position: usize,
    r: *const Representation,
) -> i32 {
    // SAFETY: the record is ours.
    unsafe { converted::<A>((*r).read, [user, count, file, position], t, (*r).extra) }
}

unsafe extern "C" fn write<A: Front>(
    user: usize,
    t: i32,
    count: usize,
    file: usize,
    position: usize,
    r: *const Representation,
) -> i32 {
    // SAFETY: the record is ours.
    unsafe { converted::<A>((*r).write, [user, count, file, position], t, (*r).extra) }
}

unsafe extern "C" fn extent<A: Front>(t: i32, out: usize, r: *const Representation) -> i32 {
    // SAFETY: the record is ours.
    unsafe {
        let f: unsafe extern "C" fn(usize, usize, usize) -> i32 = transmute((*r).extent);
        error_to_canonical::<A::Abi>(f(own::<A>(Kind::Datatype, t), out, (*r).extra))
    }
}

/// Registers a data representation by a canonical function.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn representation<A: Front>(
    make: unsafe extern "C" fn(usize, usize, usize, usize, usize) -> i32,
    name: usize,
    functions: [usize; 3],
    extra: usize,
) -> i32 {
    let [reader, writer, extent_fn] = functions;
    let record = record(Representation {
        read: reader,
        write: writer,
        extent: extent_fn,
        extra,
    });
    // No conversion is a null pointer in all ABIs.
    let some = |given: usize, ours: usize| if given == 0 { 0 } else { ours };
    // SAFETY: the wrappers are of the types that the function takes; the record stays, as a representation does.
    let answer = unsafe {
        make(
            name,
            some(reader, read::<A> as *const () as usize),
            some(writer, write::<A> as *const () as usize),
            extent::<A> as *const () as usize,
            record as usize,
        )
    };
    code::<A>(answer)
}
