//! Functions that are more than a translation of each argument. They are named as in the table, without `MPI_`.

use crate::callbacks::{
    grequest_start, handler, keyval, operator, representation, splitproc_errhandler_caller,
    splitproc_op_caller, Generalized, Handler, Operator,
};
use crate::temporary::Ints;
use crate::{canonical, code, own, put, written, Front};
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use mpi_abi::canonical::{COMM_WORLD, ERR_ARG, SUCCESS};
use mpi_abi::{added_from_canonical, error_from_canonical, error_to_canonical, numbers, Abi, Kind};

/// What is raised where the front itself finds an error.
unsafe fn raise<A: Front>(error: i32) -> i32 {
    // SAFETY: MPI_COMM_WORLD always is.
    unsafe { canonical::Comm_call_errhandler(COMM_WORLD, error) };
    code::<A>(error)
}

/// Makes an operator whose function `caller` calls.
///
/// # Safety
/// The function is such a one; `out` is a place for a canonical handle.
pub unsafe fn op_create(function: usize, commute: i32, caller: Operator, out: &mut i32) -> i32 {
    // SAFETY: the caller's.
    unsafe {
        let answer = canonical::Op_create(function, commute, &raw mut *out as usize);
        if answer == SUCCESS {
            splitproc_op_caller(*out, caller, 0);
        }
        answer
    }
}

unsafe fn made<A: Front>(kind: Kind, out: usize, make: impl FnOnce(&mut i32) -> i32) -> i32 {
    let mut new = 0i32;
    let answer = make(&mut new);
    // SAFETY: `out` is a place for a handle.
    unsafe { put::<A>(out, kind, new) };
    code::<A>(answer)
}

/// Makes an error handler whose function `caller` calls.
///
/// # Safety
/// The function is such a one; `out` is a place for a canonical handle.
pub unsafe fn errhandler_create(function: usize, caller: Handler, out: &mut i32) -> i32 {
    // SAFETY: the caller's. A canonical error handler is of any object.
    unsafe {
        let answer = canonical::Comm_create_errhandler(function, &raw mut *out as usize);
        if answer == SUCCESS {
            splitproc_errhandler_caller(*out, caller);
        }
        answer
    }
}

/// The kinds of objects that have attributes, as `keyval` numbers them.
const COMM: usize = 0;
const DATATYPE: usize = 1;
const WINDOW: usize = 2;

/// Declares functions whose parameters are words.
macro_rules! functions {
    ($($name:ident($($p:ident: $t:ty),*) -> $r:ty $body:block)*) => { $(
        /// The function of this name.
        /// # Safety
        /// As the MPI standard says of its arguments.
        #[allow(non_snake_case, clippy::too_many_arguments)]
        #[inline(always)]
        pub unsafe fn $name<A: Front>($($p: $t),*) -> $r {
            // SAFETY: the caller's.
            unsafe { $body }
        }
    )* };
}

