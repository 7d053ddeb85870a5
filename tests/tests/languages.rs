//! Fortran, by each of its three ways to MPI, and C++: one program in each, in which the language's own ways are used (functions
//! of the program's in all roles, constants that are addresses, LOGICAL, strings, array sections, exceptions).

use tests::{program, Case, Scratch};

fn heat(source: &str, name: &str, flags: &[&str], ranks: usize) {
    let app = program(source, name, flags);
    let scratch = Scratch::new(name);
    Case::steps(&scratch, ranks, &app).at_random_moments(&scratch);
}

#[test]
fn fortran_with_mpif_h() {
    heat("heat.F90", "heat-mpif", &["-DMPIF_H"], 2);
}

/// Without a launcher it is for splitproc to see that the program wants MPI: it names the Fortran library alone.
#[test]
fn fortran_with_the_mpi_module() {
    heat("heat.F90", "heat-mpi", &["-Wl,--as-needed"], 0);
}

#[test]
fn fortran_with_the_mpi_f08_module() {
    heat("heat08.f90", "heat-f08", &[], 3);
}

#[test]
fn the_c_plus_plus_bindings() {
    heat("heat.cc", "heat-cc", &[], 2);
}

/// Constants that are addresses are the program's own copies if it is not position-independent.
#[test]
fn fortran_that_is_not_position_independent() {
    heat("heat08.f90", "heat-f08-no-pie", &["-fno-pie", "-no-pie"], 2);
}
