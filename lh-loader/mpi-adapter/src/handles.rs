//! Handles: canonical ones are numbers, the library's are addresses, or other numbers.

use crate::slab::Slab;
use crate::{get, ops, put};
use core::mem::{size_of, MaybeUninit};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use mpi_abi::{Kind, KINDS};

/// The handles of one kind.
pub struct Table {
    /// The null handle.
    null: AtomicUsize,
    /// The predefined objects, by the lowest byte of their canonical handles.
    predefined: [AtomicUsize; 256],
    /// The canonical handles' upper bytes.
    canonical: [AtomicUsize; 256],
    /// What has been made.
    made: Slab,
}

static TABLES: [Table; KINDS.len()] = [const {
    Table {
        null: AtomicUsize::new(0),
        predefined: [const { AtomicUsize::new(0) }; 256],
        canonical: [const { AtomicUsize::new(0) }; 256],
        made: Slab::new(),
    }
}; KINDS.len()];

/// The bits of a canonical handle that tell that it was made here.
const MADE: u32 = 0xc000_0000;
/// The index of what was made.
const INDEX: i32 = 0x003f_ffff;
/// Where pair types lie in a table: their handles are like those of made types.
const PAIRS: usize = 0xf0;

fn table(kind: Kind) -> &'static Table {
    &TABLES[kind as usize]
}

/// The bits that canonical handles of a kind have.
const fn bits(kind: Kind) -> u32 {
    let number = match kind {
        Kind::Comm => 1,
        Kind::Group => 2,
        Kind::Datatype => 3,
        Kind::Errhandler => 5,
        Kind::Op => 6,
        Kind::Info => 7,
        Kind::Window => 8,
        Kind::File => 9,
        Kind::Request | Kind::Message => 11,
        Kind::Session => 14,
    };
    number << 26
}

/// The place of a predefined object.
fn place(handle: i32) -> Option<usize> {
    match handle as u32 >> 30 {
        1 => Some(handle as usize & 0xff),
        2 => Some(PAIRS | handle as usize & 0xf),
        _ => None,
    }
}

/// Notes the library's handles of the predefined objects.
pub fn begin(of: impl Fn(&mpi_abi::Predefined) -> Option<usize>) {
    for kind in KINDS {
        for object in kind.predefined() {
            let (table, native) = (table(kind), of(object).unwrap_or(0));
            match place(object.canonical) {
                Some(i) => {
                    table.predefined[i].store(native, Relaxed);
                    table.canonical[i].store(object.canonical as u32 as usize, Relaxed);
                }
                None => table.null.store(native, Relaxed),
            }
        }
    }
}

/// The library's null handle.
#[inline(always)]
pub fn null(kind: Kind) -> usize {
    table(kind).null.load(Relaxed)
}

/// The canonical null handle.
const fn canonical_null(kind: Kind) -> i32 {
    bits(kind) as i32
}

/// The library's handle of a canonical one; its null handle for what it has not got.
#[inline(always)]
pub fn native(kind: Kind, handle: i32) -> usize {
    let table = table(kind);
    let found = if handle as u32 >= MADE {
        table.made.get((handle & INDEX) as u32)
    } else {
        let at = place(handle).map(|i| table.predefined[i].load(Relaxed));
        at.filter(|native| *native != 0)
    };
    found.unwrap_or_else(|| null(kind))
}

/// The canonical handle of one of the library's that is predefined.
fn known(kind: Kind, native: usize) -> Option<i32> {
    let table = table(kind);
    let i = table
        .predefined
        .iter()
        .position(|n| n.load(Relaxed) == native)?;
    Some(table.canonical[i].load(Relaxed) as u32 as i32)
}

/// The canonical handle of one that the library has just given.
#[inline(always)]
pub fn canonical(kind: Kind, native: usize) -> i32 {
    if native == null(kind) {
        return canonical_null(kind);
    }
    if !matches!(kind, Kind::Request) {
        if let Some(handle) = known(kind, native) {
            return handle;
        }
    }
    let made = table(kind).made.add(native);
    made.map_or(canonical_null(kind), |i| (MADE | bits(kind) | i) as i32)
}

/// The canonical handle of one that the library calls back with.
pub fn existing(kind: Kind, native: usize) -> i32 {
    known(kind, native)
        .or_else(|| Some((MADE | bits(kind) | table(kind).made.find(native)?) as i32))
        .unwrap_or(canonical_null(kind))
}

/// The index of a handle that was made.
#[inline(always)]
fn made(handle: i32) -> Option<u32> {
    (handle as u32 >= MADE).then_some((handle & INDEX) as u32)
}

/// After a call that may have ended the object: the canonical handle at `at` follows the library's.
///
/// # Safety
/// There must be a handle at `at`.
#[inline(always)]
pub unsafe fn update(kind: Kind, at: usize, native: usize) {
    if native == null(kind) {
        forget(kind, at);
    }
}

