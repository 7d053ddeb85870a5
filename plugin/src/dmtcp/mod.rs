//! DMTCP as the host: `dmtcp_launch --with-plugin libsplitproc.so`.
//!
//! DMTCP loads the upper half, stops its threads, and writes and maps memory. It tells its plugins what it does
//! by events; what it needs from us are lower halves in process (`loader`), images without their windows, the
//! cut before threads are stopped and the replay after a restart. Without DMTCP nothing here is ever called.
//!
//! Two descriptors are registered, because events that come before a checkpoint go through the plugins in
//! order and those that come after it in the opposite order: `splitproc` is around DMTCP's own plugins (first to
//! prepare, last to go on), `splitproc-launcher` is inside (INIT after they have looked at the descriptors that
//! the process inherited, RESTART before they bring the application's back).

mod births;
mod door;
mod early;
pub mod ends;
mod front;
mod heap;
mod image;
mod kin;
mod kvdb;
pub mod late;
mod launcher;
mod loader;
pub mod maker;
mod parents;
mod place;
mod prompt;
mod sections;
mod signals;

use crate::exports::splitproc_half;
use crate::mpi::inside::ENDS;
use crate::{adopt, block, cuda, gate, helper, host, keys, raw, registry, signal, symbols};
use core::ffi::c_uint;
use dmtcp_glue::abi::{self, Descriptor, Event, EventData, Register};
use lh_loader::lhinfo;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the program runs on between two attempts at a cut.
const PAUSE: Duration = Duration::from_secs(1);

/// And where only threads are in the way that end, or that want no checkpoint for a while, for so long.
const BRIEFLY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

/// This process has lower halves that this host loaded.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Has this process lower halves that DMTCP's events have loaded?
fn active() -> bool {
    ACTIVE.load(Ordering::Relaxed)
}

/// Ends the process as DMTCP ends one.
fn fail(message: &str) -> ! {
    eprintln!("splitproc: {message}");
    // SAFETY: ends the process.
    unsafe { libc::_exit(fail_code()) }
}

/// The exit code of a process that is given up.
fn fail_code() -> i32 {
    let code = std::env::var("DMTCP_FAIL_RC").ok();
    let code = code.and_then(|c| c.parse().ok()).filter(|c| *c != 0);
    code.unwrap_or(abi::FAIL_CODE)
}

/// DMTCP calls the first of these that it finds, and each calls the next.
///
/// # Safety
/// Called by DMTCP, before its first event.
#[no_mangle]
pub unsafe extern "C" fn dmtcp_initialize_plugin() {
    if let Some(other) = symbols::next(c"splitproc_half") {
        fail(&format!(
            "libsplitproc.so is loaded twice, as {} and {}: give one of them to --with-plugin",
            front::library(splitproc_half as *const () as usize).display(),
            front::library(other).display()
        ))
    }
    front::ensure();
    births::init();
    sections::init();
    image::init();
    let version = if symbols::find(abi::ONLY_IN_4).is_some() {
        abi::API_4
    } else if symbols::find(abi::ONLY_IN_3).is_some() {
        abi::API_3
    } else {
        fail("this DMTCP has another plugin API than 3 (DMTCP 4) and 4 (DMTCP 5): use one of these")
    };
    let Some(register) = symbols::find(c"dmtcp_register_plugin") else {
        fail("this DMTCP has no dmtcp_register_plugin: use DMTCP 4.2 or 5.0")
    };
    let descriptor = |name: &'static CStr, hook: abi::Hook| Descriptor {
        api_version: version.as_ptr(),
        dmtcp_version: c"4.2.0".as_ptr(),
        name: name.as_ptr(),
        author: c"splitproc".as_ptr(),
        email: c"".as_ptr(),
        description: c"Lower halves that are not saved".as_ptr(),
        hook: Some(hook),
    };
    // SAFETY: the functions have the types that the header gives them.
    unsafe {
        let register = core::mem::transmute::<usize, Register>(register);
        register(descriptor(c"splitproc", around));
        if let Some(next) = symbols::next(c"dmtcp_initialize_plugin") {
            core::mem::transmute::<usize, unsafe extern "C" fn()>(next)();
        }
        register(descriptor(c"splitproc-launcher", inside));
    }
}

