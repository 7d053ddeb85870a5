//! Counts that are no int: the functions whose names end in `_c`.
//!
//! A count that is an int takes the way of the function without `_c`. Where one is not, a datatype of our own stands for
//! all the elements, so that the message has one element and nothing else in the model has to count so far. Reductions and
//! collectives with an array of counts can't be told by a datatype: those go to the lower half's own function, if it has it.

use super::abi::*;
use super::front::{finish, forward};
use super::handle;
use super::lower::{ix, must, Fail, Outcome};
use super::model::{comm as comms, datatype, lock, request};
use super::types;

/// Runs a call with `n` elements of a datatype as an int and a datatype.
///
/// # Safety
/// As the MPI standard says of the datatype.
pub unsafe fn narrow(n: i64, t: i32, comm: i32, f: impl FnOnce(i32, i32) -> i32) -> i32 {
    if let Ok(n) = i32::try_from(n) {
        return f(n, t);
    }
    if n < 0 {
        return finish(comm, Ok(ERR_COUNT));
    }
    let mut big = DATATYPE_NULL;
    let at = &raw mut big as usize;
    let made = match super::counted::type_contiguous_c(n, t, at) {
        SUCCESS => types::type_commit(at),
        code => code,
    };
    if made != SUCCESS {
        return made;
    }
    let code = f(1, big);
    forward(comm, || {
        datatype::release(&lock(), big);
        Ok(SUCCESS)
    });
    code
}

/// For whom an array has a number each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those that this process sends to.
    Send,
    /// Those that it receives from.
    Receive,
    /// The members of its own group.
    Own,
}

/// Arrays of ints that stand for the application's arrays of 64-bit numbers, for as long as the call, or the request
/// that it makes, needs them.
pub struct Kept {
    comm: i32,
    arrays: Vec<Vec<i32>>,
}

impl Kept {
    /// None yet.
    pub fn new(comm: i32) -> Kept {
        let arrays = Vec::new();
        Kept { comm, arrays }
    }

    /// A count as an int, if it is one.
    pub fn int(&self, n: i64) -> Option<i32> {
        i32::try_from(n).ok()
    }

    /// The address of an array as ints; `None` if a number is none. One that means nothing to this process is not looked at.
    ///
    /// # Safety
    /// As the MPI standard says of the array.
    pub unsafe fn ints(
        &mut self,
        at: usize,
        side: Side,
        in_place: bool,
        root: Option<i32>,
    ) -> Option<usize> {
        let Ok(c) = comms::get(self.comm) else {
            return Some(at); // which the call will say
        };
        let elsewhere = root.is_some_and(|root| match c.remote {
            Some(_) => root != ROOT,
            None => root != c.rank,
        });
        if at == 0 || elsewhere || (in_place && side == Side::Send) {
            return Some(at);
        }
        let n = match side {
            Side::Own => Ok(c.group.len()),
            Side::Send => handle::send_len(self.comm),
            Side::Receive => handle::recv_len(self.comm),
        };
        let wide = std::slice::from_raw_parts(at as *const i64, n.unwrap_or(0));
        let ints: Result<Vec<i32>, _> = wide.iter().map(|n| i32::try_from(*n)).collect();
        self.arrays.push(ints.ok()?);
        self.arrays.last().map(|a| a.as_ptr() as usize)
    }

    /// The call is made, with this result; the request at `request`, if that is not 0, keeps the arrays.
    ///
    /// # Safety
    /// `request` must be 0 or where the call put its request.
    pub unsafe fn end(self, code: i32, request: usize) -> i32 {
        if code == SUCCESS && request != 0 && !self.arrays.is_empty() {
            let guard = lock();
            if let Some(r) = request::get(*(request as *const i32)) {
                let mut extra = r.extra.take().unwrap_or_default();
                extra.ints = self.arrays;
                r.extra.set(Some(extra));
            }
            drop(guard);
        }
        code
    }
}

/// A count that is no int, and a lower half that has no such function.
#[cold]
pub fn beyond(name: &str, comm: i32) -> i32 {
    eprintln!(
        "splitproc: MPI_{name} failed: a count is above 2147483647, and the MPI library has no such function"
    );
    finish(comm, Ok(ERR_COUNT))
}

pub unsafe fn reduce_local_c(from: usize, to: usize, n: i64, t: i32, op: i32) -> i32 {
    const STEP: i64 = 1 << 30;
    let extent = match datatype::sizes(t) {
        Ok(s) => s.extent,
        Err(e) => return finish(COMM_WORLD, Err(e)),
    };
    let mut done = 0;
    loop {
        let now = (n - done).min(STEP) as i32;
        let at = |base: usize| base.wrapping_add((done * extent) as usize);
        let code = super::front::mpi_reduce_local(at(from), at(to), now, t, op);
        done += i64::from(now);
        if code != SUCCESS || done >= n {
            return code;
        }
    }
}

