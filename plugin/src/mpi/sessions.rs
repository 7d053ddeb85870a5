//! Sessions: the model's own, over the objects of `MPI_COMM_WORLD`.
//!
//! The first session, or `MPI_Init`, starts MPI in the lower half; it ends with `MPI_Finalize` or, if sessions were used
//! last, with the process, for another session may follow.

use super::abi::*;
use super::bsend::{self, Buffer, Owner};
use super::front::{finish, forward_wanted, local, put};
use super::infos::{given, new_info, text};
use super::lower::{self, ix, must, Fail};
use super::model::table::Table;
use super::model::{comm as comms, lock, Comm, Guard, Locked, WORLD_RANK, WORLD_SIZE};
use super::{apart, comms as making, env, errs, groups, named, sync};
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

const ERR_SESSION: i32 = 75;
const WORLD: &str = "mpi://WORLD";
const SELF: &str = "mpi://SELF";
const SETS: [&str; 2] = [WORLD, SELF];
const LEVELS: [&str; 4] = [
    "MPI_THREAD_SINGLE",
    "MPI_THREAD_FUNNELED",
    "MPI_THREAD_SERIALIZED",
    "MPI_THREAD_MULTIPLE",
];

/// A session.
struct Session {
    errhandler: Locked<i32>,
    level: usize,
    buffer: Locked<Buffer>,
}

static SESSIONS: Table<Session> = Table::new();
static OPEN: AtomicU32 = AtomicU32::new(0);
static USED: AtomicBool = AtomicBool::new(false);

/// Sessions that are not finalized.
pub fn open() -> u32 {
    OPEN.load(Relaxed)
}

/// Has the program ever had one? Then any thread may call.
pub fn used() -> bool {
    USED.load(Relaxed)
}

fn get(handle: i32) -> Result<&'static Session, Fail> {
    let found = match handle & KIND_MASK == V_SESSION & KIND_MASK {
        true => SESSIONS.get(handle & INDEX_MASK),
        false => None,
    };
    found.ok_or(Fail::Code(ERR_SESSION))
}

/// A session's buffer.
pub fn buffer(guard: &Guard, handle: i32) -> Result<&mut Buffer, Fail> {
    get(handle).map(|s| s.buffer.get(guard))
}

/// Applies a session's error handler to an error.
fn end(handle: i32, outcome: Result<(), Fail>) -> i32 {
    let Err(e) = outcome else { return SUCCESS };
    let code = match e {
        Fail::Code(code) => code,
        Fail::Restarted => ERR_OTHER,
    };
    match get(handle) {
        Ok(s) => {
            let handler = *s.errhandler.get(&lock());
            errs::raise_of_session(handler, handle, code)
        }
        Err(_) => finish(COMM_SELF, Ok(code)),
    }
}

/// The level that hints ask for.
fn wanted(info: i32) -> usize {
    let pairs = given(info).ok().flatten().unwrap_or_default();
    let asked = pairs.iter().find(|(k, _)| k == "thread_level");
    let level = asked.and_then(|(_, v)| LEVELS.iter().position(|l| l == v));
    level.unwrap_or(THREAD_MULTIPLE as usize)
}

pub unsafe fn session_init(info: i32, errhandler: i32, out: usize) -> i32 {
    USED.store(true, Relaxed);
    if let Err(code) = env::bring_up() {
        return match errhandler {
            ERRORS_RETURN => code,
            _ => errs::raise_of_session(ERRORS_ARE_FATAL, SESSION_NULL, code),
        };
    }
    let level = wanted(info);
    local(COMM_SELF, || {
        let guard = lock();
        errs::hold(errhandler);
        let session = Session {
            errhandler: Locked::new(errhandler),
            level,
            buffer: Locked::new(Buffer::default()),
        };
        put(out, V_SESSION | SESSIONS.add(&guard, session));
        OPEN.fetch_add(1, Relaxed);
        Ok(())
    })
}

pub unsafe fn session_finalize(at: usize) -> i32 {
    let handle = *(at as *const i32);
    if get(handle).is_ok() {
        bsend::end(Owner::Session(handle));
    }
    let done = (|| {
        let s = get(handle)?;
        let guard = lock();
        errs::release(&guard, *s.errhandler.get(&guard));
        SESSIONS.remove(&guard, handle & INDEX_MASK);
        OPEN.fetch_sub(1, Relaxed);
        put(at, SESSION_NULL);
        Ok(())
    })();
    end(handle, done)
}

pub unsafe fn session_get_info(session: i32, out: usize) -> i32 {
    let done = get(session).map(|s| {
        let level = LEVELS[s.level];
        new_info(vec![("thread_level".into(), level.into())], out);
    });
    end(session, done)
}

pub unsafe fn session_get_num_psets(session: i32, _info: i32, out: usize) -> i32 {
    let done = get(session).map(|_| put(out, SETS.len() as i32));
    end(session, done)
}

pub unsafe fn session_get_nth_pset(
    session: i32,
    _info: i32,
    n: i32,
    room: usize,
    out: usize,
) -> i32 {
    let done = get(session).and_then(|_| {
        let name = SETS.get(n as usize).ok_or(Fail::Code(ERR_ARG))?;
        let given = *(room as *const i32);
        if given > 0 {
            let n = name.len().min(given as usize - 1);
            std::ptr::copy_nonoverlapping(name.as_ptr(), out as *mut u8, n);
            put(out + n, 0u8);
        }
        put(room, name.len() as i32 + 1);
        Ok(())
    });
    end(session, done)
}

