//! x86-64: raw system calls, the FS base, and the jump into a half.
mod start;
mod syscall;

pub use start::{enter_half, load_context, Context};
pub use syscall::{fs_base, raw_syscall, set_fs_base, syscall6};
