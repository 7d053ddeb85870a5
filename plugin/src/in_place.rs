//! The shared way's crossing into the MPI half, in place: for calls that are over in a few nanoseconds, of which a call, a
//! jump and the registers that an entry of `ways` saves would be a good part.
//!
//! Only for a thread whose block says that it may (`Block::in_place`). The frame is that of `ways`, with more above it:
//!
//! ```text
//! [call + 32]  r13
//! [call + 24]  r14
//! [call + 16]  r15
//! [call + 8]   where a thread goes on that was saved in the call, after a restart
//! [call]       rbp
//! [call - 8]   rbx
//! [call - 16]  the `Way`
//! [call - 24]  the seventh argument; the lower half's frames follow
//! ```
//!
//! A call that must complete is never saved: its frame has the last two only, the `Way` at `call - 16` and an argument where
//! the stack ends.
//!
//! [`contains`] tells where the instructions are of calls that may be saved: a thread that is among them itself, and not
//! in the lower half, has called already or not yet, so it can't be saved there.

use crate::block::{Block, Way};
use core::mem::offset_of;
use core::ptr::{addr_of, from_ref};
use lh_loader::layout::MPI_HALF;

/// Where a block has the way into the MPI half.
pub const WAY: usize = offset_of!(Block, ways) + MPI_HALF * size_of::<Way>();
/// And the thread's DTV in it.
pub const DTV: usize = WAY + offset_of!(Way, place);

/// Calls function number `$index` of the table `$table`, in a call that must complete. `$room`: so many bytes are for
/// arguments on the stack, which `$store` puts there; 16 at least, 16-byte aligned.
macro_rules! must {
    ($table:path, $index:expr, $room:literal, $store:literal, $b:expr, $($operands:tt)*) => {
        core::arch::asm!(
            "lea rax, [r12 + {way}]",
            "mov [rsp - 16], rax",
            $crate::ways::shared_in!("r11", "r12 + {dtv}", "rsp"),
            concat!("sub rsp, ", $room),
            $store,
            "call qword ptr [rip + {table} + {at}]",
            concat!("add rsp, ", $room),
            "mov rcx, fs:[8]", // __tls_get_addr may have moved the DTV
            "cmp rcx, [r12 + {dtv}]",
            "jne 7f",
            $crate::ways::shared_out!(),
            "mov qword ptr [r12 + {call}], 0",
            ".pushsection .text.splitproc_rare,\"ax\",@progbits",
            $crate::ways::shared_rare!(),
            "7:",
            "mov [r12 + {dtv}], rcx",
            "jmp 6b",
            ".popsection",
            way = const $crate::in_place::WAY,
            dtv = const $crate::in_place::DTV,
            upper_dtv = const core::mem::offset_of!($crate::block::Block, upper_dtv),
            call = const core::mem::offset_of!($crate::block::Block, call),
            table = sym $table,
            at = const $index * 8,
            in("r12") $b,
            $($operands)*
            clobber_abi("C"),
        )
    };
}

/// The same in a call that may be saved. After a restart r10 is 1, else 0.
macro_rules! may_be_saved {
    ($table:path, $index:expr, $store:literal, $b:expr, $($operands:tt)*) => {
        core::arch::asm!(
            "2:",
            "push r13",
            "push r14",
            "push r15",
            "lea rax, [rip + 3f]",
            "push rax",
            "push rbp",
            "push rbx",
            "lea rax, [r12 + {way}]",
            "push rax",
            $store,
            "lea r10, [rsp + 24]",
            $crate::ways::shared_in!("r11", "r12 + {dtv}", "r10"),
            "call qword ptr [rip + {table} + {at}]",
            "mov rcx, fs:[8]", // __tls_get_addr may have moved the DTV
            "cmp rcx, [r12 + {dtv}]",
            "jne 7f",
            $crate::ways::shared_out!(),
            "mov qword ptr [r12 + {call}], 0",
            "xor r10d, r10d",
            "add rsp, 64",
            "9:",
            ".pushsection .text.splitproc_rare,\"ax\",@progbits",
            "3:", // a restart, see `ways`
            "pop r15",
            "pop r14",
            "pop r13",
            "mov r10d, 1",
            "jmp 9b",
            $crate::ways::shared_rare!(),
            "7:",
            "mov [r12 + {dtv}], rcx",
            "jmp 6b",
            "8:",
            ".popsection",
            ".pushsection splitproc_in_place,\"aR\",@progbits",
            ".p2align 2",
            ".long 2b - ., 9b - ., 3b - ., 8b - .",
            ".popsection",
            way = const $crate::in_place::WAY,
            dtv = const $crate::in_place::DTV,
            upper_dtv = const core::mem::offset_of!($crate::block::Block, upper_dtv),
            call = const core::mem::offset_of!($crate::block::Block, call),
            table = sym $table,
            at = const $index * 8,
            in("r12") $b,
            $($operands)*
            clobber_abi("C"),
        )
    };
}

pub(crate) use {may_be_saved, must};

/// Where instructions begin and end, each as the distance from the number that says so.
type Range = [i32; 2];

extern "C" {
    #[link_name = "__start_splitproc_in_place"]
    static FIRST: Range;
    #[link_name = "__stop_splitproc_in_place"]
    static END: Range;
}

/// Is this address among the instructions of a crossing in place that may be saved?
pub fn contains(rip: usize) -> bool {
    let at = |word: &i32| from_ref(word).addr().wrapping_add_signed(*word as isize);
    // SAFETY: the linker puts all ranges between these two.
    let ranges = unsafe {
        let n = addr_of!(END).offset_from(addr_of!(FIRST));
        core::slice::from_raw_parts(addr_of!(FIRST), n as usize)
    };
    ranges
        .iter()
        .any(|[from, to]| (at(from)..at(to)).contains(&rip))
}
