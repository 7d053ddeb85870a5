//! What lives as long as a call: the canonical forms of arrays and statuses. Short ones lie on the stack.

use crate::{own, Front};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use mpi_abi::canonical::{Status, STATUS_IGNORE};
use mpi_abi::{Abi, Kind};

extern "C" {
    fn malloc(n: usize) -> *mut u8;
    fn free(at: *mut u8);
    fn abort() -> !;
}

/// How many elements lie on the stack.
const FEW: usize = 16;

/// Room for some values.
pub struct Room<T: Copy> {
    few: [MaybeUninit<T>; FEW],
    many: Option<NonNull<T>>,
    n: usize,
}

impl<T: Copy> Room<T> {
    /// Room for `n`.
    #[inline(always)]
    pub fn new(n: usize) -> Room<T> {
        let few = [const { MaybeUninit::uninit() }; FEW];
        let many = (n > FEW).then(|| Self::allocate(n));
        Room { few, many, n }
    }

    #[cold]
    fn allocate(n: usize) -> NonNull<T> {
        // SAFETY: any size may be asked for; without memory there is no call, and MPI's functions can't say so.
        unsafe { NonNull::new(malloc(n * size_of::<T>()).cast()).unwrap_or_else(|| abort()) }
    }

    /// Where they are.
    #[inline(always)]
    pub fn at(&mut self) -> *mut T {
        match self.many {
            Some(at) => at.as_ptr(),
            None => self.few.as_mut_ptr().cast(),
        }
    }
}

impl<T: Copy> Drop for Room<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(at) = self.many {
            // SAFETY: `malloc` gave it.
            unsafe { free(at.as_ptr().cast()) };
        }
    }
}

/// `n` handles or numbers.
pub struct Ints(Room<i32>, usize);

impl Ints {
    /// The canonical forms of `n` handles at an address; null stays null.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    pub unsafe fn handles<A: Front>(at: usize, n: i64) -> Ints {
        // SAFETY: the caller's.
        unsafe { Self::of(at, n, |i| A::handle((at as *const usize).add(i).read())) }
    }

    /// Of `n` numbers.
    ///
    /// # Safety
    /// They are there.
    pub unsafe fn numbers(at: usize, n: i64, canonical: impl Fn(i32) -> i32) -> Ints {
        // SAFETY: the caller's.
        unsafe { Self::of(at, n, |i| canonical((at as *const i32).add(i).read())) }
    }

    /// Room for `n` handles that a call writes; 0 stands where it has written none.
    pub fn empty(at: usize, n: i64) -> Ints {
        Self::of(at, n, |_| 0)
    }

    #[inline(always)]
    fn of(at: usize, n: i64, each: impl Fn(usize) -> i32) -> Ints {
        let n = if at == 0 { 0 } else { n.max(0) as usize };
        let mut room = Room::new(n);
        let to: *mut i32 = room.at();
        for i in 0..n {
            // SAFETY: there is room for `n`.
            unsafe { to.add(i).write(each(i)) };
        }
        Ints(room, at)
    }

    /// Their address.
    #[inline(always)]
    pub fn at(&mut self) -> usize {
        match self.1 {
            0 => 0,
            _ => self.0.at() as usize,
        }
    }

    /// Stores them as handles where the application has them.
    ///
    /// # Safety
    /// There is room for them.
    #[inline(always)]
    pub unsafe fn put<A: Front>(&mut self, kind: Kind) {
        for i in 0..self.0.n {
            // SAFETY: the room holds `n`; the rest is the caller's.
            unsafe {
                let canonical = self.0.at().add(i).read();
                if canonical != 0 {
                    (self.1 as *mut usize)
                        .add(i)
                        .write(own::<A>(kind, canonical));
                }
            }
        }
    }
}

/// Stands in a status where a call has written nothing.
const UNTOUCHED: i32 = 0x7fff_fff1;

/// Statuses that a call writes.
pub struct Statuses(Room<Status>, usize);

impl Statuses {
    /// For `n` statuses at an address; they may be ignored.
    #[inline(always)]
    pub fn new<A: Front>(at: usize, n: i64) -> Statuses {
        let n = if at == <A::Abi>::STATUS_IGNORE {
            0
        } else {
            n.max(0) as usize
        };
        let mut room = Room::new(n);
        let to: *mut Status = room.at();
        for i in 0..n {
            let untouched = Status {
                source: UNTOUCHED,
                error: UNTOUCHED,
                ..Status::EMPTY
            };
            // SAFETY: there is room for `n`.
            unsafe { to.add(i).write(untouched) };
        }
        Statuses(room, if at == <A::Abi>::STATUS_IGNORE { 0 } else { at })
    }

    /// Their address.
    #[inline(always)]
    pub fn at(&mut self) -> usize {
        match self.1 {
            0 => STATUS_IGNORE,
            _ => self.0.at() as usize,
        }
    }

    /// Stores the statuses that the call has written.
    ///
    /// # Safety
    /// The application has as many.
    #[inline(always)]
    pub unsafe fn put<A: Front>(&mut self) {
        for i in 0..self.0.n {
            // SAFETY: the room holds `n`; the rest is the caller's.
            unsafe {
                let new = self.0.at().add(i).read();
                put_status::<A>(self.1 + i * size_of::<A::Status>(), new);
            }
        }
    }
}

/// Stores a status; the error stays where it is untouched. Fortran's are aligned as integers are.
///
/// # Safety
/// There is a status at the address.
#[inline(always)]
unsafe fn put_status<A: Front>(at: usize, mut new: Status) {
    let p = at as *mut A::Status;
    if new.error == UNTOUCHED {
        if new.source == UNTOUCHED {
            return;
        }
        // In every ABI but the canonical one the error is the third word.
        // SAFETY: the caller's.
        let error = unsafe { (at as *const i32).add(2).read() };
        new.error = 0;
        // SAFETY: the caller's.
        unsafe {
            p.write_unaligned(new.into());
            (at as *mut i32).add(2).write(error);
        }
        return;
    }
    // SAFETY: the caller's.
    unsafe { p.write_unaligned(new.into()) };
}

/// One status that a call writes.
pub struct One(Status, usize);

impl One {
    /// For the status at an address; it may be ignored.
    #[inline(always)]
    pub fn new<A: Front>(at: usize) -> One {
        let untouched = Status {
            source: UNTOUCHED,
            error: UNTOUCHED,
            ..Status::EMPTY
        };
        One(
            untouched,
            if at == <A::Abi>::STATUS_IGNORE { 0 } else { at },
        )
    }

    /// For one that the call reads as well.
    ///
    /// # Safety
    /// There is one.
    pub unsafe fn read<A: Front>(at: usize) -> One {
        // SAFETY: the caller's.
        One(unsafe { (at as *const A::Status).read().into() }, at)
    }

    /// Its address.
    #[inline(always)]
    pub fn at(&mut self) -> usize {
        match self.1 {
            0 => STATUS_IGNORE,
            _ => &raw mut self.0 as usize,
        }
    }

    /// Stores it.
    ///
    /// # Safety
    /// The application has a status there, or ignores it.
    #[inline(always)]
    pub unsafe fn put<A: Front>(&mut self) {
        if self.1 != 0 {
            // SAFETY: the caller's.
            unsafe { put_status::<A>(self.1, self.0) };
        }
    }
}
