//! Runs kernels: blocks on all processors, a block's warps in turn on one, a warp's threads in step.
//!
//! | file | what |
//! |---|---|
//! | `grid` | hands blocks to workers |
//! | `block` | a block: its warps, shared memory and barriers |
//! | `warp` | a warp: which of its threads go on where |
//! | `step` | what a step does to a warp's registers |
//! | `data` | loads, stores and atomics, each address checked |
//! | `update` | what atomic instructions make of a value |
//! | `together` | shuffles, votes and what else a warp's threads do together |
//! | `print` | `printf` |
//!
//! # Divergence
//! Threads of a warp that are at the same place are a *group*, and go on together. Where a branch parts them there are two;
//! the one in the deepest call, and there the one at the lowest step, goes on first, so that it catches up with those ahead, and they
//! are one again. A group that goes round in a circle while others wait lets them go on now and then: a thread may wait
//! for another of its warp.

mod asynchronous;
mod block;
mod data;
mod grid;
mod matrix;
mod picture;
mod print;
mod step;
mod texture;
mod together;
mod update;
mod warp;

pub use grid::{run, Launch};
pub use texture::{Beyond, Format, Image, Texture};

use std::ops::Range;
use std::sync::Arc;

/// What kernels need of the device they run on.
pub trait Device: Sync {
    /// The memory that an address lies in, if a kernel may use it.
    fn region(&self, address: u64) -> Option<Range<u64>>;
    /// Writes what kernels print.
    fn print(&self, text: &[u8]);
    /// Memory for a kernel that asks for some; 0: there is none.
    fn malloc(&self, size: u64) -> u64;
    /// Takes it back.
    fn free(&self, address: u64);
    /// A texture or a surface.
    fn texture(&self, number: u64) -> Option<Arc<Texture>>;
    /// How many workers may run blocks.
    fn processors(&self) -> usize;
}

/// Why a kernel was stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Memory that is nobody's.
    #[error("{function}, line {line}: an illegal address, {address:#x}")]
    Address {
        function: String,
        line: u32,
        address: u64,
    },
    /// An address that is no multiple of the value's size.
    #[error("{function}, line {line}: a misaligned address, {address:#x}")]
    Misaligned {
        function: String,
        line: u32,
        address: u64,
    },
    /// An instruction that is not there.
    #[error("{function}, line {line}: {what}")]
    Unknown {
        function: String,
        line: u32,
        what: String,
    },
    /// `trap`, or an address that is no function.
    #[error("{function}, line {line}: a trap")]
    Trap { function: String, line: u32 },
    /// An assertion failed.
    #[error("{0}")]
    Assert(String),
    /// Calls are too deep for the stack.
    #[error("{function}, line {line}: the stack has no room for another call")]
    Stack { function: String, line: u32 },
    /// Threads wait at barriers for others that never come.
    #[error("{function}: threads wait at a barrier for others that never come")]
    Deadlock { function: String },
}

/// What a fault is, before it is known where.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    Address(u64),
    Misaligned(u64),
    Unknown(String),
    Trap,
    Assert(String),
    Stack,
}

impl Cause {
    /// The fault, at a place.
    fn at(self, function: &str, line: u32) -> Fault {
        let function = function.to_owned();
        match self {
            Cause::Address(address) => Fault::Address {
                function,
                line,
                address,
            },
            Cause::Misaligned(address) => Fault::Misaligned {
                function,
                line,
                address,
            },
            Cause::Unknown(what) => Fault::Unknown {
                function,
                line,
                what,
            },
            Cause::Trap => Fault::Trap { function, line },
            Cause::Assert(text) => Fault::Assert(text),
            Cause::Stack => Fault::Stack { function, line },
        }
    }
}
