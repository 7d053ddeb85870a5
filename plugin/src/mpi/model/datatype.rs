//! Derived datatypes: the tree they were constructed from.

use super::super::abi::*;
use super::super::lower::{ix, must, Fail};
use super::objects::Attr;
use super::table::Table;
use super::{serial, Guard, Locked};
use std::ffi::OsString;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::Relaxed};

/// Combiners of the MPICH ABI.
#[allow(missing_docs)]
pub mod combiner {
    pub const NAMED: i32 = 1;
    pub const DUP: i32 = 2;
    pub const CONTIGUOUS: i32 = 3;
    pub const VECTOR: i32 = 4;
    pub const HVECTOR: i32 = 6;
    pub const INDEXED: i32 = 7;
    pub const HINDEXED: i32 = 9;
    pub const INDEXED_BLOCK: i32 = 10;
    pub const STRUCT: i32 = 12;
    pub const SUBARRAY: i32 = 13;
    pub const DARRAY: i32 = 14;
    pub const F90_REAL: i32 = 15;
    pub const F90_COMPLEX: i32 = 16;
    pub const F90_INTEGER: i32 = 17;
    pub const RESIZED: i32 = 18;
    pub const HINDEXED_BLOCK: i32 = 19;
}

/// How a datatype was made, in the form of `MPI_Type_get_contents`.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Combiner.
    pub combiner: i32,
    /// Integers.
    pub ints: Vec<i32>,
    /// Addresses.
    pub addrs: Vec<i64>,
    /// Counts, if it was made by a function whose name ends in `_c`.
    pub counts: Vec<i64>,
    /// Datatypes: the application's handles.
    pub types: Vec<i32>,
}

/// Sizes, asked from the lower half once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Bytes of data.
    pub size: i64,
    /// Lower bound and extent.
    pub lb: i64,
    /// Extent.
    pub extent: i64,
    /// True lower bound and extent.
    pub true_lb: i64,
    /// True extent.
    pub true_extent: i64,
}

impl Sizes {
    /// Is the data of both the same, as far as libraries tell? Some count in where an empty member lies: then one range holds
    /// the other.
    pub fn same_data(&self, other: &Sizes) -> bool {
        let holds = |a: &Sizes, b: &Sizes| a.true_lb <= b.true_lb && a.true_ub() >= b.true_ub();
        let overlaid = holds(self, other) || holds(other, self);
        self.size == other.size && (self.size == 0 || overlaid)
    }

    fn true_ub(&self) -> i64 {
        self.true_lb + self.true_extent
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (n, from, to) = (self.size, self.true_lb, self.true_ub());
        write!(f, "{n} bytes from {from} to {to}")
    }
}

/// What changes rarely.
#[derive(Default)]
pub struct Meta {
    /// Name, if the application gave one.
    pub name: Option<OsString>,
    /// Attributes.
    pub attrs: Vec<Attr>,
}

/// A derived datatype.
pub struct Datatype {
    /// The lower half's handle.
    pub lower: AtomicI32,
    /// The application's handle.
    pub handle: AtomicI32,
    /// How it was made.
    pub contents: Contents,
    /// Sizes.
    pub sizes: Sizes,
    /// Committed?
    pub committed: AtomicBool,
    /// Uses: the application's handle, requests, and types made from it.
    pub refs: AtomicU32,
    /// Handles that the application has: its own, and those that it was given as parts of other types.
    pub handles: AtomicU32,
    /// Creation number.
    pub serial: u64,
    /// The rest.
    pub meta: Locked<Meta>,
}

impl Datatype {
    /// What it is called where something is said of it.
    pub fn name(&self, guard: &Guard) -> String {
        let given = self.meta.get(guard).name.as_ref();
        let combiner = || format!("a datatype of combiner {}", self.contents.combiner);
        given.map_or_else(combiner, |name| format!("datatype '{}'", name.display()))
    }
}

/// User-made datatypes.
pub static TYPES: Table<Datatype> = Table::new();

/// The datatype that a virtual handle names.
#[inline(always)]
pub fn get(handle: i32) -> Option<&'static Datatype> {
    if handle & KIND_MASK == V_DATATYPE {
        TYPES.get(handle & INDEX_MASK)
    } else {
        None
    }
}

/// True for a datatype that the ABI defines.
#[inline(always)]
pub fn predefined(handle: i32) -> bool {
    handle & KIND_MASK == 0x4c00_0000 || (handle as u32).wrapping_sub(0x8c00_0000) < 5
}

