//! Work on the checkpoint directory's disk, which may hang: a write that never returns.
//!
//! Such work is done on a thread of its own and is waited for with a bound. What is given up may still come to an end
//! when the disk does; until then no other checkpoint is begun.

use anyhow::{bail, Context, Result};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often who waits looks at what has been done.
pub const TICK: Duration = Duration::from_millis(100);

/// Work that was given up and has not ended.
static STUCK: AtomicU32 = AtomicU32::new(0);

/// What becomes of a work.
enum Fate {
    Open,
    Done,
    GivenUp,
}

/// Whether work that was given up has not ended.
pub fn hangs() -> bool {
    STUCK.load(Ordering::Acquire) != 0
}

/// Refuses a checkpoint while the disk hangs.
pub fn check() -> Result<()> {
    if hangs() {
        bail!("the disk has not yet done what an earlier checkpoint wanted of it: see what it waits for");
    }
    Ok(())
}

/// Does `work`, and gives up when nothing has come of it for `bound`. Each [`TICK`] `went_on` is asked whether something
/// has.
///
/// # Errors
/// It was given up: `what` names what did not end.
pub fn work<T: Send + 'static>(
    what: &str,
    bound: Duration,
    mut went_on: impl FnMut() -> bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let fate = Arc::new(Mutex::new(Fate::Open));
    let (done, wait) = channel();
    let theirs = Arc::clone(&fate);
    let run = move || {
        let value = work();
        let mut fate = theirs.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*fate, Fate::GivenUp) {
            STUCK.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        *fate = Fate::Done;
        // Whoever waits takes it before it can give up.
        let _ = done.send(value);
    };
    let thread = std::thread::Builder::new().name("disk".into()).spawn(run);
    thread.context("can't start a thread")?;
    let mut since = Instant::now();
    loop {
        match wait.recv_timeout(TICK) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => bail!("{what}: its thread has ended"),
            Err(RecvTimeoutError::Timeout) if went_on() => since = Instant::now(),
            Err(RecvTimeoutError::Timeout) if since.elapsed() >= bound => {
                let mut fate = fate.lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(*fate, Fate::Open) {
                    *fate = Fate::GivenUp;
                    STUCK.fetch_add(1, Ordering::AcqRel);
                    bail!(
                        "{what}: the disk has done nothing for {} s: see whether it hangs; a slow one needs a longer \
                         --timeout",
                        bound.as_secs()
                    );
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn what_hangs_is_given_up_and_known_until_it_ends() {
        let bound = Duration::from_millis(300);
        assert_eq!(work("w", bound, || false, || 7).unwrap(), 7);
        let (go, wait) = sync_channel::<()>(0);
        let hung = work("the-file", bound, || false, move || wait.recv());
        assert!(hung.unwrap_err().to_string().contains("the-file"));
        assert!(check().is_err());
        // While something comes of it, it is waited for.
        let slow = move || std::thread::sleep(3 * bound);
        work("w", bound, || true, slow).unwrap();
        go.send(()).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while check().is_err() {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
    }
}
