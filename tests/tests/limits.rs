//! Limits (`ulimit`). Of open files (`tests/c/open-files.c`): under any a job is checkpointed and restarted, and the
//! program sees its own. Of memory: one that is too low is named.

use std::process::Command;
use tests::{mpirun, program, splitproc, text, Case, Job, Scratch};

/// The command after `ulimit` with these options.
fn limited(options: &str, command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {options} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    shell
}

fn launch(scratch: &Scratch, kind: &str) -> Command {
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--");
    command
        .arg(program("open-files", "open-files", &[]))
        .arg(kind);
    command.arg(scratch.file("go")).current_dir(scratch.path());
    command
}

fn restart(scratch: &Scratch) -> Command {
    let mut command = splitproc(["restart"]);
    command.arg(scratch.ckpt());
    command
}

/// Launched under limits, checkpointed, restarted under others; twice.
fn comes_back(kind: &str, options: &str, later: &str) {
    let scratch = Scratch::new(&format!("open-files-{kind}"));
    let mut job = Job::start(&scratch, limited(options, launch(&scratch, kind)));
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    let mut job = Job::start(&scratch, limited(later, restart(&scratch)));
    job.checkpoint_once_up(&scratch);
    job.kill();
    std::fs::write(scratch.file("go"), "").expect("the go file");
    let done = Job::start(&scratch, limited(options, restart(&scratch)));
    assert_eq!(text(&done.finish().ok().stdout), "ok\n");
}

#[test]
fn a_limit_of_64() {
    comes_back("given", "-n 64", "-n 64");
}

#[test]
fn a_limit_of_256() {
    comes_back("given", "-n 256", "-n 1024");
}

#[test]
fn a_soft_limit_is_the_programs_alone() {
    comes_back("exact", "-Sn 200", "-Sn 64");
}

#[test]
fn a_limit_of_the_programs_own() {
    comes_back("lower", "-n 1024", "-n 512");
}

#[test]
fn a_restart_with_too_few_names_the_limit() {
    let scratch = Scratch::new("open-files-too-few");
    let mut job = Job::start(&scratch, launch(&scratch, "high"));
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    std::fs::write(scratch.file("go"), "").expect("the go file");
    let few = Job::start(&scratch, limited("-n 201", restart(&scratch)));
    few.finish()
        .fails_with(&["descriptor 100", "ulimit -Hn", "202"]);
    let enough = Job::start(&scratch, limited("-n 202", restart(&scratch)));
    assert_eq!(text(&enough.finish().ok().stdout), "ok\n");
}

#[test]
fn a_limit_of_memory_that_is_too_low_is_named() {
    let scratch = Scratch::new("little-memory");
    for (option, kib) in [("-d", 1000), ("-d", 20_000), ("-v", 40_000)] {
        let few = limited(&format!("{option} {kib}"), launch(&scratch, "given"));
        let done = Job::start(&scratch, few).finish();
        assert_eq!(done.status.code(), Some(1));
        done.fails_with(&["the limit of", &format!("ulimit {option}"), "raise it"]);
    }
    let mut job = Job::start(&scratch, launch(&scratch, "high"));
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    for option in ["-d", "-v"] {
        let few = limited(&format!("{option} 50000"), restart(&scratch));
        let words = ["the limit of", &format!("ulimit {option}"), "raise it"];
        Job::start(&scratch, few).finish().fails_with(&words);
    }
    std::fs::write(scratch.file("go"), "").expect("the go file");
    // What the message asks for is enough.
    let told = text(
        &Job::start(&scratch, limited("-d 50000", restart(&scratch)))
            .finish()
            .stderr,
    );
    let enough = told
        .split('`')
        .nth(1)
        .and_then(|o| o.strip_prefix("ulimit "));
    let enough = limited(enough.expect("a command"), restart(&scratch));
    assert_eq!(
        text(&Job::start(&scratch, enough).finish().ok().stdout),
        "ok\n"
    );
}

#[test]
fn few_open_files_on_2_ranks() {
    let scratch = Scratch::new("open-files-2");
    let case = Case::heat2d(&scratch, 2, 1);
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(&case.app);
    command.args(&case.args).current_dir(scratch.path());
    let command = limited("-n 256", mpirun(2, command));
    let mut job = Job::start(&scratch, command);
    job.must_reach(2);
    job.checkpoint(&scratch);
    job.kill();
    let done = Job::start(&scratch, limited("-n 128", mpirun(2, restart(&scratch))));
    case.check_restarted(&scratch, &done.finish().ok().stdout);
}

#[test]
fn an_inherited_file_beyond_the_programs_numbers() {
    let scratch = Scratch::new("inherited");
    let mut command = Command::new("bash");
    let words = "ulimit -n 64 && exec 9>file && exec \"$@\" 40>&9";
    command
        .args(["-c", words, "sh"])
        .current_dir(scratch.path());
    let launch = launch(&scratch, "given");
    command.arg(launch.get_program()).args(launch.get_args());
    let done = Job::start(&scratch, command).finish();
    assert_eq!(done.status.code(), Some(126));
    done.fails_with(&["descriptor 40", "ulimit -Hn", "82 or more"]);
}
