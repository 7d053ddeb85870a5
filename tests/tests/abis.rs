//! Programs that are built for Open MPI, run over MPICH: the front `libmpi.so.40` translates.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{
    bin, built_by, mpirun, mpirun_of, repo, run, splitproc, text, Case, Job, Mpi, Scratch,
};

const OPEN_MPI: &str = "mpicc.openmpi";

/// A test program, built for Open MPI.
fn program(source: &str) -> PathBuf {
    let file = repo().join("tests/c").join(format!("{source}.c"));
    built_by(OPEN_MPI, &file, &format!("{source}.openmpi"), &[])
}

/// What a library exports.
fn exports(library: &Path) -> BTreeSet<String> {
    symbols(library, "--defined-only")
}

fn symbols(library: &Path, which: &str) -> BTreeSet<String> {
    let listed = Command::new("nm").args(["-D", which]).arg(library).output();
    let names = text(&listed.expect("nm is there").stdout);
    let last = |line: &str| line.split_whitespace().last().map(str::to_owned);
    names.lines().filter_map(last).collect()
}

/// All that a program in C can want of Open MPI's library.
#[test]
fn what_programs_want_of_open_mpi_is_exported() {
    let real = exports("/usr/lib/x86_64-linux-gnu/libmpi.so.40".as_ref());
    let ours = exports(&bin("fronts").join("libmpi.so.40"));
    let header = std::fs::read_to_string("/usr/lib/x86_64-linux-gnu/openmpi/include/mpi.h");
    let header = header.expect("Open MPI's header");
    let words: BTreeSet<&str> = header
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let missing: Vec<_> = real
        .difference(&ours)
        .filter(|name| words.contains(name.as_str()))
        // MPI_DUP_FN and its like are Fortran's; a program in C gets OMPI_C_MPI_DUP_FN.
        .filter(|name| !name.ends_with("_FN") && !name.ends_with("_FN_NULL"))
        .collect();
    assert!(missing.is_empty(), "not exported: {missing:?}");
}

/// All that Open MPI's libraries of other languages want: they can be opened with every symbol bound at once.
#[test]
fn what_libraries_of_languages_want_of_open_mpi_is_exported() {
    let folder = Path::new("/usr/lib/x86_64-linux-gnu");
    let mut there = exports(&bin("fronts").join("libmpi.so.40"));
    for beside in ["libopen-pal.so.40", "libmpi_mpifh.so.40"] {
        there.extend(exports(&folder.join(beside)));
    }
    for name in ["mpifh", "usempif08", "usempi_ignore_tkr", "cxx"] {
        let library = folder.join(format!("libmpi_{name}.so.40"));
        let wanted = symbols(&library, "--undefined-only");
        let of_mpi = |s: &&String| {
            ["mpi", "pmpi", "ompi", "opal"]
                .iter()
                .any(|p| s.to_lowercase().starts_with(p))
        };
        let wanted: Vec<_> = wanted.iter().filter(of_mpi).collect();
        assert!(
            name == "usempi_ignore_tkr" || wanted.len() > 50,
            "{wanted:?}"
        );
        let missing: Vec<_> = wanted.iter().filter(|s| !there.contains(**s)).collect();
        assert!(missing.is_empty(), "{name} wants {missing:?}");
    }
}

fn heat2d(flags: &[&str]) -> PathBuf {
    let source = repo().join("examples/heat2d.c");
    built_by(
        OPEN_MPI,
        &source,
        &format!("heat2d.openmpi{}", flags.concat()),
        flags,
    )
}

/// The same numbers as the program has that is built for MPICH, over restarts too, from each MPI library to the other.
#[test]
fn heat2d_built_for_open_mpi_over_both() {
    let scratch = Scratch::new("heat2d-openmpi");
    let mut case = Case::heat2d(&scratch, 2, 1);
    case.app = heat2d(&[]);
    case.across(&scratch, &[Mpi::Mpich, Mpi::OpenMpi, Mpi::Mpich]);
    let _ = std::fs::remove_dir_all(scratch.ckpt());
    case.across(&scratch, &[Mpi::OpenMpi, Mpi::Mpich, Mpi::OpenMpi]);
}

/// A program that is not position-independent has copies of Open MPI's objects in itself, at addresses below 4 GiB.
#[test]
fn a_program_with_copies_of_the_objects() {
    let scratch = Scratch::new("heat2d-openmpi-no-pie");
    let mut case = Case::heat2d(&scratch, 2, 1);
    case.app = heat2d(&["-fno-pie", "-no-pie"]);
    case.at_random_moments(&scratch);
}

