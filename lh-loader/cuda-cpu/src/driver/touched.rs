//! A function that NVIDIA's driver has not got: whether memory has been touched. What has not is zero, and need be neither
//! saved nor put back.

use std::ffi::c_int;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

const PAGE: u64 = 4096;
/// Present or swapped, in `/proc/self/pagemap`. The device's memory is private and anonymous: a page that is neither is zero.
const TOUCHED: u64 = 3 << 62;

/// 0: nothing between `at` and `at + len` has been touched.
#[no_mangle]
pub extern "C" fn splitproc_cuda_touched(at: u64, len: u64) -> c_int {
    static PAGES: OnceLock<Option<File>> = OnceLock::new();
    let open = || File::open("/proc/self/pagemap").ok();
    let Some(file) = PAGES.get_or_init(open) else {
        return 1;
    };
    let (first, last) = (at / PAGE, (at + len).div_ceil(PAGE));
    let mut entries = vec![0; (last - first) as usize * 8];
    if file.read_exact_at(&mut entries, first * 8).is_err() {
        return 1;
    }
    let entry = |e: &[u8]| e.first_chunk().map_or(TOUCHED, |e| u64::from_ne_bytes(*e));
    c_int::from(entries.chunks_exact(8).any(|e| entry(e) & TOUCHED != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_that_was_written_is_touched() {
        let len = 8 * PAGE as usize;
        // SAFETY: a new mapping, which is written to inside its bounds.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            let half = len as u64 / 2;
            libc::madvise(at, len, libc::MADV_NOHUGEPAGE);
            at.cast::<u8>().add(len - 1).write(1);
            assert_eq!(splitproc_cuda_touched(at as u64 + 1, half - 1), 0);
            assert_eq!(splitproc_cuda_touched(at as u64 + 1, 2 * half - 1), 1);
            libc::munmap(at, len);
        }
    }
}
