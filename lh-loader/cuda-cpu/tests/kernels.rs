//! Kernels in PTX, run on processors and compared with what the same is on the host.

mod device;

use cuda_cpu::exec::Fault;
use device::Test;

const HEAD: &str = ".version 8.0\n.target sm_90\n.address_size 64\n";

/// A kernel of the name `k`.
fn kernel(params: &str, body: &str) -> String {
    format!(
        "{HEAD}.visible .entry k({params}) {{ .reg .pred %p<9>; .reg .b32 %r<19>; .reg .b64 %rd<19>; .reg .f32 %f<9>; {body} }}"
    )
}

/// `%r1` is the thread's number in the grid, `%rd1` the first parameter.
const NUMBER: &str =
    "ld.param.u64 %rd1, [a]; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; \
                      mad.lo.s32 %r1, %r2, %r3, %r4;";

/// Runs a kernel that writes an integer for each thread.
fn each(body: &str, grid: u32, block: u32) -> Vec<u32> {
    let device = Test::default();
    let n = (grid * block) as usize;
    let out = device.memory(4 * n);
    let tail =
        "mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r10; ret;";
    let text = kernel(".param .u64 a", &format!("{NUMBER} {body} {tail}"));
    device
        .run(&text, "k", [grid, 1, 1], [block, 1, 1], &[out])
        .unwrap();
    device.get(out, n)
}

#[test]
fn threads_part_and_join() {
    // The Collatz sequence's length: each thread goes round as often as its number wants.
    let body = "mov.u32 %r10, 0; add.u32 %r5, %r1, 1;
        $loop: setp.le.u32 %p1, %r5, 1; @%p1 bra $end;
        and.b32 %r6, %r5, 1; setp.eq.u32 %p2, %r6, 0; @%p2 bra $even;
        mad.lo.u32 %r5, %r5, 3, 1; bra.uni $next;
        $even: shr.u32 %r5, %r5, 1;
        $next: add.u32 %r10, %r10, 1; bra $loop;
        $end: bar.warp.sync -1;";
    let length = |mut n: u32| {
        let mut steps = 0;
        while n > 1 {
            n = if n.is_multiple_of(2) {
                n / 2
            } else {
                3 * n + 1
            };
            steps += 1;
        }
        steps
    };
    let wanted: Vec<u32> = (1..=3 * 70).map(length).collect();
    assert_eq!(each(body, 3, 70), wanted);
}

#[test]
fn a_thread_waits_for_another_of_its_warp() {
    // A lock that every thread of a warp takes in turn.
    let device = Test::default();
    let (lock, count) = (device.memory(4), device.memory(4));
    let body = "ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b];
        $try: atom.global.cas.b32 %r1, [%rd1], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra $try;
        ld.volatile.global.u32 %r2, [%rd2]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%rd2], %r2; membar.gl;
        atom.global.exch.b32 %r3, [%rd1], 0; ret;";
    let text = kernel(".param .u64 a, .param .u64 b", body);
    device
        .run(&text, "k", [4, 1, 1], [96, 1, 1], &[lock, count])
        .unwrap();
    assert_eq!(device.get::<u32>(count, 1), [4 * 96]);
}

