//! Tests on the system's own libraries.

use super::eh::Elf;
use super::patch::{window, StubPage};
use super::scan::next;
use std::collections::BTreeMap;

fn library(name: &str) -> Option<Vec<u8>> {
    std::fs::read(format!("/lib/x86_64-linux-gnu/{name}")).ok()
}

/// Every site of a library: number, and whether it has a window.
fn sites(file: &[u8], with_table: bool) -> (Vec<(usize, Option<u32>, bool)>, std::time::Duration) {
    let read = |at: u64, b: &mut [u8]| match file.get(at as usize..at as usize + b.len()) {
        Some(s) => {
            b.copy_from_slice(s);
            true
        }
        None => false,
    };
    let elf = Elf::open(&read).expect("ELF");
    assert!(elf.has_table());
    let mut all = Vec::new();
    let start = std::time::Instant::now();
    elf.code_parts(0, file.len() as u64, &mut |offset, vaddr, len| {
        let code = &file[offset as usize..(offset + len) as usize];
        let mut from = 0;
        while let Some(s) = next(code, vaddr, with_table.then_some(&elf), from) {
            all.push((offset as usize + s.at, s.nr, window(code, &s).is_some()));
            from = s.at + 2;
        }
    });
    (all, start.elapsed())
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
    let site = next(&code, 0, None, 0).expect("found");
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
        let read = |at: u64, b: &mut [u8]| {
            b.copy_from_slice(&file[at as usize..at as usize + b.len()]);
            true
        };
        let elf = Elf::open(&read).expect("ELF");
        elf.code_parts(0, file.len() as u64, &mut |offset, vaddr, len| {
            let code = &file[offset as usize..(offset + len) as usize];
            let mut inside = std::collections::BTreeSet::new();
            let mut from = 0;
            while let Some(s) = next(code, vaddr, Some(&elf), from) {
                let w = window(code, &s).expect("room");
                inside.extend(w.start + 1..w.end);
                from = s.at + 2;
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
