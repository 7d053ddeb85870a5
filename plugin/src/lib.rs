//! libsplitproc.so: the upper half's plugin.
//!
//! Preloaded into the application. Its constructor installs the park handler and starts the helper thread,
//! which serves the host's events; the rest are fronts (`mpi`) over object models, which call lower halves
//! through the gate and the crossing. `exports` is what a program calls to use lower halves of its own.

pub mod adopt;
pub mod block;
pub mod cancel;
pub mod crossing;
pub mod cuda;
pub mod dmtcp;
mod environment;
pub mod exports;
pub mod gate;
pub mod helper;
pub mod host;
mod in_place;
pub mod interrupt;
mod keys;
pub mod mpi;
mod mutexes;
pub mod park;
pub mod raw;
pub mod registry;
pub mod rest;
pub mod service;
pub mod signal;
pub mod stacks;
mod streams;
mod symbols;
pub mod tcb;
pub mod trigger;
pub mod ways;

use core::ffi::c_char;
use lh_loader::lhinfo;

/// `ld.so` calls this before the program's own constructors.
#[used]
#[link_section = ".init_array"]
static INIT: unsafe extern "C" fn(i32, *const *const c_char, *mut *mut c_char) = init;

unsafe extern "C" fn init(_: i32, _: *const *const c_char, envp: *mut *mut c_char) {
    if !launched() {
        return;
    }
    raw::set_present();
    // SAFETY: ld.so passes the program's environment vector, before anybody has copied it.
    unsafe { environment::clean(envp) };
    adopt::choose();
    keys::reserve();
    registry::init();
    gate::init();
    park::init();
    signal::init();
    // Before the program runs: it may send itself the signal that asks for a checkpoint.
    trigger::init();
    helper::start();
}

/// Is lhInfo mapped? The variable alone says nothing: what the application executes inherits it.
fn launched() -> bool {
    let mut resident = 0u8;
    // SAFETY: mincore fails for what is not mapped and writes one byte otherwise; lhInfo is then readable.
    unsafe {
        std::env::var_os("LHINFO_PTR").is_some()
            && libc::mincore(lhinfo::ptr().cast(), 1, &mut resident) == 0
            && (*lhinfo::ptr()).magic == lhinfo::MAGIC
    }
}