/// A block stores vectors whose parts are alike, and another sees them so: scans put a value and its state into one.
#[test]
fn a_vector_is_stored_and_loaded_at_once() {
    for (vector, bits) in [("v2.u64", 64), ("v4.u32", 32)] {
        let device = Test::default();
        let (pair, bad) = (device.memory(16), device.memory(4));
        let (r, ty) = if bits == 64 {
            ("%rd", "u64")
        } else {
            ("%r", "u32")
        };
        let parts = |n: usize| {
            if bits == 64 {
                format!("{{{r}{n}, {r}{}}}", n + 1)
            } else {
                format!("{{{r}{n}, {r}{}, {r}{}, {r}{}}}", n + 1, n + 2, n + 3)
            }
        };
        let same = |n: usize| format!("{{{}}}", vec![format!("{r}{n}"); 128 / bits].join(", "));
        let last = 10 + 128 / bits - 1;
        let body = format!(
            "ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; mov.u32 %r1, %ctaid.x; mov.u32 %r2, 0; mov.u32 %r3, 0;
            setp.ne.u32 %p1, %r1, 0; @%p1 bra $reader;
            $write: cvt.u64.u32 %rd5, %r2; mov.u32 %r5, %r2; st.relaxed.gpu.{vector} [%rd1], {stored};
            add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, 400000; @%p2 bra $write; ret;
            $reader: ld.relaxed.gpu.{vector} {loaded}, [%rd1]; setp.ne.{ty} %p3, {r}10, {r}{last}; @%p3 add.u32 %r3, %r3, 1;
            add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, 400000; @%p2 bra $reader; st.global.u32 [%rd2], %r3; ret;",
            stored = same(5), loaded = parts(10),
        );
        let text = kernel(".param .u64 a, .param .u64 b", &body);
        device
            .run(&text, "k", [2, 1, 1], [1, 1, 1], &[pair, bad])
            .unwrap();
        assert_eq!(device.get::<u32>(bad, 1), [0], "{vector}");
    }
}

/// Both orders of a vote's parts, of which ptxas takes the second too.
#[test]
fn votes_are_known_in_either_order() {
    for name in ["vote.sync.ballot.b32", "vote.ballot.sync.b32"] {
        let body = format!("setp.lt.u32 %p1, %r4, 5; {name} %r10, %p1, 0xffffffff;");
        assert_eq!(each(&body, 1, 32), [31; 32], "{name}");
    }
}

#[test]
fn blocks_share_memory_and_meet_at_barriers() {
    // Each block turns its part round.
    let body =
        ".shared .align 4 .b8 s[400]; mov.u32 %r5, s; shl.b32 %r6, %r4, 2; add.u32 %r6, %r5, %r6;
        st.shared.u32 [%r6], %r1; bar.sync 0;
        sub.u32 %r7, %r3, %r4; sub.u32 %r7, %r7, 1; shl.b32 %r7, %r7, 2; add.u32 %r7, %r5, %r7;
        ld.shared.u32 %r10, [%r7];";
    let wanted: Vec<u32> = (0..5)
        .flat_map(|b| (0..100).rev().map(move |i| b * 100 + i))
        .collect();
    assert_eq!(each(body, 5, 100), wanted);
}

#[test]
fn a_launch_s_own_shared_memory() {
    let device = Test::default();
    let out = device.memory(4);
    let text = format!(
        "{HEAD}.extern .shared .align 16 .b8 d[]; .visible .entry k(.param .u64 a) {{ .reg .b32 %r<5>; .reg .b64 %rd<9>;
         .shared .align 4 .b32 own; ld.param.u64 %rd1, [a]; mov.u32 %r1, 7; st.shared.u32 [own], %r1;
         mov.u64 %rd2, d; cvta.shared.u64 %rd3, %rd2; mov.u32 %r2, 5; st.u32 [%rd3+1020], %r2; ld.shared.u32 %r3, [d+1020];
         ld.shared.u32 %r4, [own]; mad.lo.u32 %r3, %r3, 10, %r4; st.global.u32 [%rd1], %r3; ret; }}"
    );
    device
        .run(&text, "k", [1, 1, 1], [1, 1, 1], &[out])
        .unwrap();
    assert_eq!(device.get::<u32>(out, 1), [57]);
    let beyond = text.replace("[d+1020]", "[d+1024]");
    let fault = device
        .run(&beyond, "k", [1, 1, 1], [1, 1, 1], &[out])
        .unwrap_err();
    assert!(matches!(fault, Fault::Address { .. }), "{fault}");
}

#[test]
fn barriers_count_and_ask() {
    let body = "and.b32 %r5, %r4, 3; setp.eq.u32 %p1, %r5, 0; bar.red.popc.u32 %r10, 0, %p1;
        bar.red.or.pred %p2, 0, %p1; selp.b32 %r6, 1000, 0, %p2; add.u32 %r10, %r10, %r6;
        bar.red.and.pred %p3, 0, %p1; selp.b32 %r6, 10000, 0, %p3; add.u32 %r10, %r10, %r6;";
    assert_eq!(each(body, 2, 80), vec![1020; 160]);
}

