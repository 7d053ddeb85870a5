//! `splitproc doctor`: can this machine do it, and if not, what is to be fixed.

use super::cli::Doctor;
use super::loader::Parts;
use super::{mpi, print, Failure, Outcome};
use lh_loader::layout;
use nix::sys::resource::{getrlimit, Resource, RLIM_INFINITY};
use serde::Serialize;
use std::ffi::CStr;
use std::io;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    fix: &'static str,
}

/// A check that is right, or else has this verdict and this fix.
fn check(
    name: &'static str,
    right: bool,
    or: Verdict,
    found: impl Into<String>,
    fix: &'static str,
) -> Check {
    let verdict = if right { Verdict::Ok } else { or };
    Check {
        name,
        verdict,
        found: found.into(),
        fix: if right { "" } else { fix },
    }
}

/// Runs the command; fails when something has to be fixed.
pub fn run(args: &Doctor) -> Outcome {
    let checks = [
        installation(),
        processor(),
        kernel(),
        libc_version(),
        descriptors(),
        windows(),
        membarrier(),
        names(),
        set_tid(),
        userfaultfd(),
        overcommit(),
        mpi_library(),
        launcher(),
    ];
    if args.json {
        print(&format!("{:#}\n", serde_json::to_value(&checks)?))?;
    } else {
        for c in &checks {
            let mark = match c.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            print(&format!("{mark}  {:<22}{}\n", c.name, c.found))?;
            if !c.fix.is_empty() {
                print(&format!("      {:<22}→ {}\n", "", c.fix))?;
            }
        }
    }
    match checks.iter().filter(|c| c.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        n => Err(Failure::new(
            1,
            format!("{n} thing(s) must be fixed before splitproc can work here"),
        )),
    }
}

fn installation() -> Check {
    let fix = "build everything: cargo build --release --workspace";
    match Parts::beside_us() {
        Ok(parts) => {
            let missing: Vec<String> = parts
                .missing()
                .iter()
                .map(|p| p.display().to_string())
                .collect();
            let found = if missing.is_empty() {
                "complete".into()
            } else {
                format!("missing: {}", missing.join(", "))
            };
            check(
                "installation",
                missing.is_empty(),
                Verdict::Fail,
                found,
                fix,
            )
        }
        Err(f) => check(
            "installation",
            false,
            Verdict::Fail,
            f.error.to_string(),
            "mount /proc",
        ),
    }
}

fn processor() -> Check {
    // SAFETY: reads a word of our own auxiliary vector.
    let fsgsbase = unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 != 0;
    let found = if fsgsbase { "FSGSBASE" } else { "no FSGSBASE" };
    let fix = "only slower, and only with --crossing borrowed; boot without nofsgsbase, on Linux 5.9 or later";
    check("processor", fsgsbase, Verdict::Warn, found, fix)
}

fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let fix = "use Linux 5.9 or later";
    check(
        "kernel",
        version(release) >= (5, 9),
        Verdict::Fail,
        format!("Linux {release}"),
        fix,
    )
}

/// The first two numbers of a version.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn libc_version() -> Check {
    // SAFETY: returns a pointer to a constant string.
    let text = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy();
    let fix = "use a system with glibc 2.34 or later";
    check(
        "libc",
        version(&text) >= (2, 34),
        Verdict::Fail,
        format!("glibc {text}"),
        fix,
    )
}

fn descriptors() -> Check {
    // A limit that can't be read is taken for none.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
    let fix = "raise the hard limit (ulimit -Hn) to 2048 or more: the lower halves have up to 1024 numbers of their own";
    let base = layout::fd_base(hard, false);
    let found = format!(
        "{soft}, hard {hard}: the application has {}",
        base.min(soft)
    );
    check("open files", hard >= 256, Verdict::Warn, found, fix)
}

/// Tries to map a page at the start of every window.
fn windows() -> Check {
    let fix =
        "something is mapped there already, or the address space is limited (ulimit -v unlimited)";
    let bases = [
        layout::LOADER_BASE,
        layout::LOWER_BASE,
        layout::LHINFO_BASE,
        layout::VDSO_BASE,
        layout::UPPER_BASE,
    ];
    for base in bases {
        if let Err(e) = map_page(base as *mut libc::c_void, libc::MAP_FIXED_NOREPLACE, |_| ()) {
            return check(
                "address space",
                false,
                Verdict::Fail,
                format!("{base:#x}: {e}"),
                fix,
            );
        }
    }
    check(
        "address space",
        true,
        Verdict::Fail,
        "the windows are free",
        fix,
    )
}

