//! Products of matrices that a warp has together, in PTX, compared with what the host computes.

mod device;

use cuda_cpu::exec::Fault;
use device::Test;
use half::{bf16, f16};

const HEAD: &str = ".version 8.0\n.target sm_90\n.address_size 64\n";

/// Runs a warp over these bytes; gives so many values.
fn run<T: Copy>(body: &str, input: &[u8], n: usize) -> Result<Vec<T>, Fault> {
    let device = Test::default();
    let (from, to) = (device.put(input), device.memory(n * size_of::<T>()));
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 a, .param .u64 b) {{ .reg .pred %p<9>; .reg .b32 %r<60>; .reg .b64 %rd<30>; .reg .f64 %fd<9>;
         .shared .align 16 .b8 s[8192]; ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; mov.u32 %r1, %laneid;
         {body} ret; }}"
    );
    device.run(&text, "k", [1, 1, 1], [32, 1, 1], &[from, to])?;
    Ok(device.get(to, n))
}

/// A product, with what is added.
fn product(a: &[f64], b: &[f64], c: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let sum = |i: usize| {
        (0..k)
            .map(|j| a[i / n * k + j] * b[j * n + i % n])
            .sum::<f64>()
    };
    (0..m * n).map(|i| c[i] + sum(i)).collect()
}

/// Small numbers, all of them exact in every type, and their products and sums too.
fn numbers(n: usize, step: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * step) % 15) as f64 - 7.0).collect()
}

fn bytes<const N: usize>(values: &[f64], of: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| of(*v)).collect()
}

/// Such a matrix by columns.
fn turned(values: &[f64], columns: usize) -> Vec<f64> {
    let rows = values.len() / columns;
    (0..values.len())
        .map(|i| values[i % rows * columns + i / rows])
        .collect()
}

/// Names of registers from one on.
fn registers(from: usize, n: usize) -> String {
    let all: Vec<String> = (from..from + n).map(|i| format!("%r{i}")).collect();
    format!("{{{}}}", all.join(", "))
}

fn half(v: f64) -> [u8; 2] {
    f16::from_f64(v).to_le_bytes()
}

fn single(v: f64) -> [u8; 4] {
    (v as f32).to_le_bytes()
}

#[test]
fn wmma_multiplies_what_it_loads() {
    let bf = |v: f64| bf16::from_f64(v).to_le_bytes();
    for (shape, name) in [
        ([16, 16, 16], "m16n16k16"),
        ([32, 8, 16], "m32n8k16"),
        ([8, 32, 16], "m8n32k16"),
    ] {
        let [m, n, k] = shape;
        let (a, b, c) = (numbers(m * k, 7), numbers(k * n, 4), numbers(m * n, 11));
        let wanted: Vec<f32> = product(&a, &b, &c, shape)
            .iter()
            .map(|v| *v as f32)
            .collect();
        for (ty, types) in [("f16", "f32.f32"), ("bf16", "f32.bf16.bf16.f32")] {
            // The right one lies by columns.
            let [left, right] = [&a, &turned(&b, n)].map(|all| match ty {
                "f16" => bytes(all, half),
                _ => bytes(all, bf),
            });
            let input = [left, right, bytes(&c, single)].concat();
            // Of bf16 a thread has half as many registers, of other shapes more or less of them.
            let (na, nb) = match ty {
                "f16" => (8, 8),
                _ => (m / 4, n / 4),
            };
            let [ra, rb, rc] = [registers(2, na), registers(12, nb), registers(22, 8)];
            let (at_b, at_c) = (2 * m * k, 2 * (m * k + k * n));
            let body = format!(
                "add.u64 %rd3, %rd1, {at_b}; add.u64 %rd4, %rd1, {at_c}; mov.u32 %r50, {k}; mov.u32 %r51, {n};
                 wmma.load.a.sync.aligned.row.{name}.global.{ty} {ra}, [%rd1], %r50;
                 wmma.load.b.sync.aligned.col.{name}.global.{ty} {rb}, [%rd3], %r50;
                 wmma.load.c.sync.aligned.row.{name}.global.f32 {rc}, [%rd4], %r51;
                 wmma.mma.sync.aligned.row.col.{name}.{types} {rc}, {ra}, {rb}, {rc};
                 wmma.store.d.sync.aligned.row.{name}.global.f32 [%rd2], {rc}, %r51;"
            );
            assert_eq!(
                run::<f32>(&body, &input, m * n).unwrap(),
                wanted,
                "{name} {ty}"
            );
        }
    }
}

