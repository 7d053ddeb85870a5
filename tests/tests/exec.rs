//! Programs that execute others in their own place: these go on under splitproc. A child's run without it.

use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{
    example, mpirun, program, run, splitproc, text, wait_for, Case, Job, Moments, Scratch,
};

const LEAVES: &str = "it is executed without splitproc: it can't be checkpointed";

/// An executable file in the test's folder.
fn file(scratch: &Scratch, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let file = scratch.file(name);
    std::fs::write(&file, bytes).expect("a file");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&file, mode).expect("an executable file");
    file
}

/// An executable script.
fn script(scratch: &Scratch, name: &str, lines: &str) -> PathBuf {
    file(scratch, name, format!("#!/bin/sh\n{lines}\n"))
}

/// The command that launches it.
fn launch(scratch: &Scratch, app: &Path) -> Command {
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(app);
    command
}

/// tests/c/exec.c, in the test's folder under the names that it executes.
fn exec(scratch: &Scratch) -> PathBuf {
    let app = scratch.file("exec");
    std::fs::copy(program("exec", "exec", &[]), &app).expect("a copy");
    symlink("exec", scratch.file("linked")).expect("a link");
    file(scratch, "script", "#!./exec show\n");
    file(scratch, "plain", "echo \"plain $0 $@\"\nexec ./exec show\n");
    app
}

/// It prints the same natively and under splitproc, where its stderr is `told`.
fn as_natively(scratch: &Scratch, app: &Path, args: &[&str], told: &str) -> String {
    let mut native = Command::new(app);
    native.args(args).current_dir(scratch.path());
    let native = run(scratch, native).ok();
    let mut command = launch(scratch, app);
    command.args(args).current_dir(scratch.path());
    let done = run(scratch, command).ok();
    assert_eq!(text(&done.stderr), told);
    assert_eq!(text(&done.stdout), text(&native.stdout), "{args:?}");
    text(&native.stdout)
}

/// Runs `case` from a script whose last command it is; takes a checkpoint, kills it and restarts it, twice.
fn wrapped(scratch: &Scratch, mut case: Case) {
    let mut random = Moments::new();
    case.app = script(
        scratch,
        "wrapper.sh",
        // A chain: the shell executes env, which executes the program.
        &format!(
            "export WRAPPED=1\nexec env CHAIN=2 {} \"$@\"",
            case.app.display()
        ),
    );
    let moment = case.moment(&mut random);
    let job = case.checkpointed(scratch, moment, || case.launch(scratch));
    assert_eq!(text(&job.stderr()), "");
    case.check_killed(&job.kill());
    let mut job = Job::restart(scratch, case.ranks);
    job.must_reach(1);
    job.kill();
    let done = Job::restart(scratch, case.ranks).finish().ok();
    case.check_restarted(scratch, &done.stdout);
}

#[test]
fn what_a_wrapper_script_executes_is_checkpointed_and_restarted() {
    let scratch = Scratch::new("exec-counter");
    let case = Case::counter(&scratch);
    wrapped(&scratch, case);
}

#[test]
fn a_wrapper_script_of_an_mpi_program_is_no_obstacle() {
    let scratch = Scratch::new("exec-mpi");
    let case = Case::heat2d(&scratch, 2, 1);
    wrapped(&scratch, case);
}

#[test]
fn a_wrapper_scripts_child_has_the_launchers_connection() {
    let scratch = Scratch::new("exec-child");
    let app = example("heat2d");
    let lines = format!("{} -t 1 64 20 10\nexit $?", app.display());
    let wrapper = script(&scratch, "child.sh", &lines);
    let native = run(&scratch, mpirun(2, Command::new(&wrapper))).ok();
    let done = run(&scratch, mpirun(2, launch(&scratch, &wrapper))).ok();
    assert_eq!(text(&done.stdout), text(&native.stdout));
    assert_eq!(text(&done.stderr), "");
}

#[test]
fn ranks_that_lose_the_launchers_variables_run_as_they_would_natively() {
    let scratch = Scratch::new("exec-lost");
    let lines = format!("exec env -i {} -t 1 64 20 10", example("heat2d").display());
    let wrapper = script(&scratch, "lost.sh", &lines);
    let native = run(&scratch, mpirun(2, Command::new(&wrapper))).ok();
    let done = run(&scratch, mpirun(2, launch(&scratch, &wrapper))).ok();
    // Two processes that know nothing of each other: their lines come in any order.
    let lines = |bytes| {
        let mut lines: Vec<String> = text(bytes).lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&done.stdout), lines(&native.stdout));
    let stderr = text(&done.stderr);
    assert_eq!(stderr.matches(LEAVES).count(), 2, "{stderr}");
}

#[test]
fn what_is_executed_finds_what_it_would_find_natively() {
    let scratch = Scratch::new("exec-finds");
    let app = exec(&scratch);
    for how in [
        "execve", "nameless", "thread", "fexecve", "folder", "self", "path", "script", "plain",
    ] {
        let found = as_natively(&scratch, &app, &["go", how], "under splitproc\n");
        assert!(found.contains("process: the same"), "{how}: {found}");
    }
}

