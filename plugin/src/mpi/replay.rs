//! Replay: the model's live objects are made again in a fresh lower half.

use super::abi::*;
use super::comms::{idup_issue, with_group};
use super::lower::{ix, must};
use super::model::comm::Topology;
use super::model::datatype::Datatype;
use super::model::request::{Kind, Request};
use super::model::{comm as comms, datatype, lock, request, Comm, Guard, WORLD_RANK, WORLD_SIZE};
use super::{
    codes, cut, env, errs, icoll, ops, promises, reopen, settle, start, tools, topos, types,
};
use crate::host;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::*;

/// Tag of the communicators' rebuilding.
const TAG: u64 = 7001;

/// What failed, in words.
pub fn check(what: &str, code: i32) -> Result<(), String> {
    if code == SUCCESS {
        return Ok(());
    }
    Err(format!("{what} failed at restart: {}", errs::text(code)))
}

/// Rebuilds the lower half from the model, then lets the program go on.
pub fn restart() -> Result<(), String> {
    // SAFETY: the half is fresh, the gate closed, and this is the helper thread.
    unsafe { tools::replay() };
    if env::active() {
        // SAFETY: the half is fresh, the gate closed, and this is the helper thread.
        unsafe { rebuild() }?;
    }
    cut::resume();
    Ok(())
}

/// Images of different checkpoints are no job.
fn one_checkpoint() -> Result<(), String> {
    let mark = [host::checkpoint(), cut::mark()].concat();
    let all = host::exchange(&mark).map_err(|e| e.message)?;
    let other = all.iter().position(|mark| *mark != all[0]);
    other.map_or(Ok(()), |rank| {
        Err(format!(
            "the images of rank 0 and rank {rank} are of different checkpoints: one was broken off when some images had \
             been replaced, they were copied from different places, or the ranks were told or saw different generations; restart \
             from images of one checkpoint"
        ))
    })
}

unsafe fn rebuild() -> Result<(), String> {
    let (rank, size) =
        env::start_lower().map_err(|c| format!("MPI_Init failed at restart with code {c}"))?;
    let (old_rank, old_size) = (WORLD_RANK.load(Relaxed), WORLD_SIZE.load(Relaxed));
    if size != old_size {
        return Err(format!(
            "the job had {old_size} ranks and was restarted with {size}: its launcher starts the restart (mpirun -n {old_size} splitproc …)"
        ));
    }
    if rank != old_rank {
        return Err(format!(
            "the image of rank {old_rank} was restarted as rank {rank}"
        ));
    }
    promises::check()?;
    env::connect(rank, size)?;
    one_checkpoint()?;
    let guard = lock();
    errs::forget(&guard);
    codes::replay(&guard);
    ops::replay(&guard)?;
    for t in datatype::all(&guard) {
        datatype(&guard, t)?;
    }
    communicators(&guard)?;
    settle::replay(&guard)?;
    reopen::replay(&guard)?;
    let requests = request::all(&guard);
    drop(guard); // a collective's arguments are looked at under the lock
    for (_, r) in requests {
        again(r)?;
    }
    Ok(())
}

/// Makes a datatype with the bounds that it had, for what is made of it and for the elements of a message: MPI leaves to the
/// library what gaps belong to a type, as behind a struct's last member.
unsafe fn datatype(guard: &Guard, t: &Datatype) -> Result<(), String> {
    let mut lower = DATATYPE_NULL;
    let code = types::build(&t.contents, &mut lower).unwrap_or(ERR_TYPE);
    check("making a datatype", code)?;
    let (was, now) = (&t.sizes, datatype::ask(lower));
    if !was.same_data(&now) {
        return Err(format!(
            "this MPI library has the data of {} elsewhere: {now}, not {was}; restart over the library of the checkpoint",
            t.name(guard)
        ));
    }
    if (was.lb, was.extent) != (now.lb, now.extent) {
        let mut inner = lower;
        let (lb, extent) = (was.lb as u64, was.extent as u64);
        let args = [inner as u64, lb, extent, &raw mut lower as u64];
        check(
            "MPI_Type_create_resized",
            must(ix::Type_create_resized, &args),
        )?;
        must(ix::Type_free, &[&raw mut inner as u64]);
    }
    t.lower.store(lower, Relaxed);
    if t.committed.load(Relaxed) {
        let code = must(ix::Type_commit, &[t.lower.as_ptr() as u64]);
        check("MPI_Type_commit", code)?;
    }
    Ok(())
}

/// An intracommunicator of a group.
unsafe fn of_group(ranks: &[i32], out: *mut i32) -> Result<(), String> {
    let made = with_group(ranks, |g| {
        Ok(must(
            ix::Comm_create_group,
            &[COMM_WORLD as u64, g, TAG, out as u64],
        ))
    });
    check("MPI_Comm_create_group", made.unwrap_or(ERR_COMM))
}

/// What the ranks tell each other of a communicator: identity, whether it has a topology, both groups.
struct Wanted {
    id: u64,
    topology: bool,
    group: Vec<i32>,
    remote: Option<Vec<i32>>,
}

impl Wanted {
    fn words(&self) -> Vec<u64> {
        let remote = self.remote.as_deref().unwrap_or_default();
        let head = [
            self.id,
            u64::from(self.topology),
            self.group.len() as u64,
            remote.len() as u64,
        ];
        let ranks = self.group.iter().chain(remote).map(|r| *r as u64);
        head.into_iter().chain(ranks).collect()
    }