#[test]
fn wmma_adds_up_halves_and_integers() {
    let shape = [16, 16, 16];
    let (a, b, c) = (numbers(256, 7), numbers(256, 4), numbers(256, 11));
    let wanted = product(&a, &b, &c, shape);
    let input = [&a, &b, &c].map(|all| bytes(all, half)).concat();
    let [ra, rb, rc] = [registers(2, 8), registers(12, 8), registers(22, 4)];
    let body = format!(
        "wmma.load.a.sync.aligned.row.m16n16k16.f16 {ra}, [%rd1], 16; wmma.load.b.sync.aligned.row.m16n16k16.f16 {rb}, [%rd1+512], 16;
         wmma.load.c.sync.aligned.row.m16n16k16.f16 {rc}, [%rd1+1024], 16;
         wmma.mma.sync.aligned.row.row.m16n16k16.f16.f16 {rc}, {ra}, {rb}, {rc};
         wmma.store.d.sync.aligned.col.m16n16k16.f16 [%rd2], {rc}, 16;"
    );
    let found: Vec<f64> = run::<u16>(&body, &input, 256)
        .unwrap()
        .iter()
        .map(|v| f16::from_bits(*v).to_f64())
        .collect();
    assert_eq!(found, turned(&wanted, 16));
    let input = [&a, &b].map(|all| bytes(all, |v| [v as i8 as u8])).concat();
    let [ra, rb, rc] = [registers(2, 2), registers(12, 2), registers(22, 8)];
    let zeros: String = (22..30)
        .map(|r| format!("mov.b32 %r{r}, 0x7fffffff;"))
        .collect();
    for (end, top) in [(".satfinite", true), ("", false)] {
        let body = format!(
            "wmma.load.a.sync.aligned.row.m16n16k16.s8 {ra}, [%rd1], 16; wmma.load.b.sync.aligned.row.m16n16k16.s8 {rb}, [%rd1+256], 16; {zeros}
             wmma.mma.sync.aligned.row.row.m16n16k16.s32.s8.s8.s32{end} {rc}, {ra}, {rb}, {rc};
             wmma.store.d.sync.aligned.row.m16n16k16.s32 [%rd2], {rc}, 16;"
        );
        let sums = product(&a, &b, &[i32::MAX.into(); 256], shape);
        let wanted: Vec<i32> = sums
            .iter()
            .map(|v| if top { *v as i32 } else { *v as i64 as i32 })
            .collect();
        assert_eq!(run::<i32>(&body, &input, 256).unwrap(), wanted, "{end}");
    }
}

/// Stores the result of an `mma` of 16 by 8 where the ISA says that it is.
fn stored(from: usize) -> String {
    let one = |i: usize| {
        let r = from + i;
        format!(
            "shr.u32 %r40, %r1, 2; add.u32 %r40, %r40, {}; and.b32 %r41, %r1, 3; shl.b32 %r41, %r41, 1; add.u32 %r41, %r41, {};
             mad.lo.u32 %r40, %r40, 8, %r41; mul.wide.u32 %rd9, %r40, 4; add.u64 %rd9, %rd9, %rd2; st.global.u32 [%rd9], %r{r};",
            i / 2 * 8,
            i % 2
        )
    };
    (0..4).map(one).collect()
}

