//! The tool information interface, `MPI_T_*`, as far as it is local: control variables and categories.
//!
//! What can be asked about them is read once, from the lower half that the program began with, and answered by the model from
//! then on, after a restart too. The lower half holds the values. Those that the program has set are set again at a restart, in a
//! lower half that has a variable of that name, before MPI is started there. There are no performance variables and no
//! events, for their values would be of another library after a restart.

mod read;

use super::abi::*;
use super::env;
use super::front::put;
use super::lower::{self, ix, must};
use super::model::{lock, Locked};
use crate::gate;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

const NOT_INITIALIZED: i32 = 60;
const INVALID_INDEX: i32 = 62;
const INVALID_HANDLE: i32 = 64;
const INVALID_SESSION: i32 = 67;
const SET_NEVER: i32 = 69;
const INVALID_NAME: i32 = 73;
const INVALID: i32 = 74;
/// `MPI_T_BIND_NO_OBJECT`.
const NO_OBJECT: i32 = 9700;

/// A control variable.
struct Variable {
    name: String,
    about: String,
    verbosity: i32,
    datatype: i32,
    bind: i32,
    scope: i32,
    /// Its index in the lower half; -1: it is not there.
    lower: AtomicI32,
}

/// A category: its name and text, its variables and its categories.
struct Category {
    name: String,
    about: String,
    variables: Vec<i32>,
    categories: Vec<i32>,
}

/// A handle of a control variable.
struct Handle {
    variable: usize,
    lower: AtomicUsize,
    count: AtomicI32,
}

#[derive(Default)]
struct State {
    /// How often it was initialized, less how often it was finalized.
    users: u32,
    variables: Vec<Variable>,
    categories: Vec<Category>,
    /// By what the application has.
    handles: BTreeMap<usize, Handle>,
    sessions: BTreeSet<usize>,
    /// The last that was given out.
    last: usize,
    /// What the program has set, by variable.
    set: BTreeMap<usize, Vec<u8>>,
}

impl State {
    /// What the application has for a handle or session: it looks like an address, and is none.
    fn name(&mut self) -> usize {
        self.last += 16;
        self.last
    }
}

static STATE: Locked<Option<State>> = Locked::new(None);

/// Runs something on the state, if the interface is initialized; errors are codes, for no handler is called.
fn with(f: impl FnOnce(&mut State) -> Result<(), i32>) -> i32 {
    let _inside = gate::enter(gate::Call::MustComplete);
    let guard = lock();
    let state = STATE.get(&guard).get_or_insert_default();
    let done = match state.users {
        0 => Err(NOT_INITIALIZED),
        _ => f(state),
    };
    done.err().unwrap_or(SUCCESS)
}

/// Gives a string as the interface does: cut to what there is room for, with its length.
unsafe fn give(text: &str, out: usize, len: usize) {
    if len == 0 {
        return;
    }
    let room = *(len as *const i32);
    let mut n = text.len();
    if out != 0 && room > 0 {
        n = n.min(room as usize - 1);
        std::ptr::copy_nonoverlapping(text.as_ptr(), out as *mut u8, n);
        put(out + n, 0u8);
    }
    put(len, n as i32 + 1);
}

unsafe fn give_one<T>(out: usize, value: T) {
    if out != 0 {
        put(out, value);
    }
}

/// Room for the longest name or text.
const ROOM: usize = 8192;
fn at<T>(place: &mut T) -> u64 {
    &raw mut *place as u64
}

pub unsafe fn t_init_thread(required: i32, provided: usize) -> i32 {
    let _inside = gate::enter(gate::Call::MustComplete);
    if !env::active() {
        lower::resolve();
    }
    let mut own = 0i32;
    let code = must(ix::T_init_thread, &[THREAD_MULTIPLE as u64, at(&mut own)]);
    if code != SUCCESS {
        return code;
    }
    if required == THREAD_MULTIPLE {
        super::model::lock::share_for_good();
    }
    let guard = lock();
    let state = STATE.get(&guard).get_or_insert_default();
    state.users += 1;
    if state.variables.is_empty() {
        state.variables = read::variables();
        state.categories = read::categories();
    }
    give_one(provided, required.clamp(0, THREAD_MULTIPLE));
    SUCCESS
}

pub unsafe fn t_finalize() -> i32 {
    with(|s| {
        s.users -= 1;
        match must(ix::T_finalize, &[]) {
            SUCCESS => Ok(()),
            code => Err(code),
        }
    })
}

fn variable(s: &State, i: i32) -> Result<&Variable, i32> {
    // A library may have numbers of variables that it has not got.
    let found = s.variables.get(i as usize);
    found.filter(|v| !v.name.is_empty()).ok_or(INVALID_INDEX)
}

pub unsafe fn t_cvar_get_num(out: usize) -> i32 {
    with(|s| {
        put(out, s.variables.len() as i32);
        Ok(())
    })
}

