//! Programs that the upper half executes.
//!
//! A child's runs without splitproc. The process's own goes on under it: `splitproc launch` is executed in its
//! place, with the options that this loader was started with (`--again`), and takes it under fresh halves. What the kernel
//! would refuse is left to the kernel, so that the caller gets its error while the old program is still there.
//!
//! The MPI launcher's descriptor was moved at the start. What is executed learns its new number, as long as
//! it has the variable at all. A child may share its parent's memory: nothing is allocated in it.

use super::entry::Regs;
use super::program::{self, Name, Verdict};
use super::{ids, limits, paths, signals, tasks, turn};
use crate::arch::syscall6;
use crate::layout::page_up;
use crate::say::Text;
use core::ffi::{c_char, CStr};
use core::fmt::Write;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Most variables of an environment that is rewritten in a child.
const MOST: usize = 1000;
/// The launcher's variable.
const VARIABLE: &[u8] = b"PMI_FD=";
/// Longest path that is given another form.
const LONGEST: usize = 4096;

/// The command that takes a program under splitproc: address of its words, and their number. 0: there is none.
static AGAIN: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Notes that command. Its words stay where they are.
pub fn init(words: *const *const c_char, count: usize) {
    AGAIN[0].store(words as usize, Relaxed);
    AGAIN[1].store(count, Relaxed);
}

/// `execve` and `execveat`.
///
/// # Safety
/// As for the system call.
pub unsafe fn call(r: &Regs) -> isize {
    // SAFETY: the arguments are the program's.
    unsafe {
        if tasks::pid() == tasks::leader_pid() && AGAIN[1].load(Relaxed) != 0 {
            return replace(r);
        }
        let env = *environment(&mut { *r }) as *const usize;
        match (variable(env), crate::fds::launcher()) {
            (Some((index, length)), Some(fd)) if length <= MOST => {
                in_child(r, env, length, index, fd)
            }
            _ => natively(r),
        }
    }
}

/// Has the kernel make the call, under the program's own limits.
///
/// # Safety
/// As for the system call.
unsafe fn natively(r: &Regs) -> isize {
    // SAFETY: the caller's.
    limits::executing(|| unsafe { paths::call(r) })
}

fn is_at(r: &Regs) -> bool {
    r.rax as i64 == libc::SYS_execveat
}

/// The register that the environment is in.
fn environment(r: &mut Regs) -> &mut usize {
    if is_at(r) {
        &mut r.r10
    } else {
        &mut r.rdx
    }
}

/// Where the launcher's variable is in an environment, and how many entries this has.
///
/// # Safety
/// `env` is null, or the address of a vector of strings that ends with a null.
unsafe fn variable(env: *const usize) -> Option<(usize, usize)> {
    let mut found = None;
    // SAFETY: the caller's; an entry is a string.
    unsafe {
        let length = length(env);
        for i in 0..length {
            let text = CStr::from_ptr(*env.add(i) as *const _);
            if text.to_bytes().starts_with(VARIABLE) {
                found = found.or(Some((i, length)));
            }
        }
    }
    found
}

/// Number of words before a vector's null.
///
/// # Safety
/// `vector` is null, or ends with a null.
unsafe fn length(vector: *const usize) -> usize {
    let mut n = 0;
    // SAFETY: the end has not been seen yet.
    while !vector.is_null() && unsafe { *vector.add(n) } != 0 {
        n += 1;
    }
    n
}

/// The launcher's variable with the number that its descriptor has now.
fn renumbered(fd: u32) -> Text<32> {
    let mut text = Text::new();
    // It fits.
    let _ = text.raw(VARIABLE).and_then(|()| write!(text, "{fd}\0"));
    text
}

/// Makes a child's call with the variable at `index` naming the launcher's descriptor.
///
/// # Safety
/// As for the system call; `env` is its environment, with so many entries.
#[inline(never)]
unsafe fn in_child(r: &Regs, env: *const usize, length: usize, index: usize, fd: u32) -> isize {
    let text = renumbered(fd);
    let mut vector = [0usize; MOST + 1];
    let mut c = *r;
    // SAFETY: the vector has room for them and a null; the program's call, but for an environment that lives
    // during it.
    unsafe {
        core::ptr::copy_nonoverlapping(env, vector.as_mut_ptr(), length);
        vector[index] = text.bytes().as_ptr() as usize;
        *environment(&mut c) = vector.as_ptr() as usize;
        natively(&c)
    }
}

/// Memory for what the next program is told: gone with this one, or when the call has failed.
struct Room {
    at: usize,
    len: usize,
}

