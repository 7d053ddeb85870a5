//! A thread of the plugin's that makes others: DMTCP's own, which prepares a checkpoint, can't.

use crate::{helper, raw};
use std::io::{Error, Result};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Mutex, OnceLock};
use std::thread::{Builder, JoinHandle};

/// A thread that is wanted, and where its handle goes.
struct Wanted {
    builder: Builder,
    run: fn(),
    reply: Sender<Result<JoinHandle<()>>>,
}

static MAKER: OnceLock<Mutex<Sender<Wanted>>> = OnceLock::new();

/// Starts the maker. On the main thread, before the program begins.
pub fn start() {
    helper::own_thread(Builder::new().name("splitproc-maker".into()), serve);
    while MAKER.get().is_none() {
        std::thread::yield_now();
    }
}

fn serve() {
    raw::take_only_own_signals(0);
    let (to, wanted) = channel();
    if MAKER.set(Mutex::new(to)).is_ok() {
        for Wanted {
            builder,
            run,
            reply,
        } in wanted
        {
            // Who asked waits.
            let _ = reply.send(builder.spawn(run));
        }
    }
}

/// Makes a thread, by the maker where there is one.
///
/// # Errors
/// There are too many, or there is no memory.
pub fn spawn(builder: Builder, run: fn()) -> Result<JoinHandle<()>> {
    let Some(maker) = MAKER.get().filter(|_| super::active()) else {
        return builder.spawn(run);
    };
    let (reply, handle) = channel();
    let wanted = Wanted {
        builder,
        run,
        reply,
    };
    let sent = maker.lock().map(|maker| maker.send(wanted).is_ok());
    let made = sent.is_ok_and(|sent| sent).then(|| handle.recv().ok());
    made.flatten()
        .unwrap_or_else(|| Err(Error::other("the thread that makes threads is gone")))
}
