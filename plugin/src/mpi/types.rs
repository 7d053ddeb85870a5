//! Derived datatypes: constructors. The model keeps the tree, the lower half the type.

use super::abi::*;
use super::front::{forward, put, slice};
use super::lower::{ix, must, Fail, Outcome};
use super::model::datatype::{self, combiner, Contents};
use super::model::lock;
use super::{counted, handle};
use std::sync::atomic::Ordering::Relaxed;

/// Makes a datatype in the lower half from its contents.
///
/// # Safety
/// The contents must be well formed.
pub unsafe fn build(c: &Contents, out: *mut i32) -> Result<i32, Fail> {
    if !c.counts.is_empty() {
        return match counted::in_ints(c) {
            Some(ints) => build(&ints, out),
            None => counted::build(c, out as u64),
        };
    }
    let types: Vec<i32> = c
        .types
        .iter()
        .map(|t| handle::datatype(*t).map(|t| t as i32))
        .collect::<Result<_, _>>()?;
    let (i, a, out) = (&c.ints, &c.addrs, out as u64);
    let old = types.first().map_or(0, |t| *t as u64);
    let int = |k: usize| i.get(k).map_or(0, |v| *v as u64);
    let ints = |from: usize| i.get(from..).map_or(0, |v| v.as_ptr() as u64);
    let n = int(0) as usize;
    Ok(match c.combiner {
        combiner::DUP => must(ix::Type_dup, &[old, out]),
        combiner::CONTIGUOUS => must(ix::Type_contiguous, &[int(0), old, out]),
        combiner::VECTOR => must(ix::Type_vector, &[int(0), int(1), int(2), old, out]),
        combiner::HVECTOR => must(
            ix::Type_create_hvector,
            &[int(0), int(1), a[0] as u64, old, out],
        ),
        combiner::INDEXED => must(ix::Type_indexed, &[int(0), ints(1), ints(1 + n), old, out]),
        combiner::HINDEXED => must(
            ix::Type_create_hindexed,
            &[int(0), ints(1), a.as_ptr() as u64, old, out],
        ),
        combiner::INDEXED_BLOCK => must(
            ix::Type_create_indexed_block,
            &[int(0), int(1), ints(2), old, out],
        ),
        combiner::HINDEXED_BLOCK => must(
            ix::Type_create_hindexed_block,
            &[int(0), int(1), a.as_ptr() as u64, old, out],
        ),
        combiner::STRUCT => must(
            ix::Type_create_struct,
            &[
                int(0),
                ints(1),
                a.as_ptr() as u64,
                types.as_ptr() as u64,
                out,
            ],
        ),
        combiner::SUBARRAY => {
            let order = int(1 + 3 * n);
            must(
                ix::Type_create_subarray,
                &[
                    int(0),
                    ints(1),
                    ints(1 + n),
                    ints(1 + 2 * n),
                    order,
                    old,
                    out,
                ],
            )
        }
        combiner::DARRAY => {
            let d = int(2) as usize;
            let (gsizes, dist, dargs, psizes) =
                (ints(3), ints(3 + d), ints(3 + 2 * d), ints(3 + 3 * d));
            let order = int(3 + 4 * d);
            must(
                ix::Type_create_darray,
                &[
                    int(0),
                    int(1),
                    int(2),
                    gsizes,
                    dist,
                    dargs,
                    psizes,
                    order,
                    old,
                    out,
                ],
            )
        }
        combiner::RESIZED => must(
            ix::Type_create_resized,
            &[old, a[0] as u64, a[1] as u64, out],
        ),
        combiner::F90_REAL => must(ix::Type_create_f90_real, &[int(0), int(1), out]),
        combiner::F90_COMPLEX => must(ix::Type_create_f90_complex, &[int(0), int(1), out]),
        combiner::F90_INTEGER => must(ix::Type_create_f90_integer, &[int(0), out]),
        _ => return Err(Fail::Code(ERR_TYPE)),
    })
}