functions! {
    Op_create(f: usize, commute: i32, out: usize) -> i32 {
        made::<A>(Kind::Op, out, |new| op_create(f, commute, operator::<A, i32>, new))
    }
    Op_create_c(f: usize, commute: i32, out: usize) -> i32 {
        made::<A>(Kind::Op, out, |new| op_create(f, commute, operator::<A, i64>, new))
    }
    Comm_create_errhandler(f: usize, out: usize) -> i32 {
        made::<A>(Kind::Errhandler, out, |new| errhandler_create(f, handler::<A>, new))
    }
    Errhandler_create(f: usize, out: usize) -> i32 { Comm_create_errhandler::<A>(f, out) }
    Win_create_errhandler(f: usize, out: usize) -> i32 { Comm_create_errhandler::<A>(f, out) }
    File_create_errhandler(f: usize, out: usize) -> i32 { Comm_create_errhandler::<A>(f, out) }
    Session_create_errhandler(f: usize, out: usize) -> i32 { Comm_create_errhandler::<A>(f, out) }
    Comm_create_keyval(copy: usize, delete: usize, key: usize, extra: usize) -> i32 {
        keyval::<A, COMM>(canonical::Comm_create_keyval, [copy, delete], key, extra)
    }
    Keyval_create(copy: usize, delete: usize, key: usize, extra: usize) -> i32 {
        keyval::<A, COMM>(canonical::Comm_create_keyval, [copy, delete], key, extra)
    }
    Type_create_keyval(copy: usize, delete: usize, key: usize, extra: usize) -> i32 {
        keyval::<A, DATATYPE>(canonical::Type_create_keyval, [copy, delete], key, extra)
    }
    Win_create_keyval(copy: usize, delete: usize, key: usize, extra: usize) -> i32 {
        keyval::<A, WINDOW>(canonical::Win_create_keyval, [copy, delete], key, extra)
    }
    Grequest_start(query: usize, free: usize, cancel: usize, extra: usize, out: usize) -> i32 {
        grequest_start::<A>(Generalized { query, free, cancel, extra }, out)
    }
    Register_datarep(name: usize, read: usize, write: usize, extent: usize, extra: usize) -> i32 {
        representation::<A>(canonical::Register_datarep, name, [read, write, extent], extra)
    }
    Register_datarep_c(name: usize, read: usize, write: usize, extent: usize, extra: usize) -> i32 {
        representation::<A>(canonical::Register_datarep_c, name, [read, write, extent], extra)
    }
    Comm_get_attr(comm: usize, key: i32, out: usize, flag: usize) -> i32 {
        let key = numbers::KEYVAL.to_canonical::<A::Abi>(key);
        let answer = canonical::Comm_get_attr(A::handle(comm), key, out, flag);
        code::<A>(attribute::<A>(answer, key, out, flag))
    }
    Attr_get(comm: usize, key: i32, out: usize, flag: usize) -> i32 { Comm_get_attr::<A>(comm, key, out, flag) }
    Win_get_attr(window: usize, key: i32, out: usize, flag: usize) -> i32 {
        let key = numbers::KEYVAL.to_canonical::<A::Abi>(key);
        let answer = canonical::Win_get_attr(A::handle(window), key, out, flag);
        code::<A>(attribute::<A>(answer, key, out, flag))
    }
    Win_shared_query(window: usize, rank: i32, size: usize, unit: usize, base: usize) -> i32 {
        let (window, rank) = (A::handle(window), <A::Abi>::rank_to_canonical(rank));
        if let Some([bytes, its_unit, address]) = unshared::<A>(window, rank) {
            (size as *mut i64).write(bytes);
            (unit as *mut i32).write(its_unit as i32);
            (base as *mut i64).write(address);
            return SUCCESS;
        }
        code::<A>(canonical::Win_shared_query(window, rank, size, unit, base))
    }
    Win_shared_query_c(window: usize, rank: i32, size: usize, unit: usize, base: usize) -> i32 {
        let (window, rank) = (A::handle(window), <A::Abi>::rank_to_canonical(rank));
        if let Some(part) = unshared::<A>(window, rank) {
            for (at, word) in [size, unit, base].into_iter().zip(part) {
                (at as *mut i64).write(word);
            }
            return SUCCESS;
        }
        code::<A>(canonical::Win_shared_query_c(window, rank, size, unit, base))
    }
    Type_get_contents(
        datatype: usize, ni: i32, na: i32, nd: i32, ints: usize, addresses: usize, types: usize
    ) -> i32 {
        let datatype = A::handle(datatype);
        let mut inner = Ints::empty(types, nd.into());
        let answer = canonical::Type_get_contents(datatype, ni, na, nd, ints, addresses, inner.at());
        inner.put::<A>(Kind::Datatype);
        if answer == SUCCESS {
            array_numbers::<A>(datatype, ints, false);
        }
        code::<A>(answer)
    }
    Type_get_contents_c(
        datatype: usize, ni: i64, na: i64, nc: i64, nd: i64,
        ints: usize, addresses: usize, counts: usize, types: usize
    ) -> i32 {
        let datatype = A::handle(datatype);
        let mut inner = Ints::empty(types, nd);
        let answer =
            canonical::Type_get_contents_c(datatype, ni, na, nc, nd, ints, addresses, counts, inner.at());
        inner.put::<A>(Kind::Datatype);
        if answer == SUCCESS {
            array_numbers::<A>(datatype, ints, true);
        }
        code::<A>(answer)
    }
    Comm_get_name(comm: usize, name: usize, length: usize) -> i32 {
        let get = |own, length| canonical::Comm_get_name(A::handle(comm), own, length);
        text::<A>(get, name, length, <A::Abi>::MAX.object_name)
    }
    Type_get_name(datatype: usize, name: usize, length: usize) -> i32 {
        let get = |own, length| canonical::Type_get_name(A::handle(datatype), own, length);
        text::<A>(get, name, length, <A::Abi>::MAX.object_name)
    }
    Win_get_name(window: usize, name: usize, length: usize) -> i32 {
        let get = |own, length| canonical::Win_get_name(A::handle(window), own, length);
        text::<A>(get, name, length, <A::Abi>::MAX.object_name)
    }
    Add_error_code(class: i32, out: usize) -> i32 {
        let mut added = 0i32;
        let answer = canonical::Add_error_code(error_to_canonical::<A::Abi>(class), &raw mut added as usize);
        if answer == SUCCESS {
            (out as *mut i32).write(added_from_canonical(added));
        }
        code::<A>(answer)
    }
    Error_string(error: i32, string: usize, length: usize) -> i32 {
        if let Some(known) = A::error_text(error) {
            store(known.as_bytes(), string, length, <A::Abi>::MAX.error_string);
            return SUCCESS;
        }
        let get = |own, length| canonical::Error_string(error_to_canonical::<A::Abi>(error), own, length);
        text::<A>(get, string, length, <A::Abi>::MAX.error_string)
    }
    Abi_get_version(version: usize, subversion: usize) -> i32 {
        match A::ABI_VERSION {
            Some([major, minor]) => {
                (version as *mut i32).write(major);
                (subversion as *mut i32).write(minor);
                SUCCESS
            }
            None => code::<A>(canonical::Abi_get_version(version, subversion)),
        }
    }
    Get_version(version: usize, subversion: usize) -> i32 {
        match A::VERSION {
            Some([major, minor]) => {
                (version as *mut i32).write(major);
                (subversion as *mut i32).write(minor);
                SUCCESS
            }
            None => code::<A>(canonical::Get_version(version, subversion)),
        }
    }
    Get_library_version(string: usize, length: usize) -> i32 {
        let mut room = [0u8; LONGEST];
        let ours = A::LIBRARY.as_bytes();
        room[..ours.len()].copy_from_slice(ours);
        let mut n = 0i32;
        let answer = canonical::Get_library_version(room.as_mut_ptr().add(ours.len()) as usize, &raw mut n as usize);
        if answer == SUCCESS {
            let all = &room[..ours.len() + n.max(0) as usize];
            store(all, string, length, <A::Abi>::MAX.library_version);
        }
        code::<A>(answer)
    }
    File_set_view(file: usize, at: i64, element: usize, view: usize, name: usize, info: usize) -> i32 {
        let at = if at == <A::Abi>::DISPLACEMENT_CURRENT { mpi_abi::canonical::DISPLACEMENT_CURRENT } else { at };
        let file = crate::file::<A>(file);
        let [element, view, info] = [A::handle(element), A::handle(view), A::handle(info)];
        code::<A>(canonical::File_set_view(file, at, element, view, name, info))
    }
    File_c2f(file: usize) -> i32 {
        match crate::file::<A>(file) {
            0 => A::to_fortran(Kind::File, 0),
            file => canonical::File_c2f(file),
        }
    }
    File_f2c(number: i32) -> usize {
        if number == A::to_fortran(Kind::File, 0) {
            return A::predefined(Kind::File, 0);
        }
        crate::own_file::<A>(canonical::File_f2c(number))
    }
    Status_c2f(own: usize, fortran: usize) -> i32 { copied::<A>(own, fortran) }
    Status_f2c(fortran: usize, own: usize) -> i32 { copied::<A>(fortran, own) }
    Status_c2f08(own: usize, fortran: usize) -> i32 { copied::<A>(own, fortran) }
    Status_f082c(fortran: usize, own: usize) -> i32 { copied::<A>(fortran, own) }
    Status_f082f(f08: usize, fortran: usize) -> i32 { copied::<A>(f08, fortran) }
    Status_f2f08(fortran: usize, f08: usize) -> i32 { copied::<A>(fortran, f08) }
}

