//! The MPI front as a library: what it exports, what it refuses, and programs that nobody here wrote.

use std::collections::BTreeSet;
use std::process::Command;
use tests::{bin, mpirun, program, run, splitproc, text, Case, Job, Mpi, Scratch};

/// Dynamic symbols that a library defines.
fn exports(library: &std::path::Path) -> BTreeSet<String> {
    let out = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library)
        .output()
        .expect("nm");
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout)
        .lines()
        .filter_map(|l| l.split_whitespace().nth(2))
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect()
}

/// MPI's C functions among them.
fn functions(symbols: &BTreeSet<String>) -> BTreeSet<String> {
    let c = |s: &&String| {
        let name = s.strip_prefix('P').unwrap_or(s);
        let rest = name.strip_prefix("MPI_").unwrap_or_default();
        // MPI_F_STATUS_IGNORE and its like are variables; a function has lower-case letters after the first.
        rest.starts_with(|c: char| c.is_ascii_uppercase())
            && rest.contains(|c: char| c.is_ascii_lowercase())
    };
    symbols.iter().filter(c).cloned().collect()
}

#[test]
fn every_function_of_the_real_library_is_exported() {
    let canonical = exports(&bin("libsplitproc.so"));
    let real = exports("/usr/lib/x86_64-linux-gnu/libmpich.so.12".as_ref());
    for front in ["libmpich.so.12", "libmpi.so.12"] {
        let front = exports(&bin("fronts").join(front));
        let ours = front.union(&canonical).cloned().collect();
        let missing: Vec<_> = functions(&real).difference(&ours).cloned().collect();
        assert!(missing.is_empty(), "not exported: {missing:?}");
        let mpi = |s: &&String| s.starts_with("MPI_");
        let behind = |s: &String| canonical.contains(&format!("splitproc_{s}"));
        // Its variables, which its Fortran library wants, are not functions.
        let front_functions = functions(&front);
        let named = front_functions.iter().filter(mpi);
        let empty: Vec<_> = named.filter(|s| !behind(s)).collect();
        assert!(empty.is_empty(), "jumps to nowhere: {empty:?}");
        assert!(front.len() > 1000, "{} functions", front.len());
    }
}

#[test]
fn what_is_out_of_reach_fails_with_a_reason() {
    let app = program("reach", "reach", &[]);
    let scratch = Scratch::new("reach");
    let launch = |call: &str, more: &[&str]| {
        let mut command = splitproc(["launch", "--mpi", "mpich", "--ckpt-dir"]);
        command.arg(scratch.ckpt()).arg("--").arg(&app).arg(call);
        command.args(more);
        run(&scratch, mpirun(1, command))
    };
    for (call, class) in [
        ("MPI_Comm_spawn", "spawn"),
        ("MPI_Open_port", "port"),
        ("MPI_Comm_connect", "port"),
        ("MPI_Lookup_name", "name"),
    ] {
        let reason = format!("splitproc: {call} failed: ");
        let done = launch(call, &["returned"]).ok();
        assert_eq!(text(&done.stdout).trim(), class, "{call}");
        assert!(text(&done.stderr).contains(&reason), "{call}");
        launch(call, &[]).fails_with(&[&reason]);
    }
}

