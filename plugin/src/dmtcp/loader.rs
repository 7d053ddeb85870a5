//! Loads the kernel loader into this process, and with it the lower halves: at the start, and at a restart again.
//!
//! The loader is the program that `splitproc launch` executes. Mapped at its own address and entered with
//! `--attach`, it starts the halves on this thread and comes back. Neither it nor they are ever in an image.

use super::{fail, fail_code, front, launcher};
use crate::block;
use core::ptr::addr_of_mut;
use lh_loader::arch::{self, syscall6, Context};
use lh_loader::elf;
use lh_loader::layout::{LOADER_BASE, WINDOW_LEN};
use lh_loader::lhinfo::{self, Attach};
use lh_loader::say;
use lh_loader::stack::StackBuilder;
use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// The stack on which the loader runs until the halves are up: in its window, far above the program.
const STACK: usize = LOADER_BASE + WINDOW_LEN / 2;
/// Its size; arguments and environment lie on it.
const STACK_LEN: usize = 4 << 20;
/// `PR_GET_TID_ADDRESS`.
const PR_GET_TID_ADDRESS: usize = 40;
/// Auxiliary values that the halves are to see as this process sees them.
const KEEP: [u64; 13] = [
    libc::AT_PAGESZ,
    libc::AT_CLKTCK,
    libc::AT_FLAGS,
    libc::AT_UID,
    libc::AT_EUID,
    libc::AT_GID,
    libc::AT_EGID,
    libc::AT_HWCAP,
    libc::AT_HWCAP2,
    libc::AT_SECURE,
    libc::AT_MINSIGSTKSZ,
    AT_RSEQ_FEATURE_SIZE,
    AT_RSEQ_ALIGN,
];
const AT_RSEQ_FEATURE_SIZE: u64 = 27;
const AT_RSEQ_ALIGN: u64 = 28;

/// Loads the halves. `random`: this is a restart, lhInfo is there, and these are the upper half's random bytes.
pub fn load(halves: &[front::Half], environment: Vec<CString>, random: Option<[u8; 16]>) {
    let loader = front::part("lh-loader");
    let half = front::part("splitproc-mpi-lh");
    // SAFETY: the loader's window is its own, and empty: no image holds anything of it.
    let entry = match unsafe { elf::load_static(&loader) } {
        Ok(entry) => entry,
        Err(why) => fail(&format!("{loader:?} can't be mapped: {why:?}")),
    };
    let mut attach = Attach {
        back,
        context: Context::new(),
        restart: u32::from(random.is_some()),
    };
    let attach = &raw mut attach;
    let arguments = arguments(&loader, &half, halves, attach as usize, random);
    // SAFETY: nothing else is in the loader's window; the loader finds there what a program finds on its
    // stack, and comes back through `back` while this frame waits. Everything that the halves' libc changes of
    // this thread (FS base, the addresses that the kernel keeps) is put back before any other code runs.
    unsafe {
        let sp = stack(&arguments, &environment);
        let mask = arch::block_signals();
        let fs = arch::fs_base();
        let kept = Kept::read();
        arch::enter_half(addr_of_mut!((*attach).context), entry, sp);
        arch::set_fs_base(fs);
        kept.restore();
        arch::restore_signals(mask);
        syscall6(libc::SYS_munmap as usize, STACK, STACK_LEN, 0, 0, 0, 0);
        // The loader's own would be gone, under a thread that is saved in it.
        let raw = arch::raw_syscall as *const () as usize;
        lhinfo::get().raw_syscall.store(raw, Ordering::Release);
    }
}

/// A forked child: every call into a half that it has no threads for ends it.
pub fn forget() {
    // SAFETY: lhInfo is mapped, and the child has this one thread.
    unsafe {
        for half in &mut (*lhinfo::ptr()).halves {
            half.make_donor = orphan as *const () as usize;
        }
    }
}

/// What a forked child's first call into a half comes to. On a TCB of the half's: no TLS of ours.
extern "C" fn orphan() -> ! {
    lh_loader::die!(
        70,
        "a forked child can't use MPI or another lower half: their threads are its parent's; let it execute a program"
    )
}

/// Where the loader comes back to. On the loader's stack, under a half's FS base: no TLS.
unsafe extern "C" fn back(attach: *mut Attach) -> ! {
    // SAFETY: `load` saved the context and waits.
    unsafe { arch::load_context(&raw const (*attach).context) }
}

/// What the kernel keeps of a thread and a starting libc changes.
struct Kept {
    clear_tid: usize,
    robust: [usize; 2],
}

