//! Communicators.

use super::super::abi::*;
use super::super::bsend::Buffer;
use super::super::coll::CUT;
use super::super::lower::{ix, must, Fail};
use super::super::persistent::{self, Slot};
use super::objects::Attr;
use super::table::Table;
use super::traffic::{self, Traffic};
use super::{ghosts, less_usual, lock, serial, Guard, Locked};
use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering::*};

/// A topology as the application made it.
#[derive(Clone, Debug)]
pub enum Topology {
    /// Dimensions, periods.
    Cart { dims: Vec<i32>, periods: Vec<i32> },
    /// Index and edges.
    Graph { index: Vec<i32>, edges: Vec<i32> },
    /// Sources, their weights, destinations, their weights, and whether weights were given.
    Dist {
        sources: Vec<i32>,
        in_weights: Vec<i32>,
        dests: Vec<i32>,
        out_weights: Vec<i32>,
        weighted: bool,
    },
}

/// What only changes rarely, under the model's lock.
#[derive(Default)]
pub struct Meta {
    /// `MPI_Comm_set_name`.
    pub name: OsString,
    /// Error handler's (virtual) handle; null if none was set.
    pub errhandler: i32,
    /// Attributes, in the order they were set.
    pub attrs: Vec<Attr>,
    /// Hints.
    pub info: Vec<(OsString, OsString)>,
    /// Topology.
    pub topology: Option<Topology>,
    /// How often it has had a child of a group, by the group's hash.
    pub children: HashMap<u64, u64>,
    /// A buffer of its own for buffered sends.
    pub buffer: Option<Buffer>,
    /// The session that it was made of, 0: none.
    pub session: i32,
    /// Duplicates for persistent collectives.
    pub slots: Vec<Slot>,
    /// Non-blocking collectives in flight.
    pub pending: Vec<Pending>,
}

/// A non-blocking collective in flight.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// Its sequence number.
    pub sequence: u64,
    /// It can't be begun again.
    pub must: bool,
    /// The function that began it.
    pub function: usize,
    /// Its operator is the program's own.
    pub own: bool,
}

/// A communicator.
pub struct Comm {
    /// The lower half's handle.
    pub lower: AtomicI32,
    /// The application's handle.
    pub handle: AtomicI32,
    /// This process's rank in the (local) group.
    pub rank: i32,
    /// World ranks of the (local) group.
    pub group: Vec<i32>,
    /// World ranks of the remote group of an intercommunicator.
    pub remote: Option<Vec<i32>>,
    /// Messages to and from the processes that point-to-point ranks name.
    pub traffic: Box<[&'static Traffic]>,
    /// The same number on all members, and no other communicator's.
    pub id: AtomicU64,
    /// The identities of its parent, of whose processes it is made, and of that one's.
    pub ancestors: Vec<u64>,
    /// Creation number.
    pub serial: u64,
    /// Sequence number of the last collective entered.
    pub entered: AtomicU64,
    /// Highest sequence number of a collective that this member has left.
    pub left: AtomicU64,
    /// The blocking collective in progress, 0 if none; the top bit says that it must complete.
    pub blocking: AtomicU64,
    /// Sequence number of a collective that a thread is held before, 0 if none.
    pub held: AtomicU64,
    /// So many collectives were refused here for their arguments and taken back.
    pub refused: AtomicU64,
    /// While a cut is taken: collectives beyond this are held.
    pub target: AtomicU64,
    /// Uses: the application's handle, which a predefined one always has, and requests in flight.
    pub refs: Locked<u32>,
    /// The rest.
    pub meta: Locked<Meta>,
}

/// Top bit of `Comm::blocking`.
pub const MUST: u64 = 1 << 63;

/// User-made communicators.
pub static COMMS: Table<Comm> = Table::new();
static WORLD: AtomicPtr<Comm> = AtomicPtr::new(std::ptr::null_mut());
static SELF: AtomicPtr<Comm> = AtomicPtr::new(std::ptr::null_mut());
static ORPHANS: Locked<Option<HashMap<u64, u64>>> = Locked::new(None);

impl Comm {
    /// A new model object.
    pub fn new(lower: i32, rank: i32, group: Vec<i32>, remote: Option<Vec<i32>>, id: u64) -> Comm {
        let errhandler = ERRHANDLER_NULL;
        let peers = remote.as_ref().unwrap_or(&group);
        let traffic = peers.iter().map(|w| &traffic::all()[*w as usize]);
        Comm {
            lower: AtomicI32::new(lower),
            handle: AtomicI32::new(COMM_NULL),
            rank,
            traffic: traffic.collect(),
            group,
            remote,
            id: AtomicU64::new(id),
            ancestors: Vec::new(),
            serial: serial(),
            entered: AtomicU64::new(0),
            left: AtomicU64::new(0),
            blocking: AtomicU64::new(0),
            held: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            target: AtomicU64::new(u64::MAX),
            refs: Locked::new(1),
            meta: Locked::new(Meta {
                errhandler,
                ..Meta::default()
            }),
        }
    }

    /// The same, made of another one's processes.
    pub fn under(mut self, parent: Option<&Comm>) -> Comm {
        if let Some(parent) = parent {
            self.ancestors.clone_from(&parent.ancestors);
            self.ancestors.push(parent.id.load(Relaxed));
        }
        self
    }

    /// The lower half's handle, as an argument of a call.
    #[inline(always)]
    pub fn low(&self) -> u64 {
        self.lower.load(Relaxed) as u64
    }

    /// World ranks of the processes that point-to-point ranks name.
    #[inline(always)]
    pub fn peers(&self) -> &[i32] {
        match &self.remote {
            Some(remote) => remote,
            None => &self.group,
        }
    }