#[test]
fn mma_multiplies_what_ldmatrix_loads() {
    let shape = [16, 8, 16];
    let (a, b) = (numbers(256, 7), numbers(128, 4));
    let wanted: Vec<f32> = product(&a, &b, &[1.0; 128], shape)
        .iter()
        .map(|v| *v as f32)
        .collect();
    // The right one by columns as it is, or by rows and turned.
    for (right, load) in [
        (turned(&b, 8), "and.b32 %r30, %r1, 7; shr.u32 %r31, %r1, 3; and.b32 %r31, %r31, 1; mul.lo.u32 %r30, %r30, 32; mad.lo.u32 %r31, %r31, 16, %r30;
          add.u32 %r31, %r31, %r32; ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r10, %r11}, [%r31+512];"),
        (b.clone(), "and.b32 %r30, %r1, 15; mad.lo.u32 %r31, %r30, 16, %r32;
          ldmatrix.sync.aligned.m8n8.x2.trans.shared::cta.b16 {%r10, %r11}, [%r31+512];"),
    ] {
        let input = [&a, &right].map(|all| bytes(all, half)).concat();
        let body = format!(
            "mov.u32 %r32, s; mul.wide.u32 %rd3, %r1, 24; mad.lo.u32 %r33, %r1, 24, %r32; add.u64 %rd3, %rd3, %rd1;
             cp.async.ca.shared.global [%r33], [%rd3], 8; cp.async.ca.shared.global [%r33+8], [%rd3+8], 8; cp.async.ca.shared.global [%r33+16], [%rd3+16], 8;
             cp.async.wait_all; bar.warp.sync -1;
             and.b32 %r34, %r1, 15; shr.u32 %r35, %r1, 4; mul.lo.u32 %r34, %r34, 32; mad.lo.u32 %r2, %r35, 16, %r34; add.u32 %r2, %r2, %r32;
             ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r2, %r3, %r4, %r5}}, [%r2]; {load}
             mov.b32 %r6, 0f3f800000; mov.b32 %r7, %r6; mov.b32 %r8, %r6; mov.b32 %r9, %r6;
             mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%r6, %r7, %r8, %r9}}, {{%r2, %r3, %r4, %r5}}, {{%r10, %r11}}, {{%r6, %r7, %r8, %r9}}; {}",
            stored(6)
        );
        assert_eq!(run::<f32>(&body, &input, 128).unwrap(), wanted);
    }
}

#[test]
fn mma_of_other_types() {
    // Of tf32 a thread has an element in a register; the last 13 bits are not looked at.
    let (a, b) = (numbers(128, 7), numbers(64, 4));
    let wanted: Vec<f32> = product(&a, &b, &[0.0; 128], [16, 8, 8])
        .iter()
        .map(|v| *v as f32)
        .collect();
    let dirty = |v: f64| ((v as f32).to_bits() | 0x1fff).to_le_bytes();
    let input = [bytes(&a, dirty), bytes(&b, dirty)].concat();
    let left: String = [(0, 0), (8, 0), (0, 4), (8, 4)]
        .iter()
        .enumerate()
        .map(|(i, (row, column))| {
            format!("add.u32 %r30, %r20, {row}; add.u32 %r31, %r21, {column}; mad.lo.u32 %r30, %r30, 8, %r31; mul.wide.u32 %rd3, %r30, 4; add.u64 %rd3, %rd3, %rd1; ld.global.u32 %r{}, [%rd3];", 2 + i)
        })
        .collect();
    let right: String = [0, 4]
        .iter()
        .enumerate()
        .map(|(i, row)| {
            format!("add.u32 %r30, %r21, {row}; mad.lo.u32 %r30, %r30, 8, %r20; mul.wide.u32 %rd3, %r30, 4; add.u64 %rd3, %rd3, %rd1; ld.global.u32 %r{}, [%rd3+512];", 6 + i)
        })
        .collect();
    let body = format!(
        "shr.u32 %r20, %r1, 2; and.b32 %r21, %r1, 3; {left} {right} mov.b32 %r10, 0; mov.b32 %r11, 0; mov.b32 %r12, 0; mov.b32 %r13, 0;
         mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {{%r10, %r11, %r12, %r13}}, {{%r2, %r3, %r4, %r5}}, {{%r6, %r7}}, {{%r10, %r11, %r12, %r13}}; {}",
        stored(10)
    );
    assert_eq!(run::<f32>(&body, &input, 128).unwrap(), wanted);
    // Double precision, 8 by 8.
    let (a, b) = (numbers(32, 7), numbers(32, 4));
    let wanted = product(&a, &b, &[0.5; 64], [8, 8, 4]);
    let input = [&a, &b].map(|all| bytes(all, f64::to_le_bytes)).concat();
    let body = "shr.u32 %r20, %r1, 2; and.b32 %r21, %r1, 3; mul.wide.u32 %rd3, %r1, 8; add.u64 %rd3, %rd3, %rd1; ld.global.f64 %fd1, [%rd3];
        mad.lo.u32 %r22, %r21, 8, %r20; mul.wide.u32 %rd3, %r22, 8; add.u64 %rd3, %rd3, %rd1; ld.global.f64 %fd2, [%rd3+256];
        mov.f64 %fd3, 0d3fe0000000000000; mov.f64 %fd4, %fd3;
        mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%fd3, %fd4}, {%fd1}, {%fd2}, {%fd3, %fd4};
        mul.wide.u32 %rd3, %r1, 16; add.u64 %rd3, %rd3, %rd2; st.global.v2.f64 [%rd3], {%fd3, %fd4};";
    assert_eq!(run::<f64>(body, &input, 64).unwrap(), wanted);
}

