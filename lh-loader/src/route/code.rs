//! Machine code: walking over instructions, and the few facts about one that patching needs.
//!
//! The disassembler is iced-x86. Its tables are made on the loader's heap by [`init`], before the
//! first half is loaded (half a millisecond); decoding itself allocates nothing.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

/// Makes the disassembler's tables.
pub fn init() {
    let _ = Decoder::new(64, &[0x90], DecoderOptions::NONE).decode();
}

/// Calls `f(offset, instruction)` for the instructions of `code` from `from` up to `to`, until it gives
/// `false` or something is no instruction. Branch targets and addresses are offsets in `code` too.
///
/// Gives the offset where it stopped: `to`, or past it, if everything was decoded.
pub fn walk(
    code: &[u8],
    from: usize,
    to: usize,
    f: &mut dyn FnMut(usize, &Instruction) -> bool,
) -> usize {
    let Some(bytes) = code.get(from..) else {
        return from;
    };
    let mut decoder = Decoder::with_ip(64, bytes, from as u64, DecoderOptions::NONE);
    let mut insn = Instruction::default();
    loop {
        let at = from + decoder.position();
        if at >= to || !decoder.can_decode() {
            return at;
        }
        decoder.decode_out(&mut insn);
        if insn.is_invalid() || !f(at, &insn) {
            return at;
        }
    }
}

/// It goes on to the next instruction, and does the same anywhere.
pub fn is_movable(insn: &Instruction) -> bool {
    insn.flow_control() == FlowControl::Next
        && !insn.is_ip_rel_memory_operand()
        // Indirect jumps lead there.
        && insn.mnemonic() != Mnemonic::Endbr64
        && insn.mnemonic() != Mnemonic::Hlt
}

/// The straight line goes on behind it, though it may also be left.
pub fn falls_through(insn: &Instruction) -> bool {
    matches!(
        insn.flow_control(),
        FlowControl::Next | FlowControl::ConditionalBranch
    )
}

/// The value that it gives rax, if that is a constant.
pub fn sets_rax(insn: &Instruction) -> Option<u32> {
    let to_rax = insn.op0_register().full_register() == Register::RAX;
    match insn.code() {
        Code::Mov_r32_imm32 | Code::Mov_rm32_imm32 | Code::Mov_rm64_imm32 if to_rax => {
            Some(insn.immediate32())
        }
        Code::Xor_rm32_r32 | Code::Xor_r32_rm32
            if to_rax && insn.op1_register() == insn.op0_register() =>
        {
            Some(0)
        }
        _ => None,
    }
}

/// It certainly leaves rax alone (`false` where that is not sure).
pub fn keeps_rax(insn: &Instruction) -> bool {
    if insn.flow_control() == FlowControl::ConditionalBranch {
        return true;
    }
    let elsewhere = insn.op0_register().full_register() != Register::RAX;
    match insn.mnemonic() {
        Mnemonic::Cmp
        | Mnemonic::Test
        | Mnemonic::Nop
        | Mnemonic::Endbr64
        | Mnemonic::Push
        | Mnemonic::Bt => true,
        // What these change is their first operand, and nothing else but flags.
        Mnemonic::Mov
        | Mnemonic::Movzx
        | Mnemonic::Movsx
        | Mnemonic::Movsxd
        | Mnemonic::Lea
        | Mnemonic::Pop
        | Mnemonic::Add
        | Mnemonic::Sub
        | Mnemonic::And
        | Mnemonic::Or
        | Mnemonic::Xor
        | Mnemonic::Not
        | Mnemonic::Neg
        | Mnemonic::Inc
        | Mnemonic::Dec
        | Mnemonic::Shl
        | Mnemonic::Shr
        | Mnemonic::Sar
        | Mnemonic::Sete
        | Mnemonic::Setne
        | Mnemonic::Cmove
        | Mnemonic::Cmovne
        | Mnemonic::Movd
        | Mnemonic::Movq
        | Mnemonic::Movups
        | Mnemonic::Movaps
        | Mnemonic::Movdqa
        | Mnemonic::Movdqu
        | Mnemonic::Movhps
        | Mnemonic::Punpcklqdq
        | Mnemonic::Pxor
        | Mnemonic::Xorps => elsewhere,
        _ => false,
    }
}

/// Where a relative jump or call leads, as an offset. Nobody jumps to offset 0 from inside.
pub fn target(insn: &Instruction) -> Option<i64> {
    Some(insn.near_branch_target() as i64).filter(|&to| to != 0)
}

/// A jump that may go by a table: to a register's value, or through memory that is not one fixed word.
pub fn jumps_by_table(insn: &Instruction) -> bool {
    insn.flow_control() == FlowControl::IndirectBranch && !insn.is_ip_rel_memory_operand()
}

/// The link-time address of a table that the instruction may refer to: what a `lea` gives, or the base
/// of an indirect jump through memory.
pub fn table(insn: &Instruction, vaddr: u64) -> Option<Table> {
    if insn.mnemonic() == Mnemonic::Lea && insn.is_ip_rel_memory_operand() {
        let at = vaddr.wrapping_add(insn.ip_rel_memory_address());
        return Some(Table {
            at,
            absolute: false,
        });
    }
    let based = jumps_by_table(insn) && insn.memory_displacement64() != 0;
    based.then(|| Table {
        at: insn.memory_displacement64(),
        absolute: true,
    })
}

/// A jump table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its link-time address.
    pub at: u64,
    /// Its entries are 8-byte addresses, and not 4-byte distances from its start.
    pub absolute: bool,
}
