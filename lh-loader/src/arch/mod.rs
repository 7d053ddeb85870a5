//! What depends on the processor: raw system calls today, one module an architecture.

pub mod x86_64;
pub use x86_64::syscall::{is_err, syscall6};
