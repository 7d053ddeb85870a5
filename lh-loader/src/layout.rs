//! Where everything lives: the one table of fixed addresses.
//!
//! A page's owner is its address, so classifying memory at a checkpoint is a range comparison and
//! ASLR can stay on. All ranges are clear of PIE programs, the kernel's mmap area, sanitizers'
//! shadow memory and Go's arenas.
//!
//! ```text
//! 0x1000_0000_0000  loader        the freestanding loader itself (never saved)
//! 0x2000_0000_0000  lower half 0  the embedded host        (never saved)
//! 0x2100_0000_0000  lower half 1  MPI                      (never saved)
//!   …  + i·2^40     lower half i                           (never saved)
//! 0x2f00_0000_0000  lhInfo        saved
//! 0x2f80_0000_0000  upper vDSO    saved (code page; its slots live in lhInfo)
//! 0x3000_0000_0000  upper half    saved
//! 0x4000_0000_0000  device memory: where the program's allocations lie (never saved as memory of the process)
//! 0x4800_0000_0000  device memory: what the CPU device places itself (the same)
//! ```

/// Size of a lower half's window: 1 TiB.
pub const WINDOW_LEN: usize = 1 << 40;
/// The loader's own window.
pub const LOADER_BASE: usize = 0x1000_0000_0000;
/// Window of lower half 0; half `i` is `i · WINDOW_LEN` further up.
pub const LOWER_BASE: usize = 0x2000_0000_0000;
/// Most lower halves a process can have.
pub const MAX_HALVES: usize = 8;
/// The MPI half, if there is one: launchers load it right after half 0, the host.
pub const MPI_HALF: usize = 1;
/// Where lhInfo is mapped.
pub const LHINFO_BASE: usize = 0x2f00_0000_0000;
/// Where the upper half's vDSO image is mapped.
pub const VDSO_BASE: usize = 0x2f80_0000_0000;
/// The upper half's window.
pub const UPPER_BASE: usize = 0x3000_0000_0000;
/// Size of the upper half's window: 16 TiB. Programs reserve address space by the TiB.
pub const UPPER_LEN: usize = DEVICE_BASE - UPPER_BASE;
/// Where device memory is.
pub const DEVICE_BASE: usize = 0x4000_0000_0000;
/// How many addresses it has: the lower half is the CUDA front's to choose from, the upper half the CPU device's.
pub const DEVICE_LEN: usize = 1 << 44;
/// The first descriptor number that belongs to lower halves where the upper half is another host's, if the limit
/// allows it.
pub const LOWER_FD_BASE: i32 = 1024;
/// First and one-past-last of the numbers that DMTCP takes for itself.
const DMTCP_FDS: [u64; 2] = [820, 842];
/// The most numbers that an application has: it would pay for a larger table with every fork.
const UPPER_FDS: u64 = 4096;
/// The numbers that lower halves have, where there is room.
const LOWER_FDS: u64 = 1024;
/// The page size of x86-64 Linux.
pub const PAGE: usize = 4096;

/// Who owns an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The freestanding loader.
    Loader,
    /// The lower half with this index.
    Lower(usize),
    /// lhInfo or the vDSO image: saved.
    Shared,
    /// The upper half's window: saved.
    Upper,
    /// Device memory: a device's own, whoever maps it.
    Device,
    /// Anywhere else: the kernel's stack and vDSO, a non-PIE program, a fixed mapping.
    Elsewhere,
}

/// The first descriptor number that belongs to lower halves under this hard limit; `attached`: to another host's process.
pub const fn fd_base(limit: u64, attached: bool) -> u64 {
    let base = if limit < 2 * LOWER_FDS {
        limit / 2
    } else {
        limit - LOWER_FDS
    };
    let most = if attached {
        LOWER_FD_BASE as u64
    } else {
        UPPER_FDS
    };
    if attached && base >= DMTCP_FDS[0] && base < DMTCP_FDS[1] {
        DMTCP_FDS[1]
    } else if base < most {
        base
    } else {
        most
    }
}

/// The lowest hard limit under which the application may have descriptor `fd`; 0: none.
pub const fn fd_limit(fd: u64) -> u64 {
    if fd >= UPPER_FDS {
        0
    } else if fd < LOWER_FDS {
        2 * (fd + 1)
    } else {
        fd + 1 + LOWER_FDS
    }
}

/// The base address of lower half `i`'s window.
pub const fn lower_window(i: usize) -> usize {
    LOWER_BASE + i * WINDOW_LEN
}

/// Classifies an address by the table above.
pub const fn owner(addr: usize) -> Owner {
    if addr >= LOADER_BASE && addr < LOADER_BASE + WINDOW_LEN {
        Owner::Loader
    } else if addr >= LOWER_BASE && addr < LOWER_BASE + MAX_HALVES * WINDOW_LEN {
        Owner::Lower((addr - LOWER_BASE) / WINDOW_LEN)
    } else if addr >= LHINFO_BASE && addr < LHINFO_BASE + WINDOW_LEN {
        Owner::Shared
    } else if addr >= UPPER_BASE && addr < UPPER_BASE + UPPER_LEN {
        Owner::Upper
    } else if addr >= DEVICE_BASE && addr < DEVICE_BASE + DEVICE_LEN {
        Owner::Device
    } else {
        Owner::Elsewhere
    }
}

/// Rounds up to whole pages.
pub const fn page_up(n: usize) -> usize {
    (n + PAGE - 1) & !(PAGE - 1)
}

/// Rounds down to a whole page.
pub const fn page_down(n: usize) -> usize {
    n & !(PAGE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_out() {
        let bases = [64, 256, 1024, 4096, 1 << 20].map(|limit| fd_base(limit, false));
        assert_eq!(bases, [32, 128, 512, 3072, 4096]);
        let bases = [256, 1024, 1660, 2000, 2048, 1 << 20].map(|limit| fd_base(limit, true));
        assert_eq!(bases, [128, 512, 842, 1000, 1024, 1024]);
        for fd in [0, 31, 500, 1023, 1024, 4095] {
            let limit = fd_limit(fd);
            assert!(fd_base(limit, false) > fd && fd_base(limit - 1, false) <= fd);
        }
        assert_eq!(fd_limit(4096), 0);
    }

    #[test]
    fn an_address_has_one_owner() {
        assert_eq!(owner(LOADER_BASE), Owner::Loader);
        assert_eq!(owner(lower_window(1)), Owner::Lower(1));
        assert_eq!(owner(lower_window(1) - 1), Owner::Lower(0));
        assert_eq!(owner(LHINFO_BASE + 4096), Owner::Shared);
        assert_eq!(owner(VDSO_BASE), Owner::Shared);
        assert_eq!(owner(UPPER_BASE + UPPER_LEN - 1), Owner::Upper);
        assert_eq!(owner(DEVICE_BASE + DEVICE_LEN - 1), Owner::Device);
        assert_eq!(owner(DEVICE_BASE + DEVICE_LEN), Owner::Elsewhere);
        assert_eq!(owner(0x40_0000), Owner::Elsewhere);
        assert_eq!(owner(0x7fff_0000_0000), Owner::Elsewhere);
    }
}
