//! Persistent collectives: a non-blocking collective that the model starts again and again.
//!
//! Those of a communicator match in the order in which they were made, and may be started in another one. So each is
//! done on a duplicate of the communicator, which no other live one uses. Making them is collective: there the members
//! agree on a duplicate that is free with all of them, or make one more.

use super::abi::*;
use super::front::{finish, put};
use super::lower::{self, ix, Fail};
use super::model::request::{self, Extra, Kind};
use super::model::{comm as comms, lock, Comm, Guard};
use super::{coll, comms as making, icoll};
use std::sync::atomic::Ordering::Relaxed;

/// `MPI_UNSIGNED_LONG` and `MPI_BAND`.
const WORD: u64 = 0x4c00_0808;
const BAND: u64 = 0x5800_0006;
const BITS: usize = 64;

/// A duplicate for persistent collectives.
pub struct Slot {
    comm: &'static Comm,
    used: bool,
}

/// What all members of both groups agree on: the bits that all have set.
unsafe fn agree(c: &Comm, bits: Vec<u64>) -> Result<Vec<u64>, Fail> {
    let mut out = vec![0u64; bits.len()];
    let (from, to) = (bits.as_ptr() as u64, out.as_mut_ptr() as u64);
    let code = coll::blocking(c.handle.load(Relaxed), false, || {
        let args = [from, to, bits.len() as u64, WORD, BAND, c.low()];
        lower::call(ix::Allreduce, &args)
    });
    match code {
        SUCCESS => Ok(out),
        code => Err(Fail::Code(code)),
    }
}

/// A duplicate that no member uses, by its number.
unsafe fn slot(c: &'static Comm) -> Result<usize, Fail> {
    let mut free: Vec<u64> = {
        let guard = lock();
        let slots = &c.meta.get(&guard).slots;
        let word = |part: &[Slot]| {
            let set = part.iter().enumerate().filter(|(_, s)| !s.used);
            set.fold(0, |w, (i, _)| w | 1 << i)
        };
        slots.chunks(BITS).map(word).collect()
    };
    if !free.is_empty() && c.size() > 1 {
        free = agree(c, free)?;
        if c.remote.is_some() {
            let others = agree(c, free.clone())?; // what is free here, by the others' word
            free.iter_mut().zip(others).for_each(|(a, b)| *a &= b);
        }
    }
    if let Some(i) = free.iter().position(|w| *w != 0) {
        return Ok(i * BITS + free[i].trailing_zeros() as usize);
    }
    let mut new = COMM_NULL;
    match making::dup(c.handle.load(Relaxed), &raw mut new as usize) {
        SUCCESS => {}
        code => return Err(Fail::Code(code)),
    }
    let comm = comms::get(new)?;
    let guard = lock();
    let slots = &mut c.meta.get(&guard).slots;
    slots.push(Slot { comm, used: false });
    Ok(slots.len() - 1)
}

/// Makes a persistent collective; `index` is the non-blocking one. Hints are not looked at.
///
/// # Safety
/// As the MPI standard says of the arguments.
pub unsafe fn init(
    index: usize,
    comm: i32,
    in_place: bool,
    args: &[u64],
    _info: i32,
    out: usize,
) -> i32 {
    let made = (|| {
        let c = comms::get(comm)?;
        let i = slot(c)?;
        let own = {
            let guard = lock();
            let slot = &mut c.meta.get(&guard).slots[i];
            slot.used = true;
            slot.comm
        };
        let mut extra = Box::new(Extra {
            args: args.to_vec(),
            in_place,
            slot: Some((c, i)),
            ..Extra::default()
        });
        let place = icoll::comm_at(index);
        extra.args[place] = own.handle.load(Relaxed) as u64;
        // Without the lock, which this takes to see how many neighbours there are.
        icoll::hold_types(index, args, own, &mut extra);
        let guard = lock();
        c.hold(&guard);
        let (h, r) = request::make(&guard, Kind::Coll, own, DATATYPE_NULL);
        r.persistent.set(true);
        r.function.set(index);
        r.weigh();
        r.extra.set(Some(extra));
        put(out, h);
        Ok(SUCCESS)
    })();
    finish(comm, made)
}

/// A persistent collective is gone: another may have its duplicate.
pub fn gone(guard: &Guard, (parent, i): (&'static Comm, usize)) {
    parent.meta.get(guard).slots[i].used = false;
    parent.release(guard);
}

/// A communicator is gone: so are its duplicates.
pub fn end(guard: &Guard, slots: Vec<Slot>) {
    for slot in slots {
        slot.comm.release(guard);
    }
}
