//! Under DMTCP: its other features with the plugin loaded, programs that use several lower halves, and what goes wrong
//! at a restart.
//!
//! Each test says that it is skipped where there is no DMTCP on PATH.

use std::path::Path;
use tests::{
    areas, bin, dmtcp_is_there, example, half_libraries, lines, moments, program, repo, text,
    wait_for, Case, Dmtcp, Job, Moments, Mpi, Scratch, LIMIT, STACK_PROTECTORS,
};

fn heat2d(scratch: &Scratch) -> Case {
    Case::heat2d_of(scratch, 0, 1, 2048)
}

fn words(app: &Path, args: &[&str]) -> Vec<String> {
    let app = app.display().to_string();
    let args = args.iter().map(|a| (*a).to_owned());
    std::iter::once(app).chain(args).collect()
}

/// A restarted case is waited for, and its output is an undisturbed run's.
#[track_caller]
fn ends_well(scratch: &Scratch, case: &Case, job: Job) {
    case.check_restarted(scratch, &job.finish().ok().stdout);
}

#[test]
fn checkpoints_at_an_interval() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-interval");
    let case = Case::counter_of(&scratch, 400);
    let dmtcp = Dmtcp::new(&scratch);
    let job = dmtcp.launch(&case, "mpi", &["--interval", "1"]);
    wait_for("an image", LIMIT, || {
        (!dmtcp.images().is_empty()).then_some(())
    });
    case.check_killed(&job.kill());
    let dmtcp = Dmtcp::new(&scratch);
    ends_well(&scratch, &case, dmtcp.restart(0));
}

/// With the umask, the working directory, signal handlers and more; DMTCP alone does not bring the umask back.
#[test]
fn what_a_process_has() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-counter");
    let case = Case::counter(&scratch);
    let dmtcp = Dmtcp::new(&scratch);
    let options = [
        "--ckpt-open-files",
        "--allow-file-overwrite",
        "--ckpt-signal",
        "40",
    ];
    let mut job = dmtcp.launch(&case, "mpi", &options);
    job.must_reach(case.moment(&mut Moments::new()));
    dmtcp.checkpoint(1);
    case.check_killed(&job.kill());
    let dmtcp = Dmtcp::new(&scratch);
    ends_well(&scratch, &case, dmtcp.restart(0));
}

/// DMTCP alone goes on where the restart is begun.
#[test]
fn a_program_that_went_to_another_folder() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-elsewhere");
    let app = words(&program("elsewhere", "elsewhere", &[]), &["/usr", "200"]);
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(0, &[("SPLITPROC_LH", "mpi")], &[], &app);
    job.must_reach(5);
    dmtcp.checkpoint(1);
    job.kill();
    let dmtcp = Dmtcp::new(&scratch);
    let done = dmtcp.restart(0).finish().ok();
    let went = text(&done.stdout);
    assert!(
        !went.is_empty() && went.lines().all(|line| line == "/usr"),
        "{went}"
    );
}

