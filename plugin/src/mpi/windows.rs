//! Windows: made, freed, asked. The memory is always the upper half's; the lower half's window is over it.

use super::abi::*;
use super::front::{finish, local, put, query};
use super::lower::{self, ix, must, Fail, Outcome};
use super::model::objects::{find, Info, INFOS};
use super::model::window::{self, flavor, Memory, Segment, Window, WINDOWS};
use super::model::{comm as comms, lock, Comm, Guard, Locked};
use super::{attrs, coll, epochs, errs, groups, infos, own, win_attrs};
use crate::gate::Call;
use std::ffi::OsString;
use std::sync::atomic::Ordering::Relaxed;

/// Memory of `MPI_Win_allocate` begins at such an address.
const ALIGNED: usize = 64;

/// What the application asks for.
struct Asked {
    flavor: i32,
    base: usize,
    size: i64,
    unit: i64,
    info: i32,
}

/// Hints that a window has if the application gives none.
const HINTS: [(&str, &str); 8] = [
    ("no_locks", "false"),
    ("accumulate_ordering", "rar,raw,war,waw"),
    ("accumulate_ops", "same_op_no_op"),
    ("mpi_accumulate_granularity", "0"),
    ("same_size", "false"),
    ("same_disp_unit", "false"),
    ("alloc_shared_noncontig", "false"),
    ("alloc_shm", "false"),
];

/// Takes the hints that are known, as libraries do.
fn take_hints(guard: &Guard, hints: &mut [(OsString, OsString)], info: i32) {
    if let Some(info) = find(&INFOS, V_INFO, info) {
        for (key, value) in info.pairs.get(guard).iter() {
            if let Some(hint) = hints.iter_mut().find(|(k, _)| k == key) {
                hint.1.clone_from(value);
            }
        }
    }
}

/// The same handler for all communicators of windows: what is done about an error is the window's to say.
fn quiet(guard: &Guard, _parent: &'static Comm, child: &'static Comm) {
    let meta = child.meta.get(guard);
    errs::release(
        guard,
        std::mem::replace(&mut meta.errhandler, ERRORS_RETURN),
    );
    meta.name = "a window's".into();
}

fn sound(comm: i32, asked: &Asked) -> Result<(), Fail> {
    if comms::get(comm)?.remote.is_some() {
        return Err(Fail::Code(ERR_COMM));
    }
    if asked.size < 0 {
        return Err(Fail::Code(ERR_SIZE));
    }
    if asked.unit <= 0 || asked.unit > i64::from(i32::MAX) {
        return Err(Fail::Code(ERR_DISP));
    }
    Ok(())
}

/// Makes a window; `base`, if not null, gets its address.
unsafe fn make(comm: i32, asked: Asked, base: usize, out: usize) -> i32 {
    if let Err(e) = sound(comm, &asked) {
        return finish(comm, Err(e));
    }
    let mut own = COMM_NULL;
    let dup = |c: &Comm, at, _: &_| lower::call(ix::Comm_dup, &[c.low(), at]);
    let code = super::comms::create(comm, &raw mut own as usize, dup, quiet);
    let c = match comms::get(own) {
        Ok(c) if code == SUCCESS => c,
        _ => return code,
    };
    let (inside, n) = coll::enter(c, true, Call::MustComplete, true);
    let outcome = build(c, &asked);
    coll::leave(c, n);
    let outcome = match outcome {
        Ok(w) => {
            if base != 0 {
                put(base, w.base);
            }
            let guard = lock();
            let hints = HINTS.map(|(k, v)| (k.into(), v.into()));
            let meta = w.meta.get(&guard);
            meta.info = hints.into();
            take_hints(&guard, &mut meta.info, asked.info);
            put(out, window::register(&guard, w));
            Ok(SUCCESS)
        }
        Err(e) => {
            c.release(&lock());
            Err(e)
        }
    };
    drop(inside);
    finish(comm, outcome)
}

/// The memory, and the lower half's window over it.
unsafe fn build(c: &'static Comm, asked: &Asked) -> Result<Window, Fail> {
    let unit = asked.unit as i32;
    let (memory, base) = match asked.flavor {
        flavor::ALLOCATE => {
            let layout = (asked.size.max(1) as usize).next_multiple_of(ALIGNED);
            let p = libc::aligned_alloc(ALIGNED, layout) as usize;
            (Memory::Allocated, p)
        }
        flavor::SHARED => {
            let apart = find(&INFOS, V_INFO, asked.info).is_some_and(|info| {
                let wanted =
                    |p: &(OsString, OsString)| p.0 == "alloc_shared_noncontig" && p.1 == "true";
                info.pairs.get(&lock()).iter().any(wanted)
            });
            let segment = Segment::new(c, asked.size, unit, apart)?;
            let base = segment.place(&segment.parts[c.rank as usize]);
            (Memory::Shared(segment), base)
        }
        _ => (Memory::Given, asked.base),
    };
    let w = Window::new(c, memory, (base, asked.size, unit), asked.flavor);
    // Without memory it takes part, so that the others learn of it.
    let none = base == 0 && asked.flavor == flavor::ALLOCATE;
    let size = if none { 0 } else { asked.size };
    let mut failed = establish(&w, size);
    if none && failed == SUCCESS {
        must(ix::Win_free, &[w.lower.as_ptr() as u64]);
        failed = ERR_NO_MEM;
    }
    if failed != SUCCESS {
        free_memory(&w);
        return Err(Fail::Code(failed));
    }
    Ok(w)
}

