//! An x86-64 instruction length decoder with the few facts that patching needs.
//!
//! The router decodes inside other programs' `mmap`, where there is no allocator (iced-x86 builds its
//! tables on one), so it has a decoder of its own; tests hold it against iced-x86 on whole libraries.

/// One decoded instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// Length in bytes.
    pub len: u8,
    /// Opcode map: 0 one byte, 1 `0f`, 2 `0f 38`, 3 `0f 3a`; with bit 4 set for VEX and EVEX.
    pub map: u8,
    /// Opcode byte.
    pub op: u8,
    /// ModRM byte, if the instruction has one.
    pub modrm: Option<u8>,
    /// REX prefix, 0 if none.
    pub rex: u8,
    /// It has a memory operand relative to the instruction pointer.
    pub rip_relative: bool,
    /// It has a relative branch (or `xbegin`) displacement.
    pub relative: Option<i32>,
    /// Its immediate, sign extended, where it is at most 4 bytes long.
    pub imm: i32,
}

/// What an instruction is to the analysis.
impl Insn {
    /// `syscall`.
    pub fn is_syscall(&self) -> bool {
        self.map == 1 && self.op == 0x05
    }

    /// It leaves the straight line (jump, call, return, trap) or means something only where it stands.
    pub fn is_control(&self) -> bool {
        if self.relative.is_some() {
            return true;
        }
        match (self.map, self.op) {
            (0, 0xc2 | 0xc3 | 0xca | 0xcb | 0xcc | 0xcd | 0xcf | 0xf1 | 0xf4) => true,
            (0, 0xff) => matches!(self.reg(), 2..=5),
            (1, 0x05 | 0x07 | 0x0b | 0x34 | 0x35 | 0xaa | 0xb9 | 0xff) => true,
            _ => false,
        }
    }

    /// The `reg` field of ModRM without REX.R.
    pub fn reg(&self) -> u8 {
        (self.modrm.unwrap_or(0) >> 3) & 7
    }

    /// The value that this instruction gives eax, if it is a constant.
    pub fn sets_eax(&self) -> Option<u32> {
        let m = self.modrm.unwrap_or(0);
        match (self.map, self.op) {
            (0, 0xb8) if self.rex & 9 == 0 => Some(self.imm as u32),
            (0, 0xc7) if m == 0xc0 && self.rex & 1 == 0 => Some(self.imm as u32),
            (0, 0x31 | 0x33) if m == 0xc0 && self.rex & 5 == 0 => Some(0),
            _ => None,
        }
    }

    /// It certainly leaves rax alone (`false` where that is not sure).
    pub fn keeps_rax(&self) -> bool {
        let m = match self.modrm {
            Some(m) => m,
            None => {
                let r = (self.op & 7) | ((self.rex & 1) << 3);
                return match (self.map, self.op) {
                    (0, 0x50..=0x57 | 0x90) | (0, 0x70..=0x7f) | (1, 0x80..=0x8f) => true,
                    (0, 0x58..=0x5f | 0xb8..=0xbf) => r != 0,
                    (0, 0x3c | 0x3d | 0xa8 | 0xa9) => true,
                    _ => false,
                };
            }
        };
        let reg = ((m >> 3) & 7) | ((self.rex & 4) << 1);
        let rm_is_rax = m >> 6 == 3 && (m & 7) | ((self.rex & 1) << 3) == 0;
        match (self.map, self.op) {
            (0, 0x38..=0x3b | 0x84 | 0x85) => true,
            (0, 0x00..=0x37) => match self.op & 7 {
                0 | 1 => !rm_is_rax,
                _ => reg != 0,
            },
            (0, 0x80 | 0x81 | 0x83) => !rm_is_rax || (m >> 3) & 7 == 7,
            (0, 0x88 | 0x89 | 0xc6 | 0xc7 | 0xc0 | 0xc1 | 0xd0..=0xd3) => !rm_is_rax,
            (0, 0x8a | 0x8b | 0x8d | 0x63) => reg != 0,
            (
                1,
                0x10 | 0x11 | 0x16 | 0x17 | 0x28 | 0x29 | 0x57 | 0x6e | 0x6f | 0x7f | 0xd6 | 0xef,
            ) => true,
            (1, 0xb6 | 0xb7 | 0xbe | 0xbf | 0x40..=0x4f) => reg != 0,
            (1, 0x1e | 0x1f) => true,
            _ => false,
        }
    }
}

