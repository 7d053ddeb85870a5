//! Communicators that this process has freed, as long as another member may still be before a collective of theirs.
//!
//! A root leaves a broadcast before the others have come, and may free the communicator. A cut must not be made then, or the
//! others would wait for it after a restart. So the cut counts these communicators as well.

use super::{Comm, Guard, Locked};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

/// Most that are kept. A program with one thread that makes and frees communicators never has so many.
const MOST: usize = 4096;

/// What is left of a communicator.
pub struct Ghost {
    /// Its identity.
    pub id: u64,
    /// Its processes.
    pub members: u64,
    /// Number of the last collective.
    pub left: u64,
    ancestors: Vec<u64>,
}

static GHOSTS: Locked<VecDeque<Ghost>> = Locked::new(VecDeque::new());

/// Keeps what a cut has to know of a communicator that is freed.
pub fn keep(guard: &Guard, c: &Comm) {
    let left = c.left.load(Relaxed);
    if c.size() == 1 || left == 0 {
        return;
    }
    let ghosts = GHOSTS.get(guard);
    if ghosts.len() == MOST {
        ghosts.pop_front();
    }
    ghosts.push_back(Ghost {
        id: c.id.load(Relaxed),
        members: c.size() as u64,
        left,
        ancestors: c.ancestors.clone(),
    });
}

/// All members of a communicator have called a collective that none leaves before all have come, each with one thread: so
/// they are through with what they did on its freed children before.
pub fn passed(guard: &Guard, c: &Comm) {
    let id = c.id.load(Relaxed);
    GHOSTS.get(guard).retain(|g| !g.ancestors.contains(&id));
}

/// A cut is made: everybody is through with all of them.
pub fn all_passed(guard: &Guard) {
    GHOSTS.get(guard).clear();
}

/// All of them.
pub fn all(guard: &Guard) -> impl Iterator<Item = &Ghost> {
    GHOSTS.get(guard).iter()
}
