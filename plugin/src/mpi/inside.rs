//! What threads that are inside the gate are doing: for the drain, and for messages.
//!
//! A thread notes its call in its block before it crosses; another thread reads the notes with the registry
//! locked, so that the block's thread, and its stack, stay.

use super::lower::{ix, COUNT, KINDS, NAMES};
use super::model::{comm as comms, lock, WORLD_RANK};
use crate::block::{self, Block, ENDING};
use crate::gate;
use std::sync::atomic::Ordering::Relaxed;

/// Notes what the call that comes next is about: the lower half's communicator, peer and tag.
#[inline(always)]
pub fn about(comm: i32, peer: i32, tag: i32) {
    // SAFETY: the block is this thread's own.
    let b = unsafe { &*block::mine() };
    b.about[0].store(comm, Relaxed);
    b.about[1].store(peer, Relaxed);
    b.about[2].store(tag, Relaxed);
}

/// Notes the function that is called.
#[inline(always)]
pub fn function(index: usize) {
    // SAFETY: as above.
    unsafe { (*block::mine()).function.store(index as u32, Relaxed) };
}

/// The function that this thread has noted last.
pub fn noted() -> usize {
    // SAFETY: as above.
    unsafe { (*block::mine()).function.load(Relaxed) as usize }
}

/// A blocking receive in progress: the lower half's communicator, source, tag.
pub type Receive = [i32; 3];

/// The blocking receives in progress; `None` if a thread is about to look for or post a receive, which it
/// does without blocking, or may be at any moment: one that ends is inside whether it is in a call or not.
pub fn receives() -> Option<Vec<Receive>> {
    let mut list = Vec::new();
    let mut posting = false;
    gate::each_inside(|b, state, call| {
        // SAFETY: the block's thread can't end meanwhile; its notes are atomic.
        let b: &Block = unsafe { &*b };
        let name = NAMES.get(b.function.load(Relaxed) as usize);
        match name.copied().unwrap_or_default() {
            _ if state == ENDING || b.ending != 0 => posting = true,
            _ if call == 0 => posting = true,
            "Recv" => list.push([0, 1, 2].map(|i| b.about[i].load(Relaxed))),
            "Irecv" | "Start" | "Iprobe" | "Improbe" | "Imrecv" | "Mrecv" => posting = true,
            _ => {}
        }
    });
    (!posting).then_some(list)
}

/// The blocking collective that a thread is in, by its name, if there is one of which that is known.
pub fn collective() -> Option<String> {
    let mut found = None;
    gate::each_inside(|b, _, _| {
        // SAFETY: as in `receives`.
        let call = unsafe { (*b).function.load(Relaxed) } as usize % COUNT;
        // Functions of a communicator or file and no peer.
        let (name, kinds) = (NAMES[call], KINDS[call]);
        let paired = ["Send", "Recv", "Probe", "send", "recv", "probe"];
        if kinds.contains(['C', 'F']) && !paired.iter().any(|word| name.contains(word)) {
            found = Some(format!("MPI_{name}"));
        }
    });
    found
}

/// Is a thread asking the lower half about requests of which the model does not say so? See `batch`.
pub fn testing() -> bool {
    is_in(&[ix::Testall, ix::Waitall])
}

/// Is a thread in `MPI_Intercomm_create`? The library's own messages for that are, in Open MPI, like the program's.
pub fn leading() -> bool {
    is_in(&[ix::Intercomm_create])
}

/// Is a thread in one of these functions?
fn is_in(functions: &[usize]) -> bool {
    let mut found = false;
    gate::each_inside(|b, _, _| {
        // SAFETY: as in `receives`.
        let function = unsafe { (*b).function.load(Relaxed) } as usize;
        found |= functions.contains(&function);
    });
    found
}

/// What [`busy`] says at the end of a thread that ends.
pub const ENDS: &str = "runs its destructors";

/// And of one that waits for other ranks to make the same call.
pub const MEETS: &str = "for which another rank is late";

/// A thread that must come out of a call, in words: the call, its peer and its communicator.
pub fn busy() -> Option<String> {
    let me = WORLD_RANK.load(Relaxed);
    let (ends, call, [comm, peer, tag]) = gate::busy(|b| {
        // SAFETY: as in `receives`; the block's thread writes this word once.
        let ends = unsafe { (&raw const (*b).ending).read_volatile() } != 0;
        let b: &Block = unsafe { &*b };
        let about = [0, 1, 2].map(|i| b.about[i].load(Relaxed));
        (ends, b.function.load(Relaxed), about)
    })?;
    // Inside a call as well: what it waits for may be a thread elsewhere that would end too, and is held.
    if ends {
        return Some(format!("a thread of rank {me} {ENDS}"));
    }
    if let Some(name) = crate::cuda::noted(call) {
        return Some(format!("rank {me} is in {name}"));
    }
    let call = call as usize % COUNT;
    let name = NAMES[call];
    let kinds = KINDS[call];
    let guard = lock();
    let all = comms::all(&guard);
    let found = all.iter().find(|c| c.lower.load(Relaxed) == comm);
    let about = match found {
        Some(c) if kinds == "biDiiC" => {
            let world = c
                .world_rank(peer)
                .map_or(String::new(), |w| format!(" (rank {w} of the job)"));
            format!(" to rank {peer}{world} with tag {tag}")
        }
        Some(c) if kinds.contains('F') => format!(" of {}", c.meta.get(&guard).name.display()),
        Some(c) if kinds.contains('C') => {
            let name = &c.meta.get(&guard).name;
            let n = c.group.len();
            format!(" on communicator {name:?} of {n} ranks")
        }
        _ => String::new(),
    };
    let late = match call {
        ix::Intercomm_create | ix::Comm_create_group => format!(", {MEETS}"),
        _ => String::new(),
    };
    Some(format!("rank {me} is in MPI_{name}{about}{late}"))
}
