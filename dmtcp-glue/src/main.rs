//! `splitproc-host`: the embedded host, lower half 0.
//!
//! An ordinary program that the loader starts inside the application's process, in a window of its own.
//! Its `main` starts the threads that serve the application's checkpoints and gives the kernel's main
//! thread back to the loader. Nothing of it is ever saved: a restart starts a fresh one.

mod host;
mod resources;
mod sys;

use lh_loader::lhinfo::HalfStart;

fn main() {
    let start = std::env::var("SPLITPROC_HALF")
        .ok()
        .and_then(|hex| usize::from_str_radix(hex.trim_start_matches("0x"), 16).ok());
    let Some(start) = start else {
        eprintln!("splitproc-host: this program is started by `splitproc launch`");
        std::process::exit(2);
    };
    let start = start as *mut HalfStart;
    // SAFETY: the loader passes the address of its own static.
    unsafe { host::run(start) }
}
