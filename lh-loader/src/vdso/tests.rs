//! The image, read and called as a C library would.

use super::*;

type ClockGettime = unsafe extern "C" fn(i32, *mut libc::timespec) -> i32;
type GetCpu = unsafe extern "C" fn(*mut u32, *mut u32, usize) -> i32;

/// The image, mapped as the loader maps it; unmapped when dropped.
struct Mapped(*mut libc::c_void);

impl Mapped {
    fn new(slots: &[AtomicUsize; 8]) -> Self {
        let mut page = [0xaa; PAGE];
        build(&mut page, slots.as_ptr() as usize);
        // SAFETY: a fresh mapping, filled and then made executable.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let at = libc::mmap(
                core::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            at.copy_from_nonoverlapping(page.as_ptr().cast(), PAGE);
            assert_eq!(
                libc::mprotect(at, PAGE, libc::PROT_READ | libc::PROT_EXEC),
                0
            );
            Self(at)
        }
    }

    fn function(&self, name: &[u8]) -> Option<usize> {
        // SAFETY: the image is mapped and of our own making.
        unsafe { lookup(self.0 as usize, name, b"LINUX_2.6") }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping; no function of it runs.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}

/// Looks a symbol up as glibc does: through `DT_HASH`, with its version.
unsafe fn lookup(image: usize, name: &[u8], version: &[u8]) -> Option<usize> {
    // SAFETY: the caller says the image is well-formed.
    unsafe {
        let headers = image + read::<u64>(image + 32) as usize;
        let dynamic = (0..read::<u16>(image + 56) as usize)
            .map(|i| headers + i * PHDR)
            .find(|&h| read::<u32>(h) == PT_DYNAMIC)
            .map(|h| image + read::<u64>(h + 16) as usize)?;
        let entry = |tag: u64| {
            (0..)
                .map(|i| dynamic + i * 16)
                .take_while(|&e| read::<u64>(e) != 0)
                .find_map(|e| (read::<u64>(e) == tag).then(|| read::<u64>(e + 8) as usize))
        };
        let at = |tag| entry(tag).map(|v| image + v);
        let (hash, symbols, strings) = (at(DT_HASH)?, at(DT_SYMTAB)?, at(DT_STRTAB)?);
        let is = |text: usize, want: &[u8]| {
            (0..want.len()).all(|i| read::<u8>(text + i) == want[i])
                && read::<u8>(text + want.len()) == 0
        };
        assert!(is(strings + entry(DT_SONAME)?, SONAME));
        let mut wanted = None;
        let mut definition = at(DT_VERDEF)?;
        for _ in 0..entry(DT_VERDEFNUM)? {
            let aux = definition + read::<u32>(definition + 12) as usize;
            if read::<u32>(definition + 8) == sysv_hash(version)
                && is(strings + read::<u32>(aux) as usize, version)
            {
                wanted = Some(read::<u16>(definition + 4));
            }
            definition += read::<u32>(definition + 16) as usize;
        }
        let (buckets, bucket) = (read::<u32>(hash), sysv_hash(name) % read::<u32>(hash));
        let chain = hash + 8 + buckets as usize * 4;
        let mut i = read::<u32>(hash + 8 + bucket as usize * 4) as usize;
        while i != 0 {
            let symbol = symbols + i * SYM;
            if is(strings + read::<u32>(symbol) as usize, name)
                && Some(read::<u16>(at(DT_VERSYM)? + i * 2)) == wanted
            {
                return Some(image + read::<u64>(symbol + 8) as usize);
            }
            i = read::<u32>(chain + i * 4) as usize;
        }
        None
    }
}

fn slots() -> Box<[AtomicUsize; 8]> {
    Box::new([const { AtomicUsize::new(0) }; 8])
}

fn seconds(function: usize) -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    // SAFETY: the address was found under this function's name.
    let result = unsafe { core::mem::transmute::<usize, ClockGettime>(function)(0, &mut now) };
    assert_eq!(result, 0);
    assert!((0..1_000_000_000).contains(&now.tv_nsec));
    now.tv_sec
}

