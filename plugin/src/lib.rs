//! libsplitproc.so: the upper half's plugin.
//!
//! Preloaded into the application. Its constructor installs the park handler and starts the helper thread,
//! which serves the host's events; the rest are fronts (`mpi`) over object models, which call lower halves
//! through the gate and the crossing.

pub mod adopt;
pub mod block;
pub mod crossing;
pub mod gate;
pub mod helper;
pub mod host;
pub mod park;
pub mod raw;
pub mod registry;
pub mod signal;

/// `ld.so` calls this before the program's own constructors.
#[used]
#[link_section = ".init_array"]
static INIT: extern "C" fn() = init;

extern "C" fn init() {
    if std::env::var_os("LHINFO_PTR").is_none() {
        return;
    }
    raw::set_present();
    clean_environment();
    check_hole();
    gate::init();
    park::init();
    signal::init();
    helper::start();
}

/// The application, and what it executes, see the `LD_PRELOAD` that the user set.
fn clean_environment() {
    let Some(list) = std::env::var_os("LD_PRELOAD") else {
        return;
    };
    let list = list.to_string_lossy().into_owned();
    let ours = |p: &str| p.ends_with("/libsplitproc.so") || p.contains("/fronts/libm");
    let rest: Vec<&str> = list.split([':', ' ']).filter(|p| !ours(p)).collect();
    if rest.is_empty() {
        std::env::remove_var("LD_PRELOAD");
    } else {
        std::env::set_var("LD_PRELOAD", rest.join(":"));
    }
}

/// The lower halves were loaded for a hole at a predicted place; it must be there.
fn check_hole() {
    // SAFETY: lhInfo is mapped.
    let predicted = unsafe { lh_loader::lhinfo::get().hole };
    let (start, end) = block::hole();
    if predicted != [0, 0] && predicted != [start, end] {
        lh_loader::die!(
            70,
            "the TLS hole is at {start}..{end} below FS, not at {}..{}; is another library preloaded first?",
            predicted[0],
            predicted[1]
        );
    }
}