/// Immediate bytes of a one-byte opcode; `z` is the size of an operand-sized immediate.
fn imm0(op: u8, modrm: u8, z: usize, wide: usize, moffs: usize) -> usize {
    match op {
        0x00..=0x3f if op & 7 == 4 => 1,
        0x00..=0x3f if op & 7 == 5 => z,
        0x68 | 0x69 | 0x81 | 0xa9 | 0xc7 => z,
        0x6a | 0x6b | 0x80 | 0x83 | 0xa8 | 0xb0..=0xb7 | 0xc0 | 0xc1 | 0xc6 | 0xcd => 1,
        0x70..=0x7f | 0xe0..=0xe7 | 0xeb => 1,
        0xa0..=0xa3 => moffs,
        0xb8..=0xbf => wide,
        0xc2 | 0xca => 2,
        0xc8 => 3,
        0xe8 | 0xe9 => 4,
        0xf6 if (modrm >> 3) & 7 < 2 => 1,
        0xf7 if (modrm >> 3) & 7 < 2 => z,
        _ => 0,
    }
}

/// ModRM of a one-byte opcode: `None` if the opcode does not exist in 64-bit code.
fn modrm0(op: u8) -> Option<bool> {
    Some(match op {
        0x00..=0x3f => match op & 7 {
            6 | 7 => return None,
            n => n < 4,
        },
        0x60 | 0x61 | 0x82 | 0x9a | 0xce | 0xd4..=0xd6 | 0xea => return None,
        0x63
        | 0x69
        | 0x6b
        | 0x80..=0x8f
        | 0xc0
        | 0xc1
        | 0xc6
        | 0xc7
        | 0xd0..=0xd3
        | 0xd8..=0xdf => true,
        0xf6 | 0xf7 | 0xfe | 0xff => true,
        _ => false,
    })
}

/// ModRM of a two-byte opcode.
fn modrm1(op: u8) -> Option<bool> {
    Some(match op {
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0x7a | 0x7b => return None,
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x37 | 0x77 | 0x80..=0x8f => false,
        0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => false,
        _ => true,
    })
}

/// Two-byte opcodes (any encoding) with an 8-bit immediate.
fn imm1(op: u8) -> usize {
    usize::from(matches!(op, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6))
}