impl Room {
    fn new(len: usize) -> Option<Self> {
        let (len, nr) = (page_up(len), libc::SYS_mmap as usize);
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        // SAFETY: a new mapping, which is saved by nobody: checkpoints are kept away.
        let at = unsafe { syscall6(nr, 0, len, prot, flags, usize::MAX, 0) };
        (at > 0).then_some(Room {
            at: at as usize,
            len,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let nr = libc::SYS_munmap as usize;
        // SAFETY: ours, and used no more.
        unsafe { syscall6(nr, self.at, self.len, 0, 0, 0, 0) };
    }
}

/// A vector of strings' addresses in a [`Room`].
struct Vector {
    at: *mut usize,
    used: usize,
}

impl Vector {
    /// # Safety
    /// There is room for the word, and a null behind it.
    unsafe fn push(&mut self, word: usize) {
        // SAFETY: the caller's; fresh memory is zero.
        unsafe { self.at.add(self.used).write(word) };
        self.used += 1;
    }

    /// # Safety
    /// As [`Vector::push`], for `count` words that begin at `from`.
    unsafe fn extend(&mut self, from: *const usize, count: usize) {
        for i in 0..count {
            // SAFETY: the caller's.
            unsafe { self.push(*from.add(i)) };
        }
    }
}

/// The program of this process executes another in its place.
///
/// # Safety
/// As for the system call.
unsafe fn replace(r: &Regs) -> isize {
    let _turn = turn::take();
    let mut c = *r;
    // SAFETY: the arguments are the program's, as the kernel has looked at them where it can; the room outlives
    // all calls.
    unsafe {
        let (argv, name) = if is_at(r) {
            (r.rdx, Name::new(r.rdi, r.rsi, r.r8))
        } else {
            (r.rsi, Name::new(libc::AT_FDCWD as usize, r.rdi, 0))
        };
        let env = *environment(&mut c);
        let mut kept = None;
        let name = name.at(paths::real(name.path, &mut kept));
        if !program::accepted(&name, argv, env) {
            return natively(r);
        }
        let (argv, env) = (argv as *const usize, env as *const usize);
        let again = AGAIN[1].load(Relaxed);
        let (words, variables) = (length(argv) + again + 6, length(env) + 1);
        let Some(room) = Room::new(LONGEST + 8 * (words + variables)) else {
            return -(libc::ENOMEM as isize);
        };
        let text = crate::fds::launcher().map(renumbered);
        let vectors = (room.at + LONGEST) as *mut usize;
        let mut new_env = Vector {
            at: vectors,
            used: 0,
        };
        new_env.extend(env, variables - 1);
        if let (Some((index, _)), Some(text)) = (variable(env), &text) {
            vectors.add(index).write(text.bytes().as_ptr() as usize);
        }
        *environment(&mut c) = vectors as usize;

        let verdict = program::look(&name, &mut *(room.at as *mut [u8; LONGEST]));
        let _unclaimed = signals::unclaim();
        if !matches!(verdict, Verdict::Kernels) {
            leave_lower_behind();
        }
        let why = match verdict {
            Verdict::Kernels => return natively(&c),
            Verdict::Alone(why) => why,
            Verdict::Ours(path) => {
                let mut vector = Vector {
                    at: vectors.add(variables),
                    used: 0,
                };
                relaunch(&mut vector, path, argv, vectors);
                "the splitproc command can't be executed"
            }
        };
        let path = CStr::from_ptr(name.path as *const _).to_str();
        let path = path.ok().filter(|p| !p.is_empty()).unwrap_or("a program");
        crate::say!("{path}: {why}; it is executed without splitproc: it can't be checkpointed");
        natively(&c)
    }
}

/// Executes the command that takes the program at `path` under splitproc. Returns only when that fails.
///
/// # Safety
/// `vector` has room for the command, the program's path and arguments, and a null.
unsafe fn relaunch(vector: &mut Vector, path: usize, argv: *const usize, env: *const usize) {
    let [again, count] = [&AGAIN[0], &AGAIN[1]].map(|w| w.load(Relaxed));
    let (mut known, mut limit) = (Text::<64>::new(), Text::<40>::new());
    // SAFETY: the caller's; the command's words stay for the process's life.
    unsafe {
        vector.extend(again as *const usize, count);
        if let Some([pid, parent]) = ids::known() {
            // Both fit.
            let _ = write!(known, "--known-as={pid},{parent}\0");
            vector.push(known.bytes().as_ptr() as usize);
        }
        if let Some(hard) = limits::lowered() {
            let _ = write!(limit, "--open-files={hard}\0");
            vector.push(limit.bytes().as_ptr() as usize);
        }
        vector.push(c"--".as_ptr() as usize);
        vector.push(path);
        match length(argv) {
            // The kernel gives a program an empty name rather than none.
            0 => vector.push(c"".as_ptr() as usize),
            n => vector.extend(argv, n),
        }
        let command = *vector.at;
        let nr = libc::SYS_execve as usize;
        let at = vector.at as usize;
        limits::executing(|| syscall6(nr, command, at, env as usize, 0, 0, 0));
    }
}

/// No descriptor of a lower half gets into the next program, but the launcher's.
fn leave_lower_behind() {
    let first = limits::base() as u32;
    let close = |from: u32, to: u32| {
        let (nr, how) = (libc::SYS_close_range as usize, libc::CLOSE_RANGE_CLOEXEC);
        if from <= to {
            // SAFETY: closes nothing yet. A kernel that is older than 5.11 refuses it.
            unsafe { syscall6(nr, from as usize, to as usize, how as usize, 0, 0, 0) };
        }
    };
    match crate::fds::launcher().filter(|&fd| fd >= first) {
        Some(fd) => {
            close(first, fd - 1);
            close(fd + 1, u32::MAX);
        }
        None => close(first, u32::MAX),
    }
}
