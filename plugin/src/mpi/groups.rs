//! Groups: lists of world ranks, never seen by the lower half.

use super::abi::*;
use super::front::{local, put, query, slice};
use super::lower::Fail;
use super::model::objects::{find, Group, GROUPS};
use super::model::{lock, WORLD_RANK};
use std::sync::atomic::Ordering::Relaxed;

/// World ranks of a group.
pub fn ranks(handle: i32) -> Result<Vec<i32>, Fail> {
    if handle == GROUP_EMPTY {
        return Ok(Vec::new());
    }
    let g = if handle & KIND_MASK == V_GROUP {
        GROUPS.get(handle & INDEX_MASK)
    } else {
        None
    };
    g.map(|g| g.ranks.clone()).ok_or(Fail::Code(ERR_GROUP))
}

/// The session that a group was made of, 0: none.
pub fn session(handle: i32) -> i32 {
    find(&GROUPS, V_GROUP, handle).map_or(0, |g| g.session)
}

/// Registers a group and gives its handle.
pub fn register(ranks: Vec<i32>) -> i32 {
    register_of(ranks, 0)
}

/// Registers a group of a session.
pub fn register_of(ranks: Vec<i32>, session: i32) -> i32 {
    if ranks.is_empty() {
        return GROUP_EMPTY;
    }
    V_GROUP | GROUPS.add(&lock(), Group { ranks, session })
}

/// `MPI_IDENT`, `MPI_SIMILAR` or `MPI_UNEQUAL`.
pub fn compare(a: &[i32], b: &[i32]) -> i32 {
    if a == b {
        return IDENT;
    }
    let sorted = |v: &[i32]| {
        let mut v = v.to_vec();
        v.sort_unstable();
        v
    };
    if sorted(a) == sorted(b) {
        SIMILAR
    } else {
        UNEQUAL
    }
}

pub unsafe fn group_size(group: i32, out: usize) -> i32 {
    query(COMM_WORLD, || {
        ranks(group).map(|r| put(out, r.len() as i32))
    })
}

pub unsafe fn group_rank(group: i32, out: usize) -> i32 {
    query(COMM_WORLD, || {
        let me = WORLD_RANK.load(Relaxed);
        let at = ranks(group)?.iter().position(|r| *r == me);
        put(out, at.map_or(UNDEFINED, |i| i as i32));
        Ok(())
    })
}

pub unsafe fn group_compare(a: i32, b: i32, out: usize) -> i32 {
    query(COMM_WORLD, || {
        put(out, compare(&ranks(a)?, &ranks(b)?));
        Ok(())
    })
}

pub unsafe fn group_free(at: usize) -> i32 {
    local(COMM_WORLD, || {
        let h = *(at as *const i32);
        ranks(h)?;
        if h != GROUP_EMPTY {
            GROUPS.remove(&lock(), h & INDEX_MASK);
        }
        put(at, GROUP_NULL);
        Ok(())
    })
}

/// Makes a group out of another, of the same session.
unsafe fn make(of: i32, out: usize, f: impl FnOnce() -> Result<Vec<i32>, Fail>) -> i32 {
    local(COMM_WORLD, || {
        put(out, register_of(f()?, session(of)));
        Ok(())
    })
}

fn pick(all: &[i32], i: i32) -> Result<i32, Fail> {
    all.get(i as usize).copied().ok_or(Fail::Code(ERR_RANK))
}

pub unsafe fn group_incl(group: i32, n: i32, list: usize, out: usize) -> i32 {
    make(group, out, || {
        let all = ranks(group)?;
        slice::<i32>(list, n)
            .iter()
            .map(|i| pick(&all, *i))
            .collect()
    })
}

fn exclude(all: &[i32], list: &[i32]) -> Result<Vec<i32>, Fail> {
    for i in list {
        pick(all, *i)?;
    }
    Ok(all
        .iter()
        .enumerate()
        .filter(|(i, _)| !list.contains(&(*i as i32)))
        .map(|(_, r)| *r)
        .collect())
}

pub unsafe fn group_excl(group: i32, n: i32, list: usize, out: usize) -> i32 {
    make(group, out, || exclude(&ranks(group)?, slice(list, n)))
}

/// Ranks that triplets of first, last and stride name.
fn expand(ranges: &[[i32; 3]]) -> Result<Vec<i32>, Fail> {
    let mut out = Vec::new();
    for &[first, last, stride] in ranges {
        if stride == 0 {
            return Err(Fail::Code(ERR_ARG));
        }
        let mut i = first;
        while (stride > 0 && i <= last) || (stride < 0 && i >= last) {
            out.push(i);
            i += stride;
        }
    }
    Ok(out)
}

pub unsafe fn group_range_incl(group: i32, n: i32, ranges: usize, out: usize) -> i32 {
    make(group, out, || {
        let all = ranks(group)?;
        expand(slice(ranges, n))?
            .iter()
            .map(|i| pick(&all, *i))
            .collect()
    })
}

pub unsafe fn group_range_excl(group: i32, n: i32, ranges: usize, out: usize) -> i32 {
    make(group, out, || {
        exclude(&ranks(group)?, &expand(slice(ranges, n))?)
    })
}

pub unsafe fn group_union(a: i32, b: i32, out: usize) -> i32 {
    make(a, out, || {
        let mut all = ranks(a)?;
        let more: Vec<i32> = ranks(b)?.into_iter().filter(|r| !all.contains(r)).collect();
        all.extend(more);
        Ok(all)
    })
}

pub unsafe fn group_intersection(a: i32, b: i32, out: usize) -> i32 {
    make(a, out, || {
        let other = ranks(b)?;
        Ok(ranks(a)?
            .into_iter()
            .filter(|r| other.contains(r))
            .collect())
    })
}

pub unsafe fn group_difference(a: i32, b: i32, out: usize) -> i32 {
    make(a, out, || {
        let other = ranks(b)?;
        Ok(ranks(a)?
            .into_iter()
            .filter(|r| !other.contains(r))
            .collect())
    })
}

pub unsafe fn group_translate_ranks(a: i32, n: i32, list: usize, b: i32, out: usize) -> i32 {
    query(COMM_WORLD, || {
        let (from, to) = (ranks(a)?, ranks(b)?);
        if n > 0 && (list == 0 || out == 0) {
            return Err(Fail::Code(ERR_ARG));
        }
        for (i, r) in slice::<i32>(list, n).iter().enumerate() {
            let found = if *r == PROC_NULL {
                PROC_NULL
            } else {
                let w = pick(&from, *r)?;
                to.iter()
                    .position(|x| *x == w)
                    .map_or(UNDEFINED, |k| k as i32)
            };
            put(out + 4 * i, found);
        }
        Ok(())
    })
}
