//! Reduction operators. The lower half knows a user's operator by a thunk of its own.

use super::abi::*;
use super::front::{forward, put, query};
use super::lower::{self, ix, must, Fail};
use super::model::objects::{find, Op, OPS};
use super::model::{datatype, lock, serial, Guard};
use super::own;
use crate::crossing;
use mpi_abi::OPERATORS;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// What the lower half calls for an operator.
struct Slot {
    /// The application's function; 0: the slot is free.
    function: AtomicUsize,
    /// What calls it, if it is not a plain function of C.
    caller: AtomicUsize,
    /// It counts in 64 bits.
    large: AtomicBool,
}

static SLOTS: [Slot; OPERATORS] = [const {
    Slot {
        function: AtomicUsize::new(0),
        caller: AtomicUsize::new(0),
        large: AtomicBool::new(false),
    }
}; OPERATORS];

type Function = unsafe extern "C" fn(usize, usize, *mut i32, *mut i32);
type LargeFunction = unsafe extern "C" fn(usize, usize, *mut i64, *mut i32);
type Caller = unsafe extern "C" fn(usize, usize, i32, i32, usize);

mpi_abi::thunks!(thunks: OPERATORS => operator);

/// Calls the operator whose thunk is at `at`.
unsafe extern "C" fn operator(a: usize, b: usize, n: *mut i32, t: *mut i32, at: usize) {
    crossing::upper(|| {
        own::computes(|| {
            let slot = &SLOTS[thunks::number(at)];
            let f = slot.function.load(Relaxed);
            // SAFETY: the lower half's arguments are those of an MPI_User_function.
            let (mut t, count) = unsafe { (virtual_type(*t), *n) };
            match slot.caller.load(Relaxed) {
                // SAFETY: the slot holds the function that the application registered, for counts of 64 bits.
                0 if slot.large.load(Relaxed) => unsafe {
                    let f = std::mem::transmute::<usize, LargeFunction>(f);
                    f(a, b, &mut i64::from(count), &mut t)
                },
                // SAFETY: the slot holds the function that the application registered.
                0 => unsafe { std::mem::transmute::<usize, Function>(f)(a, b, n, &mut t) },
                // SAFETY: the front or the C++ library gave a function of this type.
                caller => unsafe {
                    std::mem::transmute::<usize, Caller>(caller)(a, b, count, t, f)
                },
            }
        })
    });
}

/// Gives an operator a function that calls the application's, which may be changed as well; that which it was before.
pub fn set_caller(op: i32, caller: usize, function: Option<usize>) -> usize {
    let Some(op) = find(&OPS, V_OP, op) else {
        return 0;
    };
    let slot = &SLOTS[op.slot];
    slot.caller.store(caller, Relaxed);
    let old = slot.function.load(Relaxed);
    slot.function.store(function.unwrap_or(old), Relaxed);
    old
}

/// The application's handle of a lower datatype.
fn virtual_type(lower: i32) -> i32 {
    if datatype::predefined(lower) {
        return lower;
    }
    // Without the lock: the lower half may call an operator whenever it makes progress.
    let found = datatype::TYPES.find(|t| t.lower.load(Relaxed) == lower);
    found.map_or(lower, |i| V_DATATYPE | i)
}

pub unsafe fn op_create(function: usize, commute: i32, out: usize) -> i32 {
    create(function, commute, false, out)
}

pub unsafe fn op_create_c(function: usize, commute: i32, out: usize) -> i32 {
    create(function, commute, true, out)
}

unsafe fn create(function: usize, commute: i32, large: bool, out: usize) -> i32 {
    forward(COMM_WORLD, || {
        if function == 0 {
            return Err(Fail::Code(ERR_ARG));
        }
        let guard = lock();
        let free = SLOTS.iter().position(|s| s.function.load(Relaxed) == 0);
        let slot = free.ok_or_else(|| {
            crate::streams::flush();
            eprintln!("splitproc: MPI_Op_create failed: there are {OPERATORS} operators; free some with MPI_Op_free");
            Fail::Code(ERR_OTHER)
        })?;
        let mut new = 0i32;
        let code = must(
            ix::Op_create,
            &[
                thunks::address(slot) as u64,
                commute as u64,
                &mut new as *mut i32 as u64,
            ],
        );
        if code == SUCCESS {
            SLOTS[slot].function.store(function, Relaxed);
            SLOTS[slot].large.store(large, Relaxed);
            let op = Op {
                lower: AtomicI32::new(new),
                commute,
                slot,
                serial: serial(),
                refs: AtomicU32::new(1),
            };
            put(out, V_OP | OPS.add(&guard, op));
        }
        Ok(code)
    })
}

pub unsafe fn op_free(at: usize) -> i32 {
    forward(COMM_WORLD, || {
        let h = *(at as *const i32);
        find(&OPS, V_OP, h).ok_or(Fail::Code(ERR_OP))?;
        release(&lock(), h);
        put(at, OP_NULL);
        Ok(SUCCESS)
    })
}

/// Is this an operator of the program's?
pub fn own(handle: i32) -> bool {
    find(&OPS, V_OP, handle).is_some()
}

/// One more use of an operator: a collective in flight.
pub fn hold(handle: i32) {
    if let Some(op) = find(&OPS, V_OP, handle) {
        op.refs.fetch_add(1, Relaxed);
    }
}

/// One use fewer; the last one frees it in both halves.
pub fn release(guard: &Guard, handle: i32) {
    let Some(op) = find(&OPS, V_OP, handle) else {
        return;
    };
    if op.refs.fetch_sub(1, Relaxed) == 1 {
        // SAFETY: the lower handle is valid until this call.
        unsafe { must(ix::Op_free, &[op.lower.as_ptr() as u64]) };
        SLOTS[op.slot].caller.store(0, Relaxed);
        SLOTS[op.slot].function.store(0, Relaxed);
        OPS.remove(guard, handle & INDEX_MASK);
    }
}

pub unsafe fn op_commutative(op: i32, out: usize) -> i32 {
    if let Some(o) = find(&OPS, V_OP, op) {
        return query(COMM_WORLD, || {
            put(out, o.commute);
            Ok(())
        });
    }
    forward(COMM_WORLD, || {
        lower::call(ix::Op_commutative, &[op as u64, out as u64])
    })
}

/// Makes the operators again in a fresh lower half.
pub fn replay(guard: &Guard) -> Result<(), String> {
    let mut list = OPS.all(guard);
    list.sort_by_key(|(_, o)| o.serial);
    for (_, o) in list {
        let f = thunks::address(o.slot) as u64;
        // SAFETY: the thunk is a MPI_User_function.
        let code = unsafe {
            must(
                ix::Op_create,
                &[f, o.commute as u64, o.lower.as_ptr() as u64],
            )
        };
        if code != SUCCESS {
            return Err(format!("MPI_Op_create failed with {code}"));
        }
    }
    Ok(())
}
