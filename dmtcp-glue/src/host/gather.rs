//! Allgathers: every rank gives bytes and gets everybody's, through rank 0.
//!
//! A rank that can't go on refuses the whole attempt, and every allgather of it fails at once, for all, with
//! that rank's reason. A rank that is missing is waited for as long as the bound says since it was last
//! heard of (`ALIVE`), and is named.

use super::coordinator::{list, Failed, Job, State};
use super::frame::{pack, unpack, Frame, Key, ALIVE, GATHER, GATHERED, REFUSE};
use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How much longer a rank waits for rank 0 than rank 0 waits for the ranks.
const GRACE: Duration = Duration::from_secs(5);
/// Who waits or works says so this often.
const BEAT: Duration = Duration::from_secs(1);

/// What everybody gets.
pub type Gathered = Result<Vec<Vec<u8>>, Failed>;

/// An allgather at rank 0.
pub struct Gather {
    parts: Vec<Option<Vec<u8>>>,
    /// When each rank was last heard of in this.
    heard: Vec<Instant>,
    bound: Duration,
    done: Option<Gathered>,
}

impl Gather {
    fn new(size: u32, bound: Duration) -> Self {
        Gather {
            parts: vec![None; size as usize],
            heard: vec![Instant::now(); size as usize],
            bound,
            done: None,
        }
    }

    /// Ranks that are missing, and have not been heard of for the bound.
    fn late(&self, now: Instant) -> Vec<u32> {
        let late = |rank: &u32| {
            let rank = *rank as usize;
            self.parts[rank].is_none() && self.heard[rank] + self.bound <= now
        };
        (0..self.parts.len() as u32).filter(late).collect()
    }
}

/// The allgathers that a host knows of.
#[derive(Default)]
pub struct Gathers {
    /// Rank 0's.
    open: HashMap<Key, Gather>,
    /// The others' results.
    results: HashMap<Key, Gathered>,
    /// The attempt that a rank has refused, and why.
    refused: Option<(u64, Failed)>,
}

impl Gathers {
    /// Forgets what belongs to attempts before this one.
    pub fn forget_before(&mut self, attempt: u64) {
        self.open.retain(|key, _| key.attempt >= attempt);
        self.results.retain(|key, _| key.attempt >= attempt);
    }

    fn unfinished(&self) -> Vec<Key> {
        let open = self.open.iter().filter(|(_, g)| g.done.is_none());
        open.map(|(key, _)| *key).collect()
    }
}

impl Job {
    /// The plugin's allgather.
    pub fn exchange(&self, bytes: Vec<u8>) -> Gathered {
        let mut state = self.lock();
        if !state.joined {
            return Err(Failed::new(libc::ENOTCONN, "MPI is not initialised yet"));
        }
        let key = Key {
            attempt: state.attempt,
            phase: 0,
            seq: state.exchanges,
        };
        state.exchanges += 1;
        drop(state);
        self.gather(key, bytes, self.timeout)
    }