/// Asks the lower half for a datatype's sizes.
///
/// # Safety
/// `lower` must be a datatype of the lower half.
pub unsafe fn ask(lower: i32) -> Sizes {
    let mut s = Sizes::default();
    let at = |p: &mut i64| p as *mut i64 as u64;
    must(ix::Type_size_x, &[lower as u64, at(&mut s.size)]);
    must(
        ix::Type_get_extent,
        &[lower as u64, at(&mut s.lb), at(&mut s.extent)],
    );
    must(
        ix::Type_get_true_extent,
        &[lower as u64, at(&mut s.true_lb), at(&mut s.true_extent)],
    );
    s
}

/// Sizes of any datatype.
pub fn sizes(handle: i32) -> Result<Sizes, Fail> {
    sizes_in_place(handle)
}

/// The same, for calls that do little else: the library is built for size, where this would not be inlined.
#[inline(always)]
pub fn sizes_in_place(handle: i32) -> Result<Sizes, Fail> {
    if let Some(t) = get(handle) {
        return Ok(t.sizes);
    }
    if handle & KIND_MASK == 0x4c00_0000 && handle > 0x4c00_0100 {
        let n = ((handle >> 8) & 0xff) as i64;
        return Ok(Sizes {
            size: n,
            extent: n,
            true_extent: n,
            ..Sizes::default()
        });
    }
    if predefined(handle) {
        // SAFETY: the same constants name the type in the lower half.
        return Ok(unsafe { ask(handle) });
    }
    Err(Fail::Code(ERR_TYPE))
}

/// Registers a datatype; its parts are held.
pub fn register(guard: &Guard, lower: i32, contents: Contents, sizes: Sizes) -> i32 {
    for t in &contents.types {
        hold(*t);
    }
    let index = TYPES.reserve(guard);
    let handle = V_DATATYPE | index as i32;
    TYPES.put(
        index,
        Datatype {
            lower: AtomicI32::new(lower),
            handle: AtomicI32::new(handle),
            contents,
            sizes,
            committed: AtomicBool::new(false),
            refs: AtomicU32::new(1),
            handles: AtomicU32::new(1),
            serial: serial(),
            meta: Locked::new(Meta::default()),
        },
    );
    handle
}

/// What the application gave to predefined datatypes.
static NAMED: Locked<Vec<(i32, Meta)>> = Locked::new(Vec::new());

/// The same of any datatype.
pub fn meta(guard: &Guard, handle: i32) -> Option<&mut Meta> {
    if let Some(t) = get(handle) {
        return Some(t.meta.get(guard));
    }
    let named = NAMED.get(guard);
    if !named.iter().any(|(t, _)| *t == handle) {
        if !predefined(handle) {
            return None;
        }
        named.push((handle, Meta::default()));
    }
    named.iter_mut().find(|(t, _)| *t == handle).map(|(_, m)| m)
}

/// Predefined datatypes to which the application gave something.
pub fn named(guard: &Guard) -> Vec<i32> {
    NAMED.get(guard).iter().map(|(t, _)| *t).collect()
}

/// One more use of a datatype.
#[inline(always)]
pub fn hold(handle: i32) {
    if let Some(t) = get(handle) {
        t.refs.fetch_add(1, Relaxed);
    }
}

/// The application is given a handle, which it frees.
pub fn give(handle: i32) {
    if let Some(t) = get(handle) {
        t.handles.fetch_add(1, Relaxed);
    }
    hold(handle);
}

/// One use fewer; the last one frees it in both halves.
#[inline(always)]
pub fn release(guard: &Guard, handle: i32) {
    if let Some(t) = get(handle) {
        if t.refs.fetch_sub(1, Relaxed) == 1 {
            free(guard, t);
        }
    }
}

#[cold]
fn free(guard: &Guard, t: &'static Datatype) {
    let parts = t.contents.types.clone();
    // SAFETY: the lower handle is valid until this call.
    unsafe { must(ix::Type_free, &[t.lower.as_ptr() as u64]) };
    TYPES.remove(guard, t.handle.load(Relaxed) & INDEX_MASK);
    for p in parts {
        release(guard, p);
    }
}

/// All derived datatypes, in creation order.
pub fn all(guard: &Guard) -> Vec<&'static Datatype> {
    let mut list: Vec<_> = TYPES.all(guard).into_iter().map(|(_, t)| t).collect();
    list.sort_by_key(|t| t.serial);
    list
}
