//! x86-64 Linux.

pub mod syscall;
