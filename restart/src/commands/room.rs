//! Limits that are too low for splitproc. Of memory (`ulimit -d`, `-v`): the kernel would end the loader with a
//! segmentation fault, and MPI libraries end with one themselves. Of open files: what the program inherits has to
//! have numbers that are the program's.

use super::{size, Failure};
use lh_loader::layout;
use nix::sys::resource::{getrlimit, Resource, RLIM_INFINITY};
use restart::image::Reader;

const MIB: u64 = 1 << 20;

/// Bytes that a process needs.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    /// Private memory that can be written: `RLIMIT_DATA`.
    data: u64,
    /// All address space: `RLIMIT_AS`.
    space: u64,
}

/// What splitproc itself needs, as measured and rounded up: the host and its checkpoints' buffers, and so many other
/// lower halves.
fn own(halves: usize) -> Need {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get()) as u64;
    let data = 64 * MIB + 16 * MIB * processors + 64 * MIB * halves as u64;
    let space = data + 256 * MIB + 512 * MIB * halves as u64;
    Need { data, space }
}

/// A limit as it is; `None`: there is none.
fn limit(which: Resource) -> Option<u64> {
    let (soft, _) = getrlimit(which).ok()?;
    Some(soft).filter(|soft| *soft != RLIM_INFINITY)
}

/// Refuses a limit that is lower than what is needed.
fn check(need: Need, what: &str) -> Result<(), Failure> {
    let limits = [
        (Resource::RLIMIT_DATA, "data", "-d", need.data),
        (Resource::RLIMIT_AS, "address space", "-v", need.space),
    ];
    for (which, name, option, needed) in limits {
        if let Some(limit) = limit(which).filter(|limit| *limit < needed) {
            let text = format!(
                "the limit of {name} (ulimit {option}) is {}, and {what} needs at least {}; raise it: `ulimit {option} {}`, or more",
                size(limit),
                size(needed),
                needed.div_ceil(1024)
            );
            return Err(Failure::new(1, text));
        }
    }
    Ok(())
}

/// Refuses inherited files that have numbers of lower halves: a checkpoint would not hold them. Anything else that is
/// inherited is the launcher's, of which a checkpoint holds nothing.
fn check_inherited() -> Result<(), Failure> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let base = layout::fd_base(hard, false);
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let inherited = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        // SAFETY: the kernel looks at a number; those that are closed at the exec are not the program's.
        .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } & libc::FD_CLOEXEC == 0)
        .filter(|fd| std::fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|m| m.is_file()));
    match inherited.max().filter(|fd| *fd as u64 >= base) {
        None => Ok(()),
        Some(fd) => Err(Failure::new(
            126,
            match layout::fd_limit(fd as u64) {
                0 => format!("descriptor {fd} is an inherited file, and a program has the numbers below {base} here; close it"),
                limit => format!(
                    "descriptor {fd} is an inherited file, and with this hard limit of open files (ulimit -Hn) a program has \
                     the numbers below {base}; close it, or raise the limit to {limit} or more"
                ),
            },
        )),
    }
}

/// Before a launch with so many lower halves beside the host.
pub fn for_launch(halves: usize) -> Result<(), Failure> {
    check_inherited()?;
    // The loader maps the whole stack; "unlimited" is 1 GiB.
    let stack = limit(Resource::RLIMIT_STACK).map_or(1 << 30, |n| n.clamp(MIB, 1 << 30));
    let mut need = own(halves);
    need.data += stack;
    need.space += stack;
    check(need, "splitproc, without the program,")
}

/// Before a restart from an image, with so many lower halves beside the host.
pub fn for_restart(image: &Reader, halves: usize) -> Result<(), Failure> {
    let mut need = own(halves);
    for region in image.regions() {
        if region.device {
            continue;
        }
        let len = region.len() as u64;
        need.space += len;
        if region.prot & libc::PROT_WRITE as u32 != 0 && !region.shared {
            need.data += len;
        }
    }
    check(need, "this program with splitproc")
}