/// Makes the lower half's window.
///
/// # Safety
/// Inside the gate, on all ranks of the window.
pub unsafe fn establish(w: &Window, size: i64) -> i32 {
    own::note_rounding();
    let (info, comm, out) = (INFO_NULL as u64, w.comm.low(), w.lower.as_ptr() as u64);
    let code = if w.flavor == flavor::DYNAMIC {
        must(ix::Win_create_dynamic, &[info, comm, out])
    } else {
        let (base, unit) = (w.base as u64, w.unit as u64);
        must(ix::Win_create, &[base, size as u64, unit, info, comm, out])
    };
    if code != SUCCESS {
        return code;
    }
    must(ix::Win_set_errhandler, &[w.low(), ERRORS_RETURN as u64]);
    let (mut model, mut found) = (0usize, 0i32);
    let (value, flag) = (&raw mut model as u64, &raw mut found as u64);
    must(
        ix::Win_get_attr,
        &[w.low(), win_attrs::MODEL as u64, value, flag],
    );
    if found != 0 && model != 0 && w.model.load(Relaxed) == 0 {
        w.model.store(*(model as *const i32), Relaxed);
    }
    SUCCESS
}

unsafe fn free_memory(w: &Window) {
    match &w.memory {
        Memory::Given => {}
        Memory::Allocated => libc::free(w.base as *mut _),
        Memory::Shared(segment) => segment.unmap(),
    }
}

pub unsafe fn win_create(
    base: usize,
    size: i64,
    unit: i32,
    info: i32,
    comm: i32,
    out: usize,
) -> i32 {
    win_create_c(base, size, i64::from(unit), info, comm, out)
}

pub unsafe fn win_create_c(
    base: usize,
    size: i64,
    unit: i64,
    info: i32,
    comm: i32,
    out: usize,
) -> i32 {
    let flavor = flavor::CREATE;
    let asked = Asked {
        flavor,
        base,
        size,
        unit,
        info,
    };
    make(comm, asked, 0, out)
}

/// A window whose memory comes with it.
fn allocated(flavor: i32, size: i64, unit: i64, info: i32) -> Asked {
    Asked {
        flavor,
        base: 0,
        size,
        unit,
        info,
    }
}

pub unsafe fn win_allocate(
    size: i64,
    unit: i32,
    info: i32,
    comm: i32,
    at: usize,
    out: usize,
) -> i32 {
    win_allocate_c(size, i64::from(unit), info, comm, at, out)
}

pub unsafe fn win_allocate_c(
    size: i64,
    unit: i64,
    info: i32,
    comm: i32,
    at: usize,
    out: usize,
) -> i32 {
    let asked = allocated(flavor::ALLOCATE, size, unit, info);
    make(comm, asked, at, out)
}

pub unsafe fn win_allocate_shared(
    size: i64,
    unit: i32,
    info: i32,
    comm: i32,
    at: usize,
    out: usize,
) -> i32 {
    win_allocate_shared_c(size, i64::from(unit), info, comm, at, out)
}

pub unsafe fn win_allocate_shared_c(
    size: i64,
    unit: i64,
    info: i32,
    comm: i32,
    at: usize,
    out: usize,
) -> i32 {
    let asked = allocated(flavor::SHARED, size, unit, info);
    make(comm, asked, at, out)
}

pub unsafe fn win_create_dynamic(info: i32, comm: i32, out: usize) -> i32 {
    let (flavor, base, size, unit) = (flavor::DYNAMIC, 0, 0, 1);
    let asked = Asked {
        flavor,
        base,
        size,
        unit,
        info,
    };
    make(comm, asked, 0, out)
}

pub unsafe fn win_attach(win: i32, base: usize, size: i64) -> i32 {
    local(win, || {
        let w = dynamic(win)?;
        match must(ix::Win_attach, &[w.low(), base as u64, size as u64]) {
            SUCCESS => {
                w.meta.get(&lock()).attached.push((base, size));
                Ok(())
            }
            code => Err(Fail::Code(code)),
        }
    })
}

pub unsafe fn win_detach(win: i32, base: usize) -> i32 {
    local(win, || {
        let w = dynamic(win)?;
        match must(ix::Win_detach, &[w.low(), base as u64]) {
            SUCCESS => {
                w.meta.get(&lock()).attached.retain(|a| a.0 != base);
                Ok(())
            }
            code => Err(Fail::Code(code)),
        }
    })
}

fn dynamic(win: i32) -> Result<&'static Window, Fail> {
    let w = window::get(win)?;
    if w.flavor == flavor::DYNAMIC {
        Ok(w)
    } else {
        Err(Fail::Code(ERR_RMA_FLAVOR))
    }
}

