//! What tells creations of communicators apart that go on at the same time: the program gives a name, the lower half's
//! `MPI_Comm_create_group` wants a tag.
//!
//! No name has a tag of its own, so the members of a group agree on one. The first waits until all others have come with
//! the name, and tells them a tag that no creation in progress has. Each takes what is for its name, whatever other
//! threads wait for.

use super::lower::Fail;
use super::model::{lock, Locked, WORLD_RANK, WORLD_SIZE};
use super::{mail, promises};
use crate::gate::{self, Call};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The tag of these messages on our own communicator: the highest that every library has.
const MAIL: i32 = 32767;
/// Tags below are of other messages there.
const FIRST: u32 = MAIL as u32 + 1;

/// A member has come.
const HERE: u8 = 0;
/// The tag that the first member has chosen.
const TAG: u8 = 1;
/// The tag that one leader has chosen for both.
const BOTH: u8 = 2;
/// What kind it is, and the tag.
const HEAD: usize = 5;

/// Messages that no thread has taken yet: from whom, and what.
static COME: Locked<Vec<(i32, Vec<u8>)>> = Locked::new(Vec::new());
/// Tags that this process has chosen so far.
static CHOSEN: AtomicU32 = AtomicU32::new(0);

/// A tag that no other process chooses, and this one not again for long.
fn choose() -> u32 {
    let (rank, size) = (WORLD_RANK.load(Relaxed), WORLD_SIZE.load(Relaxed));
    let (rank, size) = (rank as u32, size.max(1) as u32);
    let rounds = (promises::highest_tag() as u32).saturating_sub(FIRST) / size;
    FIRST + rank + size * (CHOSEN.fetch_add(1, Relaxed) % rounds.max(1))
}

fn message(kind: u8, tag: u32, name: &OsStr) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(tag.to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes
}

unsafe fn say(to: i32, kind: u8, tag: u32, name: &OsStr) -> Result<(), Fail> {
    let _inside = gate::enter(Call::MustComplete);
    match mail::send(to, MAIL, &message(kind, tag, name))? {
        super::abi::SUCCESS => Ok(()),
        code => Err(Fail::Code(code)),
    }
}

/// Waits for a message; outside the gate between two looks.
unsafe fn hear(from: i32, kind: u8, name: &OsStr) -> Result<u32, Fail> {
    loop {
        let inside = gate::enter(Call::MustComplete);
        mail::take(from, MAIL, |from, bytes| {
            COME.get(&lock()).push((from, bytes));
            ControlFlow::Continue(())
        })?;
        {
            let guard = lock();
            let come = COME.get(&guard);
            let wanted = |(f, b): &(i32, Vec<u8>)| {
                *f == from && b[0] == kind && &b[HEAD..] == name.as_bytes()
            };
            if let Some(i) = come.iter().position(wanted) {
                let (_, bytes) = come.remove(i);
                return Ok(u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]));
            }
        }
        drop(inside);
        std::thread::yield_now();
    }
}

/// The tag for a name, which all members of a group (world ranks) agree on.
///
/// # Safety
/// Outside the gate, on all members.
pub unsafe fn tag(group: &[i32], name: &OsStr) -> Result<u64, Fail> {
    let (Some(&first), true) = (group.first(), group.len() > 1) else {
        return Ok(u64::from(choose()));
    };
    if first != WORLD_RANK.load(Relaxed) {
        say(first, HERE, 0, name)?;
        return hear(first, TAG, name).map(u64::from);
    }
    for member in &group[1..] {
        hear(*member, HERE, name)?;
    }
    let tag = choose();
    for member in &group[1..] {
        say(*member, TAG, tag, name)?;
    }
    Ok(u64::from(tag))
}

/// The tag for a name, which the leaders of two groups agree on.
///
/// # Safety
/// Outside the gate, on both leaders.
pub unsafe fn tag_with(other: i32, name: &OsStr) -> Result<u64, Fail> {
    if other < WORLD_RANK.load(Relaxed) {
        return hear(other, BOTH, name).map(u64::from);
    }
    let tag = choose();
    say(other, BOTH, tag, name)?;
    Ok(u64::from(tag))
}

/// A number for a name, which two names hardly have in common.
pub fn hash(name: &OsStr) -> u64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
    name.as_bytes()
        .iter()
        .copied()
        .fold(0xcbf2_9ce4_8422_2325, step)
}
