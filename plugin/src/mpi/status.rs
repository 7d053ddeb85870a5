//! Statuses, and generalized requests (which live in the model alone).

use super::abi::*;
use super::front::{finish, forward, put, query};
use super::handle;
use super::lower::{self, ix, Fail};
use super::model::request::{self, Extra, Kind, Request};
use super::model::{comm as comms, datatype, lock};
use std::mem::transmute;

pub unsafe fn test_cancelled(status: usize, flag: usize) -> i32 {
    put(flag, (*(status as *const Status)).cancelled() as i32);
    SUCCESS
}

pub unsafe fn get_count(status: usize, t: i32, out: usize) -> i32 {
    query(COMM_WORLD, || {
        let bytes = (*(status as *const Status)).count();
        let size = datatype::sizes_in_place(t)?.size as u64;
        let n = match size {
            0 if bytes == 0 => 0,
            0 => UNDEFINED,
            _ if !bytes.is_multiple_of(size) => UNDEFINED,
            _ => i32::try_from(bytes / size).unwrap_or(UNDEFINED),
        };
        put(out, n);
        Ok(())
    })
}

pub unsafe fn get_elements(status: usize, t: i32, out: usize) -> i32 {
    forward(COMM_WORLD, || {
        lower::call(
            ix::Get_elements,
            &[status as u64, handle::datatype(t)?, out as u64],
        )
    })
}

pub unsafe fn get_elements_x(status: usize, t: i32, out: usize) -> i32 {
    forward(COMM_WORLD, || {
        lower::call(
            ix::Get_elements_x,
            &[status as u64, handle::datatype(t)?, out as u64],
        )
    })
}

pub unsafe fn status_set_elements(status: usize, t: i32, n: i32) -> i32 {
    status_set_elements_x(status, t, n as i64)
}

pub unsafe fn status_set_elements_x(status: usize, t: i32, n: i64) -> i32 {
    forward(COMM_WORLD, || {
        lower::call(
            ix::Status_set_elements_x,
            &[status as u64, handle::datatype(t)?, n as u64],
        )
    })
}

pub unsafe fn get_count_c(status: usize, t: i32, out: usize) -> i32 {
    query(COMM_WORLD, || {
        let bytes = (*(status as *const Status)).count();
        let n = match datatype::sizes(t)?.size as u64 {
            0 if bytes == 0 => 0,
            0 => i64::from(UNDEFINED),
            size if !bytes.is_multiple_of(size) => i64::from(UNDEFINED),
            size => (bytes / size) as i64,
        };
        put(out, n);
        Ok(())
    })
}

pub unsafe fn get_elements_c(status: usize, t: i32, out: usize) -> i32 {
    get_elements_x(status, t, out)
}

pub unsafe fn status_set_elements_c(status: usize, t: i32, n: i64) -> i32 {
    status_set_elements_x(status, t, n)
}

pub unsafe fn status_get_source(status: usize, out: usize) -> i32 {
    put(out, (*(status as *const Status)).source);
    SUCCESS
}

pub unsafe fn status_get_tag(status: usize, out: usize) -> i32 {
    put(out, (*(status as *const Status)).tag);
    SUCCESS
}

pub unsafe fn status_get_error(status: usize, out: usize) -> i32 {
    put(out, (*(status as *const Status)).error);
    SUCCESS
}

pub unsafe fn status_set_source(status: usize, source: i32) -> i32 {
    (*(status as *mut Status)).source = source;
    SUCCESS
}

pub unsafe fn status_set_tag(status: usize, tag: i32) -> i32 {
    (*(status as *mut Status)).tag = tag;
    SUCCESS
}

pub unsafe fn status_set_error(status: usize, error: i32) -> i32 {
    (*(status as *mut Status)).error = error;
    SUCCESS
}

pub unsafe fn status_set_cancelled(status: usize, flag: i32) -> i32 {
    let s = &mut *(status as *mut Status);
    s.count_hi_and_cancelled = (s.count_hi_and_cancelled & !1) | (flag != 0) as i32;
    SUCCESS
}

/// Copies a status between C and one of the Fortrans: it is the same in all of them.
unsafe fn convert(from: usize, to: usize) -> i32 {
    if from <= STATUS_IGNORE || to == 0 {
        return finish(COMM_WORLD, Ok(ERR_ARG));
    }
    put(to, *(from as *const Status));
    SUCCESS
}

pub unsafe fn status_c2f(from: usize, to: usize) -> i32 {
    convert(from, to)
}

pub unsafe fn status_f2c(from: usize, to: usize) -> i32 {
    convert(from, to)
}

