//! Functions of the application that the model calls with canonical handles: each is wrapped by one of ours that knows it.
//!
//! Attributes, generalized requests and data representations have an extra state, which becomes the address of a record of
//! ours. Operators and error handlers have none: a slot of a pool is theirs, one for each function of the
//! application, for as long as the program runs.

use crate::{canonical, code, own, own_file, Front};
use core::mem::transmute;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use mpi_abi::canonical::{Status, SUCCESS};
use mpi_abi::{error_to_canonical, Kind};

extern "C" {
    fn malloc(n: usize) -> *mut u8;
    fn free(at: *mut u8);
    fn abort() -> !;
}

/// `MPI_ERR_OTHER`, for more functions than there are slots.
const ERR_OTHER: i32 = mpi_abi::canonical::ERR_OTHER;

/// Functions of the application, each in a slot of its own.
pub struct Pool([AtomicUsize; SLOTS]);

/// How many there are.
const SLOTS: usize = 128;

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
}

impl Pool {
    /// An empty pool.
    pub const fn new() -> Pool {
        Pool([const { AtomicUsize::new(0) }; SLOTS])
    }

    /// The function's slot.
    fn slot(&self, function: usize) -> Option<usize> {
        self.0.iter().position(|s| {
            let taken = s.compare_exchange(0, function, Relaxed, Relaxed);
            taken.is_ok() || taken == Err(function)
        })
    }

    fn function(&self, slot: usize) -> usize {
        self.0[slot].load(Relaxed)
    }
}

macro_rules! slots {
    ($make:ident) => {
        slots!(@ $make
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
            32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
            64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95
            96 97 98 99 100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116 117 118 119
            120 121 122 123 124 125 126 127)
    };
    (@ $make:ident $($n:literal)*) => { [$($make!($n)),*] };
}

static OPERATORS: Pool = Pool::new();

type Operator = unsafe extern "C" fn(usize, usize, usize, *mut i32);

unsafe extern "C" fn operator<A: Front, const N: usize>(a: usize, b: usize, n: usize, t: *mut i32) {
    // SAFETY: the model passes a datatype; the slot has the application's function, which takes one of its ABI's.
    unsafe {
        let mut datatype = own::<A>(Kind::Datatype, *t);
        let f: unsafe extern "C" fn(usize, usize, usize, *mut usize) =
            transmute(OPERATORS.function(N));
        f(a, b, n, &raw mut datatype);
    }
}

/// The operator that the model is to call for one of the application's; null stays null.
pub fn operator_for<A: Front>(function: usize) -> Result<usize, i32> {
    macro_rules! of {
        ($n:literal) => {
            operator::<A, $n> as Operator
        };
    }
    let wrappers: [Operator; SLOTS] = slots!(of);
    wrapped(&OPERATORS, function, |slot| wrappers[slot] as usize)
}

fn wrapped(pool: &Pool, function: usize, wrapper: impl Fn(usize) -> usize) -> Result<usize, i32> {
    match function {
        0 => Ok(0),
        _ => pool.slot(function).map(wrapper).ok_or(ERR_OTHER),
    }
}

type Handler = unsafe extern "C" fn(*mut i32, *mut i32, ...);
type OwnHandler = unsafe extern "C" fn(*mut usize, *mut i32, ...);

/// Error handlers of communicators, windows and sessions, and of files.
static HANDLERS: [Pool; 4] = [const { Pool::new() }; 4];
const KINDS: [Kind; 4] = [Kind::Comm, Kind::Window, Kind::File, Kind::Session];

unsafe extern "C" fn handler<A: Front, const K: usize, const N: usize>(
    at: *mut i32,
    error: *mut i32,
) {
    // SAFETY: the model passes a handle and a code; the slot has the application's function.
    unsafe {
        let mut object = match KINDS[K] {
            Kind::File => own_file::<A>(at.cast::<usize>().read_unaligned()),
            kind => own::<A>(kind, *at),
        };
        let mut value = code::<A>(*error);
        let f: OwnHandler = transmute(HANDLERS[K].function(N));
        f(&raw mut object, &raw mut value);
    }
}

