//! Lower halves of a program's own: MPICH and Open MPI at once, and what is refused.

use tests::{example, lines, program, run, splitproc, text, Job, Moments, Scratch};

const HALVES: [&str; 4] = [
    "--half",
    "mpich=libmpich.so.12",
    "--half",
    "ompi=libmpi.so.40",
];

fn two_mpi_libraries(way: &str) {
    let scratch = Scratch::new(&format!("two-halves-{way}"));
    let app = example("two-halves");
    let options = [&HALVES[..], &["--crossing", way]].concat();
    let options: Vec<String> = options.into_iter().map(String::from).collect();
    let args = ["-o", "out.txt", "100", "5"];
    let launch = || Job::launch_with(&scratch, 0, &options, &app, args);
    let expected = launch().finish().ok().stdout;
    assert!(text(&expected).contains("mpich: rank 0 of 1: MPICH"));
    assert!(text(&expected).contains("ompi: rank 0 of 1: Open MPI"));
    let mut random = Moments::new();
    let mut job = launch();
    for generation in 0..3 {
        let more = random.pick(1, lines(&expected) / 5);
        println!("generation {generation}: after {more} lines");
        job.must_reach(more);
        job.checkpoint(&scratch);
        job.kill();
        job = Job::restart(&scratch, 0);
    }
    let done = job.finish().ok();
    assert!(
        expected.ends_with(&done.stdout),
        "after the restarts:\n{}",
        text(&done.stdout)
    );
    let file = std::fs::read(scratch.file("out.txt")).expect("the program's file");
    assert_eq!(text(&file), text(&expected));
}

#[test]
fn two_mpi_libraries_at_once_survive_restarts() {
    two_mpi_libraries("shared");
}

#[test]
fn two_mpi_libraries_at_once_on_borrowed_tcbs() {
    two_mpi_libraries("borrowed");
}

#[test]
fn a_program_that_uses_halves_runs_without_splitproc() {
    let scratch = Scratch::new("halves-native");
    let native = std::process::Command::new(example("two-halves"));
    run(&scratch, native).fails_with(&["--half"]);
}

#[test]
fn a_half_that_can_not_be_is_refused_with_the_reason() {
    let scratch = Scratch::new("halves-refused");
    let launch = |options: &[&str]| {
        let mut command = splitproc(["launch", "--ckpt-dir"]);
        command
            .arg(scratch.ckpt())
            .args(options)
            .args(["--", "true"]);
        run(&scratch, command)
    };
    launch(&["--half", "x=libnot-there.so"]).fails_with(&["\"x\"", "libnot-there.so", "installed"]);
    launch(&["--half", "x=./not-there.so"]).fails_with(&["x", "not-there.so"]);
    launch(&["--half", "x=libm.so.6", "--half", "x=libm.so.6"]).fails_with(&["two of this name"]);
    launch(&["--half", "mpi=libm.so.6"]).fails_with(&["mpi", "itself"]);
    launch(&["--half", "x"]).fails_with(&["NAME=LIBRARY"]);
    let eight: Vec<String> = (0..8).map(|i| format!("--half=h{i}=libm.so.6")).collect();
    let eight: Vec<&str> = eight.iter().map(String::as_str).collect();
    launch(&eight).fails_with(&["lower halves"]);
}

/// A half's libraries before the half, one half after the other, then the program: each once, also at a restart.
#[test]
fn constructors_run_in_order() {
    let scratch = Scratch::new("halves-order");
    let library = |name: &str, flags: &[&str]| {
        let named = format!("-DNAME=\"{name}\"");
        let all = [&["-shared", "-fPIC", "-DLIBRARY", &named], flags].concat();
        program("order", &format!("lib{name}.so"), &all)
    };
    let needed = library("needed", &[]);
    let rpath = format!(
        "-Wl,--no-as-needed,-rpath,{}",
        needed.parent().expect("a folder").display()
    );
    let first = library("first", &[&rpath, needed.to_str().expect("a path")]);
    let second = library("second", &[]);
    let app = program("order", "order", &["-DNAME=\"program\""]);
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt());
    command.arg(format!("--half=one={}", first.display()));
    command.arg(format!("--half=two={}", second.display()));
    command.arg("--").arg(app);
    let done = run(&scratch, command).ok();
    assert_eq!(text(&done.stderr), "needed first second program main\n");
}
