//! Copies that are waited for, barriers in memory, and what an address is asked for, in PTX, compared with what the host computes.

mod device;

use cuda_cpu::exec::Fault;
use device::Test;

const HEAD: &str = ".version 8.0\n.target sm_90\n.address_size 64\n";

/// A kernel `k(a, b)` with shared memory `s`; `%r1` is the thread's number, `%rd1` and `%rd2` the parameters.
fn kernel(body: &str) -> String {
    format!(
        "{HEAD}.visible .entry k(.param .u64 a, .param .u64 b) {{ .reg .pred %p<9>; .reg .b32 %r<19>; .reg .b64 %rd<19>;
         .shared .align 16 .b8 s[8192]; .shared .align 8 .b64 bar; .shared .align 8 .b64 free;
         ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; mov.u32 %r1, %tid.x; mov.u32 %r2, s; {body} ret; }}"
    )
}

/// Runs it with so many threads, over these values; gives as many.
fn run(body: &str, threads: u32, values: &[u32]) -> Result<Vec<u32>, Fault> {
    let device = Test::default();
    let (from, to) = (device.put(values), device.memory(4 * values.len()));
    let text = kernel(body);
    device.run(&text, "k", [1, 1, 1], [threads, 1, 1], &[from, to])?;
    Ok(device.get(to, values.len()))
}

/// Copies what each thread has in shared memory to the result, 16 bytes of it.
const OUT: &str = "shl.b32 %r3, %r1, 4; add.u32 %r4, %r2, %r3; cvt.u64.u32 %rd3, %r3; add.u64 %rd4, %rd1, %rd3; add.u64 %rd5, %rd2, %rd3;";
const BACK: &str = "ld.shared.v2.u64 {%rd6, %rd7}, [%r4]; st.global.v2.u64 [%rd5], {%rd6, %rd7};";

#[test]
fn copies_bring_what_there_is_and_zeros() {
    let values: Vec<u32> = (1..=256).map(|i| i * 0x0101_0101).collect();
    let copied = |name: &str| {
        let body = format!(
            "{OUT} {name} cp.async.commit_group; cp.async.wait_group 0; bar.sync 0; {BACK}"
        );
        run(&body, 64, &values).unwrap()
    };
    assert_eq!(
        copied("cp.async.cg.shared.global.L2::128B [%r4], [%rd4], 16;"),
        values
    );
    assert_eq!(
        copied("cp.async.ca.shared.global [%r4], [%rd4], 8; cp.async.ca.shared::cta.global [%r4+8], [%rd4+8], 4; \
                cp.async.ca.shared.global [%r4+12], [%rd4+12], 4; cp.async.wait_all;"),
        values
    );
    // So many bytes as the thread's number says, modulo 17.
    let part = copied("rem.u32 %r5, %r1, 17; cp.async.cg.shared.global [%r4], [%rd4], 16, %r5;");
    // Nothing for odd threads; where nothing is there the address is not looked at.
    let none = copied(
        "and.b32 %r5, %r1, 1; setp.eq.u32 %p1, %r5, 1; @%p1 mov.u64 %rd4, 4096; cp.async.ca.shared.global [%r4], [%rd4], 16, %p1;",
    );
    for (thread, line) in values.chunks(4).enumerate() {
        let bytes: Vec<u8> = line.iter().flat_map(|v| v.to_le_bytes()).collect();
        let wanted = |there: usize| -> Vec<u32> {
            let byte = |i| if i < there { bytes[i] } else { 0 };
            let word = |w: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| byte(4 * w + i)));
            (0..4).map(word).collect()
        };
        assert_eq!(part[4 * thread..][..4], wanted(thread % 17), "{thread}");
        let there = if thread % 2 == 1 { 0 } else { 16 };
        assert_eq!(none[4 * thread..][..4], wanted(there), "{thread}");
    }
}

#[test]
fn copies_want_their_alignment() {
    let body = format!("{OUT} cp.async.cg.shared.global [%r4], [%rd4+8], 16;");
    let fault = run(&body, 1, &[0; 16]).unwrap_err();
    assert!(matches!(fault, Fault::Misaligned { .. }), "{fault}");
    let body = format!("{OUT} cp.async.cg.shared.global [%r4+16384], [%rd4], 16;");
    let fault = run(&body, 1, &[0; 16]).unwrap_err();
    assert!(matches!(fault, Fault::Address { .. }), "{fault}");
}