/// Makes a datatype of `n` elements of another in the lower half; not committed.
///
/// # Safety
/// `t` must be a datatype of the lower half.
pub unsafe fn contiguous(n: i64, t: i32, out: &mut i32) -> i32 {
    let out = &raw mut *out as u64;
    match i32::try_from(n) {
        Ok(n) => must(ix::Type_contiguous, &[n as u64, t as u64, out]),
        Err(_) => strided(n, datatype::ask(t).extent, t, &mut *(out as *mut i32)),
    }
}

/// A datatype of `n` elements that begin `stride` bytes apart.
///
/// # Safety
/// As `contiguous`.
pub unsafe fn strided(n: i64, stride: i64, t: i32, out: &mut i32) -> i32 {
    const BLOCK: i64 = 1 << 30;
    let out = &raw mut *out as u64;
    let some = |n: i64, stride: i64, t: i32, out: u64| {
        let args = [n as u64, 1, stride as u64, t as u64, out];
        must(ix::Type_create_hvector, &args)
    };
    if i32::try_from(n).is_ok() {
        return some(n, stride, t, out);
    }
    let mut parts = Parts::new();
    let (blocks, rest) = (n / BLOCK, n % BLOCK);
    let code = parts.add(|out| some(BLOCK, stride, t, out), 0);
    if code != SUCCESS {
        return code;
    }
    let block = parts.types[0];
    let mut all = Parts::new();
    let far = BLOCK.wrapping_mul(stride);
    let first = all.add(|out| some(blocks, far, block, out), 0);
    // Nothing would still move the upper bound.
    let second = match rest {
        0 => SUCCESS,
        _ => all.add(|out| some(rest, stride, t, out), blocks.wrapping_mul(far)),
    };
    match first.max(second) {
        SUCCESS => all.whole(out),
        code => code,
    }
}

/// Datatypes of the lower half, each with its place; they are freed at the end.
struct Parts {
    types: Vec<i32>,
    places: Vec<i64>,
}

impl Parts {
    fn new() -> Parts {
        let (types, places) = (Vec::new(), Vec::new());
        Parts { types, places }
    }

    unsafe fn add(&mut self, make: impl FnOnce(u64) -> i32, place: i64) -> i32 {
        let mut t = DATATYPE_NULL;
        let code = make(&raw mut t as u64);
        if code == SUCCESS {
            self.types.push(t);
            self.places.push(place);
        }
        code
    }

    /// One datatype of all, each at its place.
    unsafe fn whole(&self, out: u64) -> i32 {
        let ones = vec![1i32; self.types.len()];
        let args = [
            ones.len() as u64,
            ones.as_ptr() as u64,
            self.places.as_ptr() as u64,
            self.types.as_ptr() as u64,
            out,
        ];
        must(ix::Type_create_struct, &args)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for t in &mut self.types {
            // SAFETY: each was made by the lower half and is nobody else's.
            unsafe { must(ix::Type_free, &[t as *mut i32 as u64]) };
        }
    }
}

/// A datatype of blocks: so many elements of that datatype at that place, each.
///
/// # Safety
/// As `contiguous`.
pub unsafe fn blocks(list: impl Iterator<Item = (i64, i64, i32)>, out: u64) -> i32 {
    let mut parts = Parts::new();
    for (n, place, t) in list {
        let code = parts.add(|out| contiguous(n, t, &mut *(out as *mut i32)), place);
        if code != SUCCESS {
            return code;
        }
    }
    parts.whole(out)
}

/// A part of an array: sizes, sizes of the part and where it begins, the dimension that varies fastest first.
///
/// # Safety
/// As `contiguous`.
pub unsafe fn subarray(dims: &[[i64; 3]], t: i32, out: u64) -> Outcome {
    let mut stride = datatype::ask(t).extent;
    let mut begin = 0i64;
    let mut parts = Parts::new();
    let mut part = t;
    for [size, sub, start] in dims {
        match parts.add(
            |out| strided(*sub, stride, part, &mut *(out as *mut i32)),
            0,
        ) {
            SUCCESS => part = *parts.types.last().ok_or(Fail::Code(ERR_TYPE))?,
            code => return Ok(code),
        }
        begin += start.wrapping_mul(stride);
        stride = stride.wrapping_mul(*size);
    }
    let mut moved = Parts::new();
    let code = moved.add(|out| blocks([(1, begin, part)].into_iter(), out), 0);
    if code != SUCCESS {
        return Ok(code);
    }
    let args = [moved.types[0] as u64, 0, stride as u64, out];
    Ok(must(ix::Type_create_resized, &args))
}