extern "C" {
    fn splitproc_unshared(window: i32, rank: i32, out: *mut [i64; 3]) -> bool;
}

/// What the standard's ABI, of MPI 5.0, tells of a rank's part of a window that is not shared memory.
unsafe fn unshared<A: Front>(window: i32, rank: i32) -> Option<[i64; 3]> {
    let mut part = [0; 3];
    // SAFETY: there are three words.
    let found = A::ABI_VERSION.is_some() && unsafe { splitproc_unshared(window, rank, &mut part) };
    found.then_some(part)
}

/// Translates the numbers among the ints that a subarray or a distributed array was made of. `wide`: as the function with large
/// counts gives them, which has the sizes elsewhere if they are such counts.
unsafe fn array_numbers<A: Front>(datatype: i32, ints: usize, wide: bool) {
    const SUBARRAY: i32 = 13;
    const DARRAY: i32 = 14;
    let (mut words, mut combiner) = ([0i64; 4], 0i32);
    let [a, b, c, d] = words.each_mut().map(|word| &raw mut *word as usize);
    // SAFETY: there are as many ints as the datatype was made of: the application has been given them.
    unsafe {
        canonical::Type_get_envelope_c(datatype, a, b, c, d, &raw mut combiner as usize);
        let apart = wide && words[2] > 0;
        let at = |i: i32| ints + 4 * i as usize;
        let int = |i: i32| *(at(i) as *const i32);
        let order = |v| numbers::ORDER.from_canonical::<A::Abi>(v);
        match combiner {
            SUBARRAY => written(SUCCESS, at(if apart { 1 } else { 1 + 3 * int(0) }), order),
            DARRAY => {
                let n = int(2);
                let first = if apart { 3 } else { 3 + n };
                for i in 0..n {
                    let distrib = |v| numbers::DISTRIB.from_canonical::<A::Abi>(v);
                    written(SUCCESS, at(first + i), distrib);
                    let argument = |v| numbers::DARG.from_canonical::<A::Abi>(v);
                    written(SUCCESS, at(first + n + i), argument);
                }
                written(SUCCESS, at(first + 3 * n), order);
            }
            _ => {}
        }
    }
}

