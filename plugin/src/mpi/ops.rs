//! Reduction operators. The lower half knows a user's operator by one of a fixed pool of trampolines.

use super::abi::*;
use super::front::{forward, put, query};
use super::lower::{self, ix, must, Fail};
use super::model::objects::{find, Op, OPS};
use super::model::{datatype, lock, serial, Guard};
use crate::crossing;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Most user-made operators at one time.
const POOL: usize = 64;
static FUNCTIONS: [AtomicUsize; POOL] = [const { AtomicUsize::new(0) }; POOL];

/// What calls a slot's function, if it is a C++ function.
static CXX: [AtomicUsize; POOL] = [const { AtomicUsize::new(0) }; POOL];

type Function = unsafe extern "C" fn(usize, usize, *mut i32, *mut i32);
type Caller = unsafe extern "C" fn(usize, usize, i32, i32, usize);

unsafe extern "C" fn trampoline<const SLOT: usize>(a: usize, b: usize, n: *mut i32, t: *mut i32) {
    crossing::upper(|| {
        let f = FUNCTIONS[SLOT].load(Relaxed);
        // SAFETY: the lower half's arguments are those of an MPI_User_function.
        let (mut t, count) = unsafe { (virtual_type(*t), *n) };
        match CXX[SLOT].load(Relaxed) {
            // SAFETY: the slot holds the function that the application registered, for counts of 64 bits.
            0 if LARGE[SLOT].load(Relaxed) => unsafe {
                let f = std::mem::transmute::<usize, LargeFunction>(f);
                f(a, b, &mut i64::from(count), &mut t)
            },
            // SAFETY: the slot holds the function that the application registered.
            0 => unsafe { std::mem::transmute::<usize, Function>(f)(a, b, n, &mut t) },
            // SAFETY: the C++ library gave a function of this type.
            caller => unsafe { std::mem::transmute::<usize, Caller>(caller)(a, b, count, t, f) },
        }
    });
}

/// Slots whose functions count in 64 bits.
static LARGE: [AtomicBool; POOL] = [const { AtomicBool::new(false) }; POOL];

type LargeFunction = unsafe extern "C" fn(usize, usize, *mut i64, *mut i32);

/// Makes an operator one of C++, that `caller` calls.
pub fn set_cxx(op: i32, caller: usize) {
    if let Some(op) = find(&OPS, V_OP, op) {
        CXX[op.slot].store(caller, Relaxed);
    }
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

macro_rules! pool {
    ($($n:literal)*) => { [$(trampoline::<$n>),*] };
}
static TRAMPOLINES: [Function; POOL] = pool!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
);

pub unsafe fn op_create(function: usize, commute: i32, out: usize) -> i32 {
    create(function, commute, false, out)
}

pub unsafe fn op_create_c(function: usize, commute: i32, out: usize) -> i32 {
    create(function, commute, true, out)
}

unsafe fn create(function: usize, commute: i32, large: bool, out: usize) -> i32 {
    forward(COMM_WORLD, || {
        let guard = lock();
        let slot = FUNCTIONS
            .iter()
            .position(|f| f.load(Relaxed) == 0)
            .ok_or(Fail::Code(ERR_OTHER))?;
        let mut new = 0i32;
        let code = must(
            ix::Op_create,
            &[
                TRAMPOLINES[slot] as usize as u64,
                commute as u64,
                &mut new as *mut i32 as u64,
            ],
        );
        if code == SUCCESS {
            FUNCTIONS[slot].store(function, Relaxed);
            LARGE[slot].store(large, Relaxed);
            let op = Op {
                lower: AtomicI32::new(new),
                function,
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
        CXX[op.slot].store(0, Relaxed);
        FUNCTIONS[op.slot].store(0, Relaxed);
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
        let f = TRAMPOLINES[o.slot] as usize as u64;
        // SAFETY: the trampoline is a MPI_User_function.
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
