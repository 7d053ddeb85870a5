//! x86-64: raw system calls, the FS base, and the jump into a half.
mod crossing;
mod start;
mod syscall;
mod thread;

pub use crossing::call_on_tcb;
pub use start::{enter_half, load_context, Context};
pub use syscall::{fs_base, is_err, raw_syscall, set_fs_base, syscall6, CUT_SHORT};
pub use thread::{block_signals, restore_signals, spin_lock, spin_unlock};