/// Decodes the instruction at the start of `code`; `None` if it is invalid or cut off.
pub fn decode(code: &[u8]) -> Option<Insn> {
    let mut at = 0;
    let (mut rex, mut small, mut addr32) = (0u8, false, false);
    let first = loop {
        let b = *code.get(at)?;
        at += 1;
        match b {
            0x66 => small = true,
            0x67 => addr32 = true,
            0xf0 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65 => {}
            0x40..=0x4f => {
                rex = b;
                continue;
            }
            _ => break b,
        }
        rex = 0;
        if at > 14 {
            return None;
        }
    };
    let z = if small && rex & 8 == 0 { 2 } else { 4 };
    let (map, op, has_modrm, vector) = match first {
        0x0f => {
            let b = *code.get(at)?;
            at += 1;
            match b {
                0x38 | 0x3a => {
                    let op = *code.get(at)?;
                    at += 1;
                    (if b == 0x38 { 2 } else { 3 }, op, true, false)
                }
                _ => (1, b, modrm1(b)?, false),
            }
        }
        0xc4 | 0xc5 | 0x62 => {
            let (extra, map) = match first {
                0xc5 => (1, 1),
                0xc4 => (2, *code.get(at)? & 0x1f),
                _ => (3, *code.get(at)? & 7),
            };
            if map == 0 || map == 4 || map > 6 {
                return None;
            }
            let op = *code.get(at + extra)?;
            at += extra + 1;
            (map, op, !(map == 1 && op == 0x77 && first != 0x62), true)
        }
        _ => (0, first, modrm0(first)?, false),
    };
    let mut insn = Insn {
        map: map | if vector { 16 } else { 0 },
        op,
        rex,
        ..Insn::default()
    };
    let mut modrm = 0;
    if has_modrm {
        modrm = *code.get(at)?;
        at += 1;
        insn.modrm = Some(modrm);
        // `8f` with a register field is AMD's XOP space.
        if map == 0 && op == 0x8f && (modrm >> 3) & 7 != 0 {
            return None;
        }
        let mode = modrm >> 6;
        // mov to and from control and debug registers has no memory form, whatever `mod` says.
        if mode != 3 && !(map == 1 && !vector && matches!(op, 0x20..=0x23)) {
            let mut disp = [0, 1, 4][usize::from(mode)];
            if modrm & 7 == 4 {
                let sib = *code.get(at)?;
                at += 1;
                if mode == 0 && sib & 7 == 5 {
                    disp = 4;
                }
            } else if mode == 0 && modrm & 7 == 5 {
                disp = 4;
                insn.rip_relative = true;
            }
            at += disp;
        }
    }
    let wide = if rex & 8 != 0 { 8 } else { z };
    let imm = match map {
        0 => imm0(op, modrm, z, wide, if addr32 { 4 } else { 8 }),
        1 if vector => imm1(op),
        1 if matches!(op, 0x80..=0x8f) => 4,
        1 if matches!(op, 0x0f | 0xa4 | 0xac | 0xba) => 1,
        1 => imm1(op),
        3 => 1,
        _ => 0,
    };
    let end = at + imm;
    if end > code.len() || end > 15 {
        return None;
    }
    insn.imm = match imm {
        1 => i32::from(code[at] as i8),
        2 => i32::from(i16::from_le_bytes([code[at], code[at + 1]])),
        4 | 8 => i32::from_le_bytes([code[at], code[at + 1], code[at + 2], code[at + 3]]),
        _ => 0,
    };
    insn.len = end as u8;
    let branch = match (map, vector, op) {
        (0, false, 0x70..=0x7f | 0xe0..=0xe3 | 0xe8 | 0xe9 | 0xeb) => true,
        (0, false, 0xc7) => modrm == 0xf8,
        (1, false, 0x80..=0x8f) => true,
        _ => false,
    };
    if branch {
        insn.relative = Some(insn.imm);
    }
    Some(insn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The executable sections' bytes of an ELF file, by its section headers.
    fn text(file: &[u8]) -> Vec<(usize, usize)> {
        let u = |at: usize, n: usize| {
            (0..n).fold(0usize, |v, i| v | usize::from(file[at + i]) << (8 * i))
        };
        let (shoff, size, count) = (u(40, 8), u(58, 2), u(60, 2));
        (0..count)
            .map(|i| shoff + i * size)
            .filter(|&s| u(s + 4, 4) == 1 && u(s + 8, 8) & 4 != 0)
            .map(|s| (u(s + 24, 8), u(s + 32, 8)))
            .collect()
    }

    #[test]
    fn lengths_agree_with_iced_on_whole_libraries() {
        for path in [
            "libc.so.6",
            "ld-linux-x86-64.so.2",
            "libm.so.6",
            "libcrypto.so.3",
            "libmpich.so.12",
        ] {
            let Ok(file) = std::fs::read(format!("/lib/x86_64-linux-gnu/{path}")) else {
                continue;
            };
            let (mut checked, mut bad) = (0, 0);
            for (start, len) in text(&file) {
                let code = &file[start..start + len];
                let mut decoder = iced_x86::Decoder::new(64, code, iced_x86::DecoderOptions::NONE);
                while decoder.can_decode() {
                    let at = decoder.position();
                    let insn = decoder.decode();
                    // AMD's XOP space is left out on purpose.
                    if insn.is_invalid() || code[at] == 0x8f {
                        continue;
                    }
                    checked += 1;
                    let Some(ours) = decode(&code[at..]) else {
                        bad += 1;
                        if bad < 8 {
                            eprintln!(
                                "{path} {:#x}: {:02x?} not decoded",
                                start + at,
                                &code[at..at + insn.len()]
                            );
                        }
                        continue;
                    };
                    let rip = insn.is_ip_rel_memory_operand();
                    if usize::from(ours.len) != insn.len() || rip != ours.rip_relative {
                        bad += 1;
                        if bad < 8 {
                            eprintln!(
                                "{path} {:#x}: {:02x?} {ours:?}",
                                start + at,
                                &code[at..at + insn.len()]
                            );
                        }
                    }
                }
            }
            eprintln!("{path}: {checked} instructions, {bad} differ");
            assert_eq!(bad, 0, "{path}");
        }
    }
}
