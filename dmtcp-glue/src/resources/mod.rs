//! What a process has besides memory and threads: descriptors, working directory, limits, signal
//! actions, timers. Each is captured as plain data and made again in another process; what can't be is
//! refused, by name, at the checkpoint.

mod amx;
mod blob;
mod descriptors;
mod fences;
mod files;
mod identity;
mod info;
mod limits;
mod locks;
mod pipes;
mod probe;
mod robust;
mod schedule;
mod signals;
mod special;
mod timers;

pub use descriptors::{Launcher, Opened};
pub use info::numbers;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Everything of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resources {
    descriptors: descriptors::Table,
    limits: limits::Limits,
    signals: signals::Signals,
    timers: timers::Timers,
    schedule: schedule::Schedule,
    fences: fences::Fences,
}

impl Resources {
    /// Reads what the process has; `tids` are the threads that it looks at, and all are stopped if they are `still`.
    ///
    /// # Errors
    /// Something that can't be saved, named.
    pub fn capture(launcher: &Launcher, tids: &[u32], still: bool) -> Result<Self> {
        launcher.identity.check(tids)?;
        robust::check(tids)?;
        amx::check()?;
        let descriptors =
            descriptors::Table::capture(launcher, still).map_err(limits::blame_open_files)?;
        let (timers, signals) = timers::Timers::capture(|| signals::Signals::capture(tids))?;
        Ok(Resources {
            descriptors,
            limits: limits::Limits::capture(tids)?,
            signals,
            timers,
            schedule: schedule::Schedule::capture(tids),
            fences: fences::Fences::capture(),
        })
    }

    /// First step of a restart: makes every open file, at numbers of the host's own.
    ///
    /// # Errors
    /// What can't be made, named. Nothing of the process has changed then.
    pub fn open(&self, launcher: &Launcher) -> Result<Opened> {
        self.descriptors.open(launcher)
    }

    /// Second step: descriptors at their numbers, directory, limits, signal actions.
    pub fn install(&self, opened: &Opened, warn: &mut dyn FnMut(String)) -> Result<()> {
        // Descriptors need their limit, and files the working directory's.
        self.limits.install(warn)?;
        self.fences.install(warn);
        self.descriptors.install(opened)?;
        self.signals.install()
    }

    /// Last step, once the threads are back: what needs their ids, and what must not run before.
    /// `real_tid` translates a saved thread's old tid.
    ///
    /// # Errors
    /// A lock that somebody else has now, or a timer that can't be made.
    pub fn arm(
        &self,
        real_tid: &dyn Fn(u32) -> Option<u32>,
        warn: &mut dyn FnMut(String),
    ) -> Result<()> {
        self.descriptors.lock()?;
        self.limits.arm(real_tid);
        self.schedule.arm(real_tid, warn);
        self.timers.arm(real_tid, warn)?;
        self.signals.arm(real_tid);
        Ok(())
    }

    /// Signals that say nothing when they are pending for the process, as a mask.
    pub fn expected_signals(&self) -> u64 {
        self.signals.expected()
    }
}