/// The number of a handle for Fortran.
///
/// # Safety
/// It is a handle of this ABI.
pub unsafe fn to_fortran<A: Front>(kind: Kind, handle: usize) -> i32 {
    // SAFETY: the caller's.
    A::to_fortran(kind, unsafe { A::handle(handle) })
}

/// The handle of Fortran's number.
pub fn from_fortran<A: Front>(kind: Kind, number: i32) -> usize {
    own::<A>(kind, A::from_fortran(kind, number))
}

/// A status in Fortran is the same words.
unsafe fn copied<A: Front>(from: usize, to: usize) -> i32 {
    if from == <A::Abi>::STATUS_IGNORE || from == 0 {
        // SAFETY: the error is the standard's.
        return unsafe { raise::<A>(ERR_ARG) };
    }
    // SAFETY: the caller has a status at each address.
    unsafe { (to as *mut A::Status).write_unaligned((from as *const A::Status).read_unaligned()) };
    SUCCESS
}

/// More than any ABI's longest text, and as much as MPICH writes behind a short one of ours.
const LONGEST: usize = 8192 + 256;

/// Stores a text with its end, cut to the ABI's length.
unsafe fn store(text: &[u8], at: usize, length: usize, most: usize) {
    let n = text.len().min(most - 1);
    // SAFETY: the application has room for the longest text of its ABI.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), at as *mut u8, n);
        (at as *mut u8).add(n).write(0);
        (length as *mut i32).write(n as i32);
    }
}