#[test]
fn what_cannot_be_executed_is_an_error_that_the_program_sees() {
    let scratch = Scratch::new("exec-errors");
    let app = exec(&scratch);
    std::fs::write(scratch.file("file"), "x").expect("a file");
    std::fs::create_dir(scratch.file("folder")).expect("a folder");
    symlink("loop", scratch.file("loop")).expect("a link");
    let mut bytes = std::fs::read(&app).expect("a program");
    file(&scratch, "damaged", &bytes[..100]);
    let ld = b"/lib64/ld-linux-x86-64.so.2";
    let at = bytes
        .windows(ld.len())
        .position(|w| w == ld)
        .expect("ld.so");
    bytes[at] = b'.';
    file(&scratch, "lost-program", &bytes);
    for (name, text) in [
        ("text", "echo hello\n"),
        ("lost-script", "#!/no-such/interpreter\n"),
        ("turning", "#!./turning\n"),
        ("bare", "#! \n"),
        ("empty", ""),
    ] {
        file(&scratch, name, text);
    }
    let told = as_natively(&scratch, &app, &["errors"], "");
    assert_eq!(told.lines().count(), 20, "{told}");
}

#[test]
fn a_shell_tells_by_itself_what_it_cannot_execute() {
    let scratch = Scratch::new("exec-missing");
    for (lines, code) in [("exec ./no-such-program", 127), ("exec /", 126)] {
        let wrapper = script(&scratch, "missing.sh", lines);
        let done = run(&scratch, launch(&scratch, &wrapper));
        let stderr = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{stderr}");
        assert!(!stderr.contains("splitproc"), "{stderr}");
    }
}

#[test]
fn a_childs_program_runs_without_splitproc_and_the_parents_under_it() {
    let scratch = Scratch::new("exec-children");
    let app = exec(&scratch);
    let mut command = launch(&scratch, &app);
    command.arg("children").current_dir(scratch.path());
    let done = run(&scratch, command).ok();
    let lines = "without splitproc\n".repeat(4) + "under splitproc\n";
    assert_eq!(text(&done.stdout), lines);
    assert_eq!(text(&done.stderr), "");
}

#[test]
fn what_splitproc_cannot_take_runs_without_it_and_that_is_said() {
    let scratch = Scratch::new("exec-alone");
    let app = exec(&scratch);
    let alone = scratch.file("alone");
    std::fs::copy(program("exec", "exec-static", &["-static"]), &alone).expect("a copy");
    let setuid = scratch.file("setuid");
    std::fs::copy(&app, &setuid).expect("a copy");
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(&setuid, mode).expect("a setuid program");
    for (name, why) in [("alone", "statically linked"), ("setuid", "setuid")] {
        let lines = format!("A='b c' exec ./{name} go execve");
        let wrapper = script(&scratch, "alone.sh", &lines);
        let mut native = Command::new(&wrapper);
        native.current_dir(scratch.path());
        let native = run(&scratch, native).ok();
        let mut command = launch(&scratch, &wrapper);
        command.current_dir(scratch.path());
        let done = run(&scratch, command).ok();
        assert_eq!(text(&done.stdout), text(&native.stdout));
        let stderr = text(&done.stderr);
        assert_eq!(stderr.matches(LEAVES).count(), 1, "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
        assert!(stderr.ends_with("without splitproc\n"), "{stderr}");
    }
}

#[test]
fn a_program_is_replaced_in_the_middle_of_checkpoints() {
    let scratch = Scratch::new("exec-chain");
    let app = exec(&scratch);
    let count = 30;
    let expected: String = (0..=count).rev().map(|n| format!("{n}\n")).collect();
    let options = ["--ckpt-signal".to_owned(), "USR1".to_owned()];
    let args = ["chain", &count.to_string()];
    let done = Job::launch_with(&scratch, 0, &options, &app, args)
        .finish()
        .ok();
    assert_eq!(text(&done.stdout), expected);
    assert_eq!(text(&done.stderr), "");
    // None was cut off in the middle.
    let folders = std::fs::read_dir(scratch.ckpt()).expect("checkpoints");
    let folders = folders.map(|f| f.expect("a name").path());
    let generations: Vec<PathBuf> = folders.filter(|f| f.is_dir()).collect();
    assert!(!generations.is_empty());
    for generation in generations {
        assert!(generation.join("manifest.json").exists(), "{generation:?}");
    }
    let mut command = splitproc(["restart", "--ckpt-signal", "USR1"]);
    command.arg(scratch.ckpt());
    let stdout = text(&run(&scratch, command).ok().stdout);
    assert!(expected.ends_with(&stdout), "{stdout}");
}

#[test]
fn a_restarted_program_executes_another_which_is_restarted() {
    let scratch = Scratch::new("exec-restarted");
    let app = exec(&scratch);
    let go = |name: &str| std::fs::write(scratch.file(name), "").expect("a file");
    let args = ["later", "go-1", "later", "go-2", "last"];
    let mut job = Job::launch(&scratch, 0, &app, args);
    job.must_reach(1);
    job.checkpoint(&scratch);
    let first = text(&job.kill());
    // Another checkpoint directory's name: what is executed uses the one of the restart.
    let moved = scratch.file("moved");
    std::fs::rename(scratch.ckpt(), &moved).expect("a new name");
    let mut command = splitproc(["restart"]);
    command.arg(&moved);
    let mut job = Job::start(&scratch, command);
    go("go-1");
    job.must_reach(1);
    let mut command = splitproc(["checkpoint", "--wait", "--ckpt-dir"]);
    command.arg(&moved);
    wait_for("the job to be found", tests::LIMIT, || {
        let mut again = Command::new(command.get_program());
        again.args(command.get_args());
        run(&scratch, again).status.success().then_some(())
    });
    assert_eq!(text(&job.kill()), first, "the ids of the second program");
    std::fs::rename(&moved, scratch.ckpt()).expect("the old name");
    go("go-2");
    let done = Job::restart(&scratch, 0).finish().ok();
    assert_eq!(text(&done.stdout), first, "the ids of the third program");
    assert_eq!(text(&done.stderr), "");
}
