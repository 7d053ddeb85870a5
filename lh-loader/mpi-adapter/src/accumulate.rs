//! `MPI_Accumulate` and `MPI_Get_accumulate` over Open MPI.
//!
//! Its one-sided communication `osc/rdma`, which it takes by default (4.1; of main see its issue 10633), adds as it should
//! but gives no result when any of the three datatypes is derived. So those that are but some elements of a predefined type,
//! one behind the other, are replaced by that type, and the call is refused for others. `MPI_Win_allocate` of one machine
//! has another way natively; over splitproc all windows are made of the program's own memory.
//!
//! Of several `MPI_DOUBLE_INT` and the like it takes the gaps for no part of them, but not if they are of a derived datatype.

use crate::functions::ix;
use crate::handles::{canonical, native};
use crate::numbers::{self, COMBINER};
use crate::{library, put, special, Library};
use core::mem::transmute;
use mpi_abi::canonical::ERR_TYPE;
use mpi_abi::Kind;

/// How many of a predefined datatype there are, one behind the other: the number, and the datatype.
type Elements = (i64, usize);

const NAMED: i32 = 1;
const DUP: i32 = 2;
const CONTIGUOUS: i32 = 3;
/// Canonical predefined datatypes with a gap: `MPI_DOUBLE_INT`, `MPI_LONG_INT`, `MPI_SHORT_INT`, `MPI_LONG_DOUBLE_INT`.
const GAPS: core::ops::Range<u32> = 0x8c00_0001..0x8c00_0005;
const NO_OP: i32 = 0x5800_000e;

/// A derived datatype as elements, if it is no more than that.
///
/// # Safety
/// `t` must be a datatype of the library's.
unsafe fn elements<A: Library>(t: usize) -> Option<Elements> {
    type Envelope = unsafe extern "C" fn(usize, &mut i32, &mut i32, &mut i32, &mut i32) -> i32;
    type Contents =
        unsafe extern "C" fn(usize, i32, i32, i32, &mut i32, &mut i64, &mut usize) -> i32;
    type Free = unsafe extern "C" fn(&mut usize) -> i32;
    let envelope: Envelope = transmute(library(ix::Type_get_envelope));
    let contents: Contents = transmute(library(ix::Type_get_contents));
    let free: Free = transmute(library(ix::Type_free));
    let combiner = |t, [ints, addresses, types]: [&mut i32; 3]| {
        let mut how = 0;
        let code = envelope(t, ints, addresses, types, &mut how);
        (code == 0).then(|| numbers::to::<A>(COMBINER)(how))
    };
    let [mut ints, mut addresses, mut types] = [0; 3];
    match combiner(t, [&mut ints, &mut addresses, &mut types])? {
        NAMED => return Some((1, t)),
        DUP | CONTIGUOUS => {}
        _ => return None,
    }
    let (mut n, mut none, mut of) = (1, 0, 0);
    if contents(t, ints, addresses, types, &mut n, &mut none, &mut of) != 0 {
        return None;
    }
    let found = elements::<A>(of);
    if combiner(of, [&mut ints, &mut addresses, &mut types]) != Some(NAMED) {
        free(&mut of); // contents of a datatype are duplicates, but for the predefined ones
    }
    found.map(|(each, of)| (each * i64::from(n), of))
}

/// So many of a datatype, by its canonical handle, as a predefined one.
unsafe fn plain<A: Library>(n: i32, t: i32) -> Option<(i32, usize)> {
    let t = native(Kind::Datatype, t);
    if !special::open_mpi() {
        return Some((n, t));
    }
    let (each, of) = elements::<A>(t)?;
    let n = i32::try_from(i64::from(n) * each).ok()?;
    let gap = n > 1
        && GAPS
            .into_iter()
            .any(|t| native(Kind::Datatype, t as i32) == of);
    (!gap).then_some((n, of))
}

/// All three.
unsafe fn all_plain<A: Library>(what: [(i32, i32); 3], op: i32) -> Option<[(i32, usize); 3]> {
    let [origin, result, target] = what;
    let result = plain::<A>(result.0, result.1)?;
    let origin = match op {
        NO_OP => (0, result.1), // it is not looked at
        _ => plain::<A>(origin.0, origin.1)?,
    };
    Some([origin, result, plain::<A>(target.0, target.1)?])
}

