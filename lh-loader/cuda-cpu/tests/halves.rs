//! Comparisons of numbers of 16 bits, two in a register as well, and atomics of vectors; compared with what the same is on the host.

mod device;

use device::Test;

/// Pairs, the lower number first; in `f16` and `bf16`.
const NUMBERS: [(f32, f32); 6] = [
    (1.0, 2.0),
    (2.0, 1.0),
    (-1.5, -1.5),
    (0.0, -0.0),
    (f32::NAN, 1.0),
    (f32::INFINITY, f32::NAN),
];

/// The bits of such a number; all these are exact in both formats.
fn bits(format: &str, x: f32) -> u32 {
    if format.starts_with("bf16") {
        return x.to_bits() >> 16;
    }
    let (sign, x) = ((x.to_bits() >> 16) & 0x8000, x.abs());
    match x {
        x if x.is_nan() => 0x7fff,
        x if x.is_infinite() => sign | 0x7c00,
        0.0 => sign,
        x => sign | ((x.to_bits() >> 13) - (112 << 10)),
    }
}

/// Numbers and those that they are compared with, two in a register: `(a, b)` with `(c, d)`.
fn pairs(format: &str) -> Vec<[u32; 2]> {
    let two = |(low, high)| bits(format, low) | bits(format, high) << 16;
    let all = NUMBERS
        .iter()
        .flat_map(|a| NUMBERS.iter().map(|b| (*a, *b)));
    all.map(|(a, b)| [two(a), two(b)]).collect()
}

/// What a comparison gives for the lower numbers and for the upper ones.
fn wanted(how: fn(f32, f32) -> bool) -> Vec<[bool; 2]> {
    let all = NUMBERS
        .iter()
        .flat_map(|a| NUMBERS.iter().map(move |b| [how(a.0, b.0), how(a.1, b.1)]));
    all.collect()
}

