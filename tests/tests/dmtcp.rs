//! Under DMTCP: the plugin in a program that `dmtcp_launch` started, and images that `dmtcp_restart` brings back.
//!
//! Each test says that it is skipped where there is no DMTCP on PATH.

use std::path::PathBuf;
use tests::{
    areas, bin, built_by, dmtcp_is_there, example, lines, moments, program, repo, run, text,
    wait_for, Case, Dmtcp, Done, Moments, Mpi, Scratch, LIMIT,
};

/// heat2d's rows and columns: so many that the program is sure to run when the coordinator hears of a checkpoint.
const SIDE: usize = 2048;

/// Launched, checkpointed, all killed, restarted, at random moments: the output is an undisturbed run's.
fn killed_and_restarted(scratch: &Scratch, case: &Case, halves: &str, options: &[&str]) {
    let mut random = Moments::new();
    for _ in 0..moments() {
        let moment = case.moment(&mut random);
        println!("after {moment} lines");
        let dmtcp = Dmtcp::new(scratch);
        let mut job = dmtcp.launch(case, halves, options);
        job.must_reach(moment);
        dmtcp.checkpoint(case.ranks.max(1));
        let so_far = lines(&job.stdout());
        job.reaches(so_far + 2);
        case.check_killed(&job.kill());
        let done = Dmtcp::new(scratch).restart(case.ranks).finish().ok();
        case.check_restarted(scratch, &done.stdout);
        std::fs::remove_dir_all(scratch.ckpt()).expect("the images' folder");
        std::fs::remove_file(scratch.file("out.txt")).expect("the program's file");
    }
}

fn heat2d(ranks: usize, threads: usize, options: &[&str]) {
    if dmtcp_is_there() {
        let scratch = Scratch::new(&format!("dmtcp-heat2d-{ranks}-{threads}"));
        let case = Case::heat2d_of(&scratch, ranks, threads, SIDE);
        killed_and_restarted(&scratch, &case, "", options);
    }
}

#[test]
fn heat2d_without_a_launcher() {
    heat2d(0, 1, &[]);
}

#[test]
fn heat2d_on_1_rank() {
    heat2d(1, 1, &["--no-gzip"]);
}

#[test]
fn heat2d_on_2_ranks() {
    heat2d(2, 1, &["--no-gzip"]);
}

#[test]
fn heat2d_on_4_ranks() {
    heat2d(4, 1, &[]);
}

#[test]
fn heat2d_with_8_threads_a_process() {
    heat2d(2, 8, &["--no-gzip"]);
}

#[test]
fn heat2d_on_borrowed_tcbs() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-borrowed");
    let case = Case::heat2d_of(&scratch, 2, 1, SIDE);
    let app = words(&[], &case);
    let way = [("SPLITPROC_CROSSING", "borrowed")];
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(case.ranks, &way, &[], &app);
    job.must_reach(case.moment(&mut Moments::new()));
    dmtcp.checkpoint(case.ranks);
    case.check_killed(&job.kill());
    let dmtcp = Dmtcp::new(&scratch);
    let done = dmtcp.restart_with(case.ranks, &way).finish().ok();
    case.check_restarted(&scratch, &done.stdout);
}

/// A case's program and its arguments, with what stands before them.
fn words<'a>(before: &[&'a str], case: &'a Case) -> Vec<&'a str> {
    let mut all = before.to_vec();
    all.push(case.app.to_str().expect("a path"));
    all.extend(case.args.iter().map(String::as_str));
    all
}

/// What `dmtcp_launch` starts is no MPI program, but becomes one: the launcher's descriptor goes along.
#[test]
fn a_program_that_executes_the_ranks() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-wrapper");
    let case = Case::heat2d_of(&scratch, 2, 1, SIDE);
    let shell = ["sh", "-c", "exec \"$0\" \"$@\""];
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(2, &[], &[], &words(&shell, &case));
    job.must_reach(case.moment(&mut Moments::new()));
    dmtcp.checkpoint(2);
    case.check_killed(&job.kill());
    let done = Dmtcp::new(&scratch).restart(2).finish().ok();
    case.check_restarted(&scratch, &done.stdout);
}