pub unsafe fn status_c2f08(from: usize, to: usize) -> i32 {
    convert(from, to)
}

pub unsafe fn status_f082c(from: usize, to: usize) -> i32 {
    convert(from, to)
}

pub unsafe fn status_f2f08(from: usize, to: usize) -> i32 {
    convert(from, to)
}

pub unsafe fn status_f082f(from: usize, to: usize) -> i32 {
    convert(from, to)
}

pub unsafe fn grequest_start(
    query: usize,
    free: usize,
    cancel: usize,
    extra: usize,
    out: usize,
) -> i32 {
    forward(COMM_WORLD, || {
        let c = comms::get(COMM_SELF)?;
        let (h, r) = request::make(&lock(), Kind::Generalized, c, DATATYPE_NULL);
        let functions = [query, free, cancel, extra];
        r.extra.set(Some(Box::new(Extra {
            functions,
            ..Extra::default()
        })));
        r.active.set(true);
        put(out, h);
        Ok(SUCCESS)
    })
}

pub unsafe fn grequest_complete(handle: i32) -> i32 {
    forward(COMM_WORLD, || {
        request::get(handle)
            .ok_or(Fail::Code(ERR_REQUEST))?
            .done
            .set(true);
        Ok(SUCCESS)
    })
}

/// A generalized request's functions, and whether they are Fortran's.
fn functions(r: &Request) -> ([usize; 4], bool) {
    let extra = r.extra.take();
    let f = extra
        .as_ref()
        .map_or(([0; 4], false), |e| (e.functions, e.fortran));
    r.extra.set(extra);
    f
}

/// Makes a generalized request one of Fortran.
pub fn set_fortran(handle: i32) {
    let Some(r) = request::get(handle) else {
        return;
    };
    let mut extra = r.extra.take();
    if let Some(e) = &mut extra {
        e.fortran = true;
    }
    r.extra.set(extra);
}

/// Asks the application for the status of a generalized request.
pub fn query_request(r: &Request, out: &mut Status) -> i32 {
    let ([f, _, _, state], fortran) = functions(r);
    type Query = unsafe extern "C" fn(usize, *mut Status) -> i32;
    type Fortran = unsafe extern "C" fn(usize, *mut Status, *mut i32);
    let mut code = SUCCESS;
    // SAFETY: the application registered a MPI_Grequest_query_function; a status is the same in Fortran.
    unsafe {
        match fortran {
            false => code = transmute::<usize, Query>(f)(state, out),
            true => transmute::<usize, Fortran>(f)(state, out, &mut code),
        }
    }
    code
}

/// Tells the application that a generalized request is gone.
pub fn free(r: &Request) -> i32 {
    let ([_, f, _, state], fortran) = functions(r);
    type Free = unsafe extern "C" fn(usize) -> i32;
    type Fortran = unsafe extern "C" fn(usize, *mut i32);
    let mut code = SUCCESS;
    // SAFETY: the application registered a MPI_Grequest_free_function.
    unsafe {
        match fortran {
            false => code = transmute::<usize, Free>(f)(state),
            true => transmute::<usize, Fortran>(f)(state, &mut code),
        }
    }
    code
}

/// Asks the application to cancel a generalized request.
pub fn cancel(r: &Request) -> i32 {
    let ([_, _, f, state], fortran) = functions(r);
    type Cancel = unsafe extern "C" fn(usize, i32) -> i32;
    type Fortran = unsafe extern "C" fn(usize, *mut i32, *mut i32);
    let (mut done, mut code) = (r.done.get() as i32, SUCCESS);
    // SAFETY: the application registered a MPI_Grequest_cancel_function; to Fortran the int is a LOGICAL.
    unsafe {
        match fortran {
            false => code = transmute::<usize, Cancel>(f)(state, done),
            true => transmute::<usize, Fortran>(f)(state, &mut done, &mut code),
        }
    }
    code
}

/// Waits until the application completes a generalized request.
pub fn wait_generalized(handle: &mut i32, r: &'static Request, out: &mut Status) -> i32 {
    while !r.done.get() {
        std::thread::yield_now();
    }
    take_generalized(handle, r, out)
}

/// Ends a complete generalized request.
pub fn take_generalized(handle: &mut i32, r: &'static Request, out: &mut Status) -> i32 {
    let asked = query_request(r, out);
    let freed = free(r);
    request::release(&lock(), r);
    *handle = REQUEST_NULL;
    if asked != SUCCESS {
        return finish(COMM_WORLD, Ok(asked));
    }
    freed
}
