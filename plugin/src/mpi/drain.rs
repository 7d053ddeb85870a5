//! The cut's last phase: every message that was sent is received, by its receiver or into the queue.

use super::abi::*;
use super::complete::poll_all;
use super::cut::{self, Aims};
use super::inside::{self, Receive};
use super::lower::{ix, must};
use super::model::request::Kind;
use super::model::{comm as comms, lock, traffic, Comm};
use super::{assistant, fileio, own, probe, sync, unexpected};
use crate::{gate, host};
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

/// What a thread may wait for that is kept outside, in this rank or another: the end of threads that its destructors wait
/// for, and other ranks that make the same call. After so many rounds, again and again, they are let in; and after so many
/// the ranks have to go on, for it may be anything else.
const NEEDS: [(&str, u32, u32); 2] = [(inside::ENDS, 20, 100), (inside::MEETS, 4, 200)];

/// What a drain ends with that has to be begun anew, with the cut.
pub const OVERTAKEN: &str = "which others have not come to";

/// Takes every message that no receive matches off one communicator.
///
/// A message that a blocking receive in progress matches is left to it: its thread may have looked into the
/// queue already, and not have posted the receive yet.
unsafe fn take_all(c: &Comm, receives: &[Receive]) {
    let lower = c.lower.load(Relaxed);
    let look = |index, source: i32, tag: i32, message: *mut i32, status: &mut Status| {
        let mut flag = 0i32;
        let (flag_at, status) = (&mut flag as *mut i32 as u64, status as *mut Status as u64);
        let mut args = vec![source as u64, tag as u64, lower as u64, flag_at];
        if index == ix::Improbe {
            args.push(message as u64);
        }
        args.push(status);
        // SAFETY: these are the arguments of MPI_Iprobe and MPI_Improbe.
        unsafe { must(index, &args) == SUCCESS && flag != 0 }
    };
    let (mut message, mut status) = (MESSAGE_NULL, Status::EMPTY);
    while look(ix::Iprobe, ANY_SOURCE, ANY_TAG, &mut message, &mut status) {
        let (source, tag) = (status.source, status.tag);
        let claims = |r: &Receive| {
            r[0] == lower
                && (r[1] == source || r[1] == ANY_SOURCE)
                && (r[2] == tag || r[2] == ANY_TAG)
        };
        if receives.iter().any(claims) || !look(ix::Improbe, source, tag, &mut message, &mut status)
        {
            return;
        }
        unexpected::push(probe::drain_message(c, &mut message, &status));
    }
}

/// Must no rank take messages as long as this one is where it is? One of them may need this rank's library before it comes, or
/// be the library's own.
fn keeps_off() -> u64 {
    u64::from(own::keeps_out() || inside::leading())
}

/// One round of progress; `takes`: messages are taken that no receive matches.
unsafe fn progress(takes: bool) {
    if inside::testing() {
        return; // it comes out soon, and no other goes in
    }
    // Those before the cut are complete, and for those after it a rank that has them complete would have to be waited for.
    let collective = |kind| matches!(kind, Kind::Coll | Kind::Idup);
    poll_all(|kind| !collective(kind) && !matches!(kind, Kind::Generalized | Kind::Model));
    if !takes {
        return;
    }
    let list = {
        let guard = lock();
        probe::drain_matched(&guard);
        comms::all(&guard)
    };
    let Some(receives) = inside::receives() else {
        return;
    };
    for c in list {
        if c.lower.load(Relaxed) != COMM_NULL {
            take_all(c, &receives);
        }
    }
}

/// A number that a rank has said.
fn word(said: &[Vec<u8>], rank: usize, i: usize) -> u64 {
    let b = said[rank].get(8 * i..8 * i + 8).unwrap_or_default();
    u64::from_le_bytes(b.try_into().unwrap_or_default())
}

/// Drains until nothing is in flight anywhere and no thread is in a call that must complete. Not if a rank has left a collective
/// beyond the targets: then all ranks give up.
///
/// # Safety
/// The gate is closed; on the helper thread.
pub unsafe fn run(aims: &Aims) -> Result<(), String> {
    let begin = Instant::now();
    // No message is taken before every gate is closed: until then its sender can see it arrive.
    let said = host::exchange(&keeps_off().to_le_bytes()).map_err(|e| e.message)?;
    let mut takes = (0..said.len()).all(|rank| word(&said, rank, 0) == 0);
    let mut rounds = 0u32;
    loop {
        own::unless_any(|| progress(takes));
        let busy = own::computing()
            .or_else(inside::busy)
            .or_else(|| fileio::in_flight(&lock()));
        let busy = busy.or_else(assistant::flushing);
        let busy = busy.unwrap_or_default();
        // After the look at threads that must complete: one of these may have been it.
        let overtaken = u64::from(cut::overtaken(aims));
        let all = traffic::all();
        let mut say: Vec<u8> = (all.iter().map(|t| &t.sent))
            .chain(all.iter().map(|t| &t.received))
            .chain(all.iter().map(|t| &t.drained))
            .map(|count| count.load(SeqCst))
            .chain([sync::pending(), overtaken, keeps_off()])
            .flat_map(u64::to_le_bytes)
            .collect();
        say.extend_from_slice(busy.as_bytes());
        let said = host::exchange(&say).map_err(|e| e.message)?;
        let n = said.len();
        let word = |rank, i| word(&said, rank, i);
        takes = (0..n).all(|rank| word(rank, 3 * n + 2) == 0);
        let (mut waits_for, mut admission) = (None, u32::MAX);
        for (to, from) in (0..n).flat_map(|to| (0..n).map(move |from| (to, from))) {
            let sent = word(from, to);
            let received = word(to, n + from).wrapping_add(word(to, 2 * n + from));
            if sent != received {
                waits_for = Some(format!(
                    "of the messages from rank {from} to rank {to}, {sent} were sent and {received} received"
                ));
            }
        }
        // Of a synchronous send whose message was taken the lower half says that it is complete, which is not true: also where
        // the cut is given up, by all ranks alike. Where messages are in flight yet it can't be told which are meant.
        let is_even = waits_for.is_none();
        let any_sync = (0..n).any(|rank| word(rank, 3 * n) != 0);
        let settle = || match is_even && any_sync {
            true => sync::settle(),
            false => Ok(()),
        };
        for s in &said {
            let text = s.get(8 * (3 * n + 3)..).unwrap_or_default();
            for (why, admitted, _) in NEEDS {
                if text.ends_with(why.as_bytes()) {
                    admission = admission.min(admitted);
                }
            }
            if !text.is_empty() {
                waits_for = Some(String::from_utf8_lossy(text).into_owned());
            }
        }
        if let Some(rank) = (0..n).find(|rank| word(*rank, 3 * n + 1) != 0) {
            settle()?;
            return Err(format!(
                "rank {rank} has just left a collective, {OVERTAKEN}"
            ));
        }
        let Some(waits_for) = waits_for else {
            return settle();
        };
        // All ranks count alike, and stop together.
        let over = |(why, _, limit)| rounds > limit && waits_for.ends_with(why);
        if NEEDS.into_iter().any(over) {
            settle()?;
            return Err(waits_for);
        }
        if begin.elapsed() > cut::patience() {
            return Err(format!("after {} s {waits_for}", cut::patience().as_secs()));
        }
        rounds += 1;
        if rounds.is_multiple_of(admission) {
            gate::admit();
        }
        if rounds > 4 {
            std::thread::sleep(Duration::from_micros(if rounds > 100 { 1000 } else { 100 }));
        }
    }
}