pub unsafe fn t_cvar_get_info(
    i: i32,
    name: usize,
    name_len: usize,
    verbosity: usize,
    datatype: usize,
    list: usize,
    about: usize,
    about_len: usize,
    bind: usize,
    scope: usize,
) -> i32 {
    with(|s| {
        let v = variable(s, i)?;
        give(&v.name, name, name_len);
        give(&v.about, about, about_len);
        give_one(verbosity, v.verbosity);
        give_one(datatype, v.datatype);
        give_one(list, 0usize);
        give_one(bind, v.bind);
        give_one(scope, v.scope);
        Ok(())
    })
}

/// The place of a name.
unsafe fn place<'a>(
    mut names: impl Iterator<Item = &'a String>,
    name: usize,
    out: usize,
) -> Result<(), i32> {
    if name == 0 || out == 0 {
        return Err(INVALID);
    }
    let sought = super::infos::text(name, ROOM);
    let i = names
        .position(|n| sought == n.as_str())
        .ok_or(INVALID_NAME)?;
    put(out, i as i32);
    Ok(())
}

pub unsafe fn t_cvar_get_index(name: usize, out: usize) -> i32 {
    with(|s| place(s.variables.iter().map(|v| &v.name), name, out))
}

/// Makes a handle in the lower half: the handle and its count.
unsafe fn open(v: &Variable) -> Result<(usize, i32), i32> {
    let index = v.lower.load(Relaxed);
    if index < 0 || v.bind != NO_OBJECT {
        return Err(INVALID_INDEX);
    }
    let (mut handle, mut count) = (0usize, 0i32);
    let args = [index as u64, 0, at(&mut handle), at(&mut count)];
    match must(ix::T_cvar_handle_alloc, &args) {
        SUCCESS => Ok((handle, count)),
        code => Err(code),
    }
}

pub unsafe fn t_cvar_handle_alloc(i: i32, _object: usize, out: usize, count: usize) -> i32 {
    with(|s| {
        let (lower, n) = open(variable(s, i)?)?;
        let handle = Handle {
            variable: i as usize,
            lower: AtomicUsize::new(lower),
            count: AtomicI32::new(n),
        };
        let name = s.name();
        put(out, name);
        put(count, n);
        s.handles.insert(name, handle);
        Ok(())
    })
}

fn known(s: &State, handle: usize) -> Result<&Handle, i32> {
    s.handles.get(&handle).ok_or(INVALID_HANDLE)
}

pub unsafe fn t_cvar_handle_free(handle: usize) -> i32 {
    with(|s| {
        let own = *(handle as *const usize);
        let h = s.handles.remove(&own).ok_or(INVALID_HANDLE)?;
        must(ix::T_cvar_handle_free, &[h.lower.as_ptr() as u64]);
        put(handle, 0usize);
        Ok(())
    })
}

pub unsafe fn t_cvar_read(handle: usize, buf: usize) -> i32 {
    with(|s| {
        let h = known(s, handle)?;
        match h.lower.load(Relaxed) {
            0 => Err(INVALID_HANDLE),
            lower => match must(ix::T_cvar_read, &[lower as u64, buf as u64]) {
                SUCCESS => Ok(()),
                code => Err(code),
            },
        }
    })
}

pub unsafe fn t_cvar_write(handle: usize, buf: usize) -> i32 {
    with(|s| {
        let h = known(s, handle)?;
        let lower = h.lower.load(Relaxed);
        if lower == 0 {
            return Err(SET_NEVER);
        }
        let code = must(ix::T_cvar_write, &[lower as u64, buf as u64]);
        if code != SUCCESS {
            return Err(code);
        }
        let v = &s.variables[h.variable];
        let size = super::model::datatype::sizes(v.datatype).map_or(1, |s| s.size);
        let bytes = size as usize * h.count.load(Relaxed).max(0) as usize;
        let value = std::slice::from_raw_parts(buf as *const u8, bytes).to_vec();
        let variable = h.variable;
        s.set.insert(variable, value);
        Ok(())
    })
}

pub unsafe fn t_category_get_num(out: usize) -> i32 {
    with(|s| {
        put(out, s.categories.len() as i32);
        Ok(())
    })
}

pub unsafe fn t_category_get_info(
    i: i32,
    name: usize,
    name_len: usize,
    about: usize,
    about_len: usize,
    variables: usize,
    performance: usize,
    categories: usize,
) -> i32 {
    with(|s| {
        let c = s.categories.get(i as usize).ok_or(INVALID_INDEX)?;
        give(&c.name, name, name_len);
        give(&c.about, about, about_len);
        give_one(variables, c.variables.len() as i32);
        give_one(performance, 0i32);
        give_one(categories, c.categories.len() as i32);
        Ok(())
    })
}

pub unsafe fn t_category_get_index(name: usize, out: usize) -> i32 {
    with(|s| place(s.categories.iter().map(|c| &c.name), name, out))
}