#[test]
fn what_never_comes_is_not_waited_for() {
    let device = Test::default();
    let text = kernel(
        ".param .u64 a",
        "mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 0; @%p1 bar.sync 1, 64; ret;",
    );
    let fault = device
        .run(&text, "k", [1, 1, 1], [64, 1, 1], &[0])
        .unwrap_err();
    assert!(matches!(fault, Fault::Deadlock { .. }), "{fault}");
}

#[test]
fn warps_shuffle_vote_and_match() {
    let body = "mov.u32 %r10, %r1;
        shfl.sync.bfly.b32 %r5|%p1, %r10, 16, 31, -1; add.u32 %r10, %r10, %r5;
        shfl.sync.down.b32 %r5|%p1, %r10, 8, 31, -1; @%p1 add.u32 %r10, %r10, %r5;
        and.b32 %r6, %r4, 1; setp.eq.u32 %p2, %r6, 0; vote.sync.ballot.b32 %r7, %p2, -1; popc.b32 %r7, %r7;
        match.any.sync.b32 %r8, %r6, -1; popc.b32 %r8, %r8; redux.sync.max.u32 %r9, %r4, -1;
        mad.lo.u32 %r10, %r10, 100, %r7; add.u32 %r10, %r10, %r8; add.u32 %r10, %r10, %r9;";
    let wanted = |i: u32| {
        let one = |i: u32| i + (i ^ 16);
        let lane = i % 32;
        let sum = if lane + 8 < 32 {
            one(i) + one(i + 8)
        } else {
            one(i)
        };
        sum * 100 + 16 + 16 + (i / 32 % 2) * 32 + 31
    };
    assert_eq!(each(body, 2, 64), (0..128).map(wanted).collect::<Vec<_>>());
}

#[test]
fn threads_that_went_apart_meet_to_shuffle() {
    let body = "setp.lt.u32 %p1, %r4, 5; @%p1 bra $few; mul.lo.u32 %r5, %r4, 3; bra $all;
        $few: mov.u32 %r5, 7; $all: shfl.sync.idx.b32 %r10, %r5, 31, 31, -1;";
    assert_eq!(each(body, 1, 32), vec![93; 32]);
}

