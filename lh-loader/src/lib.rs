//! The kernel loader: halves, windows, the system-call router and the crossing.
//!
//! This library is freestanding (`no_std`, no allocation, no libc functions): it runs before any half
//! has a libc, on borrowed stacks, and inside other programs' system calls.
#![cfg_attr(not(test), no_std)]

pub mod arch;
pub mod layout;
pub mod lhinfo;
pub mod restore;