/// Makes a datatype in the lower half and in the model.
///
/// # Safety
/// The contents must be well formed.
pub unsafe fn construct(contents: Contents, out: usize) -> i32 {
    forward(COMM_WORLD, || -> Outcome {
        let mut lower = 0i32;
        let code = build(&contents, &mut lower)?;
        if code == SUCCESS {
            let sizes = datatype::ask(lower);
            put(out, datatype::register(&lock(), lower, contents, sizes));
        }
        Ok(code)
    })
}

fn of(combiner: i32, ints: Vec<i32>, addrs: Vec<i64>, types: Vec<i32>) -> Contents {
    Contents {
        combiner,
        ints,
        addrs,
        types,
        ..Contents::default()
    }
}

/// A count, then arrays of integers.
unsafe fn counted(head: &[i32], n: i32, arrays: &[usize]) -> Vec<i32> {
    let mut v = head.to_vec();
    for a in arrays {
        v.extend_from_slice(slice(*a, n));
    }
    v
}

unsafe fn wide(at: usize, n: i32) -> Vec<i64> {
    slice::<i64>(at, n).to_vec()
}

pub unsafe fn type_contiguous(n: i32, t: i32, out: usize) -> i32 {
    construct(of(combiner::CONTIGUOUS, vec![n], vec![], vec![t]), out)
}

pub unsafe fn type_vector(n: i32, block: i32, stride: i32, t: i32, out: usize) -> i32 {
    construct(
        of(combiner::VECTOR, vec![n, block, stride], vec![], vec![t]),
        out,
    )
}

pub unsafe fn type_create_hvector(n: i32, block: i32, stride: i64, t: i32, out: usize) -> i32 {
    construct(
        of(combiner::HVECTOR, vec![n, block], vec![stride], vec![t]),
        out,
    )
}

pub unsafe fn type_hvector(n: i32, block: i32, stride: i64, t: i32, out: usize) -> i32 {
    type_create_hvector(n, block, stride, t, out)
}

pub unsafe fn type_indexed(n: i32, blocks: usize, at: usize, t: i32, out: usize) -> i32 {
    construct(
        of(
            combiner::INDEXED,
            counted(&[n], n, &[blocks, at]),
            vec![],
            vec![t],
        ),
        out,
    )
}

pub unsafe fn type_create_hindexed(n: i32, blocks: usize, at: usize, t: i32, out: usize) -> i32 {
    construct(
        of(
            combiner::HINDEXED,
            counted(&[n], n, &[blocks]),
            wide(at, n),
            vec![t],
        ),
        out,
    )
}

pub unsafe fn type_hindexed(n: i32, blocks: usize, at: usize, t: i32, out: usize) -> i32 {
    type_create_hindexed(n, blocks, at, t, out)
}

pub unsafe fn type_create_indexed_block(n: i32, block: i32, at: usize, t: i32, out: usize) -> i32 {
    construct(
        of(
            combiner::INDEXED_BLOCK,
            counted(&[n, block], n, &[at]),
            vec![],
            vec![t],
        ),
        out,
    )
}

pub unsafe fn type_create_hindexed_block(n: i32, block: i32, at: usize, t: i32, out: usize) -> i32 {
    construct(
        of(
            combiner::HINDEXED_BLOCK,
            vec![n, block],
            wide(at, n),
            vec![t],
        ),
        out,
    )
}

pub unsafe fn type_create_struct(
    n: i32,
    blocks: usize,
    at: usize,
    types: usize,
    out: usize,
) -> i32 {
    let types = slice::<i32>(types, n).to_vec();
    construct(
        of(
            combiner::STRUCT,
            counted(&[n], n, &[blocks]),
            wide(at, n),
            types,
        ),
        out,
    )
}

pub unsafe fn type_struct(n: i32, blocks: usize, at: usize, types: usize, out: usize) -> i32 {
    type_create_struct(n, blocks, at, types, out)
}