#[test]
fn another_plugin_beside_ours() {
    if !dmtcp_is_there() {
        return;
    }
    let other = program("dmtcp_other", "dmtcp_other.so", &["-shared", "-fPIC"]);
    let ours = bin("libsplitproc.so");
    for plugins in [[ours.clone(), other.clone()], [other, ours]] {
        let scratch = Scratch::new("dmtcp-other");
        let case = heat2d(&scratch);
        let events = scratch.file("events").display().to_string();
        let app = words(
            &case.app,
            &case.args.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        let app: Vec<_> = app.iter().map(String::as_str).collect();
        let dmtcp = Dmtcp::new(&scratch);
        let mut job = dmtcp.start_with(&plugins, 0, &[("OTHER_PLUGIN", &events)], &[], &app);
        job.must_reach(2);
        dmtcp.checkpoint(1);
        wait_for("RUNNING", LIMIT, || {
            told(&events).ends_with("19\n").then_some(())
        });
        job.kill();
        assert_eq!(told(&events), "19\n15\n16\n17\n19\n");
        let dmtcp = Dmtcp::new(&scratch);
        ends_well(&scratch, &case, dmtcp.restart(0));
        assert!(told(&events).ends_with("18\n19\n"), "{}", told(&events));
    }
}

/// Each leaves something out of the image. DMTCP asks the first alone, and one that does not ask the next is to be told so.
#[test]
fn another_plugin_that_leaves_memory_out() {
    if !dmtcp_is_there() {
        return;
    }
    let other = |name: &str, flags: &[&str]| {
        let flags = [&["-shared", "-fPIC", "-DREGION"], flags].concat();
        program("dmtcp_other", name, &flags)
    };
    let (asks, alone) = (
        other("dmtcp_other-asks.so", &["-DASKS"]),
        other("dmtcp_other-alone.so", &[]),
    );
    let ours = bin("libsplitproc.so");
    for plugins in [[ours.clone(), alone.clone()], [asks, ours.clone()]] {
        let scratch = Scratch::new("dmtcp-other-region");
        let case = Case::counter(&scratch);
        let dmtcp = Dmtcp::new(&scratch);
        let env = [("SPLITPROC_LH", "mpi")];
        let app = words(&case.app, &["100000", "10"]);
        let app: Vec<_> = app.iter().map(String::as_str).collect();
        let mut job = dmtcp.start_with(&plugins, 0, &env, &["--no-gzip"], &app);
        job.must_reach(2);
        dmtcp.checkpoint(1);
        job.kill();
        let saved = areas(&dmtcp.images()[0]);
        let within = |from: u64, to: u64| saved.iter().any(|a| (from..to).contains(&a.0));
        assert!(within(0x2f00_0000_0000, 0x2f80_0000_0000), "lhInfo");
        assert!(!within(0x1000_0000_0000, 0x2800_0000_0000), "lower halves");
        assert!(!within(0x5000_0000_0000, 0x5000_0001_0000), "its region");
    }
    let scratch = Scratch::new("dmtcp-other-alone");
    let dmtcp = Dmtcp::new(&scratch);
    let counter = example("counter");
    let app = [counter.to_str().expect("a path"), "10", "10"];
    let env = [("SPLITPROC_LH", "mpi")];
    let job = dmtcp.start_with(&[alone, ours], 0, &env, &[], &app);
    let done = job.finish();
    assert_eq!(done.status.code(), Some(99), "{}", text(&done.stderr));
    done.fails_with(&["name libsplitproc.so before it"]);
}

fn told(events: &str) -> String {
    text(&std::fs::read(events).unwrap_or_default())
}

#[test]
fn a_program_that_asks_for_the_checkpoint_itself() {
    if !dmtcp_is_there() {
        return;
    }
    let app = program("dmtcp_asks", "dmtcp_asks", &[]);
    let app = [app.to_str().expect("a path")];
    for (ranks, sum) in [(0, 0), (2, 1)] {
        let scratch = Scratch::new("dmtcp-asks");
        let size = ranks.max(1);
        let dmtcp = Dmtcp::new(&scratch);
        let mut job = dmtcp.start(ranks, &[], &[], &app);
        job.must_reach(1);
        assert_eq!(text(&job.kill()), format!("told 1 sum {sum} of {size}\n"));
        let dmtcp = Dmtcp::new(&scratch);
        let done = dmtcp.restart(ranks).finish().ok();
        assert_eq!(text(&done.stdout), format!("told 2 sum {sum} of {size}\n"));
    }
}

#[test]
fn a_child_that_executes_an_mpi_program_has_halves_of_its_own() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-execs");
    let app = words(&program("execs", "execs", &[]), &["150"]);
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(0, &[], &[], &app);
    job.must_reach(20);
    dmtcp.checkpoint(2);
    job.kill();
    let dmtcp = Dmtcp::new(&scratch);
    let done = dmtcp.restart(0).finish().ok();
    assert!(
        text(&done.stdout).ends_with("149\nchild 7\n"),
        "{}",
        text(&done.stdout)
    );
}

/// MPICH and Open MPI in one process, and some generations of it.
fn two_mpi_libraries(way: &str) {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new(&format!("dmtcp-two-{way}"));
    let steps = (70 * moments()).to_string();
    let app = words(&example("two-halves"), &["-o", "out.txt", &steps, "5"]);
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    let halves = "mpich=libmpich.so.12,ompi=libmpi.so.40";
    let env = [("SPLITPROC_LH", halves), ("SPLITPROC_CROSSING", way)];
    let mut dmtcp = Dmtcp::new(&scratch);
    let expected = dmtcp.start(0, &env, &[], &app).finish().ok().stdout;
    let mut random = Moments::new();
    let mut job = dmtcp.start(0, &env, &[], &app);
    for generation in 0..moments() {
        let more = random.pick(1, lines(&expected) / (moments() + 2));
        println!("generation {generation}: after {more} lines");
        job.must_reach(more);
        dmtcp.checkpoint(1);
        job.kill();
        dmtcp = Dmtcp::new(&scratch);
        job = dmtcp.restart_with(0, &env[1..]);
    }
    let done = job.finish().ok();
    assert!(expected.ends_with(&done.stdout), "{}", text(&done.stdout));
    let file = std::fs::read(scratch.file("out.txt")).expect("the program's file");
    assert_eq!(text(&file), text(&expected));
}

