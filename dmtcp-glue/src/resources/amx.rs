//! AMX. A thread's tiles come back only if its kernel thread has used tiles before `rt_sigreturn`, with the permission
//! that the process has asked for; nothing here does that, and the kernel would drop all vector registers silently.

use anyhow::{bail, Context, Result};

const ARCH_GET_XCOMP_PERM: usize = 0x1022;
/// The tiles' bit in XCR0.
const XTILEDATA: u64 = 1 << 18;

/// Refuses a program that has permission to use tiles.
pub fn check() -> Result<()> {
    let mut granted = 0_u64;
    let args = [ARCH_GET_XCOMP_PERM, &raw mut granted as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes one word to a live variable of this size.
    match unsafe { crate::sys::raw(libc::SYS_arch_prctl, args) } {
        // A kernel that does not know the call gives no permission.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        Err(error) => Err(error).context("what registers the program may use"),
        Ok(_) => refuse(granted),
    }
}

fn refuse(granted: u64) -> Result<()> {
    if granted & XTILEDATA != 0 {
        bail!(
            "the program has asked to use AMX (ARCH_REQ_XCOMP_PERM): its tiles can't be checkpointed; have its \
             libraries do without, as with ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 or MKL_ENABLE_INSTRUCTIONS=AVX512"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_refused_by_name() {
        check().unwrap();
        refuse(XTILEDATA - 1).unwrap();
        let text = refuse(0x602e7).unwrap_err().to_string();
        assert!(text.contains("AMX"), "{text}");
    }
}
