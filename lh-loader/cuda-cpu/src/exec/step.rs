//! What a step does.

use super::block::Around;
use super::data::{address, extended};
use super::together::parts;
use super::warp::{lanes_of, Group, State, Warp};
use super::{print, Cause};
use crate::code::lanes::{Lanes, WARP};
use crate::code::*;
use std::time::{SystemTime, UNIX_EPOCH};

impl Warp {
    /// Does a step with some threads of the first group.
    #[inline(always)]
    pub fn step(
        &mut self,
        op: &Op,
        code: &Code,
        doing: u32,
        around: &mut Around,
    ) -> Result<(), Cause> {
        let Warp {
            frames,
            groups,
            scratch,
            ..
        } = self;
        let frame = &mut frames[groups[0].frame];
        match op {
            Op::One(f, d, a) => {
                f(scratch, frame.get(code, *a));
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Two(f, d, [a, b]) => {
                f(scratch, frame.get(code, *a), frame.get(code, *b));
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Three(f, d, [a, b, c]) => {
                f(
                    scratch,
                    frame.get(code, *a),
                    frame.get(code, *b),
                    frame.get(code, *c),
                );
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Compare {
                f,
                p,
                q,
                a: [a, b],
                with,
            } => {
                let yes = f(frame.get(code, *a), frame.get(code, *b));
                let combined = |yes| match with {
                    None => yes,
                    Some((how, test)) => both(*how, yes, frame.test(*test)),
                };
                let (yes, no) = (combined(yes), combined(!yes));
                if let Some(p) = p {
                    frame.set(*p, yes, doing);
                }
                if let Some(q) = q {
                    frame.set(*q, no, doing);
                }
            }
            Op::Branch(to) => {
                self.branch(doing, *to);
                return Ok(());
            }
            Op::Load {
                at,
                bytes,
                extend,
                d,
            } => self.load(at, *bytes, *extend, d, code, doing, around)?,
            Op::Store { at, bytes, values } => {
                let base = frame.get(code, at.base);
                if let ([value], u32::MAX) = (&values[..], doing) {
                    let from = frame.get(code, *value);
                    if around
                        .memory
                        .store_rows(from, base, at.offset, (*bytes).into(), at.shared)
                    {
                        self.groups[0].pc += 1;
                        return Ok(());
                    }
                }
                let (bits, size) = vector(*bytes, values.len());
                for lane in lanes_of(doing) {
                    let to = address(base, lane, at.offset, at.shared);
                    for (i, part) in values
                        .chunks((size / u64::from(*bytes)) as usize)
                        .enumerate()
                    {
                        let joined = part.iter().rev().fold(0, |all: u128, v| {
                            all << (bits % 128)
                                | u128::from(frame.get(code, *v).0[lane] & u64::MAX >> (64 - bits))
                        });
                        let to = to + i as u64 * size;
                        around.memory.store_vector(to, size, at.shared, joined)?;
                    }
                }
            }
            _ => return self.rare(op, code, doing, around),
        }
        self.groups[0].pc += 1;
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn load(
        &mut self,
        at: &Address,
        bytes: u8,
        extend: u8,
        d: &[Option<Slot>],
        code: &Code,
        doing: u32,
        around: &mut Around,
    ) -> Result<(), Cause> {
        let frame = &mut self.frames[self.groups[0].frame];
        let scratch = &mut self.scratch;
        if let ([Some(d)], u32::MAX, 0) = (d, doing, extend) {
            let base = frame.get(code, at.base);
            let memory = &mut around.memory;
            if memory.load_rows(scratch, base, at.offset, bytes.into(), at.shared)? {
                frame.registers[*d as usize].blend(scratch, doing);
                return Ok(());
            }
        }
        if let [d] = d {
            for lane in lanes_of(doing) {
                let from = address(frame.get(code, at.base), lane, at.offset, at.shared);
                let value = around.memory.load(from, bytes.into(), at.shared)?;
                scratch.0[lane] = extended(value, bytes, extend);
            }
            if let Some(d) = d {
                frame.registers[*d as usize].blend(scratch, doing);
            }
            return Ok(());
        }
        let (bits, size) = vector(bytes, d.len());
        // The base may be one of the registers that are loaded.
        let base = *frame.get(code, at.base);
        for (i, part) in d.chunks((size / u64::from(bytes)) as usize).enumerate() {
            let offset = at.offset + (i as u64 * size) as i64;
            let mut loaded = [0; WARP];
            for lane in lanes_of(doing) {
                let from = address(&base, lane, offset, at.shared);
                loaded[lane] = around.memory.load_vector(from, size, at.shared)?;
            }
            for d in part {
                for (lane, all) in loaded.iter_mut().enumerate() {
                    let value = *all as u64 & u64::MAX >> (64 - bits);
                    scratch.0[lane] = extended(value, bytes, extend);
                    *all >>= bits;
                }
                if let Some(d) = d {
                    frame.registers[*d as usize].blend(scratch, doing);
                }
            }
        }
        Ok(())
    }

    /// Steps that are done less often.
    fn rare(&mut self, op: &Op, code: &Code, doing: u32, around: &mut Around) -> Result<(), Cause> {
        let Group { frame: index, .. } = self.groups[0];
        let frame = &mut self.frames[index];
        let scratch = &mut self.scratch;
        match op {
            Op::Texture(_) | Op::SurfaceLoad(..) | Op::SurfaceStore(..) => {
                frame.picture(op, code, doing, around)?;
            }
            Op::Convert(convert, d, a) => {
                convert.run(scratch, frame.get(code, *a));
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::ConvertPacked(convert, d, [a, b]) => {
                convert.run(scratch, frame.get(code, *a), frame.get(code, *b));
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Insert(bits, d, all) => {
                let [a, b, at, n] = all.map(|s| frame.get(code, s));
                for i in 0..WARP {
                    scratch.0[i] = insert(a.0[i], b.0[i], at.0[i] as u32, n.0[i] as u32, *bits);
                }
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Lookup(d, all) => {
                let [a, b, c, table] = all.map(|s| frame.get(code, s));
                for i in 0..WARP {
                    scratch.0[i] = lookup(
                        a.0[i] as u32,
                        b.0[i] as u32,
                        c.0[i] as u32,
                        table.0[i] as u32,
                    )
                    .into();
                }
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::AddCarry {
                bits,
                subtract,
                take,
                give,
                d,
                a: [a, b],
            } => {
                let (a, b) = (frame.get(code, *a), frame.get(code, *b));
                let mut carry = 0;
                // A difference is a + !b + 1: it carries where nothing is borrowed, and an addition may read that.
                let flip = if *subtract {
                    u64::MAX >> (64 - bits)
                } else {
                    0
                };
                for i in 0..WARP {
                    let taken = match take {
                        true => u128::from(frame.carry >> i & 1),
                        false => u128::from(*subtract),
                    };
                    let sum = u128::from(a.0[i]) + u128::from(b.0[i] ^ flip) + taken;
                    scratch.0[i] = sum as u64 & u64::MAX >> (64 - bits);
                    carry |= ((sum >> bits & 1) as u32) << i;
                }
                if *give {
                    frame.carry = frame.carry & !doing | carry & doing;
                }
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::MadCarry {
                bits,
                high,
                signed,
                take,
                give,
                d,
                a,
            } => {
                let [a, b, c] = a.map(|s| frame.get(code, s));
                let mut carry = 0;
                let wide = |x: u64| match signed {
                    true => i128::from((x << (64 - bits)) as i64 >> (64 - bits)),
                    false => i128::from(x),
                };
                for i in 0..WARP {
                    let taken = if *take {
                        u128::from(frame.carry >> i & 1)
                    } else {
                        0
                    };
                    let product = wide(a.0[i]).wrapping_mul(wide(b.0[i])) as u128;
                    let part = if *high { product >> bits } else { product };
                    let part = part & u128::from(u64::MAX >> (64 - bits));
                    let sum = part + u128::from(c.0[i]) + taken;
                    scratch.0[i] = sum as u64 & u64::MAX >> (64 - bits);
                    carry |= ((sum >> bits & 1) as u32) << i;
                }
                if *give {
                    frame.carry = frame.carry & !doing | carry & doing;
                }
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Set {
                f,
                d,
                one,
                a: [a, b],
                with,
            } => {
                let yes = f(frame.get(code, *a), frame.get(code, *b));
                let yes = with.map_or(yes, |(how, test)| both(how, yes, frame.test(test)));
                *scratch = Lanes::all(0);
                scratch.blend(&Lanes::all(*one), yes);
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Select(d, [a, b], test) => {
                *scratch = *frame.get(code, *b);
                scratch.blend(frame.get(code, *a), frame.test(*test));
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Logic(how, p, a, b) => {
                let value = both(*how, frame.test(*a), frame.test(*b));
                frame.set(*p, value, doing);
            }
            Op::Copy(p, a) => {
                let value = frame.test(*a);
                frame.set(*p, value, doing);
            }
            Op::Pack(bits, d, parts) => {
                *scratch = Lanes::all(0);
                for (k, part) in parts.iter().enumerate() {
                    let part = frame.get(code, *part);
                    for i in 0..WARP {
                        scratch.0[i] |= (part.0[i] & u64::MAX >> (64 - bits)) << (k as u32 * bits);
                    }
                }
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Unpack(bits, parts, a) => {
                let a = *frame.get(code, *a);
                for (k, d) in parts.iter().enumerate() {
                    let Some(d) = d else { continue };
                    for i in 0..WARP {
                        scratch.0[i] = a.0[i] >> (k as u32 * bits) & u64::MAX >> (64 - bits);
                    }
                    frame.registers[*d as usize].blend(scratch, doing);
                }
            }
            Op::Ask(d, what) => {
                for i in 0..WARP {
                    scratch.0[i] = ask(*what, self.index, i, around);
                }
                frame.registers[*d as usize].blend(scratch, doing);
            }
            Op::Atomic {
                at,
                ty,
                update,
                d,
                b,
                c,
            } => {
                let (base, b, c) = (
                    frame.get(code, at.base),
                    frame.get(code, *b),
                    frame.get(code, *c),
                );
                for i in lanes_of(doing) {
                    let to = address(base, i, at.offset, at.shared);
                    scratch.0[i] = around
                        .memory
                        .update(to, at.shared, *ty, *update, b.0[i], c.0[i])?;
                }
                if let Some(d) = d {
                    frame.registers[*d as usize].blend(scratch, doing);
                }
            }
            Op::CopyAsync { .. }
            | Op::CopyBulk { .. }
            | Op::Phase(..)
            | Op::Reached { .. }
            | Op::Within(..) => self.asynchronous(op, code, doing, around)?,
            Op::Fence => std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst),
            Op::Nothing => (),
            Op::Trap => return Err(Cause::Trap),
            Op::Unknown(what) => return Err(Cause::Unknown(what.clone())),
            Op::Return => {
                self.ret(doing, around);
                return Ok(());
            }
            Op::Exit => {
                self.exit(doing);
                return Ok(());
            }
            Op::Table(index, targets) => {
                let lane = doing.trailing_zeros() as usize;
                let to = frame.get(code, *index).0;
                let same = lanes_of(doing)
                    .filter(|i| to[*i] == to[lane])
                    .fold(0, |m, i| m | 1 << i);
                let target = *targets.get(to[lane] as usize).ok_or(Cause::Trap)?;
                self.part(same, doing, target);
                return Ok(());
            }
            Op::Call {
                callee,
                arguments,
                results,
            } => {
                let function = match callee {
                    Callee::Function(index) => *index,
                    Callee::BuiltIn(which) => {
                        print::built_in(self, *which, arguments, results, doing, around)?;
                        self.groups[0].pc += 1;
                        return Ok(());
                    }
                    Callee::Register(slot) => {
                        let to = frame.get(code, *slot).0;
                        let lane = doing.trailing_zeros() as usize;
                        let same = lanes_of(doing)
                            .filter(|i| to[*i] == to[lane])
                            .fold(0, |m, i| m | 1 << i);
                        let index = (to[lane] ^ FUNCTION) as usize;
                        if index >= around.program.codes.len() {
                            return Err(Cause::Trap);
                        }
                        if same != doing {
                            // Each function that is called has its own group; the others come to this step again.
                            let pc = self.groups[0].pc;
                            self.part(same, doing, pc);
                        }
                        return self.call(index, arguments, same, around);
                    }
                };
                return self.call(function, arguments, doing, around);
            }
            Op::Barrier(Barrier::Arrive, id, _) => {
                for (id, part) in parts(frame.get(code, *id), doing) {
                    self.arrivals.push((id.into(), part.count_ones()));
                }
            }
            Op::Barrier(what, id, count) => {
                let lane = doing.trailing_zeros() as usize;
                let at = |lane: usize| {
                    let count = count.map(|c| frame.get(code, c).0[lane] as u32);
                    (frame.get(code, *id).0[lane], count)
                };
                // Parts of a warp may come to barriers of their own.
                let (id, count) = at(lane);
                let same = lanes_of(doing).filter(|i| at(*i) == (id, count));
                let same = same.fold(0, |all, i| all | 1 << i);
                let pc = self.groups[0].pc;
                self.part(same, doing, pc);
                self.groups[0].state = State::Barrier {
                    what: *what,
                    id,
                    count,
                };
                return Ok(());
            }
            Op::MatrixMove { .. } | Op::MatrixProduct(_) | Op::MatrixRows { .. } => {
                if !self.met() {
                    return Ok(());
                }
                self.matrices(op, code, around)?;
            }
            _ => return self.together(op, code, doing, around.program),
        }
        self.groups[0].pc += 1;
        Ok(())
    }

    /// Of the threads that do a step, some go to `to`, the others come to the step again; those that do not do it go on.
    fn part(&mut self, some: u32, doing: u32, to: u32) {
        let Group { frame, pc, .. } = self.groups[0];
        self.branch(doing, to);
        if some != doing {
            self.groups[0].mask = some;
            self.groups.push(Group {
                frame,
                pc,
                mask: doing & !some,
                state: State::Run,
            });
        }
    }
}

/// The bits of one of so many values of so many bytes, and how many bytes of them are moved at once.
fn vector(bytes: u8, values: usize) -> (u32, u64) {
    (
        8 * u32::from(bytes),
        (u64::from(bytes) * values as u64).min(16),
    )
}

/// Two masks as one.
fn both(how: Bool, a: u32, b: u32) -> u32 {
    match how {
        Bool::And => a & b,
        Bool::Or => a | b,
        Bool::Xor => a ^ b,
    }
}

/// What a thread asks of itself.
fn ask(what: Special, warp: usize, lane: usize, around: &Around) -> u64 {
    let launch = around.launch;
    let thread = (warp * WARP + lane) as u64;
    let [x, y, _] = launch.block.map(u64::from);
    match what {
        Special::Thread(0) => thread % x,
        Special::Thread(1) => thread / x % y,
        Special::Thread(_) => thread / x / y,
        Special::Threads(axis) => launch.block[axis].into(),
        Special::Block(axis) => around.place[axis].into(),
        Special::Blocks(axis) => launch.grid[axis].into(),
        Special::Lane => lane as u64,
        Special::Warp => warp as u64,
        Special::Warps => launch.threads().div_ceil(WARP) as u64,
        Special::Processor => around.worker,
        Special::Processors => around.device.processors() as u64,
        Special::Grid => launch.id,
        Special::Mask(of) => of(lane as u32).into(),
        Special::Clock => around.started.elapsed().as_nanos() as u64,
        Special::Time => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |t| t.as_nanos() as u64),
        Special::SharedBase => around.memory.shared_base(),
        Special::DynamicShared => launch.shared as u64,
        Special::Shared => around.memory.shared_size(),
        Special::Workspace(half) => around.memory.workspace() >> (32 * half) & 0xffff_ffff,
        Special::Zero => 0,
    }
}