/// Gives the first numbers of a category's list.
unsafe fn part(i: i32, n: i32, out: usize, list: impl FnOnce(&Category) -> &Vec<i32>) -> i32 {
    with(|s| {
        let c = s.categories.get(i as usize).ok_or(INVALID_INDEX)?;
        for (k, value) in list(c).iter().take(n.max(0) as usize).enumerate() {
            put(out + 4 * k, *value);
        }
        Ok(())
    })
}

pub unsafe fn t_category_get_cvars(i: i32, n: i32, out: usize) -> i32 {
    part(i, n, out, |c| &c.variables)
}

pub unsafe fn t_category_get_categories(i: i32, n: i32, out: usize) -> i32 {
    part(i, n, out, |c| &c.categories)
}

pub unsafe fn t_category_get_pvars(i: i32, _n: i32, _out: usize) -> i32 {
    part(i, 0, 0, |c| &c.variables)
}

pub unsafe fn t_category_get_events(i: i32, _n: i32, _out: usize) -> i32 {
    part(i, 0, 0, |c| &c.variables)
}

pub unsafe fn t_category_get_num_events(i: i32, out: usize) -> i32 {
    with(|s| {
        s.categories.get(i as usize).ok_or(INVALID_INDEX)?;
        put(out, 0i32);
        Ok(())
    })
}

/// Categories never change.
pub unsafe fn t_category_changed(out: usize) -> i32 {
    none(out)
}

pub unsafe fn t_pvar_get_num(out: usize) -> i32 {
    none(out)
}

pub unsafe fn t_event_get_num(out: usize) -> i32 {
    none(out)
}

pub unsafe fn t_source_get_num(out: usize) -> i32 {
    none(out)
}

/// There are 0.
unsafe fn none(out: usize) -> i32 {
    with(|_| {
        put(out, 0i32);
        Ok(())
    })
}

pub unsafe fn t_pvar_session_create(out: usize) -> i32 {
    with(|s| {
        let name = s.name();
        put(out, name);
        s.sessions.insert(name);
        Ok(())
    })
}

pub unsafe fn t_pvar_session_free(session: usize) -> i32 {
    with(|s| {
        if !s.sessions.remove(&*(session as *const usize)) {
            return Err(INVALID_SESSION);
        }
        put(session, 0usize);
        Ok(())
    })
}

/// What is done with all performance variables of a session is done; there is none that could be named.
fn all_of(session: usize, handle: usize) -> i32 {
    with(|s| {
        s.sessions.get(&session).ok_or(INVALID_SESSION)?;
        match handle == MPI_T_PVAR_ALL_HANDLES.0 {
            true => Ok(()),
            false => Err(INVALID_HANDLE),
        }
    })
}

/// A pointer that a variable of the application's ABI holds.
#[repr(transparent)]
pub struct Mark(usize);

/// `MPI_T_PVAR_ALL_HANDLES`: no handle has this address.
#[no_mangle]
pub static MPI_T_PVAR_ALL_HANDLES: Mark = Mark(1);

pub unsafe fn t_pvar_start(session: usize, handle: usize) -> i32 {
    all_of(session, handle)
}

pub unsafe fn t_pvar_stop(session: usize, handle: usize) -> i32 {
    all_of(session, handle)
}

pub unsafe fn t_pvar_reset(session: usize, handle: usize) -> i32 {
    all_of(session, handle)
}

/// A function about a performance variable, enumeration, event or source, of which there is none.
pub fn absent(code: i32) -> i32 {
    with(|_| Err(code))
}

/// Initializes the interface in a fresh lower half and sets what the program has set.
///
/// # Safety
/// On the helper thread with the gate closed, before MPI is started there.
pub unsafe fn replay() {
    let guard = lock();
    let Some(s) = STATE.get(&guard).as_mut().filter(|s| s.users > 0) else {
        return;
    };
    lower::resolve();
    let mut provided = 0i32;
    for _ in 0..s.users {
        must(
            ix::T_init_thread,
            &[THREAD_MULTIPLE as u64, at(&mut provided)],
        );
    }
    for v in &s.variables {
        let name = std::ffi::CString::new(v.name.as_str()).unwrap_or_default();
        let mut index = -1i32;
        let args = [name.as_ptr() as u64, at(&mut index)];
        if must(ix::T_cvar_get_index, &args) != SUCCESS {
            index = -1;
        }
        v.lower.store(index, Relaxed);
    }
    for (i, value) in &s.set {
        // One that is not there, or can't be set here, keeps the library's value.
        if let Ok((mut handle, _)) = open(&s.variables[*i]) {
            must(ix::T_cvar_write, &[handle as u64, value.as_ptr() as u64]);
            must(ix::T_cvar_handle_free, &[at(&mut handle)]);
        }
    }
    for h in s.handles.values() {
        let (lower, count) = open(&s.variables[h.variable]).unwrap_or((0, 0));
        h.lower.store(lower, Relaxed);
        h.count.store(count, Relaxed);
    }
}