    /// Allgather: every rank gives bytes and gets everybody's, in rank order.
    pub fn gather(&self, key: Key, bytes: Vec<u8>, bound: Duration) -> Gathered {
        let mut state = self.lock();
        if state.size <= 1 {
            return Ok(vec![bytes]);
        }
        if state.rank == 0 {
            contribute(&mut state, key, 0, bytes, bound);
            self.changed.notify_all();
            loop {
                match state.gathers.open.get(&key).map(|g| g.done.clone()) {
                    Some(Some(done)) => return done,
                    Some(None) => {}
                    None => return Err(given_up()),
                }
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        send_up(&state, GATHER, key, bound, bytes)?;
        let begun = Instant::now();
        loop {
            if let Some(result) = state.gathers.results.remove(&key) {
                return result;
            }
            if let Some(lost) = &state.lost {
                return Err(Failed::new(libc::ENOTCONN, lost.clone()));
            }
            if state.ordered > key.attempt {
                return Err(given_up());
            }
            let heard = state.heard.map_or(begun, |heard| heard.max(begun));
            let deadline = heard + bound + GRACE;
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(Failed::new(libc::ETIMEDOUT, "no answer from rank 0"));
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the attempt that `key` belongs to, for every rank.
    pub fn refuse(&self, key: Key, failed: &Failed) {
        let mut state = self.lock();
        if state.rank == 0 {
            refuse(&mut state, key.attempt, failed);
            self.changed.notify_all();
        } else {
            // Without a connection to rank 0 the others learn it from that.
            let body = failed.message.clone().into_bytes();
            let _ = send_up(&state, REFUSE, key, Duration::ZERO, body);
        }
    }

    /// Says that this rank still works towards its part.
    pub fn alive(&self, key: Key) {
        let mut state = self.lock();
        if state.rank == 0 {
            heard(&mut state, key, 0);
        } else {
            let _ = send_up(&state, ALIVE, key, Duration::ZERO, Vec::new());
        }
    }

    /// Rank 0: fails allgathers whose time is over. Runs for ever, on a thread of its own.
    pub fn expire(&self) {
        let mut state = self.lock();
        let mut beat = Instant::now();
        loop {
            let unfinished = state.gathers.unfinished();
            if unfinished.is_empty() {
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = Instant::now();
            for key in unfinished {
                let late = state.gathers.open.get(&key).map(|g| g.late(now));
                let Some(late) = late.filter(|late| !late.is_empty()) else {
                    continue;
                };
                let missing = list(late.into_iter());
                let failed = Failed::new(libc::ETIMEDOUT, format!("no answer from {missing}"));
                finish(&mut state, key, Err(failed.clone()));
                if key.attempt > 0 {
                    refuse(&mut state, key.attempt, &failed);
                }
                self.changed.notify_all();
            }
            if beat + BEAT <= now {
                beat = now;
                state.send_to_all(&Frame::new(ALIVE, Key::default(), Vec::new()));
            }
            let waited = self.changed.wait_timeout(state, BEAT / 10);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Rank 0: a frame has come from a rank; it is given back if it is not about an allgather.
    pub fn take_part(&self, rank: u32, frame: Frame) -> Result<(), Frame> {
        let mut state = self.lock();
        match frame.kind {
            GATHER => {
                // The rank may be here before this one knows how many there are.
                while !state.joined {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
                let bound = Duration::from_secs(u64::from(frame.bound));
                contribute(&mut state, frame.key, rank, frame.body, bound);
            }
            REFUSE => {
                let why = String::from_utf8_lossy(&frame.body).into_owned();
                refuse(
                    &mut state,
                    frame.key.attempt,
                    &Failed::new(libc::ECANCELED, why),
                );
            }
            ALIVE => heard(&mut state, frame.key, rank),
            _ => return Err(frame),
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Another rank: a result has come from rank 0.
    pub fn take_result(&self, frame: &Frame) {
        let result = result_of(&frame.body);
        self.lock().gathers.results.insert(frame.key, result);
        self.changed.notify_all();
    }

    /// Rank 0: nothing that is under way can end well without this rank.
    pub fn fail_all(&self, failed: &Failed) {
        let mut state = self.lock();
        for key in state.gathers.unfinished() {
            finish(&mut state, key, Err(failed.clone()));
        }
        drop(state);
        self.changed.notify_all();
    }
}

fn given_up() -> Failed {
    Failed::new(libc::ECANCELED, "it was given up; a later one has begun")
}

fn send_up(
    state: &State,
    kind: u8,
    key: Key,
    bound: Duration,
    body: Vec<u8>,
) -> Result<(), Failed> {
    let frame = Frame {
        bound: bound.as_secs() as u32,
        ..Frame::new(kind, key, body)
    };
    let sent = match &state.upstream {
        Some(to) => frame.write(to),
        None => Err(io::ErrorKind::NotConnected.into()),
    };
    sent.map_err(|error| {
        let message = format!("the connection to rank 0 is lost: {error}");
        Failed::new(libc::ENOTCONN, message)
    })
}

/// Rank 0: notes a rank's part, and finishes when it was the last.
fn contribute(state: &mut State, key: Key, rank: u32, bytes: Vec<u8>, bound: Duration) {
    let refused = state.gathers.refused.as_ref();
    let over = match refused.filter(|(attempt, _)| *attempt == key.attempt) {
        Some((_, failed)) => Some(failed.clone()),
        None => (key.attempt < state.attempt).then(given_up),
    };
    let size = state.size;
    let new = || Gather::new(size, bound);
    let gather = state.gathers.open.entry(key).or_insert_with(new);
    if let Some(failed) = over {
        gather.done.get_or_insert(Err(failed));
    }
    if let Some(done) = gather.done.clone() {
        // It failed before this rank came.
        state.send(rank, &gathered(key, &done));
        return;
    }
    if let Some(part) = gather.parts.get_mut(rank as usize) {
        *part = Some(bytes);
    }
    if gather.parts.iter().all(Option::is_some) {
        let parts = gather.parts.iter_mut().filter_map(Option::take).collect();
        finish(state, key, Ok(parts));
    }
}

/// Rank 0: a rank still works.
fn heard(state: &mut State, key: Key, rank: u32) {
    for (open, gather) in &mut state.gathers.open {
        if open.attempt == key.attempt {
            if let Some(at) = gather.heard.get_mut(rank as usize) {
                *at = Instant::now();
            }
        }
    }
}

/// Rank 0: fails what is under way in an attempt, and what will yet come of it.
fn refuse(state: &mut State, attempt: u64, failed: &Failed) {
    if attempt != state.attempt {
        return;
    }
    state.gathers.refused = Some((attempt, failed.clone()));
    for key in state.gathers.unfinished() {
        if key.attempt == attempt {
            finish(state, key, Err(failed.clone()));
        }
    }
}

/// Rank 0: records a result and sends it to all ranks.
fn finish(state: &mut State, key: Key, result: Gathered) {
    let frame = gathered(key, &result);
    if let Some(gather) = state.gathers.open.get_mut(&key) {
        gather.done = Some(result);
    }
    state.send_to_all(&frame);
}

/// The frame that carries a result.
fn gathered(key: Key, result: &Gathered) -> Frame {
    let body = match result {
        Ok(parts) => [&[1][..], &pack(parts)].concat(),
        Err(failed) => {
            let errno = failed.errno.to_le_bytes();
            [&[0][..], &errno, failed.message.as_bytes()].concat()
        }
    };
    Frame::new(GATHERED, key, body)
}

/// The result that a frame carries.
fn result_of(body: &[u8]) -> Gathered {
    let damaged = || Failed::new(libc::EPROTO, "rank 0 sent an answer that makes no sense");
    match body.split_first() {
        Some((1, parts)) => unpack(parts).ok_or_else(damaged),
        Some((0, rest)) => {
            let (errno, message) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            let message = String::from_utf8_lossy(message);
            Err(Failed::new(i32::from_le_bytes(*errno), message))
        }
        _ => Err(damaged()),
    }
}