    /// Number of processes in both groups.
    pub fn size(&self) -> usize {
        self.group.len() + self.remote.as_ref().map_or(0, Vec::len)
    }

    /// The messages to and from a peer, if it is a process.
    #[inline(always)]
    pub fn traffic(&self, rank: i32) -> Option<&'static Traffic> {
        self.traffic.get(rank as usize).copied()
    }

    /// The world rank of a peer, if it is a process.
    pub fn world_rank(&self, rank: i32) -> Option<usize> {
        self.peers().get(rank as usize).map(|r| *r as usize)
    }

    /// True for `MPI_COMM_WORLD` and `MPI_COMM_SELF`.
    pub fn predefined(&self) -> bool {
        self.handle.load(Relaxed) & KIND_MASK == COMM_WORLD & KIND_MASK
    }

    /// One more use.
    #[inline(always)]
    pub fn hold(&self, guard: &Guard) {
        *self.refs.get(guard) += 1;
    }

    /// One use fewer; the last one frees the communicator in both halves.
    #[inline(always)]
    pub fn release(&self, guard: &Guard) {
        let refs = self.refs.get(guard);
        *refs -= 1;
        if *refs == 0 {
            self.free(guard);
        }
    }

    #[cold]
    fn free(&self, guard: &Guard) {
        persistent::end(guard, std::mem::take(&mut self.meta.get(guard).slots));
        ghosts::keep(guard, self);
        if self.lower.load(Relaxed) != COMM_NULL {
            // SAFETY: the lower handle is valid until this call.
            unsafe { must(ix::Comm_free, &[self.lower.as_ptr() as u64]) };
        }
        COMMS.remove(guard, self.handle.load(Relaxed) & INDEX_MASK);
    }
}

/// Makes the predefined communicators.
pub fn make_predefined(rank: i32, size: i32) {
    let world = Comm::new(COMM_WORLD, rank, (0..size).collect(), None, 1);
    world.handle.store(COMM_WORLD, Relaxed);
    let own = Comm::new(COMM_SELF, 0, vec![rank], None, 2);
    own.handle.store(COMM_SELF, Relaxed);
    let guard = lock();
    world.meta.get(&guard).name = "MPI_COMM_WORLD".into();
    own.meta.get(&guard).name = "MPI_COMM_SELF".into();
    drop(guard);
    WORLD.store(Box::into_raw(Box::new(world)), Relaxed);
    SELF.store(Box::into_raw(Box::new(own)), Relaxed);
}

/// Registers a user-made communicator and gives its handle. While a cut is taken its collectives are held, as all are.
pub fn register(guard: &Guard, comm: Comm) -> (i32, &'static Comm) {
    if CUT.load(SeqCst) != 0 && comm.size() > 1 {
        comm.target.store(0, SeqCst);
    }
    let i = COMMS.reserve(guard);
    let handle = V_COMM | i as i32;
    comm.handle.store(handle, Relaxed);
    (handle, COMMS.put(i, comm))
}

/// The communicator that a handle names.
#[inline(always)]
pub fn get(handle: i32) -> Result<&'static Comm, Fail> {
    // SAFETY: null before MPI_Init, a leaked box after.
    let predefined = |at: &AtomicPtr<Comm>| unsafe { at.load(Relaxed).as_ref() };
    let found = if handle == COMM_WORLD {
        predefined(&WORLD)
    } else {
        less_usual();
        match handle {
            COMM_SELF => predefined(&SELF),
            _ if handle & KIND_MASK == V_COMM => COMMS.get(handle & INDEX_MASK),
            _ => None,
        }
    };
    found.ok_or(Fail::Code(ERR_COMM))
}

/// All communicators, in creation order.
pub fn all(guard: &Guard) -> Vec<&'static Comm> {
    let predefined = [COMM_WORLD, COMM_SELF]
        .into_iter()
        .filter_map(|h| get(h).ok());
    let mut list: Vec<_> = predefined
        .chain(COMMS.all(guard).into_iter().map(|(_, c)| c))
        .collect();
    list.sort_by_key(|c| c.serial);
    list
}

/// An identity that all members of a new communicator compute alike: from the parent, the group and how often the
/// parent had a child of that group. The two sides of an intercommunicator have no parent in common. A child that is made
/// apart, by its own members alone, may come in another order among the others on each of them; what tells it from others
/// that are made at the same time is a part of its identity.
pub fn new_id(
    guard: &Guard,
    parent: Option<&Comm>,
    apart: Option<u64>,
    group: &[i32],
    remote: Option<&[i32]>,
) -> u64 {
    const NO_PARENT: u64 = 3;
    let parent_id = parent.map_or(NO_PARENT, |p| p.id.load(Relaxed));
    let mut h = mix(parent_id, 0x5eed + u64::from(apart.is_some()));
    if let Some(mark) = apart {
        h = mix(h, mark);
    }
    let (first, second) = match remote {
        Some(r) if r.first() < group.first() => (r, Some(group)),
        other => (group, other),
    };
    for r in first {
        h = mix(h, *r as u64);
    }
    for r in second.unwrap_or_default() {
        h = mix(h, !(*r as u64));
    }
    let counts = match parent {
        Some(p) => &mut p.meta.get(guard).children,
        None => ORPHANS.get(guard).get_or_insert_default(),
    };
    let n = counts.entry(h).or_insert(0);
    *n += 1;
    mix(h, *n) | 4
}

fn mix(a: u64, b: u64) -> u64 {
    let x = (a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 29)
}