/// Bytes with and without a sign: each of the four pairs of types, at the places that the ISA says.
#[test]
fn mma_of_bytes() {
    let shape = [16, 8, 32];
    let (a, b) = (numbers(512, 7), numbers(256, 4));
    let byte = |v: f64| [v as i8 as u8];
    let input = [bytes(&a, byte), bytes(&turned(&b, 8), byte)].concat();
    let load = "shr.u32 %r20, %r1, 2; and.b32 %r21, %r1, 3; shl.b32 %r21, %r21, 2; mad.lo.u32 %r20, %r20, 32, %r21;
        cvt.u64.u32 %rd3, %r20; add.u64 %rd3, %rd3, %rd1;
        ld.global.u32 %r2, [%rd3]; ld.global.u32 %r3, [%rd3+256]; ld.global.u32 %r4, [%rd3+16]; ld.global.u32 %r5, [%rd3+272];
        ld.global.u32 %r10, [%rd3+512]; ld.global.u32 %r11, [%rd3+528];
        mov.b32 %r6, 3; mov.b32 %r7, 3; mov.b32 %r8, 3; mov.b32 %r9, 3;";
    let seen = |ty: &str, values: &[f64]| -> Vec<f64> {
        let unsigned = |v: &f64| {
            if ty == "u8" {
                f64::from(*v as i8 as u8)
            } else {
                *v
            }
        };
        values.iter().map(unsigned).collect()
    };
    for (left, right) in [("s8", "s8"), ("u8", "u8"), ("s8", "u8"), ("u8", "s8")] {
        let body = format!(
            "{load} mma.sync.aligned.m16n8k32.row.col.s32.{left}.{right}.s32 {{%r6, %r7, %r8, %r9}}, {{%r2, %r3, %r4, %r5}}, {{%r10, %r11}}, {{%r6, %r7, %r8, %r9}}; {}",
            stored(6)
        );
        let wanted = product(&seen(left, &a), &seen(right, &b), &[3.0; 128], shape);
        let wanted: Vec<i32> = wanted.iter().map(|v| *v as i32).collect();
        assert_eq!(
            run::<i32>(&body, &input, 128).unwrap(),
            wanted,
            "{left} by {right}"
        );
    }
}

#[test]
fn what_is_not_there_is_named() {
    let body = "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%r6, %r7, %r8, %r9}, {%r2, %r3, %r4, %r5}, {%r10, %r11}, {%r6, %r7, %r8, %r9};";
    let fault = run::<u32>(body, &[0; 16], 1).unwrap_err();
    assert!(
        matches!(&fault, Fault::Unknown { what, .. } if what.contains("e4m3")),
        "{fault}"
    );
}
