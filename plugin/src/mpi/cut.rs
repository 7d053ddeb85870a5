//! The cut's first phase: every rank reaches a common point in each communicator's collectives.
//!
//! See `DESIGN.md`: the target of a communicator is the highest collective that some member has left, or is
//! in and must complete, and at least the lowest that all members have entered. Collectives beyond the
//! target are held in the upper half; everything else runs on. A rank that has not reached its targets raises others, by what it
//! is in or held before. If the library then refuses that for its arguments, the target is computed anew.

use super::abi::COMM_NULL;
use super::coll::CUT;
use super::complete::{poll_all, sweep};
use super::model::comm::{self as comms, Pending, MUST};
use super::model::request::{self, Kind};
use super::model::{ghosts, lock, Comm, Guard};
use super::{assistant, drain, env, inside, late, lower, own, reopen, segment};
use crate::{gate, host, raw};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// What has the process as a whole: nothing, a cut, or `MPI_Finalize`.
static OWNER: AtomicU32 = AtomicU32::new(IDLE);
const IDLE: u32 = 0;
const CUTTING: u32 = 1;
const ENDING: u32 = 2;

/// Waits until no cut is being taken; none will be any more.
pub fn end() {
    while OWNER
        .compare_exchange(IDLE, ENDING, SeqCst, SeqCst)
        .is_err()
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `MPI_Finalize` is done.
pub fn ended() {
    OWNER.store(IDLE, SeqCst);
}

/// The newest cut's mark: what the ranks' images of one checkpoint have in common.
static MARK: AtomicU64 = AtomicU64::new(0);

/// It, as bytes.
pub fn mark() -> Vec<u8> {
    MARK.load(Relaxed).to_ne_bytes().into()
}

/// All ranks take the mark that the first one draws.
fn agree() -> Result<(), String> {
    let all = host::exchange(&host::random::<8>()).map_err(|e| e.message)?;
    let mark = all[0].as_slice().try_into();
    MARK.store(mark.map_or(0, u64::from_ne_bytes), Relaxed);
    Ok(())
}

/// How many seconds a cut waits.
static PATIENCE: AtomicU64 = AtomicU64::new(60);

/// The host waits no longer than this, nor does a cut.
pub fn wait_at_most(seconds: u64) {
    PATIENCE.fetch_min(seconds, Relaxed);
}

/// For so long a checkpoint waits for calls that must complete.
pub fn patience() -> Duration {
    Duration::from_secs(PATIENCE.load(Relaxed))
}

/// So often is a cut tried where ranks wait for each other in a call that is no collective of a communicator, with pauses
/// that grow by so much: for half a minute.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// What one rank says of one communicator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The communicator.
    pub id: u64,
    /// How many ranks it has.
    pub members: u64,
    /// The newest collective that this rank has entered.
    pub entered: u64,
    /// The newest that it has left, or must complete.
    pub must: u64,
    /// All up to this one are complete here.
    pub met: u64,
    /// One that it is held before, 0: none.
    pub held: u64,
    /// 1: this rank has reductions under way that only the program's own threads carry on.
    pub own: u64,
    /// So many collectives were refused here, and are not counted in the others.
    pub refused: u64,
}

fn entry(c: &Comm, pending: &[Pending]) -> Entry {
    // First: what was taken back before is not seen as entered.
    let refused = c.refused.load(SeqCst);
    let blocking = c.blocking.load(SeqCst);
    let entered = c.entered.load(SeqCst);
    let current = blocking & !MUST;
    let mut must = c.left.load(SeqCst);
    if blocking & MUST != 0 {
        must = must.max(current);
    }
    for p in pending.iter().filter(|p| p.must) {
        must = must.max(p.sequence);
    }
    let oldest = pending
        .iter()
        .map(|p| p.sequence)
        .chain((current != 0).then_some(current))
        .min();
    let met = oldest.map_or(entered, |n| n - 1);
    Entry {
        id: c.id.load(SeqCst),
        members: c.size() as u64,
        entered,
        must,
        met,
        held: c.held.load(SeqCst),
        own: u64::from(own::any()),
        refused,
    }
}

fn local() -> Vec<Entry> {
    let guard = lock();
    let freed = ghosts::all(&guard).map(|g| Entry {
        id: g.id,
        members: g.members,
        entered: g.left,
        must: g.left,
        met: g.left,
        held: 0,
        own: 0,
        refused: 0,
    });
    comms::all(&guard)
        .into_iter()
        .filter(|c| c.size() > 1)
        .map(|c| entry(c, &c.meta.get(&guard).pending.clone()))
        .chain(freed)
        .collect()
}

/// What a rank says: whether it has waited too long, and its communicators.
fn encode(weary: bool, list: &[Entry]) -> Vec<u8> {
    let each = |e: &Entry| {
        let numbers = [e.entered, e.must, e.met, e.held, e.own, e.refused];
        [e.id, e.members].into_iter().chain(numbers)
    };
    [u64::from(weary)]
        .into_iter()
        .chain(list.iter().flat_map(each))
        .flat_map(u64::to_le_bytes)
        .collect()
}