fn really() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

#[test]
fn every_function_is_found_as_glibc_finds_it() {
    let slots = slots();
    let image = Mapped::new(&slots);
    let mut all: Vec<_> = FUNCTIONS
        .iter()
        .map(|name| image.function(name).unwrap())
        .collect();
    all.dedup();
    assert_eq!(all.len(), FUNCTIONS.len());
    assert_eq!(image.function(b"__vdso_getrandom"), None);
    // SAFETY: as above.
    assert_eq!(
        unsafe { lookup(image.0 as usize, FUNCTIONS[0], b"LINUX_2.5") },
        None
    );
    // SAFETY: the image is well-formed.
    assert_eq!(
        unsafe { find(image.0 as usize, FUNCTIONS[2]) },
        image.function(FUNCTIONS[2])
    );
}

#[test]
fn the_clock_runs_through_the_kernels_vdso_and_without_it() {
    // SAFETY: reads the auxiliary vector.
    let kernel = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
    let slots = slots();
    let image = Mapped::new(&slots);
    let clock = image.function(b"__vdso_clock_gettime").unwrap();
    let cpu = image.function(b"__vdso_getcpu").unwrap();
    for vdso in [kernel, 0, kernel] {
        // SAFETY: the process's own vDSO, or none.
        unsafe { fill_slots(&slots, vdso) };
        let before = really();
        assert!((before..=before + 1).contains(&seconds(clock)));
        let mut number = u32::MAX;
        // SAFETY: the address was found under this function's name.
        let result = unsafe {
            core::mem::transmute::<usize, GetCpu>(cpu)(&mut number, core::ptr::null_mut(), 0)
        };
        assert_eq!(result, 0);
        assert_ne!(number, u32::MAX);
    }
    // SAFETY: the process's own vDSO.
    let found = unsafe { find(kernel, FUNCTIONS[0]) };
    assert!(
        kernel == 0 || found.is_some(),
        "the running kernel's vDSO is understood"
    );
}

#[test]
fn a_thread_s_own_clock_is_read() {
    let _turn = crate::route::run_tests::set_up();
    let slots = slots();
    // SAFETY: reads the auxiliary vector, and the process's own vDSO.
    unsafe { fill_slots(&slots, libc::getauxval(libc::AT_SYSINFO_EHDR) as usize) };
    let image = Mapped::new(&slots);
    for name in [FUNCTIONS[0], FUNCTIONS[4]] {
        let function = image.function(name).unwrap();
        let mut at = libc::timespec {
            tv_sec: -1,
            tv_nsec: -1,
        };
        // -2: this thread's CPU clock, as pthread_getcpuclockid(0) would name it.
        // SAFETY: the address was found under this function's name.
        let result = unsafe { core::mem::transmute::<usize, ClockGettime>(function)(-2, &mut at) };
        assert_eq!((result, at.tv_sec), (0, 0));
        assert!((0..1_000_000_000).contains(&at.tv_nsec));
    }
}

#[test]
fn the_hash_is_the_one_in_every_vdso() {
    assert_eq!(sysv_hash(VERSION), 61_765_110);
}

#[test]
fn readelf_accepts_the_image() {
    let mut page = [0; PAGE];
    build(&mut page, crate::layout::LHINFO_BASE);
    let path = std::env::temp_dir().join(format!("vdso-{}.so", std::process::id()));
    std::fs::write(&path, page).unwrap();
    let read = std::process::Command::new("readelf")
        .args(["-W", "-h", "-l", "-d"])
        .arg(&path)
        .output();
    std::fs::remove_file(&path).unwrap();
    let Ok(read) = read else { return }; // binutils is not needed to build
    let text = String::from_utf8(read.stdout).unwrap();
    assert!(
        text.contains("linux-vdso.so.1") && text.contains("VERDEFNUM"),
        "{text}"
    );
    assert!(
        read.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
}
