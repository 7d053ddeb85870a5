//! Tests on the system's own libraries.

use super::eh::Elf;
use super::patch::StubPage;
use super::scan::next;
use std::collections::BTreeMap;

fn library(name: &str) -> Option<Vec<u8>> {
    std::fs::read(format!("/lib/x86_64-linux-gnu/{name}")).ok()
}

/// This thread's, so that a busy machine makes nothing slow.
fn cpu_time() -> std::time::Duration {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec.
    assert_eq!(
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) },
        0
    );
    std::time::Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Every site of a library: number, and whether it has a window.
fn sites(file: &[u8], with_table: bool) -> (Vec<(usize, Option<u32>, bool)>, std::time::Duration) {
    let elf = Elf::open(file).expect("ELF");
    assert!(elf.has_table());
    let mut all = Vec::new();
    let start = cpu_time();
    elf.code_parts(0, file.len() as u64, &mut |offset, vaddr, len| {
        let code = &file[offset as usize..(offset + len) as usize];
        let mut from = 0;
        while let Some(s) = next(code, vaddr, with_table.then_some(&elf), &|_| true, from) {
            all.push((offset as usize + s.at, s.nr, s.window.is_some()));
            from = s.at + 2;
        }
    });
    (all, cpu_time() - start)
}

#[test]
fn the_sites_that_matter_are_found_and_have_room() {
    for name in ["libc.so.6", "ld-linux-x86-64.so.2"] {
        let file = library(name).expect(name);
        let (found, took) = sites(&file, true);
        let mut by_number: BTreeMap<Option<u32>, (usize, usize)> = BTreeMap::new();
        for (_, nr, room) in &found {
            let e = by_number.entry(*nr).or_default();
            e.0 += 1;
            e.1 += usize::from(*room);
        }
        eprintln!("{name}: {} sites, {took:?}", found.len());
        for (at, nr, room) in found.iter().filter(|s| !s.2 || s.1.is_none()) {
            eprintln!("  {at:#x} {nr:?} room {room}");
        }
        let both = [libc::SYS_mmap, libc::SYS_munmap, libc::SYS_brk];
        let more = [
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
        ];
        let wanted = both
            .iter()
            .chain(more.iter().filter(|_| name == "libc.so.6"));
        for nr in wanted {
            let (n, room) = by_number
                .get(&Some(*nr as u32))
                .copied()
                .unwrap_or_default();
            assert!(
                n > 0 && n == room,
                "{name}: number {nr}: {n} sites, {room} with room"
            );
        }
        if name == "libc.so.6" {
            assert!(
                found.iter().any(|s| s.1.is_none() && s.2),
                "the generic syscall()"
            );
        }
    }
}

#[test]
fn without_a_table_the_same_sites_are_found() {
    for name in ["libc.so.6", "ld-linux-x86-64.so.2"] {
        let file = library(name).expect(name);
        let with: Vec<usize> = sites(&file, true).0.iter().map(|s| s.0).collect();
        let without: Vec<usize> = sites(&file, false).0.iter().map(|s| s.0).collect();
        let missed = with.iter().filter(|s| !without.contains(s)).count();
        eprintln!(
            "{name}: {} with, {} without, {missed} missed",
            with.len(),
            without.len()
        );
        assert!(
            missed * 20 <= with.len(),
            "{name}: {missed} of {} missed",
            with.len()
        );
    }
}

#[test]
fn big_libraries_scan_fast() {
    for name in ["libmpich.so.12", "libcrypto.so.3"] {
        let Some(file) = library(name) else { continue };
        let (found, _) = sites(&file, true);
        let (_, took) = sites(&file, true);
        eprintln!("{name}: {} sites, {took:?}", found.len());
        assert!(took.as_millis() < 50, "{name}: {took:?}");
    }
}

