//! A piece of code of our own, patched and run: what must survive a routed call does.

use super::run_tests::{set_up, sys, ANON, RW};
use super::{patch, scan};
use crate::layout::{lower_window, owner, Owner, UPPER_BASE};
use crate::{lhinfo, window};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

core::arch::global_asm!(
    ".globl splitproc_probe, splitproc_probe_end",
    "splitproc_probe:",
    "push rbx; push rbp; push r12; push r13; push r14; push r15",
    "mov rax, rdi; mov rdi, rsi; mov rsi, rdx; mov rdx, rcx; mov r10, r8; mov r8, r9; mov r9, 0",
    "mov rbx, 0x1111; mov rbp, 0x2222; mov r12, 0x3333; mov r13, 0x4444; mov r14, 0x5555; mov r15, 0x6666",
    "mov rcx, 0x123456789abcdef; movq xmm0, rcx; movq xmm7, rcx; movq xmm15, rcx; mov [rsp-8], rcx; mov [rsp-128], rcx",
    "stc; std",
    "syscall",
    "mov r11, rax",
    "jnc 2f",
    "mov rcx, 0x123456789abcdef",
    "cmp rcx, [rsp-8]; jne 2f; cmp rcx, [rsp-128]; jne 2f",
    "pushfq; pop rax; cld; test eax, 0x400; jz 2f",
    "movq rax, xmm0; cmp rax, rcx; jne 2f; movq rax, xmm7; cmp rax, rcx; jne 2f; movq rax, xmm15; cmp rax, rcx; jne 2f",
    "cmp rbx, 0x1111; jne 2f; cmp rbp, 0x2222; jne 2f; cmp r12, 0x3333; jne 2f",
    "cmp r13, 0x4444; jne 2f; cmp r14, 0x5555; jne 2f; cmp r15, 0x6666; jne 2f",
    "mov rax, r11; jmp 3f",
    "2: cld; mov rax, -9999",
    "3: pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx; ret",
    "splitproc_probe_end:",
);

unsafe extern "C" {
    fn splitproc_probe();
    fn splitproc_probe_end();
}

#[test]
fn registers_flags_vectors_and_red_zone_survive() {
    let _turn = set_up();
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let (from, to) = (
        splitproc_probe as *const () as usize,
        splitproc_probe_end as *const () as usize,
    );
    // SAFETY: the code is copied to a page of its own, patched, and made executable.
    unsafe {
        let page = window::map(Owner::Upper, 8192, RW, ANON, usize::MAX, 0) as usize;
        core::ptr::copy_nonoverlapping(from as *const u8, page as *mut u8, to - from);
        let code = core::slice::from_raw_parts_mut(page as *mut u8, to - from);
        let site = scan::next(code, 0, None, &|_| true, 0).expect("site");
        assert_eq!(site.nr, None);
        let mut stubs = patch::StubPage {
            base: page + 4096,
            len: 4096,
            used: 0,
        };
        patch::patch(code, page, &site, lhinfo::LHINFO_ROUTER, &mut stubs).expect("patched");
        assert_eq!(scan::next(code, 0, None, &|_| true, 0).map(|s| s.at), None);
        assert_eq!(
            sys(
                libc::SYS_mprotect,
                [
                    page,
                    8192,
                    (libc::PROT_READ | libc::PROT_EXEC) as usize,
                    0,
                    0,
                    0
                ]
            ),
            0
        );
        type Probe = unsafe extern "C" fn(i64, usize, usize, usize, usize, usize) -> isize;
        let probe: Probe = core::mem::transmute(page);
        assert_eq!(
            probe(libc::SYS_getpid, 0, 0, 0, 0, 0),
            std::process::id() as isize
        );
        let got = probe(libc::SYS_mmap, 0, 4096, RW, ANON, usize::MAX);
        assert!(got as usize >= UPPER_BASE, "{got:x}");
        assert_eq!(owner(got as usize), Owner::Upper);
        let start = std::time::Instant::now();
        for _ in 0..100_000 {
            CALLS.fetch_add(
                usize::from(probe(libc::SYS_getppid, 0, 0, 0, 0, 0) > 0),
                SeqCst,
            );
        }
        let routed = start.elapsed();
        let start = std::time::Instant::now();
        for _ in 0..100_000 {
            core::hint::black_box(sys(libc::SYS_getppid, [0; 6]));
        }
        eprintln!(
            "100,000 calls: routed {routed:?}, native {:?}",
            start.elapsed()
        );
        assert_eq!(CALLS.load(SeqCst), 100_000);
    }
    assert_eq!(owner(lower_window(0)), Owner::Lower(0));
}