fn decode(bytes: &[u8]) -> (bool, Vec<Entry>) {
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
        .collect();
    let Some((weary, words)) = words.split_first() else {
        return (false, Vec::new());
    };
    let list = words
        .chunks_exact(8)
        .map(|w| Entry {
            id: w[0],
            members: w[1],
            entered: w[2],
            must: w[3],
            met: w[4],
            held: w[5],
            own: w[6],
            refused: w[7],
        })
        .collect();
    (*weary != 0, list)
}

/// A communicator that some rank has not met the target of, and that target.
type Behind = (u64, u64);

/// The targets, and how many collectives of each communicator were refused when they were computed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Aims {
    targets: HashMap<u64, u64>,
    refused: HashMap<u64, u64>,
}

/// Forgets the targets of communicators of which a collective was refused: they may have been raised for its sake.
fn forget_refused(all: &[Vec<Entry>], aims: &mut Aims) {
    let mut refused: HashMap<u64, u64> = HashMap::new();
    for e in all.iter().flatten() {
        *refused.entry(e.id).or_default() += e.refused;
    }
    for (id, target) in &mut aims.targets {
        if refused.get(id) != aims.refused.get(id) {
            *target = 0;
        }
    }
    aims.refused = refused;
}

/// Computes all targets from what all ranks said: alike on every rank.
fn aim(all: &[Vec<Entry>], aims: &mut Aims, stuck: bool) -> Option<Behind> {
    forget_refused(all, aims);
    let targets = &mut aims.targets;
    // The lowest number that a member has entered, and how many members have not spoken.
    let mut low: HashMap<u64, (u64, u64)> = HashMap::new();
    for e in all.iter().flatten() {
        let t = targets.entry(e.id).or_insert(0);
        *t = (*t).max(e.must);
        let l = low.entry(e.id).or_insert((u64::MAX, e.members));
        *l = (l.0.min(e.entered), l.1.saturating_sub(1));
    }
    // A member that does not know of a communicator has yet to make it, or is long through with it.
    for (id, (l, _)) in low.into_iter().filter(|(_, (_, missing))| *missing == 0) {
        let t = targets.entry(id).or_insert(0);
        *t = (*t).max(l);
    }
    // The first rank that is in no collective keeps the others waiting; else the first that is behind.
    let mut behind: Option<(bool, Behind)> = None;
    for list in all {
        let below = list.iter().find(|e| e.met < targets[&e.id]);
        if let Some(e) = below {
            let idle = list.iter().all(|e| e.met == e.entered && e.held == 0);
            if behind.is_none_or(|(first_idle, _)| idle && !first_idle) {
                behind = Some((idle, (e.id, targets[&e.id])));
            }
            // It may owe a collective beyond a target before it can reach this one.
            for e in list {
                let t = targets
                    .get_mut(&e.id)
                    .expect("every communicator has a target");
                *t = (*t).max(e.entered).max(e.held);
            }
        }
    }
    if stuck && behind.is_some() {
        // Somebody who is held may owe a message to somebody who is behind.
        for e in all.iter().flatten() {
            let t = targets
                .get_mut(&e.id)
                .expect("every communicator has a target");
            *t = (*t).max(e.held);
        }
    }
    behind.map(|(_, which)| which)
}

fn publish(aims: &Aims) {
    let guard = lock();
    let (mut changed, mut lowered) = (false, false);
    for c in comms::all(&guard) {
        if let Some(t) = aims.targets.get(&c.id.load(SeqCst)) {
            let before = c.target.swap(*t, SeqCst);
            changed |= before != *t;
            lowered |= before > *t;
        }
    }
    drop(guard);
    if lowered {
        gate::fence_all(); // as at the beginning: who goes by the old target has said what it enters
    }
    if changed {
        CUT.fetch_add(1, SeqCst);
        raw::futex_wake(&CUT);
    }
}

/// Tests non-blocking collectives that no thread waits on: progress below the targets.
///
/// # Safety
/// On the helper thread.
unsafe fn progress() {
    poll_all(|kind| matches!(kind, Kind::Coll | Kind::Idup | Kind::File));
}

fn targets() -> Result<Aims, String> {
    let begin = Instant::now();
    let mut aims = Aims::default();
    let mut before: Option<Vec<Vec<Entry>>> = None;
    let mut still = 0;
    loop {
        // SAFETY: this is the helper thread.
        own::unless_any(|| unsafe { progress() });
        let said = encode(begin.elapsed() > patience(), &local());
        let said = host::exchange(&said).map_err(|e| e.message)?;
        let (weary, all): (Vec<bool>, Vec<Vec<Entry>>) = said.iter().map(|b| decode(b)).unzip();
        still = if before.as_ref() == Some(&all) {
            still + 1
        } else {
            0
        };
        let old = aims.clone();
        let behind = aim(&all, &mut aims, still >= 3);
        // Also when they are what they were: a communicator that is new here has none yet.
        publish(&aims);
        match behind {
            None if old == aims && before.is_some() => return Ok(aims),
            None => {}
            // All ranks give up together.
            Some((id, target)) if weary.contains(&true) => {
                let told = host::exchange(&late::tell(id)).map_err(|e| e.message)?;
                return Err(late::message(id, target, &all, &told));
            }
            Some(_) => {
                std::thread::sleep(Duration::from_micros(if still > 3 { 2000 } else { 200 }))
            }
        }
        before = Some(all);
    }
}