#[test]
fn a_stub_page_that_is_full_or_far_is_refused() {
    let mut code = vec![0xb8, 9, 0, 0, 0, 0x0f, 0x05, 0xc3];
    let site = next(&code, 0, None, &|_| true, 0).expect("found");
    assert_eq!(site.nr, Some(9));
    let mut room = vec![0u8; 256];
    let base = room.as_mut_ptr() as usize;
    let mut full = StubPage {
        base,
        len: 256,
        used: 240,
    };
    // SAFETY: the page is the vector's; nothing runs in the code.
    unsafe {
        let run_at = base.wrapping_add(0x1000);
        assert_eq!(
            super::patch::patch(&mut code, run_at, &site, 0, &mut full),
            Err(super::patch::Refusal::NoStub)
        );
        let mut page = StubPage {
            base,
            len: 256,
            used: 0,
        };
        let far = super::patch::patch(&mut code, base.wrapping_add(1 << 40), &site, 0, &mut page);
        assert_eq!(far, Err(super::patch::Refusal::TooFar));
        assert_eq!(page.used, 0);
        super::patch::patch(&mut code, run_at, &site, 0, &mut page).expect("patched");
        assert!(page.used > 0 && code[0] == 0xe9 && code[5..7] == [0xcc, 0xcc]);
    }
}

#[test]
fn no_branch_of_the_library_leads_into_a_window() {
    for name in ["libc.so.6", "ld-linux-x86-64.so.2"] {
        let file = library(name).expect(name);
        let elf = Elf::open(&file).expect("ELF");
        elf.code_parts(0, file.len() as u64, &mut |offset, vaddr, len| {
            let code = &file[offset as usize..(offset + len) as usize];
            let mut inside = std::collections::BTreeSet::new();
            let mut from = 0;
            while let Some(s) = next(code, vaddr, Some(&elf), &|_| true, from) {
                from = s.at + 2;
                inside.extend(s.window.map_or(0..0, |w| w.start + 1..w.end));
            }
            // The whole text with another decoder: also branches from functions' far-away cold parts.
            let mut decoder =
                iced_x86::Decoder::with_ip(64, code, 0, iced_x86::DecoderOptions::NONE);
            while decoder.can_decode() {
                let insn = decoder.decode();
                if insn.is_invalid() || insn.near_branch_target() == 0 {
                    continue;
                }
                let to = insn.near_branch_target() as usize;
                assert!(
                    !inside.contains(&to),
                    "{name}: {:#x} leads to {to:#x}",
                    insn.ip()
                );
            }
        });
    }
}

/// Code of one function at link-time address 0x1000, in a file with a table of functions.
struct Made {
    file: Vec<u8>,
}

impl Made {
    /// A file that holds `code`, and `data` at link-time address 0x2000.
    fn new(code: &[u8], data: &[u8]) -> Self {
        let mut file = vec![0u8; 0x2100];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        put(18, &[62]);
        put(32, &64u64.to_le_bytes());
        put(54, &[56, 0, 3]);
        let loads = [(1u32, 5u32, 0x1000u64, 0x1000u64), (1, 4, 0x2000, 0x100)];
        for (i, (kind, flags, at, len)) in loads.into_iter().enumerate() {
            let p = 64 + 56 * i;
            put(p, &kind.to_le_bytes());
            put(p + 4, &flags.to_le_bytes());
            for (n, value) in [at, at, at, len, len].into_iter().enumerate() {
                put(p + 8 + 8 * n, &value.to_le_bytes());
            }
        }
        // .eh_frame_hdr at 0x2080 with one entry, or two (see `cold`), and their FDEs at 0x20a0 and 0x20c0.
        let p = 64 + 112;
        put(p, &0x6474_e550u32.to_le_bytes());
        put(p + 8, &0x2080u64.to_le_bytes());
        put(p + 16, &0x2080u64.to_le_bytes());
        put(0x2080, &[1, 0x1b, 3, 0x3b]);
        put(0x2088, &1u32.to_le_bytes());
        put(0x208c, &(0x1000i32 - 0x2080).to_le_bytes());
        put(0x2090, &0x20i32.to_le_bytes());
        put(0x20a8, &(0x1000i32 - 0x20a8).to_le_bytes());
        put(0x20ac, &(code.len() as u32).to_le_bytes());
        put(0x1000, code);
        put(0x2000, data);
        Made { file }
    }

