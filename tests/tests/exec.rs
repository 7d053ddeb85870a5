//! Programs that execute others: these run without splitproc, as they would have without it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tests::{example, mpirun, run, splitproc, text, Scratch};

const LEAVES: &str = "is executed without splitproc: it can't be checkpointed";

/// An executable script in the test's folder.
fn script(scratch: &Scratch, name: &str, lines: &str) -> PathBuf {
    let file = scratch.file(name);
    std::fs::write(&file, format!("#!/bin/sh\n{lines}\n")).expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&file, mode).expect("an executable script");
    file
}

/// The command that launches it.
fn launch(scratch: &Scratch, app: &PathBuf) -> Command {
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(app);
    command
}

#[test]
fn a_wrapper_script_of_an_mpi_program_has_the_launchers_connection() {
    let scratch = Scratch::new("exec-mpi");
    let app = example("heat2d");
    // By exec, and in a child.
    for (name, exec, told) in [("exec.sh", "exec ", 2), ("child.sh", "", 0)] {
        let lines = format!("{exec}{} -t 1 64 20 10\nexit $?", app.display());
        let wrapper = script(&scratch, name, &lines);
        let native = run(&scratch, mpirun(2, Command::new(&wrapper))).ok();
        let done = run(&scratch, mpirun(2, launch(&scratch, &wrapper))).ok();
        assert_eq!(text(&done.stdout), text(&native.stdout));
        let stderr = text(&done.stderr);
        assert_eq!(stderr.matches(LEAVES).count(), told, "{stderr}");
    }
}

#[test]
fn what_cannot_be_executed_is_told_by_the_shell_alone() {
    let scratch = Scratch::new("exec-missing");
    let wrapper = script(&scratch, "missing.sh", "exec ./no-such-program");
    let done = run(&scratch, launch(&scratch, &wrapper));
    assert_eq!(done.status.code(), Some(127), "{}", text(&done.stderr));
    assert!(
        !text(&done.stderr).contains("splitproc"),
        "{}",
        text(&done.stderr)
    );
    let wrapper = script(&scratch, "folder.sh", "exec /");
    let done = run(&scratch, launch(&scratch, &wrapper));
    assert_eq!(done.status.code(), Some(126), "{}", text(&done.stderr));
    assert!(
        !text(&done.stderr).contains("splitproc"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn a_program_found_along_path_leaves_with_one_line_and_a_child_with_none() {
    let scratch = Scratch::new("exec-path");
    let lines = "PATH=/no-such-folder:$PATH\nenv echo child\nexec env echo \"$0\" last";
    let wrapper = script(&scratch, "path.sh", lines);
    let done = run(&scratch, launch(&scratch, &wrapper)).ok();
    let expected = format!("child\n{} last\n", wrapper.display());
    assert_eq!(text(&done.stdout), expected);
    let stderr = text(&done.stderr);
    assert_eq!(stderr.matches(LEAVES).count(), 1, "{stderr}");
}
