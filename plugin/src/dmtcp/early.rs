//! A checkpoint while MPI starts: MPI_Init needs all ranks, so either none of them is in it, or all come out of it
//! first.
//!
//! Each rank that has not started MPI tells the others how it stands: `out`, with its gate closed; `in`, inside
//! MPI_Init or past it; `open`, undecided, with its gate open. If all are `out` they may be saved; who sees an `in` has to
//! let its program go on into MPI_Init. Nobody leaves `out` unless somebody was `in`, so all come to the same
//! result; they number such results, which keeps one checkpoint's words apart from the next one's.

use super::{kin, kvdb, launcher};
use crate::gate;
use lh_loader::lhinfo;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the others are waited for before they are asked again, with the gate open meanwhile.
const TURN: Duration = Duration::from_millis(500);
/// After this long the user is told who is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often all ranks were saved before any had started MPI.
static AGREED: AtomicU32 = AtomicU32::new(0);

/// Waits until this rank has started MPI, or no rank has and its gate is closed. One rank alone, and a process without
/// MPI, need not wait.
pub fn settle() -> Result<(), String> {
    let Some((rank, size)) = launcher::rank_and_size().filter(|(_, size)| *size > 1) else {
        return Ok(());
    };
    // SAFETY: lhInfo is mapped.
    let restarts = unsafe { &lhinfo::get().upper.generation };
    let (restarts, agreed) = (
        restarts.load(Ordering::Relaxed),
        AGREED.load(Ordering::Relaxed),
    );
    let id = format!("splitproc.start.{restarts}.{agreed}");
    let say = |state: &str| kvdb::set(&id, &rank.to_string(), state);
    let begin = Instant::now();
    let mut late = 0;
    while begin.elapsed() < PATIENCE {
        if kin::rank_and_size().is_some() {
            gate::open();
            return say("in");
        }
        gate::close();
        if gate::busy(|_| ()).is_some() {
            gate::open();
            say("in")?;
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        say("out")?;
        let all_out = kvdb::poll(TURN, || {
            for other in 0..size {
                match kvdb::get(&id, &other.to_string())?.as_deref() {
                    Some("out") => {}
                    Some("in") => return Ok(Some(false)),
                    _ => {
                        late = other;
                        return Ok(None);
                    }
                }
            }
            Ok(Some(true))
        })?;
        if all_out == Some(true) {
            AGREED.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        say("open")?;
        gate::open();
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!(
        "some ranks have called MPI_Init, and rank {late} or this one has not yet, or runs under another coordinator"
    ))
}