/// Each eight threads name a mask of their own, and meet with these alone: after different numbers of steps, in a loop that
/// some leave earlier, and with what has ended.
#[test]
fn parts_of_a_warp_vote_for_themselves() {
    let mask = "and.b32 %r5, %r4, 24; shl.b32 %r6, 255, %r5;";
    let tile = |i: u32| i & !7..(i | 7) + 1;
    let odd = "mul.lo.u32 %r7, %r4, 37; shr.u32 %r8, %r7, 2; and.b32 %r8, %r8, 1; setp.eq.u32 %p1, %r8, 1;";
    let is_odd = |i: u32| i * 37 / 4 % 2 == 1;
    let yes = |i: u32| {
        tile(i)
            .filter(|j| is_odd(*j))
            .fold(0u32, |all, j| all | 1 << (j % 32))
    };
    // From one to 31 rounds before the vote, and another vote after each.
    let body = format!(
        "{mask} {odd} mov.u32 %r9, 0; mov.u32 %r10, 0;
        $loop: vote.sync.ballot.b32 %r11, %p1, %r6; add.u32 %r10, %r10, %r11; add.u32 %r9, %r9, 1;
        mul.hi.u32 %r12, %r4, 0x20000000; mad.lo.u32 %r12, %r12, 7, 3; setp.lt.u32 %p2, %r9, %r12; @%p2 bra $loop;
        vote.sync.any.pred %p3, %p1, %r6; vote.sync.all.pred %p4, %p1, %r6; selp.b32 %r11, 1, 0, %p3; @%p4 add.u32 %r11, %r11, 2;
        add.u32 %r10, %r10, %r11; match.any.sync.b32 %r12, %r8, %r6; add.u32 %r10, %r10, %r12;
        match.all.sync.b32 %r12|%p5, %r5, %r6; add.u32 %r10, %r10, %r12; redux.sync.add.u32 %r13, %r7, %r6;
        add.u32 %r10, %r10, %r13; elect.sync %r14|%p6, %r6; add.u32 %r10, %r10, %r14; @%p6 add.u32 %r10, %r10, 1000;"
    );
    let wanted = |i: u32| {
        let votes = yes(i).wrapping_mul(i / 8 * 7 + 3);
        let any = tile(i).any(is_odd) as u32 + 2 * tile(i).all(is_odd) as u32;
        let same = tile(i)
            .filter(|j| is_odd(*j) == is_odd(i))
            .fold(0u32, |all, j| all | 1 << (j % 32));
        let all = 255u32 << (i & 24);
        let sum: u32 = tile(i).map(|j| j * 37).sum();
        let elected = (i & 24) + if i.is_multiple_of(8) { 1000 } else { 0 };
        [any, same, all, sum, elected]
            .iter()
            .fold(votes, |a, b| a.wrapping_add(*b))
    };
    assert_eq!(each(&body, 1, 64), (0..64).map(wanted).collect::<Vec<_>>());
    // Of each eight one comes last, from elsewhere; the others have not gone on without it.
    let body = format!(
        "{mask} {odd} mov.u32 %r9, 0; and.b32 %r11, %r4, 7; shr.u32 %r12, %r4, 3; and.b32 %r12, %r12, 7;
        setp.ne.u32 %p2, %r11, %r12; @%p2 bra $vote; $late: add.u32 %r9, %r9, 1; setp.lt.u32 %p3, %r9, 50; @%p3 bra $late;
        $vote: vote.sync.ballot.b32 %r10, %p1, %r6;"
    );
    assert_eq!(each(&body, 1, 64), (0..64).map(yes).collect::<Vec<_>>());
}

/// Thread 0 waits for thread 1, which waits at a later place for thread 2, which ends, and comes back only then.
#[test]
fn whom_the_ended_kept_waiting_goes_on_in_its_order() {
    let body = "mov.u32 %r10, 7; mov.u32 %r9, 0; setp.eq.u32 %p1, %r4, 0; setp.eq.u32 %p2, %r4, 1; @%p1 bra $first; @!%p2 bra $last;
        bra $second; $first: setp.ne.u32 %p3, %r4, 9; vote.sync.ballot.b32 %r10, %p3, 3; bra $end;
        $second: vote.sync.ballot.b32 %r10, %p2, 6; bra $first;
        $last: add.u32 %r9, %r9, 1; setp.lt.u32 %p3, %r9, 50; @%p3 bra $last; exit; $end:";
    let seen = each(body, 1, 3);
    assert_eq!(seen, [3, 3, 0]);
}

/// Threads that name each other and come to votes at different places: that is refused, for they would find out too little.
#[test]
fn votes_at_different_places_are_named() {
    let text = kernel(
        ".param .u64 a",
        "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 16; @%p1 bra $low; vote.sync.ballot.b32 %r2, %p1, -1; bra $end;
         $low: vote.sync.ballot.b32 %r2, %p1, -1; $end: ret;",
    );
    let device = Test::default();
    let run = |text: &str| device.run(text, "k", [1, 1, 1], [32, 1, 1], &[0]);
    let told = run(&text).unwrap_err().to_string();
    assert!(
        told.contains("at different places of the program"),
        "{told}"
    );
    // Each for itself, and to wait for each other alone.
    let apart = text.replace("vote.sync.ballot.b32 %r2, %p1, -1", "bar.warp.sync -1");
    run(&apart).unwrap();
    let own = "mov.u32 %r3, 0xffff; @!%p1 shl.b32 %r3, %r3, 16; @%p1 bra $low;";
    let own = text
        .replace("@%p1 bra $low;", own)
        .replace("%p1, -1", "%p1, %r3");
    run(&own).unwrap();
}

