//! A part of an instruction's name that is not known is never ignored, and what is not there is refused.

use cuda_cpu::code::{Op, Program};
use cuda_cpu::ptx;
use std::collections::HashMap;

/// Instructions of each kind but those that do nothing, whatever they say: of order, hints and waiting.
#[rustfmt::skip]
const INSTRUCTIONS: &[&str] = &[
    "add.s32 %r1, %r2, %r3",
    "add.u64 %d1, %d2, %d3",
    "add.cc.u32 %r1, %r2, %r3",
    "addc.u32 %r1, %r2, %r3",
    "sub.s32 %r1, %r2, %r3",
    "sub.cc.u32 %r1, %r2, %r3",
    "subc.u32 %r1, %r2, %r3",
    "mul.lo.s32 %r1, %r2, %r3",
    "mul.hi.u32 %r1, %r2, %r3",
    "mul.wide.u32 %d1, %r2, %r3",
    "mul24.lo.u32 %r1, %r2, %r3",
    "mad.lo.s32 %r1, %r2, %r3, %r4",
    "mad.wide.u32 %d1, %r2, %r3, %d4",
    "mad.lo.cc.u32 %r1, %r2, %r3, %r4",
    "madc.lo.u32 %r1, %r2, %r3, %r4",
    "mad24.lo.u32 %r1, %r2, %r3, %r4",
    "sad.s32 %r1, %r2, %r3, %r4",
    "div.s32 %r1, %r2, %r3",
    "rem.u32 %r1, %r2, %r3",
    "abs.s32 %r1, %r2",
    "neg.s32 %r1, %r2",
    "min.s32 %r1, %r2, %r3",
    "max.u32 %r1, %r2, %r3",
    "popc.b32 %r1, %r2",
    "clz.b32 %r1, %r2",
    "bfind.u32 %r1, %r2",
    "fns.b32 %r1, %r2, %r3, %r4",
    "brev.b32 %r1, %r2",
    "bfe.u32 %r1, %r2, %r3, %r4",
    "bfi.b32 %r1, %r2, %r3, %r4, %r5",
    "bmsk.clamp.b32 %r1, %r2, %r3",
    "dp4a.u32.u32 %r1, %r2, %r3, %r4",
    "dp2a.lo.u32.u32 %r1, %r2, %r3, %r4",
    "and.b32 %r1, %r2, %r3",
    "or.pred %p1, %p2, %p3",
    "xor.b64 %d1, %d2, %d3",
    "not.b32 %r1, %r2",
    "cnot.b32 %r1, %r2",
    "lop3.b32 %r1, %r2, %r3, %r4, 0x96",
    "shf.l.wrap.b32 %r1, %r2, %r3, %r4",
    "shl.b32 %r1, %r2, %r3",
    "shr.s32 %r1, %r2, %r3",
    "prmt.b32 %r1, %r2, %r3, %r4",
    "add.f32 %f1, %f2, %f3",
    "add.rn.f64 %g1, %g2, %g3",
    "add.ftz.sat.f32 %f1, %f2, %f3",
    "sub.f32 %f1, %f2, %f3",
    "mul.f32 %f1, %f2, %f3",
    "fma.rn.f32 %f1, %f2, %f3, %f4",
    "fma.rn.f64 %g1, %g2, %g3, %g4",
    "mad.f32 %f1, %f2, %f3, %f4",
    "div.rn.f32 %f1, %f2, %f3",
    "div.approx.f32 %f1, %f2, %f3",
    "abs.f32 %f1, %f2",
    "neg.f32 %f1, %f2",
    "min.f32 %f1, %f2, %f3",
    "max.f64 %g1, %g2, %g3",
    "rcp.rn.f32 %f1, %f2",
    "rcp.approx.ftz.f64 %g1, %g2",
    "sqrt.rn.f32 %f1, %f2",
    "rsqrt.approx.f32 %f1, %f2",
    "sin.approx.f32 %f1, %f2",
    "cos.approx.f32 %f1, %f2",
    "lg2.approx.f32 %f1, %f2",
    "ex2.approx.f32 %f1, %f2",
    "tanh.approx.f32 %f1, %f2",
    "copysign.f32 %f1, %f2, %f3",
    "testp.finite.f32 %p1, %f2",
    "add.f16 %h1, %h2, %h3",
    "mul.f16x2 %r1, %r2, %r3",
    "fma.rn.f16 %h1, %h2, %h3, %h4",
    "fma.rn.bf16x2 %r1, %r2, %r3, %r4",
    "neg.f16x2 %r1, %r2",
    "abs.bf16 %h1, %h2",
    "min.f16 %h1, %h2, %h3",
    "max.bf16x2 %r1, %r2, %r3",
    "tanh.approx.f16 %h1, %h2",
    "ex2.approx.f16x2 %r1, %r2",
    "min.s16x2 %r1, %r2, %r3",
    "add.u16x2 %r1, %r2, %r3",
    "setp.lt.s32 %p1, %r2, %r3",
    "setp.eq.and.f32 %p1, %f2, %f3, %p2",
    "set.lt.u32.s32 %r1, %r2, %r3",
    "selp.b32 %r1, %r2, %r3, %p1",
    "slct.s32.s32 %r1, %r2, %r3, %r4",
    "setp.lt.f16x2 %p1|%p2, %r2, %r3",
    "set.eq.f16.f16 %h1, %h2, %h3",
    "mov.u32 %r1, %r2",
    "mov.b64 %d1, {%r2, %r3}",
    "cvt.u32.s32 %r1, %r2",
    "cvt.rn.f32.f64 %f1, %g2",
    "cvt.rzi.s32.f32 %r1, %f2",
    "cvt.sat.u8.s32 %r1, %r2",
    "cvt.rn.f16x2.f32 %r1, %f2, %f3",
    "cvt.rn.f16.f32 %h1, %f2",
    "cvt.rn.satfinite.e4m3x2.f32 %h1, %f2, %f3",
    "cvt.rn.f16x2.e4m3x2 %r1, %h2",
    "cvt.rn.bf16x2.f32 %r1, %f2, %f3",
    "cvta.global.u64 %d1, %d2",
    "cvta.to.shared.u64 %d1, %d2",
    "isspacep.global %p1, %d2",
    "ld.global.u32 %r1, [%d1]",
    "ld.shared.v2.u32 {%r1, %r2}, [%d1]",
    "ld.param.u64 %d1, [p]",
    "ld.volatile.global.u32 %r1, [%d1]",
    "ld.global.nc.u32 %r1, [%d1]",
    "ld.relaxed.gpu.global.u32 %r1, [%d1]",
    "ldu.global.u32 %r1, [%d1]",
    "st.global.u32 [%d1], %r2",
    "st.shared.v4.f32 [%d1], {%f1, %f2, %f3, %f4}",
    "st.release.sys.global.u32 [%d1], %r2",
    "atom.global.add.u32 %r1, [%d1], %r2",
    "atom.global.cas.b32 %r1, [%d1], %r2, %r3",
    "atom.shared.exch.b64 %d1, [%d2], %d3",
    "atom.global.add.f32 %f1, [%d1], %f2",
    "atom.global.add.noftz.f16x2 %r1, [%d1], %r2",
    "red.global.add.u32 [%d1], %r2",
    "red.global.max.s32 [%d1], %r2",
    "vote.sync.ballot.b32 %r1, %p1, %r2",
    "vote.sync.any.pred %p1, %p2, %r2",
    "match.any.sync.b32 %r1, %r2, %r3",
    "match.all.sync.b32 %r1|%p1, %r2, %r3",
    "redux.sync.add.u32 %r1, %r2, %r3",
    "shfl.sync.idx.b32 %r1|%p1, %r2, %r3, %r4, %r5",
    "activemask.b32 %r1",
    "elect.sync %r1|%p1, %r2",
    "bar.sync 0",
    "bar.arrive 1, 64",
    "bar.red.popc.u32 %r1, 0, %p1",
    "barrier.sync 0",
    "bar.warp.sync %r1",
    "trap",
    "exit",
    "ret",
    "bra LAST",
    "mbarrier.init.shared.b64 [%d1], %r1",
    "mbarrier.inval.shared.b64 [%d1]",
    "mbarrier.arrive.shared.b64 %d1, [%d2]",
    "mbarrier.expect_tx.relaxed.cta.shared.b64 [%d1], %r1",
    "mbarrier.test_wait.shared.b64 %p1, [%d1], %d2",
    "mbarrier.try_wait.parity.shared.b64 %p1, [%d1], %r1",
    "mbarrier.pending_count.b64 %r1, %d1",
    "cp.async.ca.shared.global [%d1], [%d2], 16",
    "cp.async.cg.shared.global.L2::128B [%d1], [%d2], 16",
    "cp.async.commit_group",
    "cp.async.wait_group 0",
    "cp.async.wait_all",
    "cp.async.mbarrier.arrive.noinc.shared.b64 [%d1]",
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%d1], [%d2], %r1, [%d3]",
    "cp.async.bulk.commit_group",
    "cp.async.bulk.wait_group 0",
    "cp.async.bulk.global.shared::cta.bulk_group [%d1], [%d2], %r1",
    "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%d1]",
    "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%d1], {%r1}",
    "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3}, {%f5,%f6,%f7,%f8}",
    "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%r7}, {%r1,%r2,%r3,%r4}",
    "wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8}, [%d1], %r1",
    "wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%d1], {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8}, %r1",
    "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8}, {%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8}, {%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8}, {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8}",
    "tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%d1, {%f5,%f6}]",
    "tex.level.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%d1, {%f5,%f6}], %f7",
    "suld.b.2d.b32.trap %r1, [%d1, {%r2,%r3}]",
    "sust.b.2d.b32.trap [%d1, {%r2,%r3}], %r1",
];

