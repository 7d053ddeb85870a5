//! The ranks of a job agree: rank 0's host listens, the others connect, and everything is an
//! allgather through rank 0. The same listener takes control requests from the `splitproc` command.
//!
//! Every connection starts with one line of JSON that holds the job's token. A rank adds `rank` and
//! `size`, gets `{"ok":true}` back and goes on in frames (`frame`). A control client adds its request,
//! or sends requests on lines of their own; each request gets one line:
//!
//! ```text
//! {"token":"…","checkpoint":{"stop":false}}   {"ok":true,"generation":3,"seconds":0.2,"bytes":4096}
//! {"token":"…","status":{}}                   {"ok":true,"ranks":4,"connected":4,…}
//!                                             {"ok":false,"reason":"…"}
//! ```
//!
//! Every wait is bounded, and what is missing is named. A lost connection fails what is under way;
//! it never ends the application.

use super::frame::{pack, unpack, Frame, Key, CHECKPOINT, GATHER, GATHERED};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much longer a rank waits for rank 0 than rank 0 waits for the ranks.
const GRACE: Duration = Duration::from_secs(5);
/// A peer that does not take bytes for so long is lost.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Rank 0's order to all hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Number of the attempt, counted by rank 0.
    pub attempt: u64,
    /// Generation to write.
    pub generation: u64,
    /// End the program once the generation is committed.
    pub stop: bool,
}

/// What a control request gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Generation that was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// From the request to the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Bytes of all images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Outcome {
    /// A refusal.
    pub fn refused(reason: impl Into<String>) -> Self {
        Outcome {
            reason: Some(reason.into()),
            ..Self::default()
        }
    }
}

/// Work for the checkpoint thread.
pub enum Work {
    /// Rank 0: take a checkpoint and say how it went.
    Request {
        /// End the program afterwards.
        stop: bool,
        /// Who wants to know; nobody after an interval.
        reply: Option<Sender<Outcome>>,
    },
    /// Another rank: take part in rank 0's checkpoint.
    Order(Order),
}

/// Why an allgather failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Error number for the plugin.
    pub errno: i32,
    /// For people.
    pub message: String,
}

impl Failed {
    /// A failure with its message.
    pub fn new(errno: i32, message: impl Into<String>) -> Self {
        Failed {
            errno,
            message: message.into(),
        }
    }
}

type Gathered = Result<Vec<Vec<u8>>, Failed>;

/// An allgather at rank 0.
struct Gather {
    parts: Vec<Option<Vec<u8>>>,
    deadline: Instant,
    done: Option<Gathered>,
}

/// What changes.
#[derive(Default)]
struct State {
    rank: u32,
    size: u32,
    /// Rank and size are known.
    joined: bool,
    attempt: u64,
    exchanges: u32,
    /// Rank 0: allgathers by key. Others: results by key.
    gathers: HashMap<Key, Gather>,
    results: HashMap<Key, Gathered>,
    peers: BTreeMap<u32, TcpStream>,
    upstream: Option<TcpStream>,
    lost: Option<String>,
    last: Option<Outcome>,
    busy: bool,
}

/// A job as this host sees it.
pub struct Job {
    state: Mutex<State>,
    changed: Condvar,
    /// Bound of waits for other ranks.
    pub timeout: Duration,
    /// Started by an MPI launcher: rank and size come with CONNECT.
    pub mpi: bool,
    work: Sender<Work>,
}

