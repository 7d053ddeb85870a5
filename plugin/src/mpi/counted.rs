//! Derived datatypes made by the functions whose names end in `_c`, with counts of 64 bits.
//!
//! The lower half makes them by the functions with ints where all counts are ints, and elsewhere of several datatypes:
//! so they are there over every MPI.

use super::abi::*;
use super::front::{finish, local, put, query, slice};
use super::handle;
use super::large::{blocks, contiguous, strided, subarray};
use super::lower::Fail;
use super::model::datatype::{self, combiner, Contents};
use super::types::construct;

/// The number of dimensions, and where the arrays of a distributed array's ints begin: see `type_create_darray_c`.
const DARRAY_HEAD: usize = 3;

fn ints(list: &[i64]) -> Option<Vec<i32>> {
    list.iter().map(|n| i32::try_from(*n).ok()).collect()
}

/// The same as the functions with ints would have it; `None` if a count is no int.
pub fn in_ints(c: &Contents) -> Option<Contents> {
    let n = *c.counts.first()?;
    let all = |list: &[i64]| Some((ints(list)?, Vec::new()));
    // The last so many are addresses.
    let some = |addrs: usize| {
        let (counts, addrs) = c.counts.split_at(c.counts.len() - addrs);
        Some((ints(counts)?, addrs.to_vec()))
    };
    let (ints, addrs) = match c.combiner {
        combiner::RESIZED => (Vec::new(), c.counts.clone()),
        combiner::HVECTOR => some(1)?,
        combiner::HINDEXED | combiner::HINDEXED_BLOCK | combiner::STRUCT => {
            some(usize::try_from(n).ok()?)?
        }
        combiner::SUBARRAY => {
            let (dims, order) = (c.ints[0], c.ints[1]);
            let counts = ints(&c.counts)?;
            ([&[dims], &counts[..], &[order]].concat(), Vec::new())
        }
        combiner::DARRAY => {
            let (head, rest) = c.ints.split_at(DARRAY_HEAD);
            ([head, &ints(&c.counts)?, rest].concat(), Vec::new())
        }
        _ => all(&c.counts)?,
    };
    Some(Contents {
        combiner: c.combiner,
        ints,
        addrs,
        types: c.types.clone(),
        ..Contents::default()
    })
}

/// Makes a datatype of which a count is no int.
///
/// # Safety
/// As `types::build`.
pub unsafe fn build(c: &Contents, out: u64) -> Result<i32, Fail> {
    let lower = |t: &i32| handle::datatype(*t).map(|t| t as i32);
    let types: Vec<i32> = c.types.iter().map(lower).collect::<Result<_, _>>()?;
    let t = types[0];
    let at = &mut *(out as *mut i32);
    let n = c.counts[0];
    if c.counts.iter().any(|n| *n < 0) && c.combiner == combiner::CONTIGUOUS {
        return Err(Fail::Code(ERR_COUNT));
    }
    let extent = datatype::ask(t).extent;
    let several = usize::try_from(n).map_err(|_| Fail::Code(ERR_COUNT))?;
    let list = |from: usize| &c.counts[from..from + several];
    Ok(match c.combiner {
        combiner::CONTIGUOUS => contiguous(n, t, at),
        combiner::VECTOR | combiner::HVECTOR => {
            let unit = if c.combiner == combiner::VECTOR {
                extent
            } else {
                1
            };
            let mut block = DATATYPE_NULL;
            match contiguous(c.counts[1], t, &mut block) {
                SUCCESS => {
                    let code = strided(n, c.counts[2].wrapping_mul(unit), block, at);
                    free(&mut block);
                    code
                }
                code => code,
            }
        }
        combiner::INDEXED | combiner::HINDEXED => {
            let unit = if c.combiner == combiner::INDEXED {
                extent
            } else {
                1
            };
            let places = list(1 + several).iter().map(|d| d.wrapping_mul(unit));
            let all = list(1).iter().zip(places).map(|(n, at)| (*n, at, t));
            blocks(all, out)
        }
        combiner::INDEXED_BLOCK | combiner::HINDEXED_BLOCK => {
            let unit = if c.combiner == combiner::INDEXED_BLOCK {
                extent
            } else {
                1
            };
            let all = list(2)
                .iter()
                .map(|d| (c.counts[1], d.wrapping_mul(unit), t));
            blocks(all, out)
        }
        combiner::STRUCT => {
            let all = list(1).iter().zip(list(1 + several)).zip(&types);
            blocks(all.map(|((n, at), t)| (*n, *at, *t)), out)
        }
        combiner::SUBARRAY => {
            let dims = c.ints[0] as usize;
            let of = |d: usize| [0, 1, 2].map(|k| c.counts[k * dims + d]);
            let mut all: Vec<[i64; 3]> = (0..dims).map(of).collect();
            if c.ints[1] == ORDER_C {
                all.reverse();
            }
            subarray(&all, t, out)?
        }
        // A process's part is no list that can be told in ints.
        _ => return Err(Fail::Code(ERR_COUNT)),
    })
}