    /// Adds a second function at link-time address 0x1800.
    fn cold(mut self, code: &[u8]) -> Self {
        let mut put =
            |at: usize, bytes: &[u8]| self.file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x2088, &2u32.to_le_bytes());
        put(0x2094, &(0x1800i32 - 0x2080).to_le_bytes());
        put(0x2098, &0x40i32.to_le_bytes());
        put(0x20c8, &(0x1800i32 - 0x20c8).to_le_bytes());
        put(0x20cc, &(code.len() as u32).to_le_bytes());
        put(0x1800, code);
        self
    }

    fn site(&self) -> super::scan::Site {
        let elf = Elf::open(&self.file).expect("ELF");
        let code = &self.file[0x1000..0x2000];
        next(code, 0x1000, Some(&elf), &|_| true, 0).expect("a site")
    }
}

/// `lea table(%rip),%rdx; movslq (%rdx,%rax,4),%rax; add %rdx,%rax; jmp *%rax`, then at 16 the site's window.
const BY_TABLE: [u8; 16] = [
    0x48, 0x8d, 0x15, 0xf9, 0x0f, 0, 0, 0x48, 0x63, 0x04, 0x82, 0x48, 0x01, 0xd0, 0xff, 0xe0,
];

#[test]
fn a_jump_table_that_leads_into_the_window_is_seen() {
    // mov %rbx,%rdi; mov %ecx,%eax; syscall; mov %rax,%rbx; ret
    let body = [
        0x48, 0x89, 0xdf, 0x89, 0xc8, 0x0f, 0x05, 0x48, 0x89, 0xc3, 0xc3,
    ];
    let code = [&BY_TABLE[..], &body].concat();
    let table = |to: [i32; 3]| -> Vec<u8> {
        let entry = |to: i32| (0x1000 + to - 0x2000).to_le_bytes();
        to.into_iter().flat_map(entry).collect()
    };
    // Cases at the first instruction, and behind the site.
    let window = Made::new(&code, &table([16, 26, 16])).site().window;
    let window = window.expect("room");
    assert!((16..=21).contains(&window.start), "{window:?}");
    // A case at the `syscall` and one behind it: what is displaced must begin and end there.
    let inside = Made::new(&code, &table([21, 23, 16])).site().window;
    assert_eq!(inside, None);
    // A table that can't be read: only the pair is safe, and this is none.
    assert_eq!(Made::new(&code, &[0xff; 12]).site().window, None);
    let pair = [0xb8, 9, 0, 0, 0, 0x0f, 0x05, 0xc3];
    let made = Made::new(&[&BY_TABLE[..], &pair].concat(), &[0xff; 12]);
    let site = made.site();
    assert_eq!(site.nr, Some(9));
    assert_eq!(site.window.map(|w| (w.start, w.end)), Some((16, 23)));
}

#[test]
fn a_number_that_another_way_brings_is_not_believed() {
    // test %edi,%edi; jne +5; mov $39,%eax; syscall; ret. With the jump to the `syscall`: any number.
    let plain = [0x85, 0xff, 0x90, 0x90, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3];
    let jump = [0x85, 0xff, 0x75, 0x05, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3];
    assert_eq!(Made::new(&plain, &[]).site().nr, Some(39));
    assert_eq!(Made::new(&jump, &[]).site().nr, None);
    let only_mmap = |nr: Option<u32>| nr.is_none_or(|n| n == 9);
    let found = |code: &[u8]| {
        let made = Made::new(code, &[]);
        let elf = Elf::open(&made.file).expect("ELF");
        next(
            &made.file[0x1000..0x2000],
            0x1000,
            Some(&elf),
            &only_mmap,
            0,
        )
        .is_some()
    };
    assert!(!found(&plain));
    assert!(found(&jump));
}