/// What is not there: most would do something else without one of their parts.
#[rustfmt::skip]
const MISSING: &[&str] = &[
    "szext.wrap.s32 %r1, %r2, %r3",
    "cvt.pack.sat.s16.s32 %r1, %r2, %r3",
    "setmaxnreg.inc.sync.aligned.u32 40",
    "movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2",
    "txq.width.b32 %r1, [%d1]",
    "vadd2.s32.s32.s32 %r1, %r2, %r3, %r4",
    "vset4.u32.u32.eq %r1, %r2, %r3, %r4",
    "vadd.s32.s32.s32 %r1, %r2, %r3",
    "getctarank.u64 %d1, %d2",
    "mapa.u64 %d1, %d2, %r1",
    "barrier.cluster.arrive",
    "alloca.u64 %d1, %d2",
    "stacksave.u64 %d1",
    "createpolicy.fractional.L2::evict_last.b64 %d1, 0f3F800000",
    "istypep.texref %p1, %d1",
    "atom.global.cas.b128 %d1, [%d2], %d3, %d4",
    "atom.global.exch.b128 %d1, [%d2], %d3",
    "ld.global.b128 %d1, [%d2]",
    "tex.cube.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%d1, {%f5,%f6,%f7,%f8}]",
    "tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%d1, {%f5,%f6}], {%r1,%r2}",
    "tld4.r.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%d1, {%f5,%f6}]",
    "sust.p.2d.b32.trap [%d1, {%r2,%r3}], %r1",
    "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%d1], %r1, [%d2]",
    "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%d1], %r1, [%d2]",
    "redux.sync.min.abs.f32 %f1, %f2, %r1",
    "fma.rn.oob.f16 %h1, %h2, %h3, %h4",
    "cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%d1], [%d2, {%r1}], [%d3]",
    "cp.async.bulk.global.shared::cta.bulk_group.cp_mask [%d1], [%d2], %r1, %h1",
    "wmma.mma.sync.aligned.row.col.m8n8k4.rz.f64.f64.f64.f64 {%g1,%g2}, {%g3}, {%g4}, {%g5,%g6}",
    "wgmma.fence.sync.aligned",
    "mov.b64 %d1, %clock_hi",
    "cvt.rs.f16x2.f32 %r1, %f2, %f3, %r4",
];