unsafe fn free(t: &mut i32) {
    super::lower::must(super::lower::ix::Type_free, &[t as *mut i32 as u64]);
}

/// Sizes may be 0; the first of them tells what the rest means, so there is always one.
unsafe fn make(
    combiner: i32,
    ints: Vec<i32>,
    counts: Vec<i64>,
    types: Vec<i32>,
    out: usize,
) -> i32 {
    construct(
        Contents {
            combiner,
            ints,
            counts,
            types,
            ..Contents::default()
        },
        out,
    )
}

/// A head, then arrays of `n` numbers each.
unsafe fn counted(head: &[i64], n: i64, arrays: &[usize]) -> Vec<i64> {
    let mut all = head.to_vec();
    for at in arrays {
        all.extend_from_slice(slice(*at, n.clamp(0, i64::from(i32::MAX)) as i32));
    }
    all
}

pub unsafe fn type_contiguous_c(n: i64, t: i32, out: usize) -> i32 {
    make(combiner::CONTIGUOUS, vec![], vec![n], vec![t], out)
}

pub unsafe fn type_vector_c(n: i64, block: i64, stride: i64, t: i32, out: usize) -> i32 {
    make(
        combiner::VECTOR,
        vec![],
        vec![n, block, stride],
        vec![t],
        out,
    )
}

pub unsafe fn type_create_hvector_c(n: i64, block: i64, stride: i64, t: i32, out: usize) -> i32 {
    make(
        combiner::HVECTOR,
        vec![],
        vec![n, block, stride],
        vec![t],
        out,
    )
}

pub unsafe fn type_indexed_c(n: i64, blocks: usize, at: usize, t: i32, out: usize) -> i32 {
    let counts = counted(&[n], n, &[blocks, at]);
    make(combiner::INDEXED, vec![], counts, vec![t], out)
}

pub unsafe fn type_create_hindexed_c(n: i64, blocks: usize, at: usize, t: i32, out: usize) -> i32 {
    let counts = counted(&[n], n, &[blocks, at]);
    make(combiner::HINDEXED, vec![], counts, vec![t], out)
}

pub unsafe fn type_create_indexed_block_c(
    n: i64,
    block: i64,
    at: usize,
    t: i32,
    out: usize,
) -> i32 {
    let counts = counted(&[n, block], n, &[at]);
    make(combiner::INDEXED_BLOCK, vec![], counts, vec![t], out)
}

pub unsafe fn type_create_hindexed_block_c(
    n: i64,
    block: i64,
    at: usize,
    t: i32,
    out: usize,
) -> i32 {
    let counts = counted(&[n, block], n, &[at]);
    make(combiner::HINDEXED_BLOCK, vec![], counts, vec![t], out)
}