type Comparison = (&'static str, fn(f32, f32) -> bool);

const COMPARISONS: [Comparison; 5] = [
    ("eq", |a, b| a == b),
    ("lt", |a, b| a < b),
    ("ge", |a, b| a >= b),
    ("gtu", |a, b| a > b || a.is_nan() || b.is_nan()),
    ("neu", |a, b| a != b),
];

/// Runs these instructions for all pairs, which are in `%r1` and `%r2`; what they leave in `%r3`.
fn each(format: &str, body: &str) -> Vec<u32> {
    let device = Test::default();
    let pairs = pairs(format);
    let (input, out) = (device.put(&pairs), device.memory(4 * pairs.len()));
    let text = format!(
        ".version 8.6\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 a, .param .u64 b) {{\n\
         .reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<9>; .reg .b64 %d<4>;\n\
         ld.param.u64 %d0, [a]; ld.param.u64 %d1, [b]; mov.u32 %r0, %tid.x; mul.wide.u32 %d2, %r0, 8; add.s64 %d0, %d0, %d2;\n\
         mul.wide.u32 %d2, %r0, 4; add.s64 %d1, %d1, %d2; ld.global.v2.u32 {{%r1, %r2}}, [%d0];\n{body}\n\
         st.global.u32 [%d1], %r3; ret; }}"
    );
    let block = [pairs.len() as u32, 1, 1];
    device
        .run(&text, "k", [1, 1, 1], block, &[input, out])
        .unwrap();
    device.get(out, pairs.len())
}

#[test]
fn set_of_two_halves_gives_two() {
    for (to, from, one) in [
        ("f16x2", "f16x2", 0x3c00),
        ("bf16x2", "bf16x2", 0x3f80),
        ("u32", "f16x2", 0xffff),
        ("u32", "bf16x2", 0xffff),
    ] {
        for (name, how) in COMPARISONS {
            let told = each(from, &format!("set.{name}.{to}.{from} %r3, %r1, %r2;"));
            let wanted = wanted(how);
            let wanted = wanted
                .iter()
                .map(|[low, high]| (u32::from(*low) * one) | ((u32::from(*high) * one) << 16));
            assert_eq!(told, wanted.collect::<Vec<_>>(), "set.{name}.{to}.{from}");
        }
    }
}

#[test]
fn set_of_a_half_gives_one() {
    for (to, from, one, register) in [
        ("f16", "f16", 0x3c00, "%h3"),
        ("bf16", "bf16", 0x3f80, "%h3"),
        ("u16", "bf16", 0xffff, "%h3"),
        ("f32", "f16", 0x3f80_0000, "%r3"),
        ("s32", "bf16", u32::MAX, "%r3"),
    ] {
        let widen = if register == "%h3" {
            "cvt.u32.u16 %r3, %h3;"
        } else {
            ""
        };
        for (name, how) in COMPARISONS {
            let told = each(
                from,
                &format!("mov.b32 {{%h0, %h2}}, %r1; mov.b32 {{%h1, %h2}}, %r2; set.{name}.{to}.{from} {register}, %h0, %h1; {widen}"),
            );
            let wanted: Vec<u32> = wanted(how)
                .iter()
                .map(|[low, _]| u32::from(*low) * one)
                .collect();
            assert_eq!(told, wanted, "set.{name}.{to}.{from}");
        }
    }
}

#[test]
fn setp_of_two_halves_gives_two_predicates() {
    for format in ["f16x2", "bf16x2"] {
        for (name, how) in COMPARISONS {
            let told = each(
                format,
                &format!("setp.{name}.{format} %p1|%p2, %r1, %r2; selp.u32 %r3, 1, 0, %p1; selp.u32 %r4, 2, 0, %p2; or.b32 %r3, %r3, %r4;"),
            );
            let wanted = wanted(how);
            let wanted = wanted
                .iter()
                .map(|[low, high]| u32::from(*low) + 2 * u32::from(*high));
            assert_eq!(told, wanted.collect::<Vec<_>>(), "setp.{name}.{format}");
        }
    }
}

type Sum = (&'static str, fn(f32, f32) -> f32);

/// `.sat`: between 0 and 1, and NaN is 0.
#[test]
fn saturated_arithmetic_is_between_nothing_and_one() {
    let clamped = |x: f32| if x > 0.0 { x.min(1.0) } else { 0.0 };
    let operations: [Sum; 4] = [
        ("add.sat", |a, b| a + b),
        ("sub.rn.sat", |a, b| a - b),
        ("mul.sat", |a, b| a * b),
        ("fma.rn.sat", |a, b| a.mul_add(b, a)),
    ];
    for (name, f) in operations {
        let third = if name.starts_with("fma") { ", %r1" } else { "" };
        let both = each("f16x2", &format!("{name}.f16x2 %r3, %r1, %r2{third};"));
        let third = third.replace("%r1", "%h0");
        let low = each(
            "f16",
            &format!("mov.b32 {{%h0, %h2}}, %r1; mov.b32 {{%h1, %h2}}, %r2; {name}.f16 %h3, %h0, %h1{third}; cvt.u32.u16 %r3, %h3;"),
        );
        let wanted = NUMBERS.iter().flat_map(|a| {
            let one = move |b: &(f32, f32)| [clamped(f(a.0, b.0)), clamped(f(a.1, b.1))];
            NUMBERS.iter().map(one)
        });
        for (i, [x, y]) in wanted.enumerate() {
            let [x, y] = [x, y].map(|x| bits("f16", x));
            assert_eq!([both[i], low[i]], [x | y << 16, x], "{name} {i}");
        }
    }
}

/// `.ftz`: subnormal numbers are nothing, of their sign, as they come and as they go.
#[test]
fn subnormal_halves_are_flushed() {
    for (body, plain, flushed) in [
        ("mov.b16 %h0, 0x0300; add@.f16 %h3, %h0, %h0;", 0x600, 0),
        ("mov.b16 %h0, 0x8400; mov.b16 %h1, 0x3800; mul@.f16 %h3, %h0, %h1;", 0x8200, 0x8000),
        ("mov.b16 %h0, 0x0300; neg@.f16 %h3, %h0;", 0x8300, 0x8000),
        ("mov.b16 %h0, 0x8300; abs@.f16 %h3, %h0;", 0x300, 0),
        ("mov.b16 %h0, 0x8300; mov.b16 %h1, 0; setp.lt@.f16 %p1, %h0, %h1; selp.b16 %h3, 1, 0, %p1;", 1, 0),
    ] {
        for (mode, wanted) in [("", plain), (".ftz", flushed)] {
            let body = format!("{} cvt.u32.u16 %r3, %h3;", body.replace('@', mode));
            assert_eq!(each("f16", &body)[0], wanted, "{body}");
        }
    }
}

/// Threads add to the same vectors: nothing is lost, and each part is its own. What was there is handed back.
#[test]
fn atomics_of_vectors_lose_nothing() {
    const THREADS: u32 = 64;
    for (op, from, parts) in [
        ("add.v2.f32", 1.0f32.to_bits(), 2),
        ("add.v4.f32", 1.0f32.to_bits(), 4),
        ("add.noftz.v2.f16x2", 0x3c00_3c00, 2),
        ("add.noftz.v4.bf16x2", 0x3f80_3f80, 4),
    ] {
        let device = Test::default();
        let (at, out) = (device.memory(16), device.memory(16 * THREADS as usize));
        let list = |first: u32| {
            (first..first + parts)
                .map(|i| format!("%r{i}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (added, before) = (list(2), list(6));
        // The second part has two added to it, every other one one.
        let doubled = if op.ends_with("f32") {
            2.0f32.to_bits()
        } else {
            0x4000_4000
        };
        let text = format!(
            ".version 8.6\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 a, .param .u64 b) {{\n\
             .reg .b32 %r<12>; .reg .b64 %d<4>;\n\
             ld.param.u64 %d0, [a]; ld.param.u64 %d1, [b]; mov.u32 %r0, %tid.x; mul.wide.u32 %d2, %r0, 16; add.s64 %d1, %d1, %d2;\n\
             mov.u32 %r2, {from}; mov.u32 %r3, {doubled}; mov.u32 %r4, {from}; mov.u32 %r5, {from};\n\
             atom.global.{op} {{{before}}}, [%d0], {{{added}}}; red.global.{op} [%d0], {{{added}}};\n\
             st.global.v{parts}.u32 [%d1], {{{before}}}; ret; }}"
        );
        device
            .run(&text, "k", [1, 1, 1], [THREADS, 1, 1], &[at, out])
            .unwrap();
        let value = |bits: u32| match op {
            _ if op.ends_with("bf16x2") => f32::from_bits(bits << 16),
            _ if op.ends_with("f16x2") && bits & 0x7fff == 0 => 0.0,
            _ if op.ends_with("f16x2") => f32::from_bits(((bits & 0x7fff) << 13) + (112 << 23)),
            _ => f32::from_bits(bits),
        };
        let sums: Vec<u32> = device.get(at, parts as usize);
        for (i, sum) in sums.into_iter().enumerate() {
            let wanted = (if i == 1 { 2.0 } else { 1.0 }) * 2.0 * THREADS as f32;
            let halves = if op.ends_with("x2") {
                vec![sum & 0xffff, sum >> 16]
            } else {
                vec![sum]
            };
            for half in halves {
                assert_eq!(value(half), wanted, "{op}, part {i}");
            }
        }
        let seen: Vec<u32> = device.get(out, 4 * THREADS as usize);
        let mut first: Vec<f32> = seen
            .chunks(4)
            .map(|v| {
                value(if op.ends_with("x2") {
                    v[0] & 0xffff
                } else {
                    v[0]
                })
            })
            .collect();
        first.sort_by(f32::total_cmp);
        assert!(
            first[0] == 0.0 && first.windows(2).all(|w| w[0] < w[1]),
            "{op}: {first:?}"
        );
    }
}
