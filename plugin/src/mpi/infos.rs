//! Info objects: pure data.

use super::abi::*;
use super::front::{local, put};
use super::launched;
use super::lower::{ix, must, Fail};
use super::model::objects::{find, Info, INFOS};
use super::model::{lock, Locked};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// `MPI_ERR_INFO_NOKEY` of the MPICH ABI.
const NOKEY: i32 = 31;
/// Longest value.
const MAX_VALUE: usize = 1024;

/// A C string, cut at a length. It is of any bytes: so it comes back as it was.
///
/// # Safety
/// `at` must be a C string.
pub unsafe fn text(at: usize, most: usize) -> OsString {
    let s = std::ffi::CStr::from_ptr(at as *const libc::c_char).to_bytes();
    OsString::from_vec(s[..s.len().min(most)].to_vec())
}

/// Gives a string and its length.
///
/// # Safety
/// There must be room.
pub unsafe fn put_text(at: usize, len: usize, s: impl AsRef<OsStr>) {
    let s = s.as_ref().as_bytes();
    std::ptr::copy_nonoverlapping(s.as_ptr(), at as *mut u8, s.len());
    put(at + s.len(), 0u8);
    put(len, s.len() as i32);
}

fn pairs(handle: i32, f: impl FnOnce(&mut Vec<(OsString, OsString)>) -> Result<(), Fail>) -> i32 {
    local(COMM_WORLD, || match find(&INFOS, V_INFO, handle) {
        Some(i) => f(i.pairs.get(&lock())),
        None if launched::names(handle) => f(&mut launched::pairs(handle)),
        None => Err(Fail::Code(ERR_INFO)),
    })
}

/// What an info object of the application's holds; `None` for `MPI_INFO_NULL`.
pub fn given(handle: i32) -> Result<Option<Vec<(OsString, OsString)>>, Fail> {
    match find(&INFOS, V_INFO, handle) {
        Some(i) => Ok(Some(i.pairs.get(&lock()).clone())),
        None if handle == INFO_NULL => Ok(None),
        None if launched::names(handle) => Ok(Some(launched::pairs(handle))),
        None => Err(Fail::Code(ERR_INFO)),
    }
}

/// Gives an info object of the application's other pairs.
pub fn replace(handle: i32, list: Vec<(OsString, OsString)>) {
    if let Some(info) = find(&INFOS, V_INFO, handle) {
        *info.pairs.get(&lock()) = list;
    }
}

/// Makes an info object of the lower half's.
///
/// # Safety
/// MPI is started in the lower half.
pub unsafe fn to_lower(pairs: Option<&[(OsString, OsString)]>) -> i32 {
    let mut lower = INFO_NULL;
    let Some(pairs) = pairs else {
        return lower;
    };
    must(ix::Info_create, &[&raw mut lower as u64]);
    for (key, value) in pairs {
        let [key, value] = [key, value].map(|s| CString::new(s.as_bytes()).unwrap_or_default());
        let args = [lower as u64, key.as_ptr() as u64, value.as_ptr() as u64];
        must(ix::Info_set, &args);
    }
    lower
}

/// Runs something with an info object of the lower half's.
///
/// # Safety
/// MPI is started in the lower half.
pub unsafe fn with_lower<R>(pairs: Option<&[(OsString, OsString)]>, f: impl FnOnce(u64) -> R) -> R {
    let mut lower = to_lower(pairs);
    let result = f(lower as u64);
    if lower != INFO_NULL {
        must(ix::Info_free, &[&raw mut lower as u64]);
    }
    result
}

/// What an info object of the lower half's holds, which is freed.
///
/// # Safety
/// It must be one.
pub unsafe fn take_lower(mut lower: i32) -> Vec<(OsString, OsString)> {
    let mut n = 0i32;
    must(
        ix::Info_get_nkeys,
        &[lower as u64, &mut n as *mut i32 as u64],
    );
    let pair = |i| {
        let (mut key, mut value, mut flag) = ([0u8; MAX_INFO_KEY + 1], [0u8; MAX_VALUE + 1], 0i32);
        let (k, v) = (key.as_mut_ptr() as u64, value.as_mut_ptr() as u64);
        must(ix::Info_get_nthkey, &[lower as u64, i as u64, k]);
        let args = [
            lower as u64,
            k,
            MAX_VALUE as u64,
            v,
            &mut flag as *mut i32 as u64,
        ];
        must(ix::Info_get, &args);
        (text(k as usize, MAX_INFO_KEY), text(v as usize, MAX_VALUE))
    };
    let pairs = (0..n).map(pair).collect();
    must(ix::Info_free, &[&mut lower as *mut i32 as u64]);
    pairs
}