/// glibc 2.41's `__syscall_cancel_arch`, which cancellable calls go through: its `syscall`, with the number in a
/// register, and a thread that is in it, belong to the code between the function's two labels.
#[test]
fn a_thread_in_glibc_s_cancellable_call_stays_in_its_bridge() {
    let bridge = [
        0x8bu8, 0x07, // mov (%rdi),%eax
        0xa8, 0x08, // test $8,%al
        0x75, 0x2a, // jne __syscall_do_cancel
        0x49, 0x89, 0xfb, // mov %rdi,%r11
        0x48, 0x89, 0xf0, // mov %rsi,%rax
        0x48, 0x89, 0xd7, // mov %rdx,%rdi
        0x48, 0x89, 0xce, // mov %rcx,%rsi
        0x4c, 0x89, 0xc2, // mov %r8,%rdx
        0x4d, 0x89, 0xca, // mov %r9,%r10
        0x4c, 0x8b, 0x44, 0x24, 0x08, // mov 8(%rsp),%r8
        0x4c, 0x8b, 0x4c, 0x24, 0x10, // mov 16(%rsp),%r9
        0x4c, 0x89, 0x5c, 0x24, 0x08, // mov %r11,8(%rsp)
        0x0f, 0x05, // syscall
        0xc3, 0x90, 0x90, 0x90, 0x90, // ret
    ];
    let site = Made::new(&bridge, &[]).site();
    let end = 41;
    assert_eq!((site.at + 2, site.nr), (end, None));
    let window = site.window.expect("room");
    assert_eq!((window.start, window.end), (site.at - 5, end));
    let mut code = bridge.to_vec();
    let mut room = vec![0u8; 256];
    let base = room.as_mut_ptr() as usize;
    let mut page = StubPage {
        base,
        len: 256,
        used: 0,
    };
    let run_at = base.wrapping_add(0x1000);
    // SAFETY: the page is the vector's; nothing runs in the code. The stub's call is behind what was displaced.
    let place = unsafe {
        super::patch::patch(&mut code, run_at, &site, 0, &mut page).expect("patched");
        let call = room.windows(3).position(|b| b == [0x41, 0xff, 0x13]);
        super::patch::Place::of(base + call.expect("a call") + 3).expect("a place")
    };
    // In the kernel: before the end label. Back from it: not.
    assert_eq!(place.again(), Some(run_at + window.start));
    assert_eq!(place.over(), Some(run_at + end));
}

#[test]
fn candidates_inside_other_instructions_are_none() {
    // Far into a function: mov $0x050f,%eax, with nops around.
    let mut code = vec![0x90; 128];
    code[100..105].copy_from_slice(&[0xb8, 0x0f, 0x05, 0, 0]);
    code[127] = 0xc3;
    let made = Made::new(&code, &[]);
    let elf = Elf::open(&made.file).expect("ELF");
    let text = &made.file[0x1000..0x1080];
    assert!(next(text, 0x1000, Some(&elf), &|_| true, 0).is_none());
}

#[test]
fn a_branch_from_another_function_into_a_window_takes_the_patch_back() {
    use super::patch::Refusal;
    use super::segment::patch_mapping;
    use crate::layout::Owner;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let _turn = super::run_tests::set_up();
    // xor %eax,%eax; mov $9,%eax; syscall; ret. From the cold part: to the `mov`, or to the `syscall`.
    let body = [0x31, 0xc0, 0xb8, 9, 0, 0, 0, 0x0f, 0x05, 0xc3];
    for (to, safe) in [(2i32, true), (7, false)] {
        let mut cold = vec![0x90, 0xe9];
        cold.extend((0x1000 + to - 0x1806).to_le_bytes());
        let made = Made::new(&body, &[]).cold(&cold);
        let mut file = tempfile();
        file.write_all(&made.file).expect("a file");
        let mut refused = Vec::new();
        // SAFETY: a mapping of the file, in which nothing runs.
        let (patched, code) = unsafe {
            let (prot, fd) = (libc::PROT_READ | libc::PROT_EXEC, file.as_raw_fd());
            let at = libc::mmap(
                core::ptr::null_mut(),
                0x1000,
                prot,
                libc::MAP_PRIVATE,
                fd,
                0x1000,
            );
            assert_ne!(at, libc::MAP_FAILED);
            let mut report = |_, _, why| refused.push(why);
            let patched = patch_mapping(
                at as usize,
                0x1000,
                fd,
                0x1000,
                Owner::Upper,
                prot,
                &mut report,
            );
            let code = core::slice::from_raw_parts(at.cast::<u8>(), body.len()).to_vec();
            libc::munmap(at, 0x1000);
            (patched, code)
        };
        assert_eq!(patched, usize::from(safe));
        assert_eq!(code == body, !safe);
        assert_eq!(refused, if safe { vec![] } else { vec![Refusal::Entered] });
    }
}

/// A file without a name.
fn tempfile() -> std::fs::File {
    use std::os::fd::FromRawFd;
    // SAFETY: a new descriptor, owned by the file.
    unsafe {
        let fd = libc::memfd_create(c"code".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        std::fs::File::from_raw_fd(fd)
    }
}