/// The error handler that the model is to call for one of the application's.
pub fn handler_for<A: Front>(kind: Kind, function: usize) -> Result<usize, i32> {
    match kind {
        Kind::Window => handler_in::<A, 1>(function),
        Kind::File => handler_in::<A, 2>(function),
        Kind::Session => handler_in::<A, 3>(function),
        _ => handler_in::<A, 0>(function),
    }
}

fn handler_in<A: Front, const K: usize>(function: usize) -> Result<usize, i32> {
    macro_rules! of {
        ($n:literal) => {
            handler::<A, K, $n> as unsafe extern "C" fn(*mut i32, *mut i32)
        };
    }
    let wrappers: [unsafe extern "C" fn(*mut i32, *mut i32); SLOTS] = slots!(of);
    // What a handler is passed beyond two words, ours does not look at.
    const { assert!(size_of::<Handler>() == size_of::<usize>()) };
    wrapped(&HANDLERS[K], function, |slot| wrappers[slot] as usize)
}

/// What an attribute's functions are, and their extra state.
#[derive(PartialEq)]
struct Attribute {
    copy: usize,
    delete: usize,
    extra: usize,
}

/// All records of attributes: a program that makes keys again and again makes them of the same functions.
static ATTRIBUTES: AtomicPtr<Listed> = AtomicPtr::new(core::ptr::null_mut());

struct Listed {
    attribute: Attribute,
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

fn attribute(wanted: Attribute) -> usize {
    let mut at = ATTRIBUTES.load(Acquire);
    let first = at;
    // SAFETY: what is listed stays.
    while let Some(listed) = unsafe { at.as_ref() } {
        if listed.attribute == wanted {
            return at as usize;
        }
        at = listed.next;
    }
    let new = record(Listed {
        attribute: wanted,
        next: first,
    });
    let mut next = first;
    // SAFETY: `new` is nobody else's until it is listed.
    while let Err(newer) = ATTRIBUTES.compare_exchange(next, new, AcqRel, Acquire) {
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
    record: *const Attribute,
    value: usize,
    new: *mut usize,
    flag: *mut i32,
) -> i32 {
    // SAFETY: the record is ours, the rest as of any attribute copy function.
    unsafe {
        let a = &*record;
        match a.copy {
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
                    own, key, a.extra, value, new, flag,
                ))
            }
        }
    }
}

unsafe extern "C" fn delete<A: Front, const K: usize>(
    object: i32,
    key: i32,
    value: usize,
    record: *const Attribute,
) -> i32 {
    // SAFETY: as for `copy`.
    unsafe {
        let a = &*record;
        if a.delete == 0 {
            return SUCCESS;
        }
        type F = unsafe extern "C" fn(usize, i32, usize, usize) -> i32;
        let own = own::<A>(HOLDERS[K], object);
        error_to_canonical::<A::Abi>(transmute::<usize, F>(a.delete)(own, key, value, a.extra))
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
    let wanted = Attribute {
        copy: copy_fn,
        delete: delete_fn,
        extra,
    };
    let copy = copy::<A, K> as *const () as usize;
    let delete = delete::<A, K> as *const () as usize;
    // SAFETY: the caller's; the record stays.
    code::<A>(unsafe { make(copy, delete, key, attribute(wanted)) })
}

/// A generalized request's functions, and their extra state.
struct Generalized {
    query: usize,
    free: usize,
    cancel: usize,
    extra: usize,
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
        free(record.cast());
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

/// Starts a generalized request.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn grequest_start<A: Front>(
    query_fn: usize,
    free_fn: usize,
    cancel_fn: usize,
    extra: usize,
    out: usize,
) -> i32 {
    let record = record(Generalized {
        query: query_fn,
        free: free_fn,
        cancel: cancel_fn,
        extra,
    });
    let mut request = 0i32;
    // SAFETY: the wrappers are of the types that the function takes.
    unsafe {
        let answer = canonical::Grequest_start(
            query::<A> as *const () as usize,
            release::<A> as *const () as usize,
            cancel::<A> as *const () as usize,
            record as usize,
            &raw mut request as usize,
        );
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