#[test]
fn a_warp_fills_what_another_empties() {
    // The first warp writes a row at a time, the second adds it up when it is told, and says so. Both barriers go through 20 phases:
    // one is asked by the state that arriving has given, the other by its parity.
    let body = "setp.eq.u32 %p1, %r1, 0; mov.u32 %r10, bar; mov.u32 %r11, free;
        @%p1 mbarrier.init.shared::cta.b64 [%r10], 32; @%p1 mbarrier.init.shared.b64 [free], 32; fence.mbarrier_init.release.cluster; bar.sync 0;
        mov.u32 %r5, 0; mov.u32 %r6, 0; setp.ge.u32 %p2, %r1, 32; and.b32 %r7, %r1, 31; shl.b32 %r8, %r7, 2; add.u32 %r8, %r2, %r8;
        @%p2 bra $take;
        $give: mad.lo.u32 %r9, %r5, 100, %r7; st.shared.u32 [%r8], %r9;
        mbarrier.arrive.release.cta.shared::cta.b64 _, [%r10];
        $room: and.b32 %r12, %r5, 1; mbarrier.test_wait.parity.shared.b64 %p3, [%r11], %r12; @!%p3 bra $room;
        add.u32 %r5, %r5, 1; setp.lt.u32 %p4, %r5, 20; @%p4 bra $give; bra $end;
        $take: and.b32 %r12, %r5, 1; mbarrier.try_wait.parity.shared::cta.b64 %p3, [bar], %r12, 1000; @!%p3 bra $take;
        ld.shared.u32 %r9, [%r8]; mad.lo.u32 %r6, %r6, 3, %r9;
        mbarrier.arrive.shared.b64 %rd9, [%r11]; mbarrier.pending_count.b64 %r13, %rd9;
        $told: mbarrier.test_wait.shared.b64 %p3, [free], %rd9; @!%p3 bra $told;
        add.u32 %r5, %r5, 1; setp.lt.u32 %p4, %r5, 20; @%p4 bra $take;
        mul.wide.u32 %rd3, %r7, 8; add.u64 %rd5, %rd2, %rd3; st.global.v2.u32 [%rd5], {%r6, %r13};
        $end: bar.sync 0; @%p1 mbarrier.inval.shared.b64 [%r10];";
    let result = run(body, 64, &[0; 64]).unwrap();
    for lane in 0..32_u32 {
        let sum = (0..20).fold(0_u32, |s, i| s.wrapping_mul(3).wrapping_add(100 * i + lane));
        // Lanes arrive in order: as many are still to come as have not.
        assert_eq!(result[2 * lane as usize..][..2], [sum, 32 - lane], "{lane}");
    }
}

#[test]
fn who_drops_out_is_not_waited_for() {
    // Of 64 threads half drop out in each phase but the last ones; the phase is over when those that are left have come.
    let body = "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 64; bar.sync 0; mov.u32 %r5, 0; mov.u32 %r6, 32;
        $next: setp.ge.u32 %p2, %r1, %r6; @%p2 mbarrier.arrive_drop.shared.b64 %rd8, [bar]; @!%p2 mbarrier.arrive.shared.b64 %rd8, [bar];
        $wait: mbarrier.test_wait.shared.b64 %p3, [bar], %rd8; @!%p3 bra $wait;
        add.u32 %r5, %r5, 1; shr.u32 %r6, %r6, 1; @%p2 bra $out; setp.gt.u32 %p4, %r6, 0; @%p4 bra $next;
        $out: shl.b32 %r3, %r1, 2; cvt.u64.u32 %rd3, %r3; add.u64 %rd5, %rd2, %rd3; st.global.u32 [%rd5], %r5;";
    let result = run(body, 64, &[0; 64]).unwrap();
    let wanted = |thread: u32| match thread {
        0 => 6,
        t => 6 - (31 - t.leading_zeros()),
    };
    assert_eq!(result, (0..64).map(wanted).collect::<Vec<u32>>());
}

#[test]
fn a_bulk_copy_is_awaited_at_a_barrier() {
    let values: Vec<u32> = (0..256).map(|i| i * i).collect();
    let body = format!(
        "{OUT} setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 64; bar.sync 0; @!%p1 bra $come;
         mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 %rd8, [bar], 1024; mov.u32 %r10, bar; mov.u32 %r11, 1008;
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1], 16, [%r10];
         add.u64 %rd9, %rd1, 16; add.u32 %r12, %r2, 16;
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r12], [%rd9], %r11, [%r10]; bra $wait;
         $come: mbarrier.arrive.shared.b64 %rd8, [bar];
         $wait: mbarrier.try_wait.shared.b64 %p3, [bar], %rd8; @!%p3 bra $wait; {BACK}
         bar.sync 0; st.shared.u32 [%r4], %r1; fence.proxy.async; bar.sync 0; @!%p1 bra $end;
         cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r2], 512; cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; $end:"
    );
    let result = run(&body, 64, &values).unwrap();
    let wanted = |i: usize| match i {
        i if i < 128 && i % 4 == 0 => i as u32 / 4,
        i => values[i],
    };
    assert_eq!(result, (0..256).map(wanted).collect::<Vec<u32>>());
}

#[test]
fn an_address_says_where_it_lies() {
    let body = "mov.u64 %rd3, s; cvta.shared.u64 %rd3, %rd3; mov.u32 %r5, 0; .local .align 4 .b8 l[4]; mov.u64 %rd4, l; cvta.local.u64 %rd4, %rd4;
        isspacep.shared %p1, %rd3; @%p1 or.b32 %r5, %r5, 1; isspacep.shared::cta %p1, %rd1; @!%p1 or.b32 %r5, %r5, 2;
        isspacep.global %p1, %rd1; @%p1 or.b32 %r5, %r5, 4; isspacep.global %p1, %rd3; @!%p1 or.b32 %r5, %r5, 8;
        isspacep.local %p1, %rd4; @%p1 or.b32 %r5, %r5, 16; isspacep.local %p1, %rd1; @!%p1 or.b32 %r5, %r5, 32;
        isspacep.global %p1, %rd4; @!%p1 or.b32 %r5, %r5, 64; st.global.u32 [%rd2], %r5;";
    assert_eq!(run(body, 1, &[0]).unwrap(), [127]);
}
