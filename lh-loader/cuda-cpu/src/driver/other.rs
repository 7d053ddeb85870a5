//! The device as another one: to see what a restart on a device of another kind does. It has another name, is of the next
//! generation, and places what it places itself elsewhere, as another driver would.

use std::sync::OnceLock;

/// How far from the usual.
const FAR: u64 = 256 << 30;

/// The name that it is to have, if another than its own.
pub fn name() -> Option<&'static str> {
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    let read = || std::env::var("SPLITPROC_CUDA_CPU_NAME").ok();
    NAME.get_or_init(read).as_deref()
}

/// The compute capability, major and minor.
pub fn capability() -> [i32; 2] {
    name().map_or([9, 0], |_| [10, 0])
}

/// How far from its usual places variables and managed memory are.
pub fn offset() -> u64 {
    name().map_or(0, |_| FAR)
}
