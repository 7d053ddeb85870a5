//! The cut's last phase: every message that was sent is received, by its receiver or into the queue.

use super::abi::*;
use super::complete::poll;
use super::cut::LIMIT;
use super::lower::{ix, must};
use super::model::request::Kind;
use super::model::{comm as comms, lock, request, Comm, WORLD_RANK};
use super::{p2p, probe, unexpected};
use crate::{gate, host};
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

/// Takes every message that no posted receive matches off one communicator.
unsafe fn take_all(c: &Comm) {
    loop {
        let (mut flag, mut message, mut status) = (0i32, MESSAGE_NULL, Status::EMPTY);
        let args = [
            ANY_SOURCE as u64,
            ANY_TAG as u64,
            c.lower.load(Relaxed) as u64,
            &mut flag as *mut i32 as u64,
            &mut message as *mut i32 as u64,
            &mut status as *mut Status as u64,
        ];
        if must(ix::Improbe, &args) != SUCCESS || flag == 0 {
            return;
        }
        unexpected::push(probe::drain_message(c, &mut message, &status));
    }
}

/// One round of progress.
unsafe fn progress() {
    let list = {
        let guard = lock();
        for (_, r) in request::all(&guard) {
            let ours = r.active.get() && !r.done.get() && !r.waiting.get();
            if ours && r.kind.get() != Kind::Generalized {
                poll(&guard, r);
            }
        }
        probe::drain_matched(&guard);
        comms::all(&guard)
    };
    for c in list {
        if c.lower.load(Relaxed) != COMM_NULL {
            take_all(c);
        }
    }
}

fn words(list: &[std::sync::atomic::AtomicU64]) -> Vec<u64> {
    list.iter().map(|w| w.load(SeqCst)).collect()
}

/// Drains until nothing is in flight anywhere and no thread is in a call that must complete.
///
/// # Safety
/// The gate is closed; on the helper thread.
pub unsafe fn run() -> Result<(), String> {
    let counters = p2p::counters().ok_or("MPI is not started")?;
    let me = WORLD_RANK.load(Relaxed) as usize;
    let begin = Instant::now();
    let mut rounds = 0u32;
    loop {
        progress();
        let busy = gate::busy();
        let (sent, received) = (words(&counters.sent), words(&counters.received));
        let mut say: Vec<u8> = sent
            .iter()
            .chain(&received)
            .flat_map(|w| w.to_le_bytes())
            .collect();
        say.push(busy.is_none() as u8);
        let said = host::exchange(&say).map_err(|e| e.message)?;
        let word = |rank: usize, i: usize| {
            let b = said[rank].get(8 * i..8 * i + 8).unwrap_or_default();
            u64::from_le_bytes(b.try_into().unwrap_or_default())
        };
        let n = said.len();
        let mut missing = None;
        for to in 0..n {
            for from in 0..n {
                if word(from, to) != word(to, n + from) {
                    missing.get_or_insert((from, to, word(from, to), word(to, n + from)));
                }
            }
        }
        let busy_rank = said.iter().position(|s| s.last() != Some(&1));
        let in_flight = missing.is_some();
        if !in_flight && busy_rank.is_none() {
            return Ok(());
        }
        if begin.elapsed() > LIMIT {
            return Err(match (missing, busy_rank, busy) {
                (_, Some(rank), Some(call)) if rank == me => {
                    format!("rank {me} is still in {call}")
                }
                (Some((from, to, s, r)), _, _) => {
                    format!("messages from rank {from} to rank {to}: {s} sent, {r} received")
                }
                (_, rank, _) => format!(
                    "rank {} is still in a call that must complete",
                    rank.unwrap_or(me)
                ),
            });
        }
        rounds += 1;
        if rounds > 4 {
            std::thread::sleep(Duration::from_micros(if rounds > 100 { 1000 } else { 100 }));
        }
    }
}
