//! What is known of pointers.

use super::memory::{Kind, Region};
use super::physical::allowed;
use super::{all, api, driver, get, put, Done, Error, Handle, Pointer};
use std::ffi::{c_int, c_uint, c_void};

/// Writes an attribute of a pointer.
///
/// # Safety
/// `out` must have room for the attribute's type.
unsafe fn attribute(
    wanted: c_uint,
    address: Pointer,
    region: Option<&Region>,
    out: *mut c_void,
) -> Done {
    let kind = region.map(|r| r.kind);
    let on_host = matches!(kind, Some(Kind::Host | Kind::Registered));
    let managed = kind == Some(Kind::Managed);
    // SAFETY: the caller's; types as in the header's comments.
    unsafe {
        match wanted {
            1 => put(
                out.cast::<Handle>(),
                if region.is_some() {
                    super::context::current().unwrap_or(0)
                } else {
                    0
                },
            ),
            2 => put(
                out.cast::<c_uint>(),
                region.map_or(0, |_| if on_host { 1 } else { 2 }),
            ),
            3 => put(out.cast::<Pointer>(), region.map_or(0, |_| address)),
            4 => put(
                out.cast::<Pointer>(),
                if on_host || managed { address } else { 0 },
            ),
            6 | 10 | 15 | 21 => put(out.cast::<u8>(), 0),
            7 => put(out.cast::<u64>(), region.map_or(0, |r| r.id)),
            8 => put(out.cast::<u8>(), u8::from(managed)),
            9 => put(out.cast::<c_int>(), region.map_or(-2, |r| r.device)),
            11 => put(out.cast::<Pointer>(), region.map_or(0, |r| r.start)),
            12 => put(out.cast::<usize>(), region.map_or(0, |r| r.size as usize)),
            13 => put(out.cast::<u8>(), u8::from(region.is_some())),
            14 => put(out.cast::<u64>(), 0),
            16 => put(
                out.cast::<c_uint>(),
                region.map_or(0, |r| match r.kind {
                    Kind::Mapped => allowed(r, super::context::of_thread().unwrap_or(0)),
                    _ => 3,
                }),
            ),
            17 => put(
                out.cast::<Handle>(),
                match kind {
                    Some(Kind::Pooled(pool)) => pool,
                    _ => 0,
                },
            ),
            18 => put(out.cast::<usize>(), region.map_or(0, |r| r.size as usize)),
            19 => put(out.cast::<Pointer>(), region.map_or(0, |r| r.start)),
            20 => put(out.cast::<u64>(), region.map_or(0, |r| r.id)),
            _ => Err(Error::INVALID_VALUE),
        }
    }
}

api! {
    /// What is known of a pointer.
    fn cuPointerGetAttribute(out: *mut c_void, wanted: c_uint, at: Pointer) {
        let memory = driver()?.memory.read();
        attribute(wanted, at, Some(memory.at(at).ok_or(Error::INVALID_VALUE)?), out)
    }

    /// The same for several attributes; a pointer that is not known has none.
    fn cuPointerGetAttributes(n: c_uint, wanted: *const c_uint, out: *const *mut c_void, at: Pointer) {
        let memory = driver()?.memory.read();
        let region = memory.at(at);
        let (wanted, out) = (all(wanted, n as usize)?, all(out, n as usize)?);
        wanted.iter().zip(out).try_for_each(|(w, out)| attribute(*w, at, region, *out))
    }

    /// A wish about memory: copies wait for their ends here anyway.
    fn cuPointerSetAttribute(value: *const c_void, wanted: c_uint, at: Pointer) {
        get(value.cast::<u8>())?;
        let known = driver()?.memory.read().at(at).is_some();
        match wanted {
            6 if known => Ok(()),
            _ => Err(Error::INVALID_VALUE),
        }
    }
}