/// The halves of a warp come to the same step with barriers of their own, of which one needs others.
#[test]
fn parts_of_a_warp_come_to_barriers_of_their_own() {
    let body =
        "shr.u32 %r5, %r4, 4; and.b32 %r6, %r5, 1; add.u32 %r7, %r6, 1; setp.eq.u32 %p1, %r6, 0;
        barrier.red.popc.u32 %r10, %r7, 32, %p1;";
    let wanted = |i: u32| if (i / 16).is_multiple_of(2) { 32 } else { 0 };
    assert_eq!(each(body, 1, 64), (0..64).map(wanted).collect::<Vec<_>>());
}

#[test]
fn functions_call_themselves() {
    let text = format!(
        "{HEAD}.func (.param .b32 out) fib(.param .b32 n) {{ .reg .b32 %r<9>; .reg .pred %p1;
           ld.param.b32 %r1, [n]; setp.lt.u32 %p1, %r1, 2; @%p1 bra $small;
           {{ .param .b32 x; .param .b32 y; sub.u32 %r2, %r1, 1; st.param.b32 [x], %r2; call.uni (y), fib, (x);
              ld.param.b32 %r3, [y]; }}
           {{ .param .b32 x; .param .b32 y; sub.u32 %r2, %r1, 2; st.param.b32 [x], %r2; call.uni (y), fib, (x);
              ld.param.b32 %r4, [y]; }}
           add.u32 %r1, %r3, %r4; $small: st.param.b32 [out], %r1; ret; }}
         .visible .entry k(.param .u64 a) {{ .reg .b32 %r<9>; .reg .b64 %rd<9>; ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x;
           mov.u64 %rd4, fib;
           {{ .param .b32 x; .param .b32 y; st.param.b32 [x], %r1; call (y), %rd4, (x), shape; ld.param.b32 %r2, [y];
              shape: .callprototype (.param .b32 _) _ (.param .b32 _); }}
           mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r2; ret; }}"
    );
    // The prototype is needed where the call is.
    let text = {
        let proto = "shape: .callprototype (.param .b32 _) _ (.param .b32 _);";
        text.replace(proto, "")
            .replace("mov.u64 %rd4, fib;", &format!("{proto} mov.u64 %rd4, fib;"))
    };
    let device = Test::default();
    let out = device.memory(4 * 20);
    device
        .run(&text, "k", [1, 1, 1], [20, 1, 1], &[out])
        .unwrap();
    let mut wanted = vec![0, 1];
    (2..20).for_each(|i| wanted.push(wanted[i - 1] + wanted[i - 2]));
    assert_eq!(device.get::<u32>(out, 20), wanted);
    let endless = text.replace("setp.lt.u32 %p1, %r1, 2;", "setp.lt.u32 %p1, %r1, 0;");
    let fault = device
        .run(&endless, "k", [1, 1, 1], [20, 1, 1], &[out])
        .unwrap_err();
    assert!(matches!(fault, Fault::Stack { .. }), "{fault}");
}

/// A call of what the module only declares is a fault, not nothing.
#[test]
fn functions_that_nobody_defines_are_named() {
    let text = format!(
        "{HEAD}.extern .func (.param .b32 r) elsewhere (.param .b32 n);
        .entry k(.param .u64 a) {{ .reg .b32 %r<3>; .reg .b64 %rd<2>;
        {{ .param .b32 n; .param .b32 r; st.param.b32 [n], 1; call.uni (r), elsewhere, (n); ld.param.b32 %r1, [r]; }}
        ld.param.u64 %rd1, [a]; st.global.u32 [%rd1], %r1; ret; }}"
    );
    let device = Test::default();
    let out = device.put(&[7u32, 7]);
    let run = device.run(&text, "k", [1, 1, 1], [1, 1, 1], &[out]);
    let told = run.unwrap_err().to_string();
    assert!(told.contains("elsewhere is defined nowhere"), "{told}");
    assert_eq!(device.get::<u32>(out, 1), [7]);
}

