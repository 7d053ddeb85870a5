//! Groups, operators, error handlers, keyvals and info objects: small, and pure data but for operators.

use super::super::abi::*;
use super::table::Table;
use super::Locked;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize};

/// A group: world ranks.
pub struct Group {
    /// World ranks, by rank in the group.
    pub ranks: Vec<i32>,
    /// The session that it comes from, 0: none.
    pub session: i32,
}

/// A user-made reduction operator.
pub struct Op {
    /// The lower half's handle.
    pub lower: AtomicI32,
    /// Commutative?
    pub commute: i32,
    /// Which thunk the lower half calls.
    pub slot: usize,
    /// Creation number.
    pub serial: u64,
    /// Uses: the application's handle and collectives in flight.
    pub refs: AtomicU32,
}

/// A user-made error handler.
pub struct Errhandler {
    /// The application's function.
    pub function: usize,
    /// What calls it, if it is not a plain function of C.
    pub caller: AtomicUsize,
    /// The call that failed gives no error.
    pub silent: AtomicBool,
    /// Handles and communicators that name it.
    pub refs: AtomicU32,
}

/// A user-made attribute key.
pub struct Keyval {
    /// Copy function, 0: none.
    pub copy: usize,
    /// Delete function, 0: none.
    pub delete: usize,
    /// What calls the two, where they are not C functions.
    pub proxy: [AtomicUsize; 2],
    /// Extra state.
    pub extra: usize,
    /// The handle and attributes that name it.
    pub refs: AtomicU32,
    /// Has the application freed it?
    pub freed: AtomicBool,
}

/// How an attribute was given: in the numbers of the language libraries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// A pointer, in C.
    Pointer,
    /// An integer of an address's size, in Fortran.
    Aint,
    /// A plain integer, in old Fortran.
    Int,
}

/// An attribute.
pub struct Attr {
    /// Its key.
    pub key: i32,
    /// Its value, at an address that stays: C gets that of an integer.
    pub value: Box<usize>,
    /// How it was given.
    pub given: Given,
}

/// An info object: keys and values in order.
pub struct Info {
    /// Pairs.
    pub pairs: Locked<Vec<(OsString, OsString)>>,
}

/// Groups.
pub static GROUPS: Table<Group> = Table::new();
/// Operators.
pub static OPS: Table<Op> = Table::new();
/// Error handlers.
pub static ERRHANDLERS: Table<Errhandler> = Table::new();
/// Keyvals of communicators and datatypes.
pub static KEYVALS: Table<Keyval> = Table::new();
/// Info objects.
pub static INFOS: Table<Info> = Table::new();

/// The object a handle of a kind names.
pub fn find<T>(table: &'static Table<T>, kind: i32, handle: i32) -> Option<&'static T> {
    if handle & KIND_MASK == kind & KIND_MASK {
        table.get(handle & INDEX_MASK)
    } else {
        None
    }
}