impl Kept {
    unsafe fn read() -> Kept {
        let mut kept = Kept {
            clear_tid: 0,
            robust: [0; 2],
        };
        // SAFETY: the kernel writes a word to each address.
        unsafe {
            let tid = &raw mut kept.clear_tid as usize;
            let nr = libc::SYS_prctl as usize;
            syscall6(nr, PR_GET_TID_ADDRESS, tid, 0, 0, 0, 0);
            let head = &raw mut kept.robust[0] as usize;
            let len = &raw mut kept.robust[1] as usize;
            syscall6(libc::SYS_get_robust_list as usize, 0, head, len, 0, 0, 0);
        }
        kept
    }

    unsafe fn restore(&self) {
        let [head, len] = self.robust;
        // SAFETY: what the thread had before.
        unsafe {
            if self.clear_tid != 0 {
                let nr = libc::SYS_set_tid_address as usize;
                syscall6(nr, self.clear_tid, 0, 0, 0, 0, 0);
            }
            if head != 0 {
                syscall6(libc::SYS_set_robust_list as usize, head, len, 0, 0, 0, 0);
            }
        }
    }
}

/// The loader's command line.
fn arguments(
    loader: &CStr,
    half: &CStr,
    halves: &[front::Half],
    attach: usize,
    random: Option<[u8; 16]>,
) -> Vec<CString> {
    let text = |s: String| CString::new(s).unwrap_or_default();
    let mut line = vec![
        loader.to_owned(),
        c"--attach".into(),
        text(format!("{attach:x}")),
    ];
    for h in halves {
        line.extend([c"--half".into(), h.name.clone(), half.to_owned()]);
        line.extend([c"--lib".into(), h.library.clone()]);
    }
    let (start, end) = block::hole();
    line.push(c"--hole".into());
    line.extend([text(start.to_string()), text(end.to_string())]);
    if let Some(way) = launcher::value("SPLITPROC_CROSSING") {
        let way = way.to_string_lossy().into_owned();
        line.extend([c"--crossing".into(), text(way)]);
    }
    // SAFETY: AT_RANDOM points to 16 bytes, for the process's life; after a restart they are the image's.
    let random =
        random.unwrap_or_else(|| unsafe { *(libc::getauxval(libc::AT_RANDOM) as *const [u8; 16]) });
    let mut hex = String::new();
    for byte in random {
        let _ = write!(hex, "{byte:02x}");
    }
    line.extend([c"--random".into(), text(hex)]);
    let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let exe = text(exe.to_string_lossy().into_owned());
    line.extend([c"--exe".into(), exe.clone(), c"--".into(), exe]);
    line
}

/// A stack as the kernel gives it to a program; its pointer.
unsafe fn stack(arguments: &[CString], environment: &[CString]) -> usize {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: the range is in the loader's window, where nothing else is.
    let mut stack = unsafe {
        if let Err(why) = elf::map(STACK, STACK_LEN, prot, flags, -1, 0) {
            fail(&format!("no memory for the loader's stack: {why:?}"));
        }
        StackBuilder::new(STACK, STACK + STACK_LEN)
    };
    stack.word(arguments.len());
    arguments.iter().for_each(|a| stack.string(a));
    stack.word(0);
    // DMTCP is the upper half's.
    let lower = |v: &&CString| !v.to_bytes().starts_with(b"DMTCP_");
    environment
        .iter()
        .filter(lower)
        .for_each(|v| stack.string(v));
    let code = format!(
        "{}={}\0",
        String::from_utf8_lossy(say::FAIL_CODE),
        fail_code()
    );
    if let Ok(code) = CStr::from_bytes_with_nul(code.as_bytes()) {
        stack.string(code);
    }
    stack.word(0);
    let platform = stack.bytes(&[b"x86_64\0"]);
    let own = [
        [libc::AT_PHDR as usize, 0],
        [libc::AT_PHENT as usize, size_of::<libc::Elf64_Phdr>()],
        [libc::AT_PHNUM as usize, 0],
        [libc::AT_BASE as usize, 0],
        [libc::AT_ENTRY as usize, 0],
        [libc::AT_RANDOM as usize, 0],
        [libc::AT_EXECFN as usize, 0],
        [libc::AT_PLATFORM as usize, platform],
        [libc::AT_SYSINFO_EHDR as usize, vdso()],
    ];
    // SAFETY: getauxval has no preconditions; ld.so keeps the values.
    let kept = KEEP.map(|kind| [kind as usize, unsafe { libc::getauxval(kind) } as usize]);
    for [kind, value] in own
        .into_iter()
        .chain(kept.into_iter().filter(|a| a[1] != 0))
    {
        stack.word(kind);
        stack.word(value);
    }
    stack.word(libc::AT_NULL as usize);
    stack.word(0);
    stack.finish()
}

/// Where the running kernel's vDSO is: at a restart DMTCP has put it where the image's was.
fn vdso() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let line = maps.lines().find(|l| l.ends_with("[vdso]"));
    let start = line.and_then(|l| usize::from_str_radix(l.split('-').next()?, 16).ok());
    start.unwrap_or(0)
}