/// Maps a page, does something with it, unmaps it.
fn map_page<T>(
    at: *mut libc::c_void,
    flags: i32,
    f: impl FnOnce(*mut libc::c_void) -> T,
) -> io::Result<T> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | flags;
    // SAFETY: a fresh mapping that replaces nothing (MAP_FIXED_NOREPLACE or the kernel's choice).
    let page = unsafe {
        libc::mmap(
            at,
            layout::PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let right = at.is_null() || page == at;
    let result = f(page);
    // SAFETY: the page is ours and `f` has returned.
    unsafe { libc::munmap(page, layout::PAGE) };
    if right {
        Ok(result)
    } else {
        Err(io::Error::other("the kernel placed it elsewhere"))
    }
}

fn membarrier() -> Check {
    const QUERY: i32 = 0;
    const PRIVATE_EXPEDITED: i64 = 1 << 3;
    // SAFETY: the query only returns a mask.
    let mask = unsafe { libc::syscall(libc::SYS_membarrier, QUERY, 0, 0) };
    let right = mask > 0 && mask & PRIVATE_EXPEDITED != 0;
    let found = if right {
        "private expedited"
    } else {
        "not available"
    };
    check(
        "membarrier",
        right,
        Verdict::Fail,
        found,
        "allow membarrier in the seccomp profile of the container",
    )
}

fn names() -> Check {
    let name = c"splitproc:doctor";
    let named = map_page(std::ptr::null_mut(), 0, |page| {
        // SAFETY: names our own page; `name` is NUL terminated.
        unsafe {
            libc::prctl(
                libc::PR_SET_VMA,
                libc::PR_SET_VMA_ANON_NAME,
                page,
                layout::PAGE,
                name.as_ptr(),
            ) == 0
        }
    });
    let right = named.unwrap_or(false);
    let found = if right { "available" } else { "not available" };
    check(
        "names of mappings",
        right,
        Verdict::Warn,
        found,
        "only for reading /proc/PID/maps: CONFIG_ANON_VMA_NAME",
    )
}

fn set_tid() -> Check {
    const CHECKPOINT_RESTORE: u32 = 40;
    const SYS_ADMIN: u32 = 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let caps = line
        .and_then(|l| u64::from_str_radix(l.trim(), 16).ok())
        .unwrap_or(0);
    let right = caps >> CHECKPOINT_RESTORE & 1 == 1 || caps >> SYS_ADMIN & 1 == 1;
    let found = if right {
        "CAP_CHECKPOINT_RESTORE"
    } else {
        "translated"
    };
    let fix = "fine for most; robust and priority-inheritance mutexes need CAP_CHECKPOINT_RESTORE to be held at a checkpoint";
    check("thread numbers", right, Verdict::Warn, found, fix)
}

fn userfaultfd() -> Check {
    const USER_MODE_ONLY: i32 = 1;
    // SAFETY: makes a descriptor, closed below.
    let fd =
        unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY) } as i32;
    if fd >= 0 {
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(fd) };
    }
    let found = if fd >= 0 {
        "available".into()
    } else {
        io::Error::last_os_error().to_string()
    };
    check(
        "userfaultfd",
        fd >= 0,
        Verdict::Warn,
        found,
        "not needed yet; vm.unprivileged_userfaultfd=1 allows it",
    )
}

fn overcommit() -> Check {
    let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    let mode = mode.trim();
    let fix =
        "strict accounting may refuse a large program's restart; sysctl vm.overcommit_memory=0";
    check(
        "memory overcommit",
        mode != "2",
        Verdict::Warn,
        format!("mode {mode}"),
        fix,
    )
}

fn mpi_library() -> Check {
    let fix = "for MPI programs: apt install mpich, or openmpi-bin, or launch --mpi PATH";
    let found: Vec<String> = [mpi::mpich(), mpi::open_mpi()]
        .into_iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect();
    let text = if found.is_empty() {
        "none".into()
    } else {
        found.join(", ")
    };
    check("MPI library", !found.is_empty(), Verdict::Warn, text, fix)
}

fn launcher() -> Check {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &&str| {
        let all = std::env::split_paths(&path).map(|p| p.join(name));
        all.into_iter().find(|p| p.is_file())
    };
    let found: Vec<String> = [
        "mpirun.mpich",
        "mpirun.openmpi",
        "mpiexec.hydra",
        "prterun",
        "srun",
    ]
    .iter()
    .filter_map(on_path)
    .map(|p| p.display().to_string())
    .collect();
    let text = if found.is_empty() {
        "none".into()
    } else {
        found.join(", ")
    };
    let fix = "for MPI programs: apt install mpich, or openmpi-bin";
    check("MPI launcher", !found.is_empty(), Verdict::Warn, text, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("6.18.44-x"), (6, 18));
        assert_eq!(version("5.9"), (5, 9));
        assert!(version("5.10.0") > version("5.9.9"));
        assert_eq!(version(""), (0, 0));
    }

    #[test]
    fn a_fix_is_told_only_where_one_is_needed() {
        assert_eq!(check("x", true, Verdict::Fail, "y", "z").fix, "");
        let failed = check("x", false, Verdict::Fail, "y", "z");
        assert_eq!((failed.verdict, failed.fix), (Verdict::Fail, "z"));
    }
}