/// Why an instruction is refused, if it is.
fn refused(instruction: &str) -> Option<String> {
    let text = format!(
        ".version 8.5\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<9>; \
         .reg .f32 %f<9>; .reg .b64 %d<9>; .reg .f64 %g<9>;\n {instruction};\nLAST: ret;\n}}\n"
    );
    let module = match ptx::parse(&text) {
        Ok(module) => module,
        Err(e) => return Some(format!("{e:?}")),
    };
    let program = Program::new(&module, &HashMap::new());
    program.codes[0].steps.iter().find_map(|s| match &s.op {
        Op::Unknown(why) => Some(why.clone()),
        _ => None,
    })
}

#[test]
fn parts_that_are_not_known_are_refused() {
    let mut ignored = Vec::new();
    for instruction in INSTRUCTIONS {
        assert_eq!(refused(instruction), None, "{instruction}");
        let (name, rest) = instruction.split_once(' ').unwrap_or((instruction, ""));
        for at in 1..=name.split('.').count() {
            let mut parts: Vec<&str> = name.split('.').collect();
            parts.insert(at, "other");
            let with = format!("{} {rest}", parts.join("."));
            ignored.extend(refused(&with).is_none().then_some(with));
        }
    }
    assert!(
        ignored.is_empty(),
        "{} taken:\n{}",
        ignored.len(),
        ignored.join("\n")
    );
}

#[test]
fn what_is_not_there_is_refused() {
    for instruction in MISSING {
        assert!(refused(instruction).is_some(), "{instruction}");
    }
}