#[test]
fn two_mpi_libraries_at_once() {
    two_mpi_libraries("shared");
}

#[test]
fn two_mpi_libraries_at_once_on_borrowed_tcbs() {
    two_mpi_libraries("borrowed");
}

/// Modes of `crossing.c` in two halves: ready, a checkpoint, killed and restarted; then all must be as it should be.
fn crossing(way: &str, modes: &[(&str, &str)]) {
    if !dmtcp_is_there() {
        return;
    }
    let dir = half_libraries();
    let half = dir.join("half.so").display().to_string();
    let halves = format!("one={half},two={half}");
    let program = program("crossing", "crossing", &[STACK_PROTECTORS]);
    let env = [
        ("SPLITPROC_LH", halves.as_str()),
        ("SPLITPROC_CROSSING", way),
    ];
    for (mode, threads) in modes {
        println!("{mode}");
        let scratch = Scratch::new(&format!("dmtcp-crossing-{mode}-{way}"));
        let (go, dir) = (scratch.file("go"), dir.display().to_string());
        let go_name = go.display().to_string();
        let app = words(&program, &[mode, &go_name, &dir, threads]);
        let app: Vec<_> = app.iter().map(String::as_str).collect();
        let dmtcp = Dmtcp::new(&scratch);
        let mut job = dmtcp.start(0, &env, &["--no-gzip"], &app);
        job.must_reach(1);
        dmtcp.checkpoint(1);
        job.kill();
        let dmtcp = Dmtcp::new(&scratch);
        let job = dmtcp.restart_with(0, &env[1..]);
        std::fs::write(&go, "").expect("the go file");
        assert_eq!(text(&job.finish().ok().stdout), "ok\n", "{mode}, {way}");
    }
}

#[test]
fn threads_that_call_lower_halves() {
    let modes = [
        ("tls", "6"),
        ("try", "8"),
        ("callbacks", "6"),
        ("signals", "4"),
        ("short", "8"),
    ];
    crossing("shared", &modes);
}

#[test]
fn threads_that_call_lower_halves_on_borrowed_tcbs() {
    crossing("borrowed", &[("tls", "6"), ("try", "8"), ("signals", "4")]);
}

/// DMTCP takes both into one checkpoint, and would wait for the second for ever if one were restarted alone.
#[test]
fn two_jobs_under_one_coordinator_are_told_of_each_other() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-jobs");
    let app = words(&program("traps", "traps", &[]), &["in_flight", "go"]);
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    let dmtcp = Dmtcp::new(&scratch);
    let mut jobs = ["one", "two"].map(|folder| dmtcp.start(2, &[], &["--ckptdir", folder], &app));
    for job in &mut jobs {
        job.must_reach(1);
    }
    dmtcp.checkpoint(4);
    let other = "another MPI job runs under the same DMTCP coordinator";
    wait_for("one of them to be told", LIMIT, || {
        let told = jobs.iter().any(|job| text(&job.stderr()).contains(other));
        told.then_some(())
    });
    jobs.into_iter().for_each(|job| drop(job.kill()));
}

/// A program that is not linked with MPI: it gets the front, whichever way it comes to the library, if it has the half.
#[test]
fn mpi_that_the_program_opens_itself() {
    if !dmtcp_is_there() {
        return;
    }
    let app = program("open-mpich", "open-mpich", &[]);
    // A link to libmpich.so.12.2.2.
    let path = "/usr/lib/x86_64-linux-gnu/libmpich.so";
    for (halves, library) in [("", path), ("mpi", path), ("mpi", "libmpi.so.12")] {
        let scratch = Scratch::new("dmtcp-opens");
        let app = words(&app, &[library, "go"]);
        let app: Vec<_> = app.iter().map(String::as_str).collect();
        let dmtcp = Dmtcp::new(&scratch);
        let mut job = dmtcp.start(2, &[("SPLITPROC_LH", halves)], &[], &app);
        if halves.is_empty() {
            let told = ["no mpi half", "splitproc_lh=mpi"];
            job.finish().fails_with(&told);
            continue;
        }
        job.must_reach(1);
        dmtcp.checkpoint(2);
        job.kill();
        std::fs::write(scratch.file("go"), "").expect("the go file");
        let done = Dmtcp::new(&scratch).restart(2).finish().ok();
        assert_eq!(text(&done.stdout), "2 ranks, sum 21\n", "{library}");
    }
}

