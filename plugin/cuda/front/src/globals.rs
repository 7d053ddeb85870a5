//! Variables of modules: their contents are saved, and their places after a restart checked.

use super::codes::SUCCESS;
use super::context;
use super::lower::{self, ix};
use super::model::{self, Kind};
use super::module;
use std::ffi::{CStr, CString};

/// A variable.
#[derive(Clone)]
pub struct Global {
    /// The module or library.
    pub owner: u64,
    /// It is a library.
    pub library: bool,
    /// The lower function that finds it.
    pub function: usize,
    /// Its name.
    pub name: CString,
    /// The context that it was looked for in: a library has one in each.
    pub context: u64,
    /// Where it is.
    pub at: u64,
    /// How long it is.
    pub len: u64,
    /// It is managed: the program uses it by itself.
    pub managed: bool,
}

impl Global {
    /// Is this address in it?
    pub fn holds(&self, at: u64) -> bool {
        at >= self.at && at < self.at + self.len
    }
}

/// Is what is at an address managed, as the driver says?
fn is_managed(at: u64) -> bool {
    /// `CU_POINTER_ATTRIBUTE_IS_MANAGED`.
    const IS_MANAGED: u64 = 8;
    let mut yes = 0_u64;
    // SAFETY: a place for the answer, which is no longer; inside the gate.
    let asked = unsafe {
        let args = [&raw mut yes as u64, IS_MANAGED, at];
        lower::must(ix::cuPointerGetAttribute, &args)
    };
    asked == SUCCESS && yes != 0
}

/// Finds a variable in the thread's context.
///
/// # Errors
/// The driver's.
pub fn find(function: usize, owner: (Kind, u64), name: &CStr) -> Result<Global, i32> {
    let context = context::current();
    let known = model::lock()
        .globals
        .iter()
        .find(|g| g.owner == owner.1 && g.context == context && *g.name == *name)
        .cloned();
    if let Some(global) = known {
        return Ok(global);
    }
    let mut global = Global {
        owner: owner.1,
        library: owner.0 == Kind::Library,
        function,
        name: name.into(),
        context,
        at: 0,
        len: 0,
        managed: false,
    };
    (global.at, global.len) = module::place(&global)?;
    global.managed = is_managed(global.at);
    model::lock().globals.push(global.clone());
    Ok(global)
}