/// A program of either MPI's, started by either's launcher, and restarted by the other's.
#[test]
fn either_mpi_and_from_one_to_the_other() {
    if !dmtcp_is_there() {
        return;
    }
    let open_mpis = || {
        let source = repo().join("examples/heat2d.c");
        built_by("mpicc.openmpi", &source, "heat2d.openmpi", &[])
    };
    for (app, from, to) in [
        (open_mpis(), Mpi::OpenMpi, Mpi::Mpich),
        (example("heat2d"), Mpi::Mpich, Mpi::OpenMpi),
    ] {
        let scratch = Scratch::new("dmtcp-either");
        let mut case = Case::heat2d_of(&scratch, 2, 1, SIDE);
        case.app = app;
        let dmtcp = Dmtcp::new(&scratch).by(from);
        let mut job = dmtcp.start(2, &[], &[], &words(&[], &case));
        job.must_reach(case.moment(&mut Moments::new()));
        dmtcp.checkpoint(2);
        case.check_killed(&job.kill());
        let done = Dmtcp::new(&scratch).by(to).restart(2).finish().ok();
        case.check_restarted(&scratch, &done.stdout);
    }
}

/// As a checkpoint leaves them that is broken off when one rank has replaced its image.
#[test]
fn images_of_different_checkpoints_are_refused() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-mixed");
    let case = Case::heat2d_of(&scratch, 2, 1, SIDE);
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(2, &[], &[], &words(&[], &case));
    job.must_reach(2);
    dmtcp.checkpoint(2);
    let (image, kept) = (
        scratch.ckpt().join("rank-1-of-2.dmtcp"),
        scratch.file("kept"),
    );
    std::fs::copy(&image, &kept).expect("an image");
    dmtcp.checkpoint(2);
    job.kill();
    std::fs::copy(&kept, &image).expect("an image");
    let done = Dmtcp::new(&scratch).restart(2).finish();
    done.fails_with(&["of different checkpoints", "restart from images of one"]);
}

/// States of one-sided communication and files that a checkpoint can find (`tests/c/trap_*.c`).
#[test]
fn one_sided_communication_and_files() {
    if !dmtcp_is_there() {
        return;
    }
    for (source, name, ranks) in [
        ("trap_rma", "fences", 2),
        ("trap_rma", "requests", 2),
        ("trap_rma", "lock_all", 3),
        ("trap_io", "in_flight", 2),
        ("trap_io", "shared", 3),
    ] {
        println!("{source} {name}");
        let scratch = Scratch::new(&format!("dmtcp-{name}"));
        let (app, go) = (program(source, source, &[]), scratch.file("go"));
        let app = [app.as_path(), name.as_ref(), go.as_path()].map(|a| a.to_str().expect("a path"));
        let dmtcp = Dmtcp::new(&scratch);
        let mut job = dmtcp.start(ranks, &[], &[], &app);
        job.must_reach(1);
        dmtcp.checkpoint(ranks);
        job.kill();
        std::fs::write(&go, "").expect("the go file");
        let done = Dmtcp::new(&scratch).restart(ranks).finish().ok();
        assert_eq!(text(&done.stdout), "ok\n", "{source} {name}");
    }
}

/// A thread that ends is not stopped, and its destructors may call MPI.
#[test]
fn destructors_that_call_mpi() {
    if !dmtcp_is_there() {
        return;
    }
    const ROUNDS: usize = 200;
    let scratch = Scratch::new("dmtcp-destructors");
    let app = program("destructors", "destructors", &[]);
    let count = ROUNDS.to_string();
    let app = [app.to_str().expect("a path"), &count];
    let mut dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(2, &[], &[], &app);
    let mut random = Moments::new();
    for _ in 0..3 {
        job.must_reach(random.pick(1, ROUNDS / 6));
        dmtcp.checkpoint(2);
        job.kill();
        dmtcp = Dmtcp::new(&scratch);
        job = dmtcp.restart(2);
    }
    let done = job.finish().ok();
    let expected: String = (0..ROUNDS).map(|i| format!("2 {}\n", 4 * i)).collect();
    assert!(
        expected.ends_with(&text(&done.stdout)),
        "{}",
        text(&done.stdout)
    );
}

#[test]
fn threads_beside_a_lower_half() {
    if dmtcp_is_there() {
        let scratch = Scratch::new("dmtcp-threads");
        let case = Case::threads(&scratch);
        killed_and_restarted(&scratch, &case, "mpi", &["--no-gzip"]);
    }
}

