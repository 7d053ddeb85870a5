//! Working directory, umask, resource limits, processors; and what stands in a checkpoint's way.

use crate::sys::check;
use anyhow::{bail, Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Number of resource limits.
const LIMITS: u32 = 16;
/// Words of a processor mask: 8192 processors.
const MASK: usize = 128;

/// What the process has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    cwd: PathBuf,
    umask: u32,
    /// Soft and hard.
    limits: Vec<(u64, u64)>,
    /// Processors of each thread.
    affinity: Vec<(u32, Vec<u64>)>,
}

/// The kernel's limits of this process.
fn kernels(which: u32) -> std::io::Result<libc::rlimit64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one limit.
    unsafe { check(libc::prlimit64(0, which, std::ptr::null(), &raw mut limit))? };
    Ok(limit)
}

/// Soft and hard limit of open files as the program knows them.
fn open_files() -> [u64; 2] {
    // SAFETY: lhInfo is mapped for the life of the process.
    let own = unsafe { &lh_loader::lhinfo::get().upper.open_files };
    [&own[0], &own[1]].map(|word| word.load(Ordering::Relaxed))
}

/// Where the hard limit of open files leaves no room, our own descriptors are among the program's, which can't close
/// them: then the limit is what is wrong.
pub fn blame_open_files(error: Error) -> Error {
    let base = crate::sys::fd_base();
    let limit = kernels(libc::RLIMIT_NOFILE).map_or(0, |limit| limit.rlim_max);
    // SAFETY: asks whether a number is in use.
    let used = |fd: &i32| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0;
    let free = limit.saturating_sub(base as u64) as usize;
    if limit >= 1024 || (base..limit as i32).filter(used).count() < free {
        return error;
    }
    error.context(format!(
        "the hard limit of open files (ulimit -Hn) is {limit}, and splitproc's own need more than the {free} numbers \
         from {base} up; raise it to 1024 or more"
    ))
}

/// A line of a status file.
pub fn status(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

impl Limits {
    /// Reads it; refuses a traced process and one with children.
    pub fn capture(tids: &[u32]) -> Result<Self> {
        if let Some(tracer) = status("/proc/self/status", "TracerPid").filter(|t| t != "0") {
            bail!("process {tracer} traces the program (a debugger, strace); it can't be checkpointed while it is traced");
        }
        for tid in tids {
            let path = format!("/proc/self/task/{tid}/children");
            if let Some(child) = fs::read_to_string(path)
                .unwrap_or_default()
                .split_whitespace()
                .next()
            {
                let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                bail!(
                    "the child process {child} ({}) can't be checkpointed; wait for its end",
                    name.trim_end()
                );
            }
        }
        let cwd = fs::read_link("/proc/thread-self/cwd").context("the working directory")?;
        if cwd.to_string_lossy().ends_with(" (deleted)") && fs::metadata(&cwd).is_err() {
            bail!(
                "the working directory {} is not there any more: change to another one",
                cwd.display()
            );
        }
        let mut saved = Limits {
            cwd,
            umask: status("/proc/thread-self/status", "Umask")
                .and_then(|u| u32::from_str_radix(&u, 8).ok())
                .unwrap_or(0o22),
            ..Limits::default()
        };
        for which in 0..LIMITS {
            let limit = kernels(which)?;
            saved.limits.push((limit.rlim_cur, limit.rlim_max));
        }
        for &tid in tids {
            let mut mask = vec![0_u64; MASK];
            let args = [tid as usize, MASK * 8, mask.as_mut_ptr() as usize, 0, 0, 0];
            // SAFETY: the kernel writes at most the mask's length.
            if let Ok(len) = unsafe { crate::sys::raw(libc::SYS_sched_getaffinity, args) } {
                mask.truncate(len.div_ceil(8));
                saved.affinity.push((tid, mask));
            }
        }
        Ok(saved)
    }

    /// Puts it back.
    pub fn install(&self, warn: &mut dyn FnMut(String)) -> Result<()> {
        let cwd = self.cwd.display();
        std::env::set_current_dir(&self.cwd)
            .with_context(|| format!("{cwd}: the working directory can't be entered"))?;
        // SAFETY: sets a number of the process's.
        unsafe { libc::umask(self.umask) };
        install_open_files(warn)?;
        let others = |(which, _): &(u32, _)| *which != libc::RLIMIT_NOFILE;
        for (which, &(soft, hard)) in (0..).zip(&self.limits).filter(others) {
            let mut now = libc::rlimit64 {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: the kernel reads and writes one limit.
            let done = unsafe {
                libc::prlimit64(0, which, std::ptr::null(), &raw mut now);
                let wanted = libc::rlimit64 {
                    rlim_cur: soft,
                    rlim_max: hard,
                };
                let most = libc::rlimit64 {
                    rlim_cur: soft.min(now.rlim_max),
                    rlim_max: now.rlim_max,
                };
                libc::prlimit64(0, which, &raw const wanted, std::ptr::null_mut()) == 0
                    || libc::prlimit64(0, which, &raw const most, std::ptr::null_mut()) == 0
                        && most.rlim_cur == soft
            };
            if !done {
                warn(format!(
                    "resource limit {which} is lower here than at the checkpoint"
                ));
            }
        }
        Ok(())
    }

    /// Threads' processors. A machine without them runs the threads where it can.
    pub fn arm(&self, real_tid: &dyn Fn(u32) -> Option<u32>) {
        for (tid, mask) in &self.affinity {
            let Some(tid) = real_tid(*tid) else { continue };
            // A mask of all processors stays all processors on a larger machine.
            let all = mask.iter().map(|w| w.count_ones()).sum::<u32>() as usize >= processors();
            if !all {
                let args = [
                    tid as usize,
                    mask.len() * 8,
                    mask.as_ptr() as usize,
                    0,
                    0,
                    0,
                ];
                // SAFETY: the kernel reads the mask.
                let _ = unsafe { crate::sys::raw(libc::SYS_sched_setaffinity, args) };
            }
        }
    }
}

/// The program keeps the limit of open files that it knows; the kernel's is never above our own numbers.
fn install_open_files(warn: &mut dyn FnMut(String)) -> Result<()> {
    let hard = kernels(libc::RLIMIT_NOFILE)?.rlim_max;
    let [wanted, _] = open_files();
    if hard < wanted {
        warn(format!(
            "the hard limit of open files (ulimit -Hn) is {hard} here, and the program's own limit is {wanted}"
        ));
    }
    let limit = libc::rlimit64 {
        rlim_cur: wanted.min(crate::sys::fd_base() as u64),
        rlim_max: hard,
    };
    // SAFETY: the kernel reads one limit.
    let set = unsafe {
        libc::prlimit64(
            0,
            libc::RLIMIT_NOFILE,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    check(set).context("the limit of open files")?;
    Ok(())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}