/// What a program makes and frees leaves nothing in the model.
#[test]
fn what_is_freed_leaves_nothing() {
    let source = tests::repo().join("benches/objects.c");
    let scratch = Scratch::new("objects");
    let app = scratch.file("objects");
    let mut compile = Command::new("mpicc.mpich");
    compile
        .args(["-O1", "-w", "-o"])
        .arg(&app)
        .arg(source)
        .arg("-ldl");
    run(&scratch, compile).ok();
    let mut command = splitproc(["launch", "--mpi", "mpich", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(&app).arg("3000");
    let done = run(&scratch, mpirun(1, command)).ok();
    let out = text(&done.stdout).to_string();
    assert_eq!(
        out.lines()
            .filter(|l| l.contains("after 3000 of them"))
            .count(),
        9,
        "{out}"
    );
}

#[test]
fn the_thread_level_is_the_native_one() {
    let app = program("provided", "provided", &[]);
    let scratch = Scratch::new("provided");
    for level in ["init", "0", "1", "2", "3"] {
        let mut native = Command::new(&app);
        native.arg(level);
        let mut ours = splitproc(["launch", "--mpi", "mpich", "--ckpt-dir"]);
        ours.arg(scratch.ckpt()).arg("--").arg(&app).arg(level);
        let native = run(&scratch, mpirun(1, native)).ok();
        let ours = run(&scratch, mpirun(1, ours)).ok();
        assert_eq!(text(&ours.stdout), text(&native.stdout), "level {level}");
    }
}

/// The sizes that NetPIPE has measured: its lines are `N: BYTES bytes TIMES times --> SPEED`.
fn sizes(output: &[u8]) -> BTreeSet<u64> {
    text(output)
        .lines()
        .filter(|l| l.contains("bytes") && l.contains("times"))
        .filter_map(|l| l.split(':').nth(1)?.split_whitespace().next()?.parse().ok())
        .collect()
}

/// Debian's NetPIPE, as shipped: checkpointed in the middle, killed, restarted over either MPI library, and it finishes.
#[test]
fn netpipe_goes_on_after_a_restart() {
    let netpipe = std::path::Path::new("/usr/bin/NPmpich2");
    assert!(
        netpipe.exists(),
        "NPmpich2 is not there: apt install netpipe-mpich2"
    );
    let scratch = Scratch::new("netpipe");
    let arguments =
        |out: &str| ["-u", "131072", "-n", "20", "-p", "1", "-o", out].map(String::from);
    let mut native = Command::new(netpipe);
    native.args(arguments("native")).current_dir(scratch.path());
    let expected = sizes(&run(&scratch, mpirun(2, native)).ok().stderr);
    assert!(expected.len() > 20, "{expected:?}");
    let mut job = Job::launch(&scratch, 2, netpipe, arguments("ours"));
    tests::wait_for("ten sizes", tests::LIMIT, || {
        (sizes(&job.stderr()).len() >= 10).then_some(())
    });
    job.checkpoint(&scratch);
    let before = sizes(&job.stderr());
    job.kill();
    for mpi in [Mpi::Mpich, Mpi::OpenMpi] {
        let done = Job::restart_over(&scratch, mpi, 2).finish().ok();
        let after = sizes(&done.stderr);
        assert!(!after.is_empty() && after.len() < expected.len());
        let all: BTreeSet<u64> = before.union(&after).copied().collect();
        assert_eq!(all, expected, "over {mpi:?}");
    }
}

#[test]
fn a_wrong_library_is_refused_by_name() {
    let app = program("provided", "provided", &[]);
    let scratch = Scratch::new("library");
    for (library, words) in [
        (
            "/lib/x86_64-linux-gnu/libm.so.6",
            ["not an MPI library", "libmpich.so.12"],
        ),
        (
            "/no/such/libmpich.so.12",
            ["No such file", "libmpich.so.12"],
        ),
        ("mpihc", ["mpihc", "say auto"]),
    ] {
        let mut command = splitproc(["launch", "--mpi", library, "--ckpt-dir"]);
        command.arg(scratch.ckpt()).arg("--").arg(&app).arg("init");
        run(&scratch, command).fails_with(&words);
    }
}

/// What each rank of a program prints.
fn outputs(scratch: &Scratch, ranks: usize, name: &str, command: Command) -> Vec<String> {
    let mut run_all = Command::new("mpirun.mpich");
    run_all.args(["-n", &ranks.to_string(), "-outfile-pattern"]);
    run_all.arg(scratch.file(format!("{name}-%r")));
    run_all.arg(command.get_program()).args(command.get_args());
    run(scratch, run_all).ok();
    let output = |rank| std::fs::read_to_string(scratch.file(format!("{name}-{rank}")));
    (0..ranks)
        .map(|rank| output(rank).expect("a rank's output"))
        .collect()
}

/// Programs that print what MPI's functions give: the same as natively.
#[test]
fn the_functions_do_what_they_do_natively() {
    const SOURCES: [&str; 7] = [
        "p2p",
        "requests",
        "collectives",
        "icollectives",
        "comms",
        "types",
        "queries",
    ];
    for source in SOURCES {
        let app = program(source, source, &[]);
        for ranks in [2, 4] {
            let scratch = Scratch::new(&format!("native-{source}-{ranks}"));
            let mut ours = splitproc(["launch", "--ckpt-dir"]);
            ours.arg(scratch.ckpt()).arg("--").arg(&app);
            let native = outputs(&scratch, ranks, "native", Command::new(&app));
            let ours = outputs(&scratch, ranks, "ours", ours);
            assert!(native.iter().all(|o| o.len() > 100), "{source}: {native:?}");
            for (rank, (native, ours)) in native.iter().zip(&ours).enumerate() {
                assert_eq!(ours, native, "{source}, rank {rank} of {ranks}");
            }
        }
    }
}

#[test]
fn what_was_printed_before_an_abort_is_there() {
    let app = program("abort", "abort", &[]);
    let scratch = Scratch::new("abort");
    let printed = scratch.file("printed.txt");
    for way in ["abort", "error"] {
        let mut ends = Vec::new();
        for launched in [false, true] {
            let mut command = Command::new(&app);
            if launched {
                command = splitproc(["launch", "--ckpt-dir"]);
                command.arg(scratch.ckpt()).arg("--").arg(&app);
            }
            command.arg(way).current_dir(scratch.path());
            let _ = std::fs::remove_file(&printed);
            // Its input never ends, so that the thread in getchar stays there.
            let all = mpirun(1, command);
            let mut waits = Command::new("sh");
            waits.args(["-c", "mkfifo -m 600 in; exec 3<>in; exec \"$@\" <&3", "sh"]);
            waits.arg(all.get_program()).args(all.get_args());
            waits.current_dir(scratch.path());
            let done = run(&scratch, waits);
            assert!(!done.status.success());
            ends.push(text(&done.stdout));
            let file = std::fs::read_to_string(&printed).expect("the program's file");
            assert_eq!(file, "in a file\n", "{way}, launched: {launched}");
        }
        assert_eq!(ends, ["on stdout\n", "on stdout\n"], "{way}");
    }
}

/// A program that is not linked with MPI and opens it, as Python does: it gets the front.
#[test]
fn a_library_that_is_opened_by_its_name_is_the_front() {
    let app = program("open-mpich", "open-mpich", &[]);
    for name in ["libmpich.so.12", "libmpi.so.12"] {
        let scratch = Scratch::new("open-mpich");
        let go = scratch.file("go");
        let mut job = Job::launch(&scratch, 2, &app, [name.as_ref(), go.as_os_str()]);
        job.must_reach(1);
        job.checkpoint(&scratch);
        job.kill();
        std::fs::write(&go, "").expect("the go file");
        let done = Job::restart(&scratch, 2).finish().ok();
        assert_eq!(text(&done.stdout), "2 ranks, sum 21\n", "{name}");
    }
}

/// The real library in the upper half would be saved with its sockets and its ranks: that is refused by name.
#[test]
fn a_real_library_in_the_program_is_refused() {
    let app = program("open-mpich", "open-mpich", &[]);
    let scratch = Scratch::new("open-real");
    let go = scratch.file("go");
    let library = "/usr/lib/x86_64-linux-gnu/libmpich.so.12".as_ref();
    let mut job = Job::launch(&scratch, 0, &app, [library, go.as_os_str()]);
    job.must_reach(1);
    job.try_checkpoint(&scratch).fails_with(&[
        "libmpich.so.12",
        "MPI library in the program itself",
        "--mpi mpich",
    ]);
    std::fs::write(&go, "").expect("the go file");
    assert_eq!(text(&job.finish().ok().stdout), "ready\n1 ranks, sum 10\n");
}

/// Reductions that go on while the program computes are carried on by its own thread, or as there.
#[test]
fn operators_of_the_programs_run_on_its_own_thread() {
    let scratch = Scratch::new("own-op");
    let app = program("own_op", "own_op", &["-pthread", "-frounding-math"]);
    let case = Case::steps(&scratch, 2, &app);
    case.at_random_moments(&scratch);
    case.across(&scratch, &[Mpi::Mpich, Mpi::OpenMpi, Mpi::Mpich]);
}