#[test]
fn a_restart_of_a_restart_five_deep() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-deep");
    // Five checkpoints have to find it running, DMTCP 4.2's after a moment each.
    let case = Case::heat2d_of(&scratch, 2, 1, 2 * SIDE);
    let mut random = Moments::new();
    let mut dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.launch(&case, "", &["--no-gzip"]);
    for generation in 0..5 {
        let more = random.pick(1, lines(&case.expected) / 12);
        println!("generation {generation}: after {more} lines");
        job.must_reach(more);
        dmtcp.checkpoint(case.ranks);
        job.kill();
        dmtcp = Dmtcp::new(&scratch);
        job = dmtcp.restart(case.ranks);
    }
    case.check_restarted(&scratch, &job.finish().ok().stdout);
}

/// DMTCP leaves the kernel's break where it likes; here and there that is above the program's.
#[test]
fn a_heap_that_grows_after_each_of_five_restarts() {
    if !dmtcp_is_there() {
        return;
    }
    for halves in ["", "mpi"] {
        let scratch = Scratch::new("dmtcp-heap");
        let (app, go) = (program("heap", "heap", &[]), scratch.file("go"));
        let app = [app, go.clone()].map(|path| path.display().to_string());
        let mut dmtcp = Dmtcp::new(&scratch);
        let env = [("SPLITPROC_LH", halves)];
        let app = [app[0].as_str(), app[1].as_str()];
        let mut job = dmtcp.start(0, &env, &["--no-gzip"], &app);
        for _ in 0..5 {
            job.must_reach(20);
            dmtcp.checkpoint(1);
            job.kill();
            dmtcp = Dmtcp::new(&scratch);
            job = dmtcp.restart(0);
        }
        job.must_reach(20);
        std::fs::write(go, "").expect("the go file");
        let done = job.finish().ok();
        assert_eq!(text(&done.stdout).lines().last(), Some("ok"));
    }
}

/// No window of a lower half, and nothing that MPI mapped anywhere else: its library, its shared memory.
#[test]
fn an_image_holds_the_upper_half_and_lhinfo_only() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-image");
    let case = Case::heat2d_of(&scratch, 2, 1, SIDE);
    let dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.launch(&case, "", &["--no-gzip"]);
    job.must_reach(2);
    dmtcp.checkpoint(2);
    job.kill();
    assert_eq!(dmtcp.images().len(), 2);
    for image in dmtcp.images() {
        let areas = areas(&image);
        let within = |from: u64, to: u64| {
            let inside = |a: &&(u64, String)| (from..to).contains(&a.0);
            areas.iter().filter(inside).count()
        };
        assert!(
            within(0x2f00_0000_0000, 0x2f80_0000_0000) > 0,
            "lhInfo is saved"
        );
        let windows = within(0x1000_0000_0000, 0x2800_0000_0000);
        assert_eq!(windows, 0, "the loader and the lower halves are not");
        let named = |word: &str| areas.iter().filter(|a| a.1.contains(word)).count();
        assert!(
            named("heat2d") > 0 && named("libc.so") > 0,
            "names are read"
        );
        for lower in [
            "ucx",
            "/dev/shm",
            "libucp",
            "gnu/libmpich",
            "splitproc-mpi-lh",
        ] {
            assert_eq!(named(lower), 0, "{lower} in {areas:#x?}");
        }
    }
}

/// Beside what DMTCP's own image of the same process holds: 2 MB at the most, of which libsplitproc.so is nearly all.
#[test]
fn an_image_is_not_much_larger_than_dmtcps_own() {
    const MORE: u64 = 2_000_000;
    if !dmtcp_is_there() {
        return;
    }
    let size = |plugins: &[PathBuf], halves: &str| {
        let scratch = Scratch::new("dmtcp-image-size");
        let counter = example("counter");
        let app = [counter.to_str().expect("a path"), "100000", "10"];
        let dmtcp = Dmtcp::new(&scratch);
        let env = [("SPLITPROC_LH", halves)];
        let mut job = dmtcp.start_with(plugins, 0, &env, &["--no-gzip"], &app);
        job.must_reach(2);
        dmtcp.checkpoint(1);
        job.kill();
        let [image] = &dmtcp.images()[..] else {
            panic!("one process has one image")
        };
        image.metadata().expect("the image").len()
    };
    let alone = size(&[], "");
    for halves in ["", "mpi"] {
        let ours = size(&[bin("libsplitproc.so")], halves);
        let more = ours.saturating_sub(alone);
        println!("{alone} bytes alone, {more} more with the halves {halves:?}");
        assert!(
            more <= MORE,
            "{more} bytes more, with the halves {halves:?}"
        );
    }
}