#[test]
fn carries_go_on() {
    // (2^64 - 1) * 3 + 5 in 32-bit pieces, and a difference.
    let body = "mov.u32 %r5, 0xffffffff; mul.lo.u32 %r6, %r5, 3; mul.hi.u32 %r7, %r5, 3;
        mad.lo.cc.u32 %r7, %r5, 3, %r7; madc.hi.u32 %r8, %r5, 3, 0;
        add.cc.u32 %r6, %r6, 5; addc.cc.u32 %r7, %r7, 0; addc.u32 %r8, %r8, 0;
        sub.cc.u32 %r9, 3, 5; subc.u32 %r9, 7, 0;
        mad.lo.u32 %r10, %r8, 100, %r6; mad.lo.u32 %r10, %r7, 1000, %r10; mad.lo.u32 %r10, %r9, 100000, %r10;";
    let whole = u128::from(u64::MAX) * 3 + 5;
    let part = |i: u32| (whole >> (32 * i)) as u32;
    assert_eq!(
        each(body, 1, 1),
        [part(2) * 100 + part(0) + part(1) * 1000 + 600_000]
    );
}

/// What a subtraction leaves is that nothing was borrowed: an addition that reads it, as a division of 128 bits does, gets 1.
#[test]
fn additions_read_what_subtractions_leave() {
    let body = "sub.cc.u32 %r5, %r4, 7; subc.cc.u32 %r6, 9, 9; addc.u32 %r10, 0, 0; mul.lo.u32 %r10, %r10, 10;
        sub.cc.u32 %r5, %r4, 5; subc.u32 %r6, 1, 0; add.u32 %r10, %r10, %r6; mul.lo.u32 %r10, %r10, 10;
        add.cc.u32 %r5, %r4, -5; addc.u32 %r6, 0, 0; add.u32 %r10, %r10, %r6; mul.lo.u32 %r10, %r10, 10;
        cvt.u64.u32 %rd5, %r4; sub.cc.u64 %rd5, %rd5, 11; addc.u64 %rd6, 0, 0; cvt.u32.u64 %r6, %rd6; add.u32 %r10, %r10, %r6;
        mul.lo.u32 %r10, %r10, 10; sub.cc.s32 %r5, %r4, -3; madc.lo.u32 %r6, %r4, 0, 0; add.u32 %r10, %r10, %r6;";
    let bit = |yes: bool| u32::from(yes);
    let wanted = |i: u32| {
        let digits = [i >= 7, i >= 5, i >= 5, i >= 11, false].map(bit);
        digits.iter().fold(0, |all, d| 10 * all + d)
    };
    assert_eq!(each(body, 1, 32), (0..32).map(wanted).collect::<Vec<_>>());
}

#[test]
fn atomics_of_many_blocks() {
    let device = Test::default();
    let (sum, top, real) = (device.memory(4), device.memory(4), device.memory(8));
    let body = "ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [c]; mov.u32 %r2, %ctaid.x;
        mov.u32 %r4, %tid.x; mad.lo.s32 %r1, %r2, 128, %r4; red.global.add.u32 [%rd1], %r1; atom.max.s32 %r5, [%rd2], %r1;
        mov.f64 %fd1, 0d3FE0000000000000; atom.global.add.f64 %fd2, [%rd3], %fd1; ret;";
    let text = kernel(
        ".param .u64 a, .param .u64 b, .param .u64 c",
        &format!(".reg .f64 %fd<3>; {body}"),
    );
    device
        .run(&text, "k", [50, 1, 1], [128, 1, 1], &[sum, top, real])
        .unwrap();
    let n = 50 * 128u32;
    assert_eq!(device.get::<u32>(sum, 1), [(0..n).sum::<u32>()]);
    assert_eq!(device.get::<u32>(top, 1), [n - 1]);
    assert_eq!(device.get::<f64>(real, 1), [f64::from(n) / 2.0]);
}

