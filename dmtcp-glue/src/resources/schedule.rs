//! Scheduling of threads, and settings of the whole process that `prctl` keeps.

use crate::sys::raw;
use serde::{Deserialize, Serialize};

/// Length of `struct sched_attr` that is asked for.
const ATTR: usize = 56;
/// Settings of the process: name, the number that reads it, the number that sets it.
const SETTINGS: [(&str, i32, i32); 2] = [
    ("dumpable", libc::PR_GET_DUMPABLE, libc::PR_SET_DUMPABLE),
    (
        "no transparent huge pages",
        libc::PR_GET_THP_DISABLE,
        libc::PR_SET_THP_DISABLE,
    ),
];

/// What was set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// Each thread's `struct sched_attr`.
    threads: Vec<(u32, Vec<u8>)>,
    /// Values of `SETTINGS`.
    settings: Vec<i32>,
    /// The process adopts orphans.
    subreaper: bool,
}

impl Schedule {
    /// Reads it.
    pub fn capture(tids: &[u32]) -> Self {
        let attr = |&tid: &u32| {
            let mut attr = vec![0_u8; ATTR];
            let args = [tid as usize, attr.as_mut_ptr() as usize, ATTR, 0, 0, 0];
            // SAFETY: the kernel writes at most `ATTR` bytes.
            let got = unsafe { raw(libc::SYS_sched_getattr, args) };
            got.is_ok().then_some((tid, attr))
        };
        let mut subreaper = 0_i32;
        // SAFETY: the first calls only read numbers; the last writes one.
        let settings = unsafe {
            libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper);
            SETTINGS.map(|(_, get, _)| libc::prctl(get, 0, 0, 0, 0))
        };
        Schedule {
            threads: tids.iter().filter_map(attr).collect(),
            settings: settings.to_vec(),
            subreaper: subreaper != 0,
        }
    }

    /// Sets it again.
    pub fn arm(&self, real_tid: &dyn Fn(u32) -> Option<u32>, warn: &mut dyn FnMut(String)) {
        for (tid, attr) in &self.threads {
            let Some(real) = real_tid(*tid) else { continue };
            let args = [real as usize, attr.as_ptr() as usize, 0, 0, 0, 0];
            // SAFETY: the kernel reads what it wrote.
            if let Err(error) = unsafe { raw(libc::SYS_sched_setattr, args) } {
                warn(format!(
                    "thread {tid} can't have its scheduling policy and priority again: {error}"
                ));
            }
        }
        for ((name, _, set), value) in SETTINGS.iter().zip(&self.settings) {
            // SAFETY: sets a number of the process's. A core dump of user 0 alone (2) is not ours to set.
            let failed = unsafe { libc::prctl(*set, *value, 0, 0, 0) } != 0;
            if failed && (0..2).contains(value) {
                warn(format!("the setting `{name}` can't be {value} again"));
            }
        }
        // SAFETY: as above.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, i32::from(self.subreaper)) };
    }
}
