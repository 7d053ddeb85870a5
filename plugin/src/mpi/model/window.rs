//! Windows: memory that other ranks reach, and the epochs that are open on it.

use super::super::abi::*;
use super::super::lower::Fail;
use super::objects::Attr;
use super::table::Table;
use super::{Comm, Guard, Locked};
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU8, Ordering::*};

/// Flavors (`MPI_WIN_FLAVOR_*`).
#[allow(missing_docs)]
pub mod flavor {
    pub const CREATE: i32 = 1;
    pub const ALLOCATE: i32 = 2;
    pub const DYNAMIC: i32 = 3;
    pub const SHARED: i32 = 4;
}

/// What an access or exposure epoch is.
pub mod epoch {
    /// None is open.
    pub const NONE: u8 = 0;
    /// A fence was passed, and no operation begun since.
    pub const FENCED: u8 = 1;
    /// Between fences, with operations.
    pub const FENCE: u8 = 2;
    /// `MPI_Win_start`.
    pub const START: u8 = 3;
    /// `MPI_Win_lock`.
    pub const LOCK: u8 = 4;
    /// `MPI_Win_lock_all`.
    pub const LOCK_ALL: u8 = 5;
    /// `MPI_Win_post`.
    pub const POST: u8 = 6;
}

/// What may be done to a target: bits.
pub mod target {
    /// It is in the group that `MPI_Win_start` named.
    pub const STARTED: u8 = 1;
    /// A shared lock is held.
    pub const SHARED: u8 = 2;
    /// An exclusive lock is held.
    pub const EXCLUSIVE: u8 = 4;
    /// The lock was taken with `MPI_MODE_NOCHECK`.
    pub const NOCHECK: u8 = 8;
    /// A lock is waited for.
    pub const WANTED: u8 = 16;
    /// A lock is held.
    pub const LOCKED: u8 = SHARED | EXCLUSIVE;
}

/// One rank's part of a shared segment.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Where it begins in the segment.
    pub offset: usize,
    /// Its bytes.
    pub size: i64,
    /// Its displacement unit.
    pub unit: i32,
}

/// Memory that the ranks of one machine share.
#[derive(Debug)]
pub struct Segment {
    /// Where this process has it.
    pub address: usize,
    /// Bytes that are mapped.
    pub length: usize,
    /// The ranks' parts.
    pub parts: Vec<Part>,
}

/// Whose the window's memory is.
#[derive(Debug)]
pub enum Memory {
    /// The application's.
    Given,
    /// Allocated with the window.
    Allocated,
    /// Shared with the other ranks.
    Shared(Segment),
}

/// What changes rarely.
#[derive(Default)]
pub struct Meta {
    /// `MPI_Win_set_name`.
    pub name: OsString,
    /// Error handler's (virtual) handle.
    pub errhandler: i32,
    /// Attributes.
    pub attrs: Vec<Attr>,
    /// Hints.
    pub info: Vec<(OsString, OsString)>,
    /// Memory attached to a dynamic window: address and size.
    pub attached: Vec<(usize, i64)>,
    /// The ranks of the access epoch that `MPI_Win_start` opened.
    pub started: Vec<i32>,
    /// The ranks of the exposure epoch, and whether they have said that it is complete.
    pub posted: Vec<(i32, bool)>,
}

/// A window.
pub struct Window {
    /// The lower half's handle.
    pub lower: AtomicI32,
    /// The application's handle.
    pub handle: AtomicI32,
    /// A communicator of its own, over the same ranks.
    pub comm: &'static Comm,
    /// Its memory.
    pub memory: Memory,
    /// Where that begins; also `MPI_WIN_BASE`.
    pub base: usize,
    /// `MPI_WIN_SIZE`: the application may point at this and the next ones.
    pub size: i64,
    /// `MPI_WIN_DISP_UNIT`.
    pub unit: i32,
    /// `MPI_WIN_CREATE_FLAVOR`.
    pub flavor: i32,
    /// `MPI_WIN_MODEL`.
    pub model: AtomicI32,
    /// The access epoch.
    pub access: AtomicU8,
    /// The exposure epoch.
    pub exposure: AtomicU8,
    /// The lower half's window is locked for all ranks, without a check, for fences and `MPI_Win_start`.
    pub covered: AtomicBool,
    /// Number of `MPI_Win_lock`'s locks that are held or waited for.
    pub locks: AtomicU32,
    /// The assertions of `MPI_Win_lock_all`.
    pub all: AtomicI32,
    /// By rank: what may be done to it.
    pub targets: Box<[AtomicU8]>,
    /// A thread is opening or closing an epoch.
    turn: AtomicBool,
    /// The rest.
    pub meta: Locked<Meta>,
}

/// Windows.
pub static WINDOWS: Table<Window> = Table::new();

/// The right to open and close a window's epochs; given back when it is dropped.
pub struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}

impl Window {
    /// A window without epochs.
    pub fn new(comm: &'static Comm, memory: Memory, at: (usize, i64, i32), flavor: i32) -> Window {
        Window {
            lower: AtomicI32::new(WIN_NULL),
            handle: AtomicI32::new(WIN_NULL),
            targets: comm.group.iter().map(|_| AtomicU8::new(0)).collect(),
            comm,
            memory,
            base: at.0,
            size: at.1,
            unit: at.2,
            flavor,
            model: AtomicI32::new(0),
            access: AtomicU8::new(epoch::NONE),
            exposure: AtomicU8::new(epoch::NONE),
            covered: AtomicBool::new(false),
            locks: AtomicU32::new(0),
            all: AtomicI32::new(0),
            turn: AtomicBool::new(false),
            meta: Locked::new(Meta {
                errhandler: ERRHANDLER_NULL,
                ..Meta::default()
            }),
        }
    }

    /// The lower half's handle, as an argument of a call.
    #[inline(always)]
    pub fn low(&self) -> u64 {
        self.lower.load(Relaxed) as u64
    }

    /// Waits for the other threads that open or close epochs. Inside the gate.
    pub fn turn(&self) -> Turn<'_> {
        while self.turn.swap(true, Acquire) {
            std::thread::yield_now();
        }
        Turn(&self.turn)
    }

    /// What may be done to a rank; nothing for what is no rank.
    #[inline(always)]
    pub fn target(&self, rank: i32) -> u8 {
        self.targets
            .get(rank as usize)
            .map_or(0, |t| t.load(Relaxed))
    }

    /// The access epoch.
    #[inline(always)]
    pub fn access(&self) -> u8 {
        self.access.load(Relaxed)
    }

    /// The exposure epoch.
    pub fn exposure(&self) -> u8 {
        self.exposure.load(Relaxed)
    }
}

/// The window that a handle names.
#[inline(always)]
pub fn get(handle: i32) -> Result<&'static Window, Fail> {
    let found = if handle & KIND_MASK == V_WIN {
        WINDOWS.get(handle & INDEX_MASK)
    } else {
        None
    };
    found.ok_or(Fail::Code(ERR_WIN))
}

/// Registers a window and gives its handle.
pub fn register(guard: &Guard, window: Window) -> i32 {
    let index = WINDOWS.reserve(guard);
    let handle = V_WIN | index as i32;
    window.handle.store(handle, Relaxed);
    WINDOWS.put(index, window);
    handle
}

/// All windows, in an order that all ranks have in common.
pub fn all(guard: &Guard) -> Vec<&'static Window> {
    let mut list: Vec<_> = WINDOWS.all(guard).into_iter().map(|(_, w)| w).collect();
    list.sort_by_key(|w| w.comm.id.load(Relaxed));
    list
}