fn refused(scratch: &Scratch, halves: &str, env: &[(&str, &str)]) -> Done {
    let dmtcp = Dmtcp::new(scratch);
    let mut command = dmtcp.command("dmtcp_launch");
    command
        .env("SPLITPROC_LH", halves)
        .envs(env.iter().copied());
    command
        .args(["--join-coordinator", "--with-plugin"])
        .arg(bin("libsplitproc.so"))
        .arg("true");
    run(scratch, command)
}

#[test]
fn what_cannot_be_loaded_is_named_and_the_code_is_dmtcps() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-refused");
    for (halves, env, words) in [
        (
            "mpi",
            &[("SPLITPROC_MPI", "/no/such/lib.so")][..],
            &["there is no such library", "splitproc_mpi"][..],
        ),
        ("gpu", &[], &["splitproc_lh: gpu", "name=library"]),
    ] {
        let done = refused(&scratch, halves, env);
        assert_eq!(done.status.code(), Some(99), "{}", text(&done.stderr));
        done.fails_with(words);
    }
}

#[test]
fn a_forked_child_that_calls_mpi_is_told_why_it_cannot() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-forks");
    let dmtcp = Dmtcp::new(&scratch);
    let mut command = dmtcp.command("dmtcp_launch");
    command
        .args(["--join-coordinator", "--with-plugin"])
        .arg(bin("libsplitproc.so"))
        .arg(program("forks", "forks", &[]));
    let done = run(&scratch, command).ok();
    assert_eq!(text(&done.stdout), "plain 3 calls 70\n");
    assert!(
        text(&done.stderr).contains("a forked child can't use MPI"),
        "{}",
        text(&done.stderr)
    );
}

/// Ranks that fork and execute all the time, checkpointed where they are, three times; the images of children that are
/// there then belong to the restart.
#[test]
fn ranks_that_have_children() {
    if !dmtcp_is_there() {
        return;
    }
    const ITERATIONS: usize = 40;
    let scratch = Scratch::new("dmtcp-children");
    let app = program("children", "children", &[]);
    let count = ITERATIONS.to_string();
    let app = [app.to_str().expect("a path"), &count];
    let mut random = Moments::new();
    let mut dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(2, &[], &[], &app);
    let mut so_far = Vec::new();
    for generation in 0..3 {
        let more = random.pick(1, ITERATIONS / 6);
        println!("generation {generation}: after {more} lines");
        job.must_reach(more);
        dmtcp.checkpoint(2);
        so_far = job.kill();
        dmtcp = Dmtcp::new(&scratch);
        job = dmtcp.restart(2);
    }
    assert!(!so_far.is_empty());
    let done = job.finish().ok();
    let expected: String = (0..ITERATIONS).map(|i| format!("{i} 12\n")).collect();
    assert!(
        expected.ends_with(&text(&done.stdout)),
        "{}",
        text(&done.stdout)
    );
}

/// Children that have nothing of the launcher's in their environment are a rank's nevertheless, and come back with it.
#[test]
fn children_with_environments_of_their_own() {
    if !dmtcp_is_there() {
        return;
    }
    let scratch = Scratch::new("dmtcp-kin");
    let (app, go) = (program("kin", "kin", &[]), scratch.file("go"));
    let app = [&app, &go].map(|p| p.to_str().expect("a path"));
    let mut dmtcp = Dmtcp::new(&scratch);
    let mut job = dmtcp.start(2, &[], &[], &app);
    for generation in 0..2 {
        job.must_reach(5);
        wait_for("the child's line", LIMIT, || {
            (generation > 0 || text(&job.stdout()).contains("child of 1")).then_some(())
        });
        dmtcp.checkpoint(4);
        job.kill();
        dmtcp = Dmtcp::new(&scratch);
        job = dmtcp.restart(2);
    }
    job.must_reach(5);
    std::fs::write(go, "").expect("the go file");
    let told = text(&job.finish().ok().stdout);
    assert_eq!(told.lines().last(), Some("children 7 21"));
    assert!(told.contains("rank of 2"), "{told}");
}