/// Python opens a module that needs Open MPI's library. Its Fortran library must stand behind the front, which it
/// can't when it comes later.
#[test]
fn mpi4py_and_open_mpis_fortran() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-mpi4py");
    let mpi = [("SPLITPROC_LH", "mpi")];
    let app = repo().join("tests/c/solver.py");
    let case = Case::steps_of(Mpi::OpenMpi, &scratch, 2, &app);
    let arguments: Vec<_> = case.args.iter().map(String::as_str).collect();
    let app = words(&case.app, &arguments);
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    let dmtcp = Dmtcp::new(&scratch).by(Mpi::OpenMpi);
    let mut job = dmtcp.start(2, &mpi, &[], &app);
    job.must_reach(case.moment(&mut Moments::new()));
    dmtcp.checkpoint(2);
    case.check_killed(&job.kill());
    let dmtcp = Dmtcp::new(&scratch);
    ends_well(&scratch, &case, dmtcp.restart(2));
    let late = words(&repo().join("tests/c/late.py"), &[]);
    let dmtcp = Dmtcp::new(&scratch);
    let done = dmtcp.start(0, &mpi, &[], &[&late[0]]).finish();
    done.fails_with(&["libmpi_mpifh.so.40 was opened", "ld_preload="]);
}

#[test]
fn a_restart_without_the_mpi_library_is_refused() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-gone");
    let case = heat2d(&scratch);
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.launch(&case, "", &[]);
    job.must_reach(2);
    dmtcp.checkpoint(1);
    job.kill();
    let text_file = scratch.file("text.so").display().to_string();
    std::fs::write(&text_file, "no library").expect("a file");
    for (env, words) in [
        (
            ("SPLITPROC_MPI", "/no/such/lib.so"),
            ["splitproc_mpi=/no/such/lib.so", "libmpich"],
        ),
        (
            ("SPLITPROC_MPI", text_file.as_str()),
            ["can't be opened", "installed"],
        ),
        (
            ("SPLITPROC_LH", "x=libm.so.6"),
            ["has the lower halves mpi", "name the same"],
        ),
    ] {
        let done = Dmtcp::new(&scratch).restart_with(0, &[env]).finish();
        assert_eq!(done.status.code(), Some(99), "{}", text(&done.stderr));
        done.fails_with(&words);
    }
    // With the library it is the same image.
    let dmtcp = Dmtcp::new(&scratch);
    ends_well(&scratch, &case, dmtcp.restart(0));
}

#[test]
fn a_launcher_under_dmtcp_is_refused() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-launcher");
    let dmtcp = Dmtcp::new(&scratch);
    for launcher in ["mpirun.mpich", "mpirun.openmpi"] {
        let done = dmtcp.start(0, &[], &[], &[launcher, "true"]).finish();
        assert_eq!(done.status.code(), Some(99), "{}", text(&done.stderr));
        done.fails_with(&["starts mpi jobs", "mpirun -n 4 dmtcp_launch"]);
    }
}

#[test]
fn a_plugin_that_is_loaded_twice_is_refused() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-twice");
    let copy = scratch.file("libsplitproc.so");
    std::fs::copy(bin("libsplitproc.so"), &copy).expect("a copy");
    let dmtcp = Dmtcp::new(&scratch);
    let done = dmtcp
        .start_with(&[bin("libsplitproc.so"), copy], 0, &[], &[], &["true"])
        .finish();
    assert_eq!(done.status.code(), Some(99), "{}", text(&done.stderr));
    done.fails_with(&["loaded twice", "--with-plugin"]);
}

/// Programs that keep checkpoints out, and call MPI meanwhile.
#[test]
fn sections_without_a_checkpoint() {
    if !dmtcp_is_there() {
        return;
    }
    const ROUNDS: usize = 400;
    let scratch = Scratch::new("dmtcp-sections");
    let app = program("sections", "sections", &[]);
    let rounds = ROUNDS.to_string();
    let app = [app.to_str().expect("a path"), &rounds];
    let mut dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(2, &[], &[], &app);
    for _ in 0..2 {
        for more in 1..4 {
            job.must_reach(10 * more);
            dmtcp.checkpoint(2);
        }
        job.kill();
        dmtcp = Dmtcp::new(&scratch);
        job = dmtcp.restart(2);
    }
    let done = job.finish().ok();
    let expected: String = (0..ROUNDS)
        .map(|i| format!("{i} {}\n", 2 * i + 1))
        .collect();
    assert!(expected.ends_with(&text(&done.stdout)) && !done.stdout.is_empty());
}