/// The object is gone: its number is free.
///
/// # Safety
/// There must be a handle at `at`.
#[inline(always)]
pub unsafe fn forget(kind: Kind, at: usize) {
    if let Some(i) = made(get(at)) {
        let slab = &table(kind).made;
        match slab.extra(i) {
            0 => {}
            extra if kind == Kind::Op => ops::release(extra),
            extra => end(extra as *mut Kept),
        }
        slab.remove(i);
    }
    put(at, canonical_null(kind));
}

/// Notes the trampoline of an operator.
pub fn set_extra(kind: Kind, handle: i32, extra: usize) {
    if let Some(i) = made(handle) {
        table(kind).made.set_extra(i, extra);
    }
}

/// What the library uses until a request is complete.
#[repr(C)]
pub struct Kept {
    next: *mut Kept,
    /// Where the canonical handle of a new communicator goes then; 0: nowhere.
    place: usize,
    /// Where the library puts its own.
    pub comm: usize,
}

impl Kept {
    /// Room for it, and for `n` handles behind it.
    ///
    /// # Safety
    /// It is to be given to `keep`.
    pub unsafe fn new(place: usize, n: usize) -> *mut Kept {
        let bytes = size_of::<Kept>() + n * size_of::<usize>();
        let kept = libc::calloc(1, bytes).cast::<Kept>();
        if kept.is_null() {
            libc::abort();
        }
        (*kept).place = place;
        kept
    }
}

/// Keeps something until a request is complete.
///
/// # Safety
/// `kept` must be new.
pub unsafe fn keep(request: i32, kept: *mut Kept) {
    match made(request) {
        Some(i) => {
            let slab = &table(Kind::Request).made;
            (*kept).next = slab.extra(i) as *mut Kept;
            slab.set_extra(i, kept as usize);
        }
        None => end(kept),
    }
}

/// The request is complete.
#[cold]
unsafe fn end(mut kept: *mut Kept) {
    while let Some(k) = kept.as_ref() {
        if k.place != 0 {
            put(k.place, canonical(Kind::Comm, k.comm));
        }
        let next = k.next;
        libc::free(kept.cast());
        kept = next;
    }
}

/// So many are translated on the stack.
const FEW: usize = 32;

/// An array for the library, on the stack if it is short.
pub struct Array<T: Copy> {
    few: [MaybeUninit<T>; FEW],
    many: *mut T,
    len: usize,
}

impl<T: Copy> Array<T> {
    /// One of so many that are all alike.
    pub fn new(len: usize, all: T) -> Array<T> {
        let mut array = Array {
            few: [const { MaybeUninit::<T>::uninit() }; FEW],
            many: core::ptr::null_mut(),
            len,
        };
        if len > FEW {
            // SAFETY: plain memory, freed when the array is dropped.
            array.many = unsafe { libc::malloc(len * size_of::<T>()) }.cast();
            if array.many.is_null() {
                // SAFETY: ends the process.
                unsafe { libc::abort() };
            }
        }
        // SAFETY: there is room for `len`.
        (0..len).for_each(|i| unsafe { array.start().add(i).write(all) });
        array
    }

    fn start(&mut self) -> *mut T {
        if self.many.is_null() {
            self.few.as_mut_ptr().cast()
        } else {
            self.many
        }
    }

    /// Its address.
    pub fn at(&mut self) -> usize {
        self.start() as usize
    }

    /// Its elements.
    pub fn all(&mut self) -> &mut [T] {
        let (start, len) = (self.start(), self.len);
        // SAFETY: `new` has written all of them.
        unsafe { core::slice::from_raw_parts_mut(start, len) }
    }
}

impl<T: Copy> Drop for Array<T> {
    fn drop(&mut self) {
        if !self.many.is_null() {
            // SAFETY: from malloc, and nobody else's.
            unsafe { libc::free(self.many.cast()) };
        }
    }
}

/// The library's handles of the `n` canonical ones at `at`.
///
/// # Safety
/// They must be there.
pub unsafe fn read(kind: Kind, at: usize, n: usize) -> Array<usize> {
    let mut array = Array::new(n, 0);
    for (i, h) in array.all().iter_mut().enumerate() {
        *h = native(kind, get(at + 4 * i));
    }
    array
}

/// The same for what the library reads until the request is complete.
///
/// # Safety
/// As `read`; it is to be given to `keep`.
pub unsafe fn read_kept(kind: Kind, at: usize, n: usize) -> *mut Kept {
    let kept = Kept::new(0, n);
    for i in 0..n {
        let to = kept.add(1).cast::<usize>().add(i);
        to.write(native(kind, get(at + 4 * i)));
    }
    kept
}

/// After a call that may have ended some of them.
///
/// # Safety
/// There must be as many handles at `at`.
pub unsafe fn update_all(kind: Kind, at: usize, mut array: Array<usize>) {
    for (i, h) in array.all().iter().enumerate() {
        update(kind, at + 4 * i, *h);
    }
}

/// The library's handle of a file, whose canonical one is an address, or 0.
pub fn file(handle: usize) -> usize {
    if handle == 0 {
        null(Kind::File)
    } else {
        handle
    }
}

/// The canonical handle of a file.
pub fn canonical_file(native: usize) -> usize {
    if native == null(Kind::File) {
        0
    } else {
        native
    }
}