impl Job {
    /// A job in which this process is alone until `join`.
    pub fn new(mpi: bool, timeout: Duration, work: Sender<Work>) -> Arc<Self> {
        Arc::new(Job {
            state: Mutex::new(State {
                size: 1,
                joined: !mpi,
                ..State::default()
            }),
            changed: Condvar::new(),
            timeout,
            mpi,
            work,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rank and size, once they are known.
    pub fn place(&self) -> Option<(u32, u32)> {
        let state = self.lock();
        state.joined.then_some((state.rank, state.size))
    }

    /// This process is rank `rank` of `size`.
    pub fn join(self: &Arc<Self>, rank: u32, size: u32) -> io::Result<()> {
        let mut state = self.lock();
        state.rank = rank;
        state.size = size;
        state.joined = true;
        drop(state);
        if rank == 0 && size > 1 {
            let job = Arc::clone(self);
            std::thread::Builder::new()
                .name("bounds".into())
                .spawn(move || job.expire())?;
        }
        Ok(())
    }

    /// Why no checkpoint can be taken now, if so.
    pub fn obstacle(&self) -> Option<String> {
        let state = self.lock();
        if !state.joined {
            return Some(
                "MPI is not initialised yet: try again after the program's MPI_Init".into(),
            );
        }
        if let Some(lost) = &state.lost {
            return Some(lost.clone());
        }
        let missing = (1..state.size).filter(|r| !state.peers.contains_key(r));
        let missing = list(missing);
        (state.rank == 0 && !missing.is_empty()).then(|| format!("{missing}: not connected"))
    }

    /// Hands work to the checkpoint thread.
    pub fn submit(&self, work: Work) {
        // The checkpoint thread lives as long as the process.
        let _ = self.work.send(work);
    }

    /// Marks the beginning or end of a checkpoint.
    pub fn set_busy(&self, busy: bool) {
        self.lock().busy = busy;
    }

    /// Remembers how the last checkpoint went.
    pub fn record(&self, outcome: &Outcome) {
        self.lock().last = Some(outcome.clone());
    }

    /// What `status` shows.
    pub fn status(&self) -> serde_json::Value {
        let state = self.lock();
        serde_json::json!({
            "ok": true,
            "rank": state.rank,
            "ranks": state.size,
            "connected": if state.joined { state.peers.len() + 1 } else { 1 },
            "mpi": self.mpi,
            "initialised": state.joined,
            "busy": state.busy,
            "last": state.last,
        })
    }

    /// Rank 0: numbers a new attempt and tells every host. `generation` is written by all.
    pub fn announce(&self, generation: u64, stop: bool) -> Order {
        let mut state = self.lock();
        let order = Order {
            attempt: state.attempt + 1,
            generation,
            stop,
        };
        start_attempt(&mut state, order.attempt);
        let frame = Frame {
            kind: CHECKPOINT,
            key: Key::default(),
            bound: 0,
            body: serde_json::to_vec(&order).unwrap_or_default(),
        };
        send_to_all(&mut state, &frame);
        order
    }

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
                if let Some(done) = state.gathers.get(&key).and_then(|g| g.done.clone()) {
                    return done;
                }
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        let frame = Frame {
            kind: GATHER,
            key,
            bound: bound.as_secs() as u32,
            body: bytes,
        };
        let sent = match &state.upstream {
            Some(to) => frame.write(to),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if let Err(error) = sent {
            let message = format!("the connection to rank 0 is lost: {error}");
            return Err(Failed::new(libc::ENOTCONN, message));
        }
        let deadline = Instant::now() + bound + GRACE;
        loop {
            if let Some(result) = state.results.remove(&key) {
                return result;
            }
            if let Some(lost) = &state.lost {
                return Err(Failed::new(libc::ENOTCONN, lost.clone()));
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(Failed::new(libc::ETIMEDOUT, "rank 0 does not answer"));
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Rank 0: fails allgathers whose time is over. Runs for ever, on a thread of its own.
    fn expire(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let open = |g: &Gather| g.done.is_none();
            let late: Vec<Key> = state
                .gathers
                .iter()
                .filter(|(_, g)| open(g) && g.deadline <= now)
                .map(|(key, _)| *key)
                .collect();
            for key in &late {
                let missing = state.gathers.get(key).map_or_else(String::new, |g| {
                    list(
                        (0..)
                            .zip(&g.parts)
                            .filter(|(_, p)| p.is_none())
                            .map(|(r, _)| r),
                    )
                });
                let failed = Failed::new(libc::ETIMEDOUT, format!("no answer from {missing}"));
                finish(&mut state, *key, Err(failed));
            }
            if !late.is_empty() {
                self.changed.notify_all();
            }
            let next = state
                .gathers
                .values()
                .filter(|g| open(g))
                .map(|g| g.deadline)
                .min();
            state = match next {
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// Rank 0: a rank has connected. Serves it until the connection ends.
    pub fn serve_rank(&self, rank: u32, to: TcpStream, from: impl io::Read) {
        self.lock().peers.insert(rank, to);
        self.changed.notify_all();
        let mut from = from;
        let error = loop {
            match Frame::read(&mut from) {
                Ok(frame) if frame.kind == GATHER => {
                    let bound = Duration::from_secs(u64::from(frame.bound));
                    contribute(&mut self.lock(), frame.key, rank, frame.body, bound);
                    self.changed.notify_all();
                }
                Ok(_) => break io::Error::other("an unexpected frame"),
                Err(error) => break error,
            }
        };
        let mut state = self.lock();
        state.peers.remove(&rank);
        let message = format!("the connection to rank {rank} is lost: {error}");
        let open = |g: &Gather| g.done.is_none();
        let keys = state
            .gathers
            .iter()
            .filter(|(_, g)| open(g))
            .map(|(k, _)| *k);
        for key in keys.collect::<Vec<_>>() {
            finish(
                &mut state,
                key,
                Err(Failed::new(libc::ENOTCONN, message.clone())),
            );
        }
        state.lost = Some(message);
        drop(state);
        self.changed.notify_all();
    }

    /// Another rank: the connection to rank 0 stands. Serves it until it ends.
    pub fn serve_upstream(&self, to: TcpStream, from: impl io::Read) {
        {
            let mut state = self.lock();
            state.upstream = Some(to);
            state.lost = None;
        }
        self.changed.notify_all();
        let mut from = from;
        let error = loop {
            match Frame::read(&mut from) {
                Ok(frame) if frame.kind == GATHERED => {
                    let result = result_of(&frame.body);
                    self.lock().results.insert(frame.key, result);
                    self.changed.notify_all();
                }
                Ok(frame) if frame.kind == CHECKPOINT => {
                    match serde_json::from_slice::<Order>(&frame.body) {
                        Ok(order) => {
                            start_attempt(&mut self.lock(), order.attempt);
                            self.submit(Work::Order(order));
                        }
                        Err(error) => break error.into(),
                    }
                }
                Ok(_) => break io::Error::other("an unexpected frame"),
                Err(error) => break error,
            }
        };
        let mut state = self.lock();
        state.upstream = None;
        state.lost = Some(format!("the connection to rank 0 is lost: {error}"));
        drop(state);
        self.changed.notify_all();
    }
}

/// Forgets allgathers of earlier attempts and counts anew.
fn start_attempt(state: &mut State, attempt: u64) {
    state.attempt = attempt;
    state.exchanges = 0;
    state.gathers.retain(|key, _| key.attempt >= attempt);
    state.results.retain(|key, _| key.attempt >= attempt);
}

/// Rank 0: notes a rank's part, and finishes when it was the last.
fn contribute(state: &mut State, key: Key, rank: u32, bytes: Vec<u8>, bound: Duration) {
    if key.attempt < state.attempt {
        return;
    }
    let size = state.size as usize;
    let gather = state.gathers.entry(key).or_insert_with(|| Gather {
        parts: vec![None; size],
        deadline: Instant::now() + bound,
        done: None,
    });
    if let Some(done) = gather.done.clone() {
        // It failed before this rank came.
        let frame = gathered(key, &done);
        send(state, rank, &frame);
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

/// Rank 0: records a result and sends it to all ranks.
fn finish(state: &mut State, key: Key, result: Gathered) {
    let frame = gathered(key, &result);
    if let Some(gather) = state.gathers.get_mut(&key) {
        gather.done = Some(result);
    }
    send_to_all(state, &frame);
}

/// Sends to a rank; a connection that does not take it ends, which its reader notices.
fn send(state: &State, rank: u32, frame: &Frame) {
    if let Some(peer) = state.peers.get(&rank) {
        if frame.write(peer).is_err() {
            let _ = peer.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn send_to_all(state: &mut State, frame: &Frame) {
    for rank in state.peers.keys() {
        send(state, *rank, frame);
    }
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
    Frame {
        kind: GATHERED,
        key,
        bound: 0,
        body,
    }
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

/// "rank 3", "ranks 1, 2 and 5 more".
fn list(ranks: impl Iterator<Item = u32>) -> String {
    let all: Vec<u32> = ranks.collect();
    let some: Vec<String> = all.iter().take(8).map(u32::to_string).collect();
    match all.len() {
        0 => String::new(),
        1 => format!("rank {}", some[0]),
        n if n > 8 => format!("ranks {} and {} more", some.join(", "), n - 8),
        _ => format!("ranks {}", some.join(", ")),
    }
}

impl Job {
    /// Another rank: the connection to rank 0 stands, and can be written to from now on.
    pub fn attach(&self, to: TcpStream) {
        self.lock().upstream = Some(to);
    }
}