/// Makes an info object.
///
/// # Safety
/// `out` must be a place for a handle.
pub unsafe fn new_info(list: Vec<(OsString, OsString)>, out: usize) {
    put(
        out,
        V_INFO
            | INFOS.add(
                &lock(),
                Info {
                    pairs: Locked::new(list),
                },
            ),
    );
}

pub unsafe fn info_create(out: usize) -> i32 {
    local(COMM_WORLD, || {
        new_info(Vec::new(), out);
        Ok(())
    })
}

pub unsafe fn info_dup(info: i32, out: usize) -> i32 {
    let mut copy = Vec::new();
    let code = pairs(info, |p| {
        copy = p.clone();
        Ok(())
    });
    if code == SUCCESS {
        new_info(copy, out);
    }
    code
}

pub unsafe fn info_free(at: usize) -> i32 {
    local(COMM_WORLD, || {
        let h = *(at as *const i32);
        find(&INFOS, V_INFO, h).ok_or(Fail::Code(ERR_INFO))?;
        INFOS.remove(&lock(), h & INDEX_MASK);
        put(at, INFO_NULL);
        Ok(())
    })
}

pub unsafe fn info_set(info: i32, key: usize, value: usize) -> i32 {
    let (k, v) = (text(key, MAX_INFO_KEY), text(value, MAX_VALUE));
    pairs(info, |p| {
        match p.iter_mut().find(|(a, _)| *a == k) {
            Some(pair) => pair.1 = v,
            None => p.push((k, v)),
        }
        Ok(())
    })
}

pub unsafe fn info_get(info: i32, key: usize, room: i32, value: usize, flag: usize) -> i32 {
    let k = text(key, MAX_INFO_KEY);
    pairs(info, |p| {
        let found = p.iter().find(|(a, _)| *a == k);
        put(flag, found.is_some() as i32);
        if let Some((_, v)) = found {
            let n = v.len().min(room.max(0) as usize);
            std::ptr::copy_nonoverlapping(v.as_bytes().as_ptr(), value as *mut u8, n);
            put(value + n, 0u8);
        }
        Ok(())
    })
}

pub unsafe fn info_get_string(info: i32, key: usize, room: usize, out: usize, flag: usize) -> i32 {
    let k = text(key, MAX_INFO_KEY);
    pairs(info, |p| {
        let found = p.iter().find(|(a, _)| *a == k);
        put(flag, found.is_some() as i32);
        if let Some((_, v)) = found {
            let most = *(room as *const i32);
            if most > 0 {
                let n = v.len().min(most as usize - 1);
                std::ptr::copy_nonoverlapping(v.as_bytes().as_ptr(), out as *mut u8, n);
                put(out + n, 0u8);
            }
            put(room, v.len() as i32 + 1);
        }
        Ok(())
    })
}

pub unsafe fn info_create_env(argc: i32, argv: usize, out: usize) -> i32 {
    local(COMM_WORLD, || {
        let mut words = Vec::new();
        for at in super::front::slice::<usize>(argv, argc) {
            words.push(text(*at, 1024));
        }
        let mut list = Vec::new();
        if let Some((command, arguments)) = words.split_first() {
            list.push(("command".into(), command.clone()));
            list.push(("argv".into(), arguments.join(OsStr::new(" "))));
        }
        new_info(list, out);
        Ok(())
    })
}

pub unsafe fn info_get_valuelen(info: i32, key: usize, len: usize, flag: usize) -> i32 {
    let k = text(key, MAX_INFO_KEY);
    pairs(info, |p| {
        let found = p.iter().find(|(a, _)| *a == k);
        put(flag, found.is_some() as i32);
        if let Some((_, v)) = found {
            put(len, v.len() as i32);
        }
        Ok(())
    })
}

pub unsafe fn info_get_nkeys(info: i32, out: usize) -> i32 {
    pairs(info, |p| {
        put(out, p.len() as i32);
        Ok(())
    })
}

pub unsafe fn info_get_nthkey(info: i32, n: i32, key: usize) -> i32 {
    pairs(info, |p| {
        let (k, _) = p.get(n as usize).ok_or(Fail::Code(ERR_ARG))?;
        std::ptr::copy_nonoverlapping(k.as_bytes().as_ptr(), key as *mut u8, k.len());
        put(key + k.len(), 0u8);
        Ok(())
    })
}

pub unsafe fn info_delete(info: i32, key: usize) -> i32 {
    let k = text(key, MAX_INFO_KEY);
    pairs(info, |p| {
        let i = p
            .iter()
            .position(|(a, _)| *a == k)
            .ok_or(Fail::Code(NOKEY))?;
        p.remove(i);
        Ok(())
    })
}
