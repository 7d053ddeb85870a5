//! Queries about datatypes, answered by the model.

use super::abi::*;
use super::front::{forward, local, put, query};
use super::lower::{self, ix, Fail};
use super::model::datatype::{self, combiner, sizes, sizes_in_place};
use super::model::lock;
use super::{counted, infos};

unsafe fn narrow(out: usize, v: i64) {
    put(out, i32::try_from(v).unwrap_or(UNDEFINED));
}

pub unsafe fn type_size(t: i32, out: usize) -> i32 {
    query(COMM_WORLD, || {
        sizes_in_place(t).map(|s| narrow(out, s.size))
    })
}

pub unsafe fn type_size_x(t: i32, out: usize) -> i32 {
    query(COMM_WORLD, || sizes(t).map(|s| put(out, s.size)))
}

pub unsafe fn type_extent(t: i32, out: usize) -> i32 {
    query(COMM_WORLD, || sizes(t).map(|s| put(out, s.extent)))
}

pub unsafe fn type_lb(t: i32, out: usize) -> i32 {
    query(COMM_WORLD, || sizes(t).map(|s| put(out, s.lb)))
}

pub unsafe fn type_ub(t: i32, out: usize) -> i32 {
    query(COMM_WORLD, || sizes(t).map(|s| put(out, s.lb + s.extent)))
}

pub unsafe fn type_get_extent(t: i32, lb: usize, extent: usize) -> i32 {
    query(COMM_WORLD, || {
        let s = sizes(t)?;
        put(lb, s.lb);
        put(extent, s.extent);
        Ok(())
    })
}

pub unsafe fn type_get_extent_x(t: i32, lb: usize, extent: usize) -> i32 {
    type_get_extent(t, lb, extent)
}

pub unsafe fn type_get_true_extent(t: i32, lb: usize, extent: usize) -> i32 {
    query(COMM_WORLD, || {
        let s = sizes(t)?;
        put(lb, s.true_lb);
        put(extent, s.true_extent);
        Ok(())
    })
}

pub unsafe fn type_get_true_extent_x(t: i32, lb: usize, extent: usize) -> i32 {
    type_get_true_extent(t, lb, extent)
}

pub unsafe fn type_get_envelope(t: i32, ni: usize, na: usize, nd: usize, how: usize) -> i32 {
    query(COMM_WORLD, || {
        let (i, a, d, c) = match datatype::get(t) {
            Some(t) => {
                let c = counted::as_ints(&t.contents)?;
                (c.ints.len(), c.addrs.len(), c.types.len(), c.combiner)
            }
            None if datatype::predefined(t) => (0, 0, 0, combiner::NAMED),
            None => return Err(Fail::Code(ERR_TYPE)),
        };
        put(ni, i as i32);
        put(na, a as i32);
        put(nd, d as i32);
        put(how, c);
        Ok(())
    })
}

pub unsafe fn type_get_contents(
    t: i32,
    ni: i32,
    na: i32,
    nd: i32,
    i: usize,
    a: usize,
    d: usize,
) -> i32 {
    local(COMM_WORLD, || {
        let c = counted::as_ints(&datatype::get(t).ok_or(Fail::Code(ERR_TYPE))?.contents)?;
        let short = |n: i32, have: usize| (n.max(0) as usize) < have;
        if short(ni, c.ints.len()) || short(na, c.addrs.len()) || short(nd, c.types.len()) {
            return Err(Fail::Code(ERR_ARG));
        }
        std::ptr::copy_nonoverlapping(c.ints.as_ptr(), i as *mut i32, c.ints.len());
        std::ptr::copy_nonoverlapping(c.addrs.as_ptr(), a as *mut i64, c.addrs.len());
        std::ptr::copy_nonoverlapping(c.types.as_ptr(), d as *mut i32, c.types.len());
        for t in &c.types {
            datatype::give(*t);
        }
        Ok(())
    })
}

pub unsafe fn type_set_name(t: i32, name: usize) -> i32 {
    local(COMM_WORLD, || {
        let guard = lock();
        let meta = datatype::meta(&guard, t).ok_or(Fail::Code(ERR_TYPE))?;
        meta.name = Some(infos::text(name, MAX_OBJECT_NAME - 1));
        Ok(())
    })
}

pub unsafe fn type_get_name(t: i32, out: usize, len: usize) -> i32 {
    let name = datatype::meta(&lock(), t).and_then(|m| m.name.clone());
    match (name, datatype::get(t)) {
        (Some(name), _) => local(COMM_WORLD, || {
            infos::put_text(out, len, &name);
            Ok(())
        }),
        (None, Some(_)) => local(COMM_WORLD, || {
            infos::put_text(out, len, "");
            Ok(())
        }),
        (None, None) => forward(COMM_WORLD, || {
            lower::call(ix::Type_get_name, &[t as u64, out as u64, len as u64])
        }),
    }
}

pub unsafe fn type_size_c(t: i32, out: usize) -> i32 {
    type_size_x(t, out)
}

pub unsafe fn type_get_extent_c(t: i32, lb: usize, extent: usize) -> i32 {
    type_get_extent(t, lb, extent)
}

pub unsafe fn type_get_true_extent_c(t: i32, lb: usize, extent: usize) -> i32 {
    type_get_true_extent(t, lb, extent)
}