/// What MPI's functions give is printed; the numbers in these programs are the same in both ABIs.
#[test]
fn the_functions_do_what_they_do_in_mpich() {
    for source in ["p2p", "collectives", "icollectives"] {
        let outputs = |scratch: &Scratch, name: &str, command: Command| -> Vec<String> {
            let mut all = Command::new("mpirun.mpich");
            all.args(["-n", "2", "-outfile-pattern"])
                .arg(scratch.file(format!("{name}-%r")));
            all.arg(command.get_program()).args(command.get_args());
            run(scratch, all).ok();
            let of = |rank| std::fs::read_to_string(scratch.file(format!("{name}-{rank}")));
            // What a buffer for buffered sends has beside its messages is the ABI's.
            let same = |all: &str| {
                all.lines()
                    .filter(|l| !l.contains("detach"))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            (0..2)
                .map(|rank| same(&of(rank).expect("a rank's output")))
                .collect()
        };
        let scratch = Scratch::new(&format!("openmpi-{source}"));
        let native = tests::program(source, source, &[]);
        let native = outputs(&scratch, "native", Command::new(native));
        let mut ours = splitproc(["launch", "--ckpt-dir"]);
        ours.arg(scratch.ckpt()).arg("--").arg(program(source));
        assert_eq!(outputs(&scratch, "ours", ours), native, "{source}");
        assert!(native.iter().all(|o| o.len() > 50), "{native:?}");
    }
}

/// How the program was launched, and which error handler a window has, are as natively: in MPICH as in Open MPI, which tell
/// them differently, and for Open MPI's programs over the other library too.
#[test]
fn what_libraries_tell_differently_is_told_as_natively() {
    let scratch = Scratch::new("told");
    let app = |by: &str| {
        built_by(
            by,
            &repo().join("tests/c/told.c"),
            &format!("told.{by}"),
            &[],
        )
    };
    let ours = |app: &Path, way: &str| {
        let mut command = splitproc(["launch", "--ckpt-dir"]);
        command.arg(scratch.ckpt()).arg("--").arg(app).arg(way);
        command
    };
    let native = |app: &Path, way: &str| {
        let mut command = Command::new(app);
        command.arg(way);
        command
    };
    let told = |mpi, command| text(&run(&scratch, mpirun_of(mpi, 2, command)).ok().stdout);
    for (by, own, overs) in [
        ("mpicc.mpich", Mpi::Mpich, &[Mpi::Mpich][..]),
        (OPEN_MPI, Mpi::OpenMpi, &[Mpi::OpenMpi, Mpi::Mpich]),
    ] {
        let app = app(by);
        let expected = told(own, native(&app, "and goes on"));
        assert!(expected.contains("a window's handler: 1"), "{expected}");
        for over in overs {
            let found = told(*over, ours(&app, "and goes on"));
            assert_eq!(found, expected, "{by} over {over:?}");
        }
    }
    let app = app(OPEN_MPI);
    for command in [native(&app, "fatal"), ours(&app, "fatal")] {
        let done = run(&scratch, mpirun_of(Mpi::OpenMpi, 2, command));
        let said = text(&done.stdout);
        assert!(!done.status.success() && !said.contains("key"), "{said}");
    }
}

/// States that a checkpoint finds the program in, after a restart.
fn trap(source: &str, name: &str) {
    let scratch = Scratch::new(&format!("openmpi-{source}-{name}"));
    let go = scratch.file("go");
    let mut job = Job::launch(
        &scratch,
        2,
        &program(source),
        [name.as_ref(), go.as_os_str()],
    );
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    let done = Job::restart(&scratch, 2).finish().ok();
    assert_eq!(text(&done.stdout), "ok\n", "{source} {name}");
}

#[test]
fn messages_and_requests() {
    trap("traps", "in_flight");
    trap("traps", "persistent");
    trap("trap_p2p", "completion");
    trap("trap_p2p", "proc_null");
}

/// The application's functions are called with its own handles.
#[test]
fn functions_of_the_program() {
    trap("traps", "objects");
    trap("trap_coll", "busy_user_op");
    trap("trap_objects", "attributes");
    trap("trap_objects", "operators");
}

#[test]
fn objects_of_all_kinds() {
    trap("trap_objects", "types");
    trap("trap_objects", "topologies");
    trap("trap_coll", "pending");
}

/// A program that opens the library by its name or by a path gets the front.
#[test]
fn a_library_that_is_opened_by_a_path_is_the_front() {
    let app = tests::program("open-mpich", "open-mpich", &[]);
    let scratch = Scratch::new("open-by-path");
    let go = scratch.file("go");
    std::fs::write(&go, "").expect("the go file");
    let library = "/usr/lib/x86_64-linux-gnu/libmpich.so.12";
    let mut launched = splitproc(["launch", "--ckpt-dir"]);
    launched
        .arg(scratch.ckpt())
        .arg("--")
        .arg(&app)
        .arg(library)
        .arg(&go);
    let done = run(&scratch, mpirun(2, launched)).ok();
    assert!(
        text(&done.stdout).ends_with("2 ranks, sum 21\n"),
        "{}",
        text(&done.stdout)
    );
}