pub unsafe fn win_free(at: usize) -> i32 {
    let win = *(at as *const i32);
    let w = match window::get(win) {
        Ok(w) if epochs::idle(w) => w,
        Ok(_) => return finish(win, Err(Fail::Code(ERR_RMA_SYNC))),
        Err(e) => return finish(win, Err(e)),
    };
    let code = attrs::delete_all(win);
    if code != SUCCESS {
        return code;
    }
    // A rank that is late is waited for where a checkpoint may be taken.
    let barrier = || lower::call(ix::Barrier, &[w.comm.low()]);
    let code = coll::blocking(w.comm.handle.load(Relaxed), false, barrier);
    if code != SUCCESS {
        return finish(win, Ok(code));
    }
    let (inside, n) = coll::enter(w.comm, true, Call::MustComplete, true);
    let outcome = free(w);
    coll::leave(w.comm, n);
    if let Ok(SUCCESS) = outcome {
        free_memory(w);
        let guard = lock();
        errs::release(&guard, w.meta.get(&guard).errhandler);
        let comm = w.comm;
        WINDOWS.remove(&guard, win & INDEX_MASK);
        comm.release(&guard);
        put(at, WIN_NULL);
    }
    drop(inside);
    finish(win, outcome)
}

unsafe fn free(w: &Window) -> Outcome {
    let _turn = w.turn();
    epochs::uncover(w)?;
    Ok(must(ix::Win_free, &[w.lower.as_ptr() as u64]))
}

pub unsafe fn win_shared_query(win: i32, rank: i32, size: usize, unit: usize, base: usize) -> i32 {
    query(win, || {
        let (bytes, its_unit, address) = shared(win, rank)?;
        put(size, bytes);
        put(unit, its_unit);
        put(base, address);
        Ok(())
    })
}

pub unsafe fn win_shared_query_c(
    win: i32,
    rank: i32,
    size: usize,
    unit: usize,
    base: usize,
) -> i32 {
    query(win, || {
        let (bytes, its_unit, address) = shared(win, rank)?;
        put(size, bytes);
        put(unit, i64::from(its_unit));
        put(base, address);
        Ok(())
    })
}

/// What `MPI_Win_shared_query` tells since MPI 4.1 of a window whose memory no other rank can reach by loads and stores:
/// size, unit and address of the own part, and of each other one zeros. `false`: it tells what it always did.
///
/// # Safety
/// `out` must have room for three words.
#[no_mangle]
pub unsafe extern "C" fn splitproc_unshared(win: i32, rank: i32, out: *mut [i64; 3]) -> bool {
    let Some(w) = window::get(win).ok().filter(|w| {
        let known = rank == PROC_NULL || (0..w.comm.group.len() as i32).contains(&rank);
        known && [flavor::CREATE, flavor::ALLOCATE].contains(&w.flavor)
    }) else {
        return false;
    };
    *out = match rank == w.comm.rank {
        true => [w.size, i64::from(w.unit), w.base as i64],
        false => [0; 3],
    };
    true
}

/// Size, unit and address of a rank's part; without a rank the first part that has memory.
fn shared(win: i32, rank: i32) -> Result<(i64, i32, usize), Fail> {
    let Memory::Shared(segment) = &window::get(win)?.memory else {
        return Err(Fail::Code(ERR_RMA_FLAVOR));
    };
    let part = if rank == PROC_NULL {
        match segment.parts.iter().find(|p| p.size > 0) {
            Some(part) => part,
            None => return Ok((0, 0, 0)),
        }
    } else {
        let part = segment.parts.get(rank as usize);
        part.ok_or(Fail::Code(ERR_RANK))?
    };
    Ok((part.size, part.unit, segment.place(part)))
}

pub unsafe fn win_get_group(win: i32, out: usize) -> i32 {
    local(win, || {
        put(out, groups::register(window::get(win)?.comm.group.clone()));
        Ok(())
    })
}

pub unsafe fn win_set_name(win: i32, name: usize) -> i32 {
    local(win, || {
        let w = window::get(win)?;
        w.meta.get(&lock()).name = infos::text(name, MAX_OBJECT_NAME - 1);
        Ok(())
    })
}

pub unsafe fn win_get_name(win: i32, out: usize, len: usize) -> i32 {
    local(win, || {
        let w = window::get(win)?;
        infos::put_text(out, len, &w.meta.get(&lock()).name);
        Ok(())
    })
}

pub unsafe fn win_set_info(win: i32, info: i32) -> i32 {
    local(win, || {
        let w = window::get(win)?;
        let guard = lock();
        take_hints(&guard, &mut w.meta.get(&guard).info, info);
        Ok(())
    })
}

pub unsafe fn win_get_info(win: i32, out: usize) -> i32 {
    local(win, || {
        let w = window::get(win)?;
        let guard = lock();
        let pairs = Locked::new(w.meta.get(&guard).info.clone());
        put(out, V_INFO | INFOS.add(&guard, Info { pairs }));
        Ok(())
    })
}
