//! The command: what passes through it, and what it says when it cannot run a program.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use tests::{program, run, splitproc, text, Case, Done, Scratch};

fn launch<S: AsRef<OsStr>>(
    scratch: &Scratch,
    app: &Path,
    args: impl IntoIterator<Item = S>,
) -> Done {
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(app).args(args);
    command
        .current_dir(scratch.path())
        .env("PASSTHROUGH", "a value");
    run(scratch, command)
}

#[test]
fn exit_codes_and_outputs_pass_through() {
    let scratch = Scratch::new("passthrough");
    let app = program("passthrough", "passthrough", &[]);
    for code in [0, 1, 42, 127, 255] {
        let done = launch(
            &scratch,
            &app,
            [&code.to_string(), "one", "", "two words", "--wait"],
        );
        assert_eq!(done.status.code(), Some(code), "{}", text(&done.stderr));
        assert_eq!(
            done.stdout,
            b"\0\x01\x7f\x80\xff\n\0<one><><two words><--wait>[a value]"
        );
        assert_eq!(text(&done.stderr), "a complaint, without a newline");
    }
}

#[test]
fn a_signal_ends_the_program_as_it_would_without_us() {
    let scratch = Scratch::new("signal");
    let done = launch(
        &scratch,
        &program("passthrough", "passthrough", &[]),
        ["-1"],
    );
    assert_eq!(
        done.status.signal(),
        Some(libc::SIGABRT),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn a_missing_program_is_127() {
    let scratch = Scratch::new("missing");
    let done = launch::<&str>(&scratch, Path::new("./no-such-program"), []);
    assert_eq!(done.status.code(), Some(127));
    assert!(
        text(&done.stderr).contains("no-such-program"),
        "{}",
        text(&done.stderr)
    );
    let done = launch::<&str>(&scratch, Path::new("no-such-program-on-path"), []);
    assert_eq!(done.status.code(), Some(127));
}

#[test]
fn a_static_program_is_126() {
    let scratch = Scratch::new("static");
    let app = program("passthrough", "passthrough-static", &["-static"]);
    let done = launch(&scratch, &app, ["0"]);
    assert_eq!(done.status.code(), Some(126));
    assert!(done.stdout.is_empty());
    assert!(
        text(&done.stderr).contains("static"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn what_is_not_executable_is_126() {
    let scratch = Scratch::new("not-executable");
    let file = scratch.file("data");
    std::fs::write(&file, "no program\n").expect("a file");
    let done = launch::<&str>(&scratch, &file, []);
    assert_eq!(done.status.code(), Some(126));
    assert!(
        text(&done.stderr).contains("data"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn a_script_runs_under_its_interpreter() {
    let scratch = Scratch::new("script");
    let file = scratch.file("script");
    std::fs::write(&file, "#!/bin/sh\necho \"$0 $1\"\nexit 7\n").expect("a script");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a script");
    let done = launch(&scratch, &file, ["word"]);
    assert_eq!(done.status.code(), Some(7), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout), format!("{} word\n", file.display()));
}

#[test]
fn a_program_of_the_system_runs() {
    let scratch = Scratch::new("system");
    let done = launch(&scratch, Path::new("echo"), ["found", "on", "PATH"]).ok();
    assert_eq!(text(&done.stdout), "found on PATH\n");
}

#[test]
fn a_non_pie_program_runs() {
    let scratch = Scratch::new("non-pie");
    let app = program("passthrough", "passthrough-no-pie", &["-no-pie"]);
    assert_eq!(launch(&scratch, &app, ["3"]).status.code(), Some(3));
}

#[test]
fn a_checkpoint_without_a_job_says_so() {
    let scratch = Scratch::new("no-job");
    let mut command = splitproc(["checkpoint", "--wait", "--ckpt-dir"]);
    command.arg(scratch.ckpt());
    run(&scratch, command).fails_with(&["ckpt"]);
}

#[test]
fn a_restart_of_nothing_says_so() {
    let scratch = Scratch::new("nothing");
    let mut command = splitproc(["restart"]);
    command.arg(scratch.ckpt());
    run(&scratch, command).fails_with(&["ckpt"]);
}

#[test]
fn shells_get_completions() {
    let scratch = Scratch::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let done = run(&scratch, splitproc(["completions", shell])).ok();
        assert!(text(&done.stdout).contains("ckpt-signal"), "{shell}");
    }
}

/// `status`, `inspect` and `verify` of a job that runs.
#[test]
fn a_checkpoint_is_shown() {
    let scratch = Scratch::new("shown");
    let app = program("state", "state", &["-lrt"]);
    let go = scratch.file("go");
    let mut job = tests::Job::launch(&scratch, 0, &app, ["threads".as_ref(), go.as_os_str()]);
    job.must_reach(1);
    job.checkpoint(&scratch);
    let show = |args: &[&str]| {
        let mut command = splitproc(args);
        command.arg(scratch.ckpt());
        text(&run(&scratch, command).ok().stdout)
    };
    let status = show(&["status"]);
    assert!(
        status.contains("running") && status.contains("generation 1"),
        "{status}"
    );
    let json =
        |args: &[&str]| -> serde_json::Value { serde_json::from_str(&show(args)).expect("JSON") };
    let status = &json(&["status", "--json"])[0];
    assert_eq!(
        (&status["state"], &status["ranks"]),
        (&"running".into(), &1.into())
    );
    assert_eq!(
        (&status["pid"], &status["last"]["generation"]),
        (&job.pid().into(), &1.into())
    );
    let shown = json(&["inspect", "--json"]);
    let threads = &shown["images"][0]["sections"]["threads"];
    let names: Vec<_> = threads
        .as_array()
        .expect("threads")
        .iter()
        .filter_map(|t| t["name"].as_str())
        .collect();
    assert!(
        names.contains(&"first") && names.contains(&"second"),
        "{names:?}"
    );
    assert!(show(&["inspect"]).contains("name first"));
    assert!(show(&["verify"]).contains("generation 1: right"));
    job.kill();
    assert!(show(&["status"]).contains("not running"));
}

/// What `inspect` shows of MPI: the communicators and requests that are alive.
#[test]
fn mpi_objects_are_shown() {
    let scratch = Scratch::new("shown-mpi");
    let case = tests::Case::heat2d(&scratch, 2, 1);
    let mut job = case.launch(&scratch);
    job.must_reach(2);
    job.checkpoint(&scratch);
    let mut command = splitproc(["inspect", "--json"]);
    command.arg(scratch.ckpt());
    let shown = text(&run(&scratch, command).ok().stdout);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    for rank in 0..2 {
        let mpi = &shown["images"][rank]["sections"]["mpi"];
        assert_eq!((&mpi["rank"], &mpi["size"]), (&rank.into(), &2.into()));
        assert_eq!(mpi["communicators"][0]["group"], serde_json::json!([0, 1]));
    }
}

#[test]
fn inspect_tells_of_threads_files_and_mpi() {
    let scratch = Scratch::new("inspect");
    let mut job = Case::heat2d(&scratch, 2, 1).launch(&scratch);
    job.must_reach(2);
    job.checkpoint(&scratch);
    job.kill();
    let mut command = splitproc(["inspect"]);
    command.arg(scratch.ckpt());
    let told = text(&run(&scratch, command).ok().stdout);
    for part in [
        "tid ",
        ", name heat2d",
        "communicators",
        "group [0,1]",
        "fd 1, object Standard 1",
        "path ",
    ] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
}
