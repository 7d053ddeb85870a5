//! Functions of the device's own: `printf`, assertions, memory.

use super::block::Around;
use super::data::Memory;
use super::warp::{lanes_of, Warp};
use super::Cause;
use crate::code::{BuiltIn, Copy};
use std::ffi::CString;

/// Calls one with some threads.
pub fn built_in(
    warp: &mut Warp,
    which: BuiltIn,
    arguments: &[Copy],
    results: &[Copy],
    doing: u32,
    around: &mut Around,
) -> Result<(), Cause> {
    let base = warp.frames[warp.groups[0].frame].base;
    for lane in lanes_of(doing) {
        let frame = around.memory.local(warp.index, lane) + base as u64;
        let argument = |i: usize, memory: &mut Memory| match arguments.get(i) {
            Some(a) => memory.load(frame + a.caller as u64, a.size as u64, false),
            None => Ok(0),
        };
        let memory = &mut around.memory;
        let first = argument(0, memory)?;
        let second = argument(1, memory)?;
        let result = match which {
            BuiltIn::Print => {
                let (text, count) = format(first, second, memory)?;
                around.device.print(&text);
                count
            }
            BuiltIn::AssertFail => {
                let text = |at, memory: &mut Memory| {
                    Ok(String::from_utf8_lossy(&memory.text(at)?).into_owned())
                };
                let (line, function) = (argument(2, memory)?, argument(3, memory)?);
                let (what, file, function) = (
                    text(first, memory)?,
                    text(second, memory)?,
                    text(function, memory)?,
                );
                let text = format!("{file}:{line}: {function}: Assertion `{what}` failed.");
                around.device.print(format!("{text}\n").as_bytes());
                return Err(Cause::Assert(text));
            }
            BuiltIn::Malloc => around.device.malloc(first),
            BuiltIn::Free => {
                around.device.free(first);
                0
            }
        };
        if let Some(r) = results.first() {
            around
                .memory
                .store(frame + r.caller as u64, r.size as u64, false, result)?;
        }
    }
    Ok(())
}

/// The text of a `printf`, and how many arguments it had. Each conversion is libc's; arguments lie one behind the other,
/// aligned to their sizes.
fn format(format: u64, mut arguments: u64, memory: &mut Memory) -> Result<(Vec<u8>, u64), Cause> {
    let format = memory.text(format)?;
    let (mut text, mut count, mut at) = (Vec::new(), 0, 0);
    let mut next = |size: u64, memory: &mut Memory| {
        let from = arguments.next_multiple_of(size);
        arguments = from + size;
        count += 1;
        memory.load(from, size, false)
    };
    while at < format.len() {
        if format[at] != b'%' {
            text.push(format[at]);
            at += 1;
            continue;
        }
        let start = at;
        at += 1;
        let mut spec = vec![b'%'];
        while let Some(c) = format.get(at).filter(|c| b"-+ #0123456789.*".contains(c)) {
            match c {
                b'*' => spec.extend((next(4, memory)? as i32).to_string().bytes()),
                c => spec.push(*c),
            }
            at += 1;
        }
        let mut size = 4;
        while let Some(c) = format.get(at).filter(|c| b"hlLqjzt".contains(c)) {
            if *c != b'h' {
                size = 8;
            }
            at += 1;
        }
        let Some(kind) = format.get(at).copied() else {
            text.extend(&format[start..]);
            break;
        };
        at += 1;
        match kind {
            b'%' => text.push(b'%'),
            b'd' | b'i' => {
                let value = next(size, memory)?;
                let value = if size == 4 {
                    i64::from(value as i32)
                } else {
                    value as i64
                };
                text.extend(convert(&spec, "lld", |f, p, n| {
                    // SAFETY: the format has one conversion, of a long long.
                    unsafe { libc::snprintf(p, n, f, value) }
                }));
            }
            b'u' | b'x' | b'X' | b'o' => {
                let value = next(size, memory)?;
                text.extend(convert(&spec, &format!("ll{}", kind as char), |f, p, n| {
                    // SAFETY: as above.
                    unsafe { libc::snprintf(p, n, f, value) }
                }));
            }
            b'e' | b'E' | b'f' | b'F' | b'g' | b'G' | b'a' | b'A' => {
                let value = f64::from_bits(next(8, memory)?);
                text.extend(convert(&spec, &(kind as char).to_string(), |f, p, n| {
                    // SAFETY: the format has one conversion, of a double.
                    unsafe { libc::snprintf(p, n, f, value) }
                }));
            }
            b'c' => text.push(next(4, memory)? as u8),
            b'p' => text.extend(format!("{:#x}", next(8, memory)?).bytes()),
            b's' => {
                let address = next(8, memory)?;
                let value = CString::new(memory.text(address)?).unwrap_or_default();
                text.extend(convert(&spec, "s", |f, p, n| {
                    // SAFETY: the format has one conversion, of a string.
                    unsafe { libc::snprintf(p, n, f, value.as_ptr()) }
                }));
            }
            _ => text.extend(&format[start..at]),
        }
    }
    Ok((text, count))
}

/// What `snprintf` makes of one conversion.
fn convert(
    spec: &[u8],
    kind: &str,
    print: impl Fn(*const libc::c_char, *mut libc::c_char, usize) -> i32,
) -> Vec<u8> {
    let format = CString::new([spec, kind.as_bytes()].concat()).unwrap_or_default();
    let len = print(format.as_ptr(), std::ptr::null_mut(), 0).max(0) as usize;
    let mut text = vec![0u8; len + 1];
    print(format.as_ptr(), text.as_mut_ptr().cast(), text.len());
    text.truncate(len);
    text
}