#[test]
fn vectors_bytes_and_packing() {
    let device = Test::default();
    let data = device.put(&[-1i8, 2, -3, 4, 5, 6, 7, 8]);
    let out = device.memory(16);
    let body = "ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.global.s8 %r1, [%rd1+2]; ld.global.u8 %r2, [%rd1];
        ld.global.v2.u32 {%r3, %r4}, [%rd1]; mov.b64 %rd3, {%r4, %r3}; shr.u64 %rd3, %rd3, 8; cvt.u32.u64 %r3, %rd3;
        mov.b64 {_, %r5}, %rd3; st.global.v4.u32 [%rd2], {%r1, %r2, %r3, %r5}; ret;";
    let text = kernel(".param .u64 a, .param .u64 b", body);
    device
        .run(&text, "k", [1, 1, 1], [1, 1, 1], &[data, out])
        .unwrap();
    assert_eq!(
        device.get::<u32>(out, 4),
        [(-3i32) as u32, 0xff, 0xff08_0706, 0x0004_fd02]
    );
}

#[test]
fn printf_prints_as_libc_does() {
    let device = Test::default();
    let text = format!(
        "{HEAD}.extern .func (.param .b32 r) vprintf (.param .b64 f, .param .b64 v);
         .global .align 1 .b8 fmt[24] = {{37,48,53,100,124,37,46,51,102,124,37,108,108,120,124,37,115,124,37,37,10,0}};
         .global .align 1 .b8 word[4] = {{97,98,99,0}};
         .visible .entry k() {{ .local .align 8 .b8 depot[40]; .reg .b32 %r<3>; .reg .b64 %rd<9>;
           mov.u64 %rd1, depot; mov.u32 %r1, -42; st.local.u32 [%rd1], %r1; mov.u64 %rd2, 0d3FF8000000000000;
           st.local.u64 [%rd1+8], %rd2; mov.u64 %rd3, 0xabcdef0123; st.local.u64 [%rd1+16], %rd3; mov.u64 %rd4, word;
           cvta.global.u64 %rd4, %rd4; st.local.u64 [%rd1+24], %rd4; cvta.local.u64 %rd5, %rd1; mov.u64 %rd6, fmt;
           {{ .param .b64 p0; .param .b64 p1; .param .b32 q; st.param.b64 [p0], %rd6; st.param.b64 [p1], %rd5;
              call.uni (q), vprintf, (p0, p1); ld.param.b32 %r2, [q]; }} ret; }}"
    );
    device.run(&text, "k", [1, 1, 1], [2, 1, 1], &[]).unwrap();
    let line = "-0042|1.500|abcdef0123|abc|%\n";
    assert_eq!(
        String::from_utf8_lossy(&device.printed.lock().unwrap()),
        line.repeat(2)
    );
}

#[test]
fn faults_tell_where() {
    let device = Test::default();
    let text = |body: &str| {
        kernel(
            ".param .u64 a",
            &format!("\nld.param.u64 %rd1, [a];\n{body}\nret;"),
        )
    };
    let run = |body: &str, a: u64| {
        device
            .run(&text(body), "k", [1, 1, 1], [32, 1, 1], &[a])
            .unwrap_err()
    };
    let fault = run("ld.global.u32 %r1, [%rd1];", 0x10);
    assert_eq!(
        fault,
        Fault::Address {
            function: "k".into(),
            line: 6,
            address: 0x10
        }
    );
    let at = device.memory(8);
    assert!(matches!(
        run("ld.global.u32 %r1, [%rd1];", at + 2),
        Fault::Misaligned { line: 6, .. }
    ));
    assert!(matches!(
        run("st.global.u64 [%rd1+8], %rd1;", at),
        Fault::Address { .. }
    ));
    assert!(matches!(run("trap;", 0), Fault::Trap { line: 6, .. }));
    let unknown = run("wgmma.fence.sync.aligned;", 0).to_string();
    assert!(
        unknown.contains("line 6") && unknown.contains("wgmma.fence.sync.aligned"),
        "{unknown}"
    );
}

#[test]
fn a_table_of_branches() {
    let body = "and.b32 %r5, %r4, 3; ts: .branchtargets $a, $b, $c, $d; brx.idx %r5, ts;
        $a: mov.u32 %r10, 10; bra $e; $b: mov.u32 %r10, 20; bra $e; $c: mov.u32 %r10, 30; bra $e; $d: mov.u32 %r10, 40; $e:";
    assert_eq!(
        each(body, 1, 32),
        (0..32).map(|i| 10 * (i % 4 + 1)).collect::<Vec<_>>()
    );
}