pub unsafe fn type_create_struct_c(
    n: i64,
    blocks: usize,
    at: usize,
    types: usize,
    out: usize,
) -> i32 {
    let counts = counted(&[n], n, &[blocks, at]);
    let types = slice::<i32>(types, n.clamp(0, i64::from(i32::MAX)) as i32).to_vec();
    make(combiner::STRUCT, vec![], counts, types, out)
}

pub unsafe fn type_create_subarray_c(
    dims: i32,
    sizes: usize,
    subsizes: usize,
    starts: usize,
    order: i32,
    t: i32,
    out: usize,
) -> i32 {
    let counts = counted(&[], i64::from(dims), &[sizes, subsizes, starts]);
    if counts.is_empty() {
        return finish(COMM_WORLD, Ok(ERR_ARG));
    }
    make(combiner::SUBARRAY, vec![dims, order], counts, vec![t], out)
}

pub unsafe fn type_create_darray_c(
    size: i32,
    rank: i32,
    dims: i32,
    gsizes: usize,
    distribs: usize,
    dargs: usize,
    psizes: usize,
    order: i32,
    t: i32,
    out: usize,
) -> i32 {
    let counts = counted(&[], i64::from(dims), &[gsizes]);
    if counts.is_empty() {
        return finish(COMM_WORLD, Ok(ERR_ARG));
    }
    let mut ints = vec![size, rank, dims];
    for at in [distribs, dargs, psizes] {
        ints.extend_from_slice(slice(at, dims));
    }
    ints.push(order);
    make(combiner::DARRAY, ints, counts, vec![t], out)
}

pub unsafe fn type_create_resized_c(t: i32, lb: i64, extent: i64, out: usize) -> i32 {
    make(combiner::RESIZED, vec![], vec![lb, extent], vec![t], out)
}

pub unsafe fn type_get_envelope_c(
    t: i32,
    ni: usize,
    na: usize,
    nc: usize,
    nd: usize,
    how: usize,
) -> i32 {
    query(COMM_WORLD, || {
        let named = Contents {
            combiner: combiner::NAMED,
            ..Contents::default()
        };
        let c = match datatype::get(t) {
            Some(t) => &t.contents,
            None if datatype::predefined(t) => &named,
            None => return Err(Fail::Code(ERR_TYPE)),
        };
        put(ni, c.ints.len() as i64);
        put(na, c.addrs.len() as i64);
        put(nc, c.counts.len() as i64);
        put(nd, c.types.len() as i64);
        put(how, c.combiner);
        Ok(())
    })
}

/// Copies a list to where there is room for `n`.
unsafe fn give<T>(list: &[T], n: i64, at: usize) -> Result<(), Fail> {
    if n < list.len() as i64 {
        return Err(Fail::Code(ERR_ARG));
    }
    std::ptr::copy_nonoverlapping(list.as_ptr(), at as *mut T, list.len());
    Ok(())
}

pub unsafe fn type_get_contents_c(
    t: i32,
    ni: i64,
    na: i64,
    nc: i64,
    nd: i64,
    i: usize,
    a: usize,
    l: usize,
    d: usize,
) -> i32 {
    local(COMM_WORLD, || {
        let c = &datatype::get(t).ok_or(Fail::Code(ERR_TYPE))?.contents;
        give(&c.ints, ni, i)?;
        give(&c.addrs, na, a)?;
        give(&c.counts, nc, l)?;
        give(&c.types, nd, d)?;
        for t in &c.types {
            datatype::give(*t);
        }
        Ok(())
    })
}

/// What the functions with ints say of a datatype; of one with a count that is no int, that there is an error.
pub fn as_ints(c: &Contents) -> Result<std::borrow::Cow<'_, Contents>, Fail> {
    if c.counts.is_empty() {
        return Ok(std::borrow::Cow::Borrowed(c));
    }
    let ints = in_ints(c).ok_or(Fail::Code(ERR_TYPE))?;
    Ok(std::borrow::Cow::Owned(ints))
}
