//! Checkpoints that a signal asks for: `--ckpt-signal`, and SIGTERM with `--on-term`.
//!
//! The plugin's handler notes the signal in lhInfo; a thread here tells rank 0. A SIGTERM whose checkpoint
//! can't be taken is given to the program after all.

use super::coordinator::Job;
use super::launch::Settings;
use super::mailbox::{futex_wait, futex_wake};
use lh_loader::lhinfo::{self, Upper, ASKED_CHECKPOINT, ASKED_STOP};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A SIGTERM has come and has not been passed on.
static TERMINATING: AtomicBool = AtomicBool::new(false);

fn upper() -> &'static Upper {
    // SAFETY: the loader mapped lhInfo before it started the host.
    &unsafe { lhinfo::get() }.upper
}

/// Tells the plugin which signals are ours. At a restart, once lhInfo is back.
pub fn claim(settings: &Settings) {
    let term = if settings.on_term { libc::SIGTERM } else { 0 };
    let upper = upper();
    upper.asked.store(0, Ordering::Release);
    upper.pass_term.store(0, Ordering::Release);
    upper.ckpt_signal.store(settings.signal, Ordering::Release);
    upper.term_signal.store(term as u32, Ordering::Release);
}

/// Waits for signals, if there are any to wait for.
pub fn start(job: &Arc<Job>, settings: &Settings) {
    if settings.signal == 0 && !settings.on_term {
        return;
    }
    let job = Arc::clone(job);
    let serve = move || loop {
        let asked = upper().asked.swap(0, Ordering::AcqRel);
        if asked == 0 {
            futex_wait(&upper().asked, 0, Duration::from_secs(3600));
            continue;
        }
        let stop = asked & ASKED_STOP != 0;
        if stop {
            TERMINATING.store(true, Ordering::Release);
        }
        if asked & (ASKED_CHECKPOINT | ASKED_STOP) != 0 {
            if let Err(why) = job.ask(stop) {
                super::say(&format!("no checkpoint was taken: {why}"));
                pass_on();
            }
        }
    };
    let made = std::thread::Builder::new()
        .name("signals".into())
        .spawn(serve);
    if made.is_err() {
        super::say("signals can't ask for checkpoints: a thread can't be started");
    }
}

/// Gives a SIGTERM that came to this process to the program.
pub fn pass_on() {
    if TERMINATING.swap(false, Ordering::AcqRel) {
        let word = &upper().pass_term;
        word.store(1, Ordering::Release);
        futex_wake(word);
        let args = [
            std::process::id() as usize,
            libc::SIGTERM as usize,
            0,
            0,
            0,
            0,
        ];
        // SAFETY: a signal to ourselves, which the plugin's handler expects.
        let _ = unsafe { crate::sys::raw(libc::SYS_kill, args) };
    }
}