/// Gets a text that may be longer than the application has room for.
unsafe fn text<A: Front>(
    get: impl FnOnce(usize, usize) -> i32,
    at: usize,
    length: usize,
    most: usize,
) -> i32 {
    let mut room = [0u8; 1024];
    let mut n = 0i32;
    let answer = get(room.as_mut_ptr() as usize, &raw mut n as usize);
    if answer == SUCCESS {
        let n = (n.max(0) as usize).min(room.len());
        // SAFETY: the caller's.
        unsafe { store(&room[..n], at, length, most) };
    }
    code::<A>(answer)
}

/// Values of predefined attributes that differ between ABIs, where the application may point at them: each has a place of its
/// own, for windows of all kinds may be there at a time.
static VALUES: [AtomicI32; 9] = [const { AtomicI32::new(0) }; 9];

/// The value of a predefined attribute that differs between ABIs, and the place of `VALUES` for it.
pub fn predefined<A: Front>(key: i32, value: i32) -> Option<(usize, i32)> {
    // The canonical keys of `numbers::KEYVAL`.
    const HOST: i32 = 0x6440_0003;
    const IO: i32 = 0x6440_0005;
    const LAST: i32 = 0x6440_000b;
    const FLAVOR: i32 = 0x6600_0007;
    const MODEL: i32 = 0x6600_0009;
    Some(match key {
        HOST => (0, <A::Abi>::rank_from_canonical(value)),
        IO => (1, <A::Abi>::rank_from_canonical(value)),
        LAST if value & 0x4000_0000 == 0 => (2, A::LAST_CODE),
        LAST => (2, error_from_canonical::<A::Abi>(value)),
        FLAVOR => (
            3 + (value - 1).clamp(0, 3) as usize,
            numbers::FLAVOR.from_canonical::<A::Abi>(value),
        ),
        MODEL => (
            7 + (value - 1).clamp(0, 1) as usize,
            numbers::MODEL.from_canonical::<A::Abi>(value),
        ),
        _ => return None,
    })
}

/// Translates the value of an attribute that a C function gets.
unsafe fn attribute<A: Front>(answer: i32, key: i32, out: usize, flag: usize) -> i32 {
    // SAFETY: the call has stored a flag, and with it, for predefined keys, the address of an int.
    unsafe {
        if answer == SUCCESS && *(flag as *const i32) != 0 && predefined::<A>(key, 0).is_some() {
            let value = **(out as *const *const i32);
            if let Some((slot, value)) = predefined::<A>(key, value) {
                VALUES[slot].store(value, Relaxed);
                (out as *mut *mut i32).write(VALUES[slot].as_ptr());
            }
        }
    }
    answer
}

/// How many datatypes an all-to-all has of each side: the communicator's peers, or its neighbours.
///
/// # Safety
/// It is a canonical handle.
pub unsafe fn peers(comm: i32, neighbours: bool, receiving: bool) -> i64 {
    let mut n = 0i32;
    let at = &raw mut n as usize;
    // SAFETY: each function stores ints where it is told to.
    unsafe {
        if !neighbours {
            let mut inter = 0i32;
            canonical::Comm_test_inter(comm, &raw mut inter as usize);
            match inter {
                0 => canonical::Comm_size(comm, at),
                _ => canonical::Comm_remote_size(comm, at),
            };
            return n.into();
        }
        let mut kind = 0i32;
        canonical::Topo_test(comm, &raw mut kind as usize);
        match kind {
            mpi_abi::canonical::CART => {
                canonical::Cartdim_get(comm, at);
                n *= 2;
            }
            mpi_abi::canonical::GRAPH => {
                let mut rank = 0i32;
                canonical::Comm_rank(comm, &raw mut rank as usize);
                canonical::Graph_neighbors_count(comm, rank, at);
            }
            mpi_abi::canonical::DIST_GRAPH => {
                let (mut other, mut weighted) = (0i32, 0i32);
                let (other, weighted) = (&raw mut other as usize, &raw mut weighted as usize);
                let (ins, outs) = if receiving { (at, other) } else { (other, at) };
                canonical::Dist_graph_neighbors_count(comm, ins, outs, weighted);
            }
            _ => {}
        }
    }
    n.into()
}