/// Has this rank left a collective, after the targets were met, that comes after the cut? A root may have been in the middle of a
/// broadcast for which others are late. Or has it one open that comes before the cut? A thread that was about to begin one
/// may have said that it had entered, and not yet that it was in it.
pub fn overtaken(aims: &Aims) -> bool {
    let target = |e: &Entry| aims.targets.get(&e.id).copied().unwrap_or(0);
    let is_amiss = |e: &Entry| e.must > target(e) || e.met < target(e);
    local().iter().any(is_amiss)
}

/// Prepares the process to be saved: targets, gate, drain. On an error the program just goes on. Where a rank was
/// kept from a call that another one is in, it may get there before the next attempt: all ranks count these alike.
pub fn presuspend() -> Result<(), String> {
    let again = [inside::MEETS, drain::OVERTAKEN];
    let mut attempts = 0;
    loop {
        match attempt() {
            Err(why) if again.iter().any(|w| why.ends_with(w)) && attempts < ATTEMPTS => {
                attempts += 1;
                std::thread::sleep(PAUSE * attempts);
            }
            outcome => return outcome,
        }
    }
}

fn attempt() -> Result<(), String> {
    if OWNER
        .compare_exchange(IDLE, CUTTING, SeqCst, SeqCst)
        .is_err()
    {
        return Err("the program is in MPI_Finalize".into());
    }
    if !env::active() {
        gate::close();
        return Ok(());
    }
    super::model::lock::share();
    // SAFETY: this is the helper thread, which no restart interrupts.
    unsafe { lower::callers(lower::Callers::Helper) };
    let guard = lock();
    let whole = whole(&guard);
    // One that is registered from now on is held, too.
    CUT.store(1, SeqCst);
    // A communicator of one waits for nobody: nothing is ever held there.
    for c in comms::all(&guard).iter().filter(|c| c.size() > 1) {
        c.target.store(0, SeqCst);
    }
    drop(guard);
    gate::fence_all();
    let begun = whole.and_then(|()| assistant::begin());
    let outcome = begun.and_then(|()| targets()).and_then(|aims| {
        gate::close();
        // SAFETY: the gate is closed and this is the helper thread.
        unsafe { drain::run(&aims) }?;
        // SAFETY: as above.
        own::between(|| unsafe { reopen::settle() })??;
        agree()
    });
    assistant::end();
    match outcome {
        Ok(()) => {
            segment::save_once(true);
            ghosts::all_passed(&lock());
        }
        Err(_) => resume(),
    }
    outcome
}

/// An image of a model that has lost a lower handle could not be restarted.
fn whole(guard: &Guard) -> Result<(), String> {
    let unborn = |r: &request::Request| r.kind.get() == Kind::Idup;
    let unborn = request::all(guard)
        .iter()
        .filter(|(_, r)| unborn(r))
        .count();
    // One that its members are making has not been left, see `apart`, or its first collective not yet begun.
    let is_made = |c: &Comm| c.blocking.load(SeqCst) == 0 && c.entered.load(SeqCst) != 0;
    let without = |c: &&Comm| c.lower.load(SeqCst) == COMM_NULL && is_made(c);
    if comms::all(guard).into_iter().filter(without).count() > unborn {
        return Err(
            "a communicator has no handle in the MPI library, which is a defect of splitproc"
                .into(),
        );
    }
    Ok(())
}

/// The host says that the checkpoint is over. One that was refused has been ended already: the program runs, and the model
/// and the library are its own again.
pub fn end_if_cutting() {
    if OWNER.load(SeqCst) == CUTTING {
        resume();
    }
}

/// The checkpoint is over: held collectives and the gate are let go.
pub fn resume() {
    segment::save_once(false);
    if env::active() {
        let guard = lock();
        for c in comms::all(&guard) {
            c.target.store(u64::MAX, SeqCst);
        }
        drop(guard);
        // SAFETY: the lower half is up and the gate still closed, or never was.
        own::unless_any(|| unsafe { sweep() });
        if gate::closed() {
            unshare_when_quiet();
        }
        // SAFETY: as above; what follows does not call the lower half.
        unsafe { lower::callers(lower::Callers::Program) };
        CUT.store(0, SeqCst);
        raw::futex_wake(&CUT);
    }
    let _ = OWNER.compare_exchange(CUTTING, IDLE, SeqCst, SeqCst);
    gate::open();
}

/// With the gate closed, threads that are still inside may yet come out and take the lock, and so may an assistant that was
/// left to a flush: the lock goes back to its fast form only when none is.
fn unshare_when_quiet() {
    let guard = lock();
    let waiting = request::all(&guard).iter().any(|(_, r)| r.waiting.get());
    let inside = comms::all(&guard)
        .iter()
        .any(|c| c.blocking.load(SeqCst) != 0);
    drop(guard);
    if !waiting && !inside && assistant::gone() {
        super::model::lock::unshare();
    }
}