/// Events for the plugin that is around all others.
unsafe extern "C" fn around(event: c_uint, data: *mut EventData) {
    let event = Event::from_number(event);
    if event == Some(Event::PreExec) {
        // SAFETY: DMTCP gives this event this data.
        unsafe {
            let exec = &(*data).pre_exec;
            if raw::present() {
                launcher::hand_on(exec.envp); // a forked child is not active, but has the descriptors
            }
            kin::hand_on(exec);
        }
    }
    if event == Some(Event::Restart) {
        heap::go_on();
    }
    if active() {
        match event {
            Some(Event::Presuspend) => presuspend(),
            Some(Event::Resume) => must("RESUME", helper::event(helper::RESUME)),
            Some(Event::Restart) => restart(),
            Some(Event::Running) => {
                signals::take_over_stop();
                parents::show();
            }
            Some(Event::AtforkChild) => forked(),
            _ => {}
        }
    }
    match event {
        Some(Event::Presuspend) => {
            if !active() {
                parents::wait();
            }
            births::close();
        }
        Some(Event::Resume | Event::Restart) => {
            sections::open();
            births::open();
        }
        Some(Event::AtforkPrepare) => births::prepare(),
        Some(Event::AtforkChild) => {
            sections::forked();
            births::forked();
        }
        _ => {}
    }
}

/// Events for the plugin that is inside all others.
unsafe extern "C" fn inside(event: c_uint, _: *mut EventData) {
    match Event::from_number(event) {
        Some(Event::Init) => init(),
        Some(Event::Precheckpoint) if !active() => image::name_by_rank(false),
        Some(event) if active() => match event {
            Event::Precheckpoint => {
                cuda::stopped();
                place::save();
                image::name_by_rank(true);
            }
            Event::Resume => image::forget_earlier(),
            Event::Restart => {
                place::restore();
                launcher::arrive();
            }
            _ => {}
        },
        _ => {}
    }
}

/// DMTCP is up and the program has not begun: the lower halves are loaded.
fn init() {
    kin::begin();
    launcher::refuse();
    let halves = front::halves();
    late::init(halves.iter().any(|half| half.name.as_c_str() == c"cuda"));
    if halves.is_empty() {
        return;
    }
    launcher::begin();
    place::begin();
    host::set(&kvdb::Coordinator);
    loader::load(&halves, launcher::environment(), None);
    raw::set_present();
    adopt::choose();
    keys::reserve();
    registry::init();
    gate::init();
    signal::init();
    ACTIVE.store(true, Ordering::Relaxed);
    signals::init();
    image::is_asked();
    maker::start();
}

/// The cut. DMTCP can't be told that a checkpoint is refused: where the cut fails the program goes on, and the
/// checkpoint waits.
fn presuspend() {
    // SAFETY: the block is this thread's own. The gate must not hold the thread that closes it.
    unsafe { (*block::mine()).exempt = 1 };
    registry::register();
    let checkpoint = parents::wanted();
    let answers = prompt::Prompt::begin();
    let cut = || {
        early::settle()?;
        kvdb::meet()?;
        sections::close()?;
        kvdb::look_for_others(checkpoint)?;
        helper::event(helper::PRESUSPEND)?;
        kvdb::look_for_others(checkpoint)?;
        kvdb::mark()
    };
    let begin = Instant::now();
    while let Err(why) = cut() {
        sections::open();
        let brief = [ENDS, sections::INSIDE]
            .iter()
            .any(|end| why.ends_with(end));
        let soon = brief && begin.elapsed() < PATIENCE;
        if !soon {
            eprintln!("splitproc: the checkpoint waits: {why}");
        }
        must("RESUME", helper::event(helper::RESUME));
        std::thread::sleep(if soon { BRIEFLY } else { PAUSE });
    }
    // No thread that DMTCP does not know of is left when it stops the others.
    drop(answers);
    parents::ready();
}

/// Memory, descriptors and threads are back, and no thread runs yet: fresh lower halves, and the replay.
fn restart() {
    // SAFETY: lhInfo came with the image.
    let info = unsafe { lhinfo::get() };
    info.upper.generation.fetch_add(1, Ordering::AcqRel);
    let random = info.random;
    let halves = front::halves();
    front::same(&halves, &info.halves[1..info.half_count as usize]);
    loader::load(&halves, launcher::environment(), Some(random));
    let _answers = prompt::Prompt::begin();
    must("the restart", helper::event(helper::RESTART));
}

/// A forked child has no lower halves, only a copy of their memory without their threads.
fn forked() {
    signals::give_back_stop();
    ACTIVE.store(false, Ordering::Relaxed);
    registry::forget_adoptions();
    loader::forget();
}

/// What can't fail, or can't be gone on from.
fn must(what: &str, outcome: Result<String, String>) {
    if let Err(why) = outcome {
        fail(&format!("{what} failed: {why}"));
    }
}
