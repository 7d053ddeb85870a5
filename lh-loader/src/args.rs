//! What the loader is told: its argv, environment and auxiliary vector, and its options.
//!
//! ```text
//! lh-loader [--half NAME PATH [--lib LIBRARY]]… [--hole START END] [--random HEX] [--restore IMAGE]
//!           [--crossing WAY] [--log LEVEL] [--known-as PID PARENT] [--again COUNT WORD…] --exe PATH [--execfn PATH]
//!           -- ARGV0 [ARG]…
//! lh-loader --attach ADDRESS --half NAME PATH [--lib LIBRARY]… --hole START END --random HEX --exe PATH --
//! ```

use crate::die;
use crate::layout::MAX_HALVES;
use crate::lhinfo::{self, Attach};
use core::ffi::{c_char, CStr};

/// The words that the kernel put on the initial stack.
#[derive(Clone, Copy)]
pub struct Start {
    argv: *const *const c_char,
    argc: usize,
    envp: *const *const c_char,
    auxv: *const [usize; 2],
}

impl Start {
    /// Reads the initial stack.
    ///
    /// # Safety
    /// `sp` must be the stack pointer at the process's first instruction.
    pub unsafe fn new(sp: *const usize) -> Start {
        // SAFETY: the System V ABI lays argc, argv, envp and auxv out in this order.
        unsafe {
            let argc = *sp;
            let argv = sp.add(1).cast::<*const c_char>();
            let envp = argv.add(argc + 1);
            let mut end = envp;
            while !(*end).is_null() {
                end = end.add(1);
            }
            Start {
                argv,
                argc,
                envp,
                auxv: end.add(1).cast(),
            }
        }
    }

    /// The arguments from index `from` on.
    pub fn args(&self, from: usize) -> impl Iterator<Item = &'static CStr> + '_ {
        // SAFETY: the kernel's strings are NUL terminated and stay for the process's life.
        (from..self.argc).map(|i| unsafe { CStr::from_ptr(*self.argv.add(i)) })
    }

    /// Where the kernel put the arguments from index `from` on.
    pub fn words(&self, from: usize) -> *const *const c_char {
        // SAFETY: `from` is at most `argc`, where a null is.
        unsafe { self.argv.add(from.min(self.argc)) }
    }

    /// The environment.
    pub fn env(&self) -> impl Iterator<Item = &'static CStr> + '_ {
        // SAFETY: as in `args`; the vector ends with a null pointer.
        (0..)
            .map(|i| unsafe { *self.envp.add(i) })
            .take_while(|p| !p.is_null())
            .map(|p| unsafe { CStr::from_ptr(p) })
    }

    /// The value of an environment variable.
    pub fn var(&self, name: &[u8]) -> Option<&'static CStr> {
        self.env().find_map(|e| {
            let rest = e
                .to_bytes_with_nul()
                .strip_prefix(name)?
                .strip_prefix(b"=")?;
            CStr::from_bytes_with_nul(rest).ok()
        })
    }

    /// The auxiliary vector, without its AT_NULL.
    pub fn auxv(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        // SAFETY: the vector ends with AT_NULL (0).
        (0..)
            .map(|i| unsafe { *self.auxv.add(i) })
            .take_while(|a| a[0] != libc::AT_NULL as usize)
    }

    /// One auxiliary value.
    pub fn aux(&self, kind: u64) -> Option<usize> {
        self.auxv().find(|a| a[0] == kind as usize).map(|a| a[1])
    }
}

/// A lower half to load.
#[derive(Clone, Copy)]
pub struct HalfPlan {
    /// `host`, `mpi`, …
    pub name: &'static CStr,
    /// The half's program.
    pub path: &'static CStr,
    /// The library that the program is to open.
    pub library: Option<&'static CStr>,
}

/// The options.
pub struct Plan {
    /// The lower halves, in loading order.
    pub halves: [Option<HalfPlan>; MAX_HALVES],
    /// See `LhInfo::hole`.
    pub hole: [u32; 2],
    /// The upper half's AT_RANDOM bytes, in a restart.
    pub random: Option<[u8; 16]>,
    /// The image to restore: this is a restart.
    pub restore: Option<&'static CStr>,
    /// The process runs already: the halves are loaded, then control goes back.
    pub attach: Option<*mut Attach>,
    /// 1 with `--log debug`.
    pub log: u8,
    /// See `LhInfo::verbose`.
    pub verbose: bool,
    /// See `LhInfo::crossing`.
    pub crossing: u32,
    /// The process and its parent as the program knows them, where the kernel has other numbers.
    pub known_as: Option<[u32; 2]>,
    /// The command that launches what the program executes in its place: index of its first word in our
    /// arguments, and how many there are.
    pub again: (usize, usize),
    /// The program.
    pub exe: &'static CStr,
    /// What it was called when it was started (AT_EXECFN), if not that.
    pub execfn: Option<&'static CStr>,
    /// Index of the program's `argv[0]` in ours.
    pub argv0: usize,
}

