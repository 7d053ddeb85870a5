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

use super::frame::{Frame, Key, CHECKPOINT};
use super::gather::Gathers;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// What a requester is told.
pub enum Answer {
    /// It has begun: bytes of rank 0's memory that are written, and all.
    Progress(u64, u64),
    /// The end.
    Done(Outcome),
}

/// Work for the checkpoint thread.
pub enum Work {
    /// Rank 0: take a checkpoint and say how it went.
    Request {
        /// End the program afterwards.
        stop: bool,
        /// Who wants to know; nobody after an interval.
        reply: Option<Sender<Answer>>,
    },
    /// Rank 0: a signal has asked for one, at some rank.
    Signal {
        /// End the program afterwards.
        stop: bool,
        /// When it was noticed here.
        at: Instant,
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

/// Rank 0's connection to a rank.
pub struct Peer {
    /// Counts connections: a rank may connect anew.
    pub number: u64,
    /// Where to write.
    pub to: TcpStream,
}

/// What changes.
#[derive(Default)]
pub struct State {
    /// This process's rank.
    pub rank: u32,
    /// Ranks of the job.
    pub size: u32,
    /// Rank and size are known.
    pub joined: bool,
    /// Checkpoints that were begun since the hosts started.
    pub attempt: u64,
    /// Another rank: the newest attempt that rank 0 has ordered.
    pub ordered: u64,
    /// The plugin's exchanges in this attempt.
    pub exchanges: u32,
    /// Allgathers.
    pub gathers: Gathers,
    /// Rank 0: the connected ranks.
    pub peers: BTreeMap<u32, Peer>,
    /// Rank 0: ranks whose connection has ended, and how.
    pub gone: BTreeMap<u32, String>,
    /// Rank 0: connections so far.
    pub connections: u64,
    /// Another rank: the way to rank 0.
    pub upstream: Option<TcpStream>,
    /// Another rank: how the way to rank 0 was lost.
    pub lost: Option<String>,
    /// Another rank: when rank 0 was last heard of.
    pub heard: Option<Instant>,
    last: Option<Outcome>,
    busy: bool,
}

impl State {
    /// Rank 0: sends to a rank; a connection that does not take it ends, which its reader notices.
    pub fn send(&self, rank: u32, frame: &Frame) {
        if let Some(peer) = self.peers.get(&rank) {
            if frame.write(&peer.to).is_err() {
                let _ = peer.to.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// Rank 0: the ranks that are not connected.
    fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        let others = if self.rank == 0 { 1..self.size } else { 1..1 };
        others.filter(|r| !self.peers.contains_key(r))
    }

    /// Rank 0: sends to every rank.
    pub fn send_to_all(&self, frame: &Frame) {
        for rank in self.peers.keys() {
            self.send(*rank, frame);
        }
    }
}

/// A job as this host sees it.
pub struct Job {
    state: Mutex<State>,
    /// Something of the state has changed.
    pub changed: Condvar,
    /// Bound of waits for other ranks.
    pub timeout: Duration,
    /// Started by an MPI launcher.
    pub mpi: bool,
    work: Sender<Work>,
}

impl Job {
    /// A job whose rank and size are known when `alone`, else from `join` on.
    pub fn new(mpi: bool, alone: bool, timeout: Duration, work: Sender<Work>) -> Arc<Self> {
        Arc::new(Job {
            state: Mutex::new(State {
                size: 1,
                joined: alone,
                ..State::default()
            }),
            changed: Condvar::new(),
            timeout,
            mpi,
            work,
        })
    }

    /// The state.
    pub fn lock(&self) -> MutexGuard<'_, State> {
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
        self.changed.notify_all();
        if rank == 0 && size > 1 {
            let job = Arc::clone(self);
            let bounds = std::thread::Builder::new().name("bounds".into());
            bounds.spawn(move || job.expire())?;
        }
        Ok(())
    }

    /// Why no checkpoint can be taken now, if so. Ranks that have not connected yet are waited for, for `patience`: they are
    /// still in MPI_Init, or their connection is on its way.
    pub fn obstacle(&self, patience: Duration) -> Option<String> {
        let coming = |state: &mut State| {
            state.joined && state.gone.is_empty() && state.missing().next().is_some()
        };
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), patience, coming);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.joined {
            return Some(
                "the ranks know of each other from MPI_Init on: try again after the program's (one that was restarted after its MPI_Finalize can't be checkpointed again)".into(),
            );
        }
        if let Some(lost) = &state.lost {
            return Some(lost.clone());
        }
        if let Some((rank, why)) = state.gone.iter().next() {
            return Some(format!(
                "rank {rank} is lost ({why}): it has ended, or can't be reached"
            ));
        }
        let missing = list(state.missing());
        (!missing.is_empty())
            .then(|| format!("{missing}: not connected (waited for {patience:?}); MPI_Init may not have let go of all ranks yet"))
    }

    /// Hands work to the checkpoint thread.
    pub fn submit(&self, work: Work) {
        // The checkpoint thread lives as long as the process.
        let _ = self.work.send(work);
    }

    /// The attempt that is under way, or was last.
    pub fn attempt(&self) -> u64 {
        self.lock().attempt
    }

    /// Marks the beginning or end of a checkpoint.
    pub fn set_busy(&self, busy: bool) {
        self.lock().busy = busy;
    }

    /// Whether one is under way.
    pub fn is_busy(&self) -> bool {
        self.lock().busy
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
            "lost": state.gone.keys().collect::<Vec<_>>(),
            "last": state.last,
        })
    }

    /// Another rank: the connection to rank 0 stands, and can be written to from now on.
    pub fn attach(&self, to: TcpStream) {
        self.lock().upstream = Some(to);
    }

    /// Another rank: begins what rank 0 has ordered. False: it has been given up, a later one is ordered.
    pub fn begin(&self, attempt: u64) -> bool {
        let mut state = self.lock();
        if attempt < state.ordered {
            return false;
        }
        start_attempt(&mut state, attempt);
        true
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
        let body = serde_json::to_vec(&order).unwrap_or_default();
        state.send_to_all(&Frame::new(CHECKPOINT, Key::default(), body));
        order
    }
}

/// Forgets allgathers of earlier attempts and counts anew.
fn start_attempt(state: &mut State, attempt: u64) {
    state.attempt = attempt;
    state.exchanges = 0;
    state.gathers.forget_before(attempt);
}

/// "rank 3", "ranks 1, 2 and 5 more".
pub fn list(ranks: impl Iterator<Item = u32>) -> String {
    let all: Vec<u32> = ranks.collect();
    let some: Vec<String> = all.iter().take(8).map(u32::to_string).collect();
    match all.len() {
        0 => String::new(),
        1 => format!("rank {}", some[0]),
        n if n > 8 => format!("ranks {} and {} more", some.join(", "), n - 8),
        _ => format!("ranks {}", some.join(", ")),
    }
}