fn refuse(function: &str) -> i32 {
    let text = "with a datatype that has gaps, blocks or several types is not supported over this MPI library, which would \
                give no result (Open MPI's osc/rdma): use a predefined datatype, or run over MPICH\n";
    for part in ["splitproc: MPI_", function, " ", text] {
        // SAFETY: from a string's bytes.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    ERR_TYPE
}

/// Does `f` with so many of a datatype, as one of a derived one if they have gaps.
unsafe fn derived(n: i32, t: i32, f: impl FnOnce(i32, usize) -> i32) -> i32 {
    type Contiguous = unsafe extern "C" fn(i32, usize, &mut usize) -> i32;
    type OfOne = unsafe extern "C" fn(&mut usize) -> i32;
    let of = native(Kind::Datatype, t);
    if n < 2 || !special::open_mpi() || !GAPS.contains(&(t as u32)) {
        return f(n, of);
    }
    let contiguous: Contiguous = transmute(library(ix::Type_contiguous));
    let [commit, free] =
        [ix::Type_commit, ix::Type_free].map(|i| transmute::<usize, OfOne>(library(i)));
    let mut all = 0;
    let mut code = contiguous(n, of, &mut all);
    if code == 0 {
        commit(&mut all);
        code = f(1, all);
        free(&mut all); // what is under way keeps it
    }
    code
}

/// `MPI_Accumulate`, and the form of it that gives a `request` of the library's, which is `made`.
macro_rules! accumulate {
    ($name:ident $index:ident $($request:ident $made:ident: $place:ty)?) => {
        #[doc = concat!("`MPI_", stringify!($index), "`.")]
        pub unsafe extern "C" fn $name<A: Library>(
            origin: usize,
            n: i32,
            t: i32,
            rank: i32,
            at: i64,
            target_n: i32,
            target_t: i32,
            op: i32,
            window: i32,
            $($request: usize,)?
        ) -> i32 {
            type F = unsafe extern "C" fn(
                usize, i32, usize, i32, i64, i32, usize, usize, usize, $($place,)?
            ) -> i32;
            let f: F = transmute(library(ix::$index));
            let (origin, rank) = (numbers::buffer::<A>(origin), A::rank_from_canonical(rank));
            let (op, window) = (native(Kind::Op, op), native(Kind::Window, window));
            let target_t = native(Kind::Datatype, target_t);
            $(let mut $made = 0;)?
            let code = derived(n, t, |n, t| {
                f(origin, n, t, rank, at, target_n, target_t, op, window, $(&mut $made,)?)
            });
            $(if code == 0 {
                put($request, canonical(Kind::Request, $made));
            })?
            numbers::code::<A>(code)
        }
    };
}

accumulate! { mpi_accumulate Accumulate }
accumulate! { mpi_raccumulate Raccumulate request made: &mut usize }

/// The same of `MPI_Get_accumulate`.
macro_rules! get_accumulate {
    ($name:ident $index:ident $($request:ident $made:ident: $place:ty)?) => {
        #[doc = concat!("`MPI_", stringify!($index), "`.")]
        pub unsafe extern "C" fn $name<A: Library>(
            origin: usize,
            origin_n: i32,
            origin_t: i32,
            result: usize,
            result_n: i32,
            result_t: i32,
            rank: i32,
            at: i64,
            target_n: i32,
            target_t: i32,
            op: i32,
            window: i32,
            $($request: usize,)?
        ) -> i32 {
            type F = unsafe extern "C" fn(
                usize, i32, usize, usize, i32, usize, i32, i64, i32, usize, usize, usize, $($place,)?
            ) -> i32;
            let f: F = transmute(library(ix::$index));
            let what = [(origin_n, origin_t), (result_n, result_t), (target_n, target_t)];
            let Some([o, r, t]) = all_plain::<A>(what, op) else {
                return refuse(stringify!($index));
            };
            let (origin, result) = (numbers::buffer::<A>(origin), numbers::buffer::<A>(result));
            let rank = A::rank_from_canonical(rank);
            let (op, window) = (native(Kind::Op, op), native(Kind::Window, window));
            $(let mut $made = 0;)?
            let code = f(
                origin, o.0, o.1, result, r.0, r.1, rank, at, t.0, t.1, op, window, $(&mut $made,)?
            );
            $(if code == 0 {
                put($request, canonical(Kind::Request, $made));
            })?
            numbers::code::<A>(code)
        }
    };
}

get_accumulate! { mpi_get_accumulate Get_accumulate }
get_accumulate! { mpi_rget_accumulate Rget_accumulate request made: &mut usize }