impl Plan {
    /// Parses the arguments; ends the process with a message if they make no sense.
    pub fn parse(start: &Start) -> Plan {
        let mut plan = Plan {
            halves: [None; MAX_HALVES],
            hole: [0; 2],
            random: None,
            restore: None,
            attach: None,
            log: 0,
            verbose: false,
            crossing: lhinfo::CROSS_AUTO,
            known_as: None,
            again: (0, 0),
            exe: c"",
            execfn: None,
            argv0: 0,
        };
        let mut halves = 0;
        let mut i = 1;
        let arg = |i: usize| match start.args(i).next() {
            Some(a) => a,
            None => die!(
                126,
                "lh-loader: an argument is missing; use `splitproc launch`"
            ),
        };
        loop {
            match arg(i).to_bytes() {
                b"--half" => {
                    if halves == MAX_HALVES {
                        die!(126, "more than {} lower halves", MAX_HALVES);
                    }
                    plan.halves[halves] = Some(HalfPlan {
                        name: arg(i + 1),
                        path: arg(i + 2),
                        library: None,
                    });
                    halves += 1;
                    i += 3;
                    continue;
                }
                b"--hole" => {
                    plan.hole = [number(arg(i + 1)), number(arg(i + 2))];
                    i += 3;
                    continue;
                }
                b"--known-as" => {
                    plan.known_as = Some([number(arg(i + 1)), number(arg(i + 2))]);
                    i += 3;
                    continue;
                }
                b"--again" => {
                    plan.again = (i + 2, number(arg(i + 1)) as usize);
                    i += 2 + plan.again.1;
                    continue;
                }
                b"--lib" => match plan.halves[..halves].last_mut() {
                    Some(Some(half)) => half.library = Some(arg(i + 1)),
                    _ => die!(126, "lh-loader: --lib stands before any --half"),
                },
                b"--random" => plan.random = Some(random(arg(i + 1))),
                b"--attach" => plan.attach = Some(address(arg(i + 1)) as *mut Attach),
                b"--restore" => plan.restore = Some(arg(i + 1)),
                b"--crossing" => plan.crossing = crossing(arg(i + 1)),
                b"--log" => {
                    plan.log = u8::from(arg(i + 1).to_bytes() == b"debug");
                    plan.verbose = matches!(arg(i + 1).to_bytes(), b"info" | b"debug");
                }
                b"--exe" => plan.exe = arg(i + 1),
                b"--execfn" => plan.execfn = Some(arg(i + 1)),
                b"--" => {
                    plan.argv0 = i + 1;
                    return plan;
                }
                _ => die!(126, "lh-loader: unknown option {:?}", arg(i)),
            }
            i += 2;
        }
    }
}

/// A decimal number.
fn number(s: &CStr) -> u32 {
    match s.to_str().ok().and_then(|s| s.parse().ok()) {
        Some(n) => n,
        None => die!(126, "lh-loader: {:?} is not a number", s),
    }
}

/// A hexadecimal address.
fn address(s: &CStr) -> usize {
    let text = s.to_str().unwrap_or("");
    match usize::from_str_radix(text, 16) {
        Ok(n) => n,
        Err(_) => die!(126, "lh-loader: {:?} is not an address", s),
    }
}

/// A way of crossing.
fn crossing(s: &CStr) -> u32 {
    let known = lhinfo::CROSSINGS
        .iter()
        .position(|n| n.as_bytes() == s.to_bytes());
    match known {
        Some(n) => n as u32,
        None => die!(126, "lh-loader: no such crossing: {:?}", s),
    }
}

/// 16 bytes from 32 hexadecimal digits.
fn random(s: &CStr) -> [u8; 16] {
    let text = s.to_str().unwrap_or("");
    match (text.len(), u128::from_str_radix(text, 16)) {
        (32, Ok(n)) => n.to_be_bytes(),
        _ => die!(126, "lh-loader: --random wants 32 hexadecimal digits"),
    }
}
