//! Fortran, by each of its three ways to MPI, and C++: one program in each, in which the language's own ways are used (functions
//! of the program's in all roles, constants that are addresses, LOGICAL, strings, array sections, exceptions).

use tests::{built_by, program, repo, Case, Mpi, Scratch};

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

/// Built for Open MPI, launched over the first of these libraries, and restarted over the others.
fn open_mpi(compiler: &str, source: &str, name: &str, flags: &[&str], all: &[Mpi]) {
    let file = repo().join("tests/c").join(source);
    let app = built_by(compiler, &file, name, flags);
    let scratch = Scratch::new(name);
    Case::steps_of(Mpi::OpenMpi, &scratch, 2, &app).across(&scratch, all);
}

const FORTRAN: &str = "mpif90.openmpi";

#[test]
fn open_mpis_mpif_h() {
    let flags = ["-DMPIF_H", "-fallow-argument-mismatch", "-w"];
    let all = [Mpi::Mpich, Mpi::OpenMpi];
    open_mpi(FORTRAN, "heat.F90", "heat-mpif.openmpi", &flags, &all);
}

#[test]
fn open_mpis_mpi_module() {
    let all = [Mpi::OpenMpi, Mpi::Mpich];
    open_mpi(FORTRAN, "heat.F90", "heat-mpi.openmpi", &[], &all);
}

#[test]
fn open_mpis_mpi_f08_module() {
    let all = [Mpi::Mpich, Mpi::OpenMpi, Mpi::Mpich];
    open_mpi(FORTRAN, "heat08.f90", "heat-f08.openmpi", &[], &all);
}

/// Constants that are addresses, and predefined objects, are the program's own copies.
#[test]
fn open_mpis_fortran_that_is_not_position_independent() {
    let flags = ["-fno-pie", "-no-pie"];
    let all = [Mpi::Mpich, Mpi::OpenMpi];
    open_mpi(
        FORTRAN,
        "heat08.f90",
        "heat-f08-no-pie.openmpi",
        &flags,
        &all,
    );
}

#[test]
fn open_mpis_c_plus_plus_bindings() {
    let all = [Mpi::OpenMpi, Mpi::Mpich, Mpi::OpenMpi];
    open_mpi(
        "mpicxx.openmpi",
        "heat.cc",
        "heat-cc.openmpi",
        &["-w"],
        &all,
    );
}

#[test]
fn fortran_that_completes_requests_in_all_ways() {
    heat("completes.f90", "completes", &[], 2);
}

/// Open MPI's library of Fortran looks into requests that are still there.
#[test]
fn open_mpis_fortran_that_completes_requests_in_all_ways() {
    let all = [Mpi::OpenMpi, Mpi::Mpich, Mpi::OpenMpi];
    open_mpi(FORTRAN, "completes.f90", "completes.openmpi", &["-w"], &all);
}