/// World ranks of a process set; upper and lower case are the same, as in MPICH.
unsafe fn set(name: usize) -> Result<Vec<i32>, Fail> {
    let name = text(name, 1024);
    let all = WORLD_SIZE.load(Relaxed);
    if name.eq_ignore_ascii_case(WORLD) {
        Ok((0..all).collect())
    } else if name.eq_ignore_ascii_case(SELF) {
        Ok(vec![WORLD_RANK.load(Relaxed)])
    } else {
        Err(Fail::Code(ERR_ARG))
    }
}

pub unsafe fn session_get_pset_info(session: i32, name: usize, out: usize) -> i32 {
    let done = get(session).and_then(|_| {
        let size = set(name)?.len().to_string();
        new_info(vec![("mpi_size".into(), size.into())], out);
        Ok(())
    });
    end(session, done)
}

pub unsafe fn group_from_session_pset(session: i32, name: usize, out: usize) -> i32 {
    let done = get(session).and_then(|_| {
        put(out, groups::register_of(set(name)?, session));
        Ok(())
    });
    end(session, done)
}

pub unsafe fn session_create_errhandler(function: usize, out: usize) -> i32 {
    errs::comm_create_errhandler(function, out)
}

pub unsafe fn session_set_errhandler(session: i32, handler: i32) -> i32 {
    let done = get(session).map(|s| {
        let guard = lock();
        errs::hold(handler);
        let old = std::mem::replace(s.errhandler.get(&guard), handler);
        errs::release(&guard, old);
    });
    end(session, done)
}

pub unsafe fn session_get_errhandler(session: i32, out: usize) -> i32 {
    let done = get(session).map(|s| {
        let handler = *s.errhandler.get(&lock());
        errs::hold(handler);
        put(out, handler);
    });
    end(session, done)
}

pub unsafe fn session_call_errhandler(session: i32, code: i32) -> i32 {
    let known = get(session).map(|_| ());
    if known.is_err() {
        return end(session, known);
    }
    end(session, Err(Fail::Code(code)));
    SUCCESS
}

/// What a communicator that was made of a group has of its own.
unsafe fn born(c: &Comm, group: i32, errhandler: i32) -> i32 {
    let guard = lock();
    let meta = c.meta.get(&guard);
    let old = std::mem::replace(&mut meta.errhandler, errhandler);
    meta.session = groups::session(group);
    errs::hold(errhandler);
    errs::release(&guard, old);
    c.handle.load(Relaxed)
}

/// `MPI_MAX_STRINGTAG_LEN`.
const LONGEST: usize = 256;

pub unsafe fn comm_create_from_group(
    group: i32,
    words: usize,
    _info: i32,
    errhandler: i32,
    out: usize,
) -> i32 {
    let name = text(words, LONGEST);
    let made = (|| {
        let ranks = groups::ranks(group)?;
        let tag = named::tag(&ranks, &name)?;
        // The program makes none on our own communicator.
        let (world, ours) = (comms::get(COMM_WORLD)?, sync::comm()?);
        let new = apart::make(world, || ours.low(), &ranks, named::hash(&name), tag)?;
        put(out, new.map_or(COMM_NULL, |c| born(c, group, errhandler)));
        Ok(SUCCESS)
    })();
    finish(COMM_SELF, made)
}

/// The tags for both steps: the making of the own group's communicator, and of the one between the groups.
unsafe fn both_tags(
    ranks: &[i32],
    leader: i32,
    other: Option<i32>,
    name: &OsStr,
) -> Result<(u64, u64), Fail> {
    let tag = named::tag(ranks, name)?;
    match (ranks.get(leader as usize), other) {
        (Some(leader), Some(other)) if *leader == WORLD_RANK.load(Relaxed) => {
            Ok((tag, named::tag_with(other, name)?))
        }
        _ => Ok((tag, tag)), // only the leaders' counts
    }
}

pub unsafe fn intercomm_create_from_groups(
    group: i32,
    leader: i32,
    remote: i32,
    remote_leader: i32,
    words: usize,
    _info: i32,
    errhandler: i32,
    out: usize,
) -> i32 {
    let name = text(words, LONGEST);
    // Only the leader has to know the other group.
    let other = groups::ranks(remote).ok();
    let other = other.and_then(|r| r.get(remote_leader as usize).copied());
    let agreed = groups::ranks(group)
        .and_then(|ranks| Ok((both_tags(&ranks, leader, other, &name)?, ranks)));
    let ((tag, both), ranks) = match agreed {
        Ok(agreed) => agreed,
        Err(e) => return finish(COMM_SELF, Err(e)),
    };
    forward_wanted(COMM_SELF, || {
        let (world, ours) = (comms::get(COMM_WORLD)?, sync::comm()?.low());
        let (mut own, mut new) = (COMM_NULL, COMM_NULL);
        let (place, at) = (&raw mut own as u64, &raw mut new as u64);
        match apart::of_group(ours, &ranks, tag, place, None)? {
            SUCCESS => {}
            code => return Ok(code),
        }
        let other = other.unwrap_or(0) as u64;
        let args = [own as u64, leader as u64, ours, other, both, at];
        let outcome = lower::call(ix::Intercomm_create, &args);
        must(ix::Comm_free, &[place]);
        if matches!(outcome, Ok(SUCCESS)) {
            let c = making::adopt(world, new, Some(named::hash(&name)));
            put(out, born(c, group, errhandler));
        }
        outcome
    })
}