    fn read(words: &mut impl Iterator<Item = u64>) -> Option<Wanted> {
        let (id, topology) = (words.next()?, words.next()? != 0);
        let (n, m) = (words.next()? as usize, words.next()? as usize);
        let mut ranks = |k: usize| (0..k).map(|_| words.next().map(|w| w as i32)).collect();
        let (group, remote): (Option<Vec<i32>>, Option<Vec<i32>>) = (ranks(n), ranks(m));
        Some(Wanted {
            id,
            topology,
            group: group?,
            remote: remote.filter(|r| !r.is_empty()),
        })
    }
}

/// Makes all communicators, in one order on all ranks: threads may have made them in different ones. A member
/// that has freed a communicator which another still uses (a pending request) takes part in its making.
unsafe fn communicators(guard: &Guard) -> Result<(), String> {
    let mine: Vec<&Comm> = comms::all(guard)
        .into_iter()
        // No lower communicator: a duplication in flight, which its request makes.
        .filter(|c| !c.predefined() && c.lower.swap(COMM_NULL, Relaxed) != COMM_NULL)
        .collect();
    let say: Vec<u8> = mine
        .iter()
        .flat_map(|c| {
            let wanted = Wanted {
                id: c.id.load(Relaxed),
                topology: c.meta.get(guard).topology.is_some(),
                group: c.group.clone(),
                remote: c.remote.clone(),
            };
            wanted.words()
        })
        .flat_map(u64::to_le_bytes)
        .collect();
    let said = host::exchange(&say).map_err(|e| e.message)?;
    // For each communicator what one of its members said, and how many have it.
    let mut all: BTreeMap<u64, (Wanted, usize)> = BTreeMap::new();
    for bytes in &said {
        let mut words = bytes
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default()));
        while let Some(w) = Wanted::read(&mut words) {
            all.entry(w.id).or_insert((w, 0)).1 += 1;
        }
    }
    let me = WORLD_RANK.load(Relaxed);
    for (id, (w, holders)) in &all {
        let remote = w.remote.as_deref().unwrap_or_default();
        let (own, other) = if w.group.contains(&me) {
            (&w.group[..], remote)
        } else {
            (remote, &w.group[..])
        };
        if !own.contains(&me) {
            continue;
        }
        let held = mine.iter().find(|c| c.id.load(Relaxed) == *id);
        // A topology is of use to all members together only.
        let whole = *holders == w.group.len() + remote.len();
        let topology = held
            .filter(|_| w.topology && whole)
            .and_then(|c| c.meta.get(guard).topology.as_ref());
        let mut spare = COMM_NULL;
        let place = held.map_or(&mut spare as *mut i32, |c| c.lower.as_ptr());
        communicator(own, other, topology, place)?;
        if held.is_none() {
            must(ix::Comm_free, &[place as u64]);
        }
    }
    match mine.iter().find(|c| c.lower.load(Relaxed) == COMM_NULL) {
        None => Ok(()),
        Some(c) => {
            let lengths: Vec<usize> = said.iter().map(Vec::len).collect();
            Err(format!(
                "communicator {:x} of {} ranks was not made again (of {} that this rank has; bytes from each rank: \
                 {lengths:?}); restart once more",
                c.id.load(Relaxed),
                c.group.len(),
                mine.len()
            ))
        }
    }
}

unsafe fn communicator(
    own: &[i32],
    remote: &[i32],
    topology: Option<&Topology>,
    place: *mut i32,
) -> Result<(), String> {
    let mut local = COMM_NULL;
    if let Some(leader) = remote.first() {
        of_group(own, &mut local)?;
        let (world, leader) = (COMM_WORLD as u64, *leader as u64);
        let args = [local as u64, 0, world, leader, TAG + 1, place as u64];
        check("MPI_Intercomm_create", must(ix::Intercomm_create, &args))?;
        must(ix::Comm_free, &[&mut local as *mut i32 as u64]);
    } else if let Some(t) = topology {
        of_group(own, &mut local)?;
        check("making a topology", topos::build(t, local, place as u64))?;
        must(ix::Comm_free, &[&mut local as *mut i32 as u64]);
    } else {
        of_group(own, place)?;
    }
    check("MPI_Comm_set_errhandler", errs::returned(*place))
}

/// Posts a request again. Sends are done: all that was sent has been received.
unsafe fn again(r: &'static Request) -> Result<(), String> {
    let drained = r.ack.get() != REQUEST_NULL; // its answer is a request of its own
    let pending = r.active.get() && !r.done.get() && !drained;
    let outcome = match r.kind.get() {
        Kind::Generalized | Kind::Model | Kind::MatchedRecv | Kind::File => return Ok(()),
        Kind::Send | Kind::Recv if r.persistent.get() => {
            let made = start::issue(r);
            if pending && r.kind.get() == Kind::Recv && matches!(made, Ok(SUCCESS)) {
                super::lower::call(ix::Start, &[r.lower.as_ptr() as u64])
            } else {
                made
            }
        }
        _ if !pending => return Ok(()),
        Kind::Recv => start::issue(r),
        Kind::Send | Kind::Rma => Ok(SUCCESS),
        Kind::Coll => icoll::issue(r),
        Kind::Idup => idup_issue(r),
    };
    // One-sided operations were completed by a flush.
    if matches!(r.kind.get(), Kind::Send | Kind::Rma) && pending {
        r.complete(Status::EMPTY);
    }
    r.waiting.set(false);
    check("posting a request", outcome.unwrap_or(ERR_REQUEST))
}
