//! What the lower half says of its control variables and categories.

use super::{at, Category, Variable, ROOM};
use crate::mpi::abi::SUCCESS;
use crate::mpi::lower::{ix, must};
use std::sync::atomic::AtomicI32;

/// A string that the lower half wrote.
fn written(buffer: &[u8]) -> String {
    let end = buffer.iter().position(|b| *b == 0).unwrap_or(buffer.len());
    String::from_utf8_lossy(&buffer[..end]).into_owned()
}

/// The lower half's control variables.
///
/// # Safety
/// MPI_T is initialized there; in a call that must complete.
pub unsafe fn variables() -> Vec<Variable> {
    let mut n = 0i32;
    must(ix::T_cvar_get_num, &[at(&mut n)]);
    let (mut name, mut about) = (vec![0u8; ROOM], vec![0u8; ROOM]);
    let read = |i: i32| {
        let (mut name_len, mut about_len) = (ROOM as i32, ROOM as i32);
        let [mut verbosity, mut datatype, mut bind, mut scope] = [0i32; 4];
        let mut list = 0usize;
        let args = [
            i as u64,
            name.as_mut_ptr() as u64,
            at(&mut name_len),
            at(&mut verbosity),
            at(&mut datatype),
            at(&mut list),
            about.as_mut_ptr() as u64,
            at(&mut about_len),
            at(&mut bind),
            at(&mut scope),
        ];
        let there = must(ix::T_cvar_get_info, &args) == SUCCESS;
        Variable {
            name: if there { written(&name) } else { String::new() },
            about: if there {
                written(&about)
            } else {
                String::new()
            },
            verbosity,
            datatype,
            bind,
            scope,
            lower: AtomicI32::new(if there { i } else { -1 }),
        }
    };
    (0..n).map(read).collect()
}

/// The lower half's categories.
///
/// # Safety
/// As for [`variables`].
pub unsafe fn categories() -> Vec<Category> {
    let mut n = 0i32;
    must(ix::T_category_get_num, &[at(&mut n)]);
    let (mut name, mut about) = (vec![0u8; ROOM], vec![0u8; ROOM]);
    let read = |i: i32| {
        let (mut name_len, mut about_len) = (ROOM as i32, ROOM as i32);
        let [mut variables, mut performance, mut categories] = [0i32; 3];
        let args = [
            i as u64,
            name.as_mut_ptr() as u64,
            at(&mut name_len),
            about.as_mut_ptr() as u64,
            at(&mut about_len),
            at(&mut variables),
            at(&mut performance),
            at(&mut categories),
        ];
        must(ix::T_category_get_info, &args);
        let list = |index: usize, n: i32| {
            let mut list = vec![0i32; n.max(0) as usize];
            must(index, &[i as u64, n as u64, list.as_mut_ptr() as u64]);
            list
        };
        Category {
            name: written(&name),
            about: written(&about),
            variables: list(ix::T_category_get_cvars, variables),
            categories: list(ix::T_category_get_categories, categories),
        }
    };
    (0..n).map(read).collect()
}
