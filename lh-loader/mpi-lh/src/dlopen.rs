//! `dlopen`, interposed for the half's libraries.
//!
//! A library opened late may claim static TLS and use it in its constructor. libc initialises that TLS in
//! its own threads; an adopted upper-half thread is not one of them. So the real `dlopen` runs on the half's
//! main TCB, and the new part of the static TLS is copied from each donor before `dlopen` returns.

use crate::{donor, half};
use core::ffi::{c_char, c_int, c_void};
use core::ptr::addr_of_mut;
use core::sync::atomic::{AtomicUsize, Ordering};
use lh_loader::{arch, layout};

type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

/// libc's own `dlopen`.
///
/// # Safety
/// As dlopen.
pub unsafe fn real(path: *const c_char, flags: c_int) -> *mut c_void {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if REAL.load(Ordering::Relaxed) == 0 {
        // SAFETY: RTLD_NEXT searches the libraries after this program.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"dlopen".as_ptr()) };
        REAL.store(found as usize, Ordering::Relaxed);
    }
    // SAFETY: the symbol has this type.
    unsafe {
        let open: Open = core::mem::transmute(REAL.load(Ordering::Relaxed));
        open(path, flags)
    }
}

/// What the half's libraries call.
#[no_mangle]
unsafe extern "C" fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void {
    let fs = arch::fs_base();
    // A thread born in this half, or the main TCB itself, opens as always.
    if matches!(layout::owner(fs), layout::Owner::Lower(_)) || half().is_null() {
        // SAFETY: passed on to the caller.
        return unsafe { real(path, flags) };
    }
    // SAFETY: under the main lock, with signals blocked, the main TCB is this thread's alone.
    unsafe {
        let lock = &*addr_of_mut!((*half()).main_lock);
        let mask = arch::block_signals();
        arch::spin_lock(lock);
        arch::set_fs_base((*half()).main_fs);
        let before = static_tls_depth();
        let opened = real(path, flags);
        let after = static_tls_depth();
        donor::each(|from, to| {
            core::ptr::copy_nonoverlapping(
                (from - after) as *const u8,
                (to - after) as *mut u8,
                after - before,
            )
        });
        arch::set_fs_base(fs);
        arch::spin_unlock(lock);
        arch::restore_signals(mask);
        opened
    }
}

/// Does all static TLS that this half's `ld.so` will ever hand out, its surplus included, lie inside its part of
/// the hole?
pub fn tls_fits() -> bool {
    type Info = unsafe extern "C" fn(*mut usize, *mut usize);
    // SAFETY: RTLD_DEFAULT searches the half's libraries; both are data or functions of every glibc since 2.34
    // with these types; the half's entry is valid.
    unsafe {
        let info = libc::dlsym(libc::RTLD_DEFAULT, c"_dl_get_tls_static_info".as_ptr());
        let tcb = libc::dlsym(libc::RTLD_DEFAULT, c"_thread_db_sizeof_pthread".as_ptr());
        if info.is_null() || tcb.is_null() {
            return false;
        }
        let info: Info = core::mem::transmute(info);
        let (mut size, mut align) = (0, 0);
        info(&mut size, &mut align);
        size - *tcb.cast::<u32>() as usize <= (*half()).tls_end as usize
    }
}

/// Distance from FS down to the lowest byte of static TLS in use. Called on the main TCB.
fn static_tls_depth() -> usize {
    struct Walk {
        fs: usize,
        depth: usize,
    }
    unsafe extern "C" fn module(
        info: *mut libc::dl_phdr_info,
        _: usize,
        walk: *mut c_void,
    ) -> c_int {
        // SAFETY: dl_iterate_phdr passes a valid entry and our own pointer.
        let (at, walk) = unsafe { ((*info).dlpi_tls_data as usize, &mut *walk.cast::<Walk>()) };
        // 64 KiB below FS is more than any hole; what lies elsewhere is dynamic TLS.
        if (walk.fs - 0x10000..walk.fs).contains(&at) {
            walk.depth = walk.depth.max(walk.fs - at);
        }
        0
    }
    let fs = arch::fs_base();
    // SAFETY: the half's entry is valid.
    let depth = unsafe { (*half()).tls_start } as usize;
    let mut walk = Walk { fs, depth };
    // SAFETY: `module` has the callback's type.
    unsafe { libc::dl_iterate_phdr(Some(module), addr_of_mut!(walk).cast()) };
    walk.depth
}
