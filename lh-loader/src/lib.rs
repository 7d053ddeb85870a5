//! The kernel loader: halves, windows, the system-call router and the crossing.
//!
//! This library is freestanding (`no_std`, no libc functions; one allocation, at the start: see [`heap`]): it runs before any half
//! has a libc, on borrowed stacks, and inside other programs' system calls.
#![cfg_attr(not(test), no_std)]

pub mod arch;
pub mod args;
pub mod bias;
pub mod elf;
pub mod fds;
pub mod futex;
pub mod halves;
pub mod heap;
pub mod layout;
pub mod lhinfo;
pub mod restore;
pub mod route;
pub mod say;
pub mod shown;
pub mod stack;
pub mod vdso;
pub mod window;