pub unsafe fn type_create_subarray(
    n: i32,
    sizes: usize,
    subsizes: usize,
    starts: usize,
    order: i32,
    t: i32,
    out: usize,
) -> i32 {
    let mut ints = counted(&[n], n, &[sizes, subsizes, starts]);
    ints.push(order);
    construct(of(combiner::SUBARRAY, ints, vec![], vec![t]), out)
}

pub unsafe fn type_create_darray(
    size: i32,
    rank: i32,
    n: i32,
    gsizes: usize,
    distribs: usize,
    dargs: usize,
    psizes: usize,
    order: i32,
    t: i32,
    out: usize,
) -> i32 {
    let mut ints = counted(&[size, rank, n], n, &[gsizes, distribs, dargs, psizes]);
    ints.push(order);
    construct(of(combiner::DARRAY, ints, vec![], vec![t]), out)
}

pub unsafe fn type_create_resized(t: i32, lb: i64, extent: i64, out: usize) -> i32 {
    construct(
        of(combiner::RESIZED, vec![], vec![lb, extent], vec![t]),
        out,
    )
}

/// One of Fortran's types. Nobody may free it, so one that is there already is given again.
unsafe fn of_fortran(combiner: i32, ints: Vec<i32>, out: usize) -> i32 {
    let same = |c: &Contents| c.combiner == combiner && c.ints == ints;
    let known = datatype::all(&lock())
        .into_iter()
        .find(|t| same(&t.contents));
    match known {
        Some(t) => {
            put(out, t.handle.load(Relaxed));
            SUCCESS
        }
        None => construct(of(combiner, ints, vec![], vec![]), out),
    }
}

pub unsafe fn type_create_f90_integer(r: i32, out: usize) -> i32 {
    of_fortran(combiner::F90_INTEGER, vec![r], out)
}

pub unsafe fn type_create_f90_real(p: i32, r: i32, out: usize) -> i32 {
    of_fortran(combiner::F90_REAL, vec![p, r], out)
}

pub unsafe fn type_create_f90_complex(p: i32, r: i32, out: usize) -> i32 {
    of_fortran(combiner::F90_COMPLEX, vec![p, r], out)
}

pub unsafe fn type_dup(t: i32, out: usize) -> i32 {
    let code = construct(of(combiner::DUP, vec![], vec![], vec![t]), out);
    if code != SUCCESS {
        return code;
    }
    if let Some(new) = datatype::get(*(out as *const i32)) {
        let committed = datatype::get(t).is_none_or(|t| t.committed.load(Relaxed));
        new.committed.store(committed, Relaxed);
    }
    super::attrs::copy_all_of_type(t, out)
}

pub unsafe fn type_commit(at: usize) -> i32 {
    forward(COMM_WORLD, || {
        let h = *(at as *const i32);
        match datatype::get(h) {
            None if datatype::predefined(h) => Ok(SUCCESS),
            None => Err(Fail::Code(ERR_TYPE)),
            Some(t) => {
                t.committed.store(true, Relaxed);
                Ok(must(ix::Type_commit, &[t.lower.as_ptr() as u64]))
            }
        }
    })
}

pub unsafe fn type_free(at: usize) -> i32 {
    let h = *(at as *const i32);
    // Attributes go with the application's last handle.
    if datatype::get(h).is_some_and(|t| t.handles.load(Relaxed) == 1) {
        let code = super::attrs::delete_all_of_type(h);
        if code != SUCCESS {
            return code;
        }
    }
    forward(COMM_WORLD, || {
        let t = datatype::get(h).ok_or(Fail::Code(ERR_TYPE))?;
        t.handles.fetch_sub(1, Relaxed);
        datatype::release(&lock(), h);
        put(at, DATATYPE_NULL);
        Ok(SUCCESS)
    })
}

pub unsafe fn type_match_size(class: i32, size: i32, out: usize) -> i32 {
    // The result is a predefined type, the same constant in both halves.
    forward(COMM_WORLD, || {
        super::lower::call(
            ix::Type_match_size,
            &[class as u64, size as u64, out as u64],
        )
    })
}
