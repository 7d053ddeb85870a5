//! Modules that are gone, but were there when others were loaded that still are: a driver places variables where there is room, so that
//! a restart loads and unloads these too, at their places in the order. That all variables are where they were is checked afterwards.

use super::context;
use super::cut::{self, failed};
use super::driver::check;
use super::lower::{self, ix};
use super::model::{self, Entry, Kind};
use super::record::Record;
use std::collections::BTreeMap;

/// So many are kept for a program that loads and unloads by turns and never comes to an end of it.
const MOST: usize = 256;

/// A module or library that was unloaded.
pub struct Ghost {
    /// Which of both.
    pub kind: Kind,
    /// Its device; a library is on all.
    pub device: Option<i32>,
    /// The call that loaded it; its image is ours.
    pub record: Record,
    /// When it was unloaded, in the order of making.
    pub ended: u64,
}

/// By the places where they were loaded, in the order of making.
pub struct Ghosts(BTreeMap<u64, Ghost>);

/// Was this loaded from an image?
pub fn is_loaded(entry: &Entry) -> bool {
    [ix::cuModuleLoadData, ix::cuLibraryLoadData].contains(&entry.record.index)
}

impl Ghosts {
    /// None.
    pub const fn new() -> Ghosts {
        Ghosts(BTreeMap::new())
    }

    /// Takes one in, and lets those go in whose time nothing was loaded that is still kept.
    pub fn add(&mut self, serial: u64, ghost: Ghost, live: &BTreeMap<u64, Entry>) {
        self.0.insert(serial, ghost);
        loop {
            let needed = |(serial, ghost): (&u64, &Ghost)| {
                let time = serial + 1..ghost.ended;
                live.range(time.clone()).any(|(_, e)| is_loaded(e))
                    || self.0.range(time).next().is_some()
            };
            let useless = self.0.iter().find(|g| !needed(*g)).map(|(s, _)| *s);
            match useless {
                Some(serial) => drop(self.0.remove(&serial)),
                None => return,
            }
        }
    }
}

/// Contexts by device, one for each.
fn contexts() -> BTreeMap<i32, u64> {
    cut::contexts().into_iter().collect()
}

/// Why variables could not come back at their addresses, if there is a reason.
pub fn refusal() -> Option<String> {
    let devices = contexts();
    let model = model::lock();
    let name = &model.globals.first()?.name;
    let all = &model.ghosts.0;
    let lost = all
        .values()
        .find_map(|g| g.device.filter(|d| !devices.contains_key(d)));
    match lost {
        Some(device) => Some(format!(
            "variables of CUDA modules ({name:?}, …) would lie elsewhere after a restart, for a module was unloaded before others were that are still \
             there, and its device {device} has no context any more: use that device, or load those modules again"
        )),
        None if all.len() > MOST => Some(format!(
            "variables of CUDA modules ({name:?}, …) could lie elsewhere after a restart: {} modules have been unloaded while others stayed that were \
             loaded later, and at most {MOST} are remembered; unload modules in the opposite order, or load those again that stayed",
            all.len()
        )),
        None => None,
    }
}

/// Ghosts at a restart.
pub struct Replay {
    contexts: BTreeMap<i32, u64>,
    /// To be loaded, the first of them last.
    loads: Vec<(u64, Kind, Option<i32>, Record, u64)>,
    /// To be unloaded, by time: what they are, lower handles, contexts.
    unloads: BTreeMap<u64, (Kind, u64, u64)>,
}

impl Replay {
    /// All, if there are variables.
    pub fn new() -> Replay {
        let contexts = contexts();
        let model = model::lock();
        let all = model.ghosts.0.iter().rev();
        let loads = all.map(|(serial, g)| (*serial, g.kind, g.device, g.record.clone(), g.ended));
        let wanted = !model.globals.is_empty();
        Replay {
            contexts,
            loads: loads.filter(|_| wanted).collect(),
            unloads: BTreeMap::new(),
        }
    }

    /// Loads and unloads what was loaded and unloaded before this place in the order.
    ///
    /// # Errors
    /// The driver's, in words.
    ///
    /// # Safety
    /// On the helper thread, in a fresh half with its contexts.
    pub unsafe fn until(&mut self, serial: u64) -> Result<(), String> {
        loop {
            let load = self.loads.last().map_or(u64::MAX, |g| g.0);
            let unload = self.unloads.keys().next().map_or(u64::MAX, |time| *time);
            if load.min(unload) >= serial {
                return Ok(());
            }
            // SAFETY: the caller's.
            match load < unload {
                true => unsafe { self.load() },
                false => unsafe { self.unload() },
            }
            .map_err(failed("loading a module that was unloaded"))?;
        }
    }

    unsafe fn load(&mut self) -> Result<(), i32> {
        let Some((_, kind, device, record, ended)) = self.loads.pop() else {
            return Ok(());
        };
        let of = match device {
            Some(device) => self.contexts.get(&device),
            None => self.contexts.values().next(),
        };
        let of = of.copied().unwrap_or(0);
        let mut made = 0_u64;
        context::with(of, || {
            context::ensure()?;
            // SAFETY: the image is ours.
            check(unsafe { record.again(Some(&mut made)) })
        })?;
        self.unloads.insert(ended, (kind, made, of));
        Ok(())
    }

    unsafe fn unload(&mut self) -> Result<(), i32> {
        let Some((_, (kind, made, of))) = self.unloads.pop_first() else {
            return Ok(());
        };
        let function = match kind {
            Kind::Library => ix::cuLibraryUnload,
            _ => ix::cuModuleUnload,
        };
        context::with(of, || {
            context::ensure()?;
            // SAFETY: a lower handle of ours.
            check(unsafe { lower::must(function, &[made]) })
        })
    }
}
