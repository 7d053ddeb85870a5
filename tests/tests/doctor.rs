//! `splitproc doctor`: what it looks at, and what it says where something has to be fixed.

use serde_json::Value;
use std::process::Command;
use tests::{bin, run, splitproc, text, Scratch};

/// The check of this name.
#[track_caller]
fn check<'a>(all: &'a Value, name: &str) -> &'a Value {
    let mut checks = all.as_array().expect("a list").iter();
    checks
        .find(|c| c["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {all:#}"))
}

#[test]
fn a_machine_that_can_do_it() {
    let scratch = Scratch::new("doctor");
    let plain = text(&run(&scratch, splitproc(["doctor"])).ok().stdout);
    let done = run(&scratch, splitproc(["doctor", "--json"])).ok();
    let all: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    for (name, found) in [
        ("installation", "complete"),
        ("processor", "FSGSBASE"),
        ("kernel", "Linux "),
        ("libc", "glibc 2."),
        ("open files", "the application has "),
        ("address space", "free"),
        ("membarrier", "private expedited"),
        ("userfaultfd", ""),
        ("memory overcommit", "mode "),
        ("MPI library", "/libmpich.so.12"),
        ("MPI launcher", "/mpirun.mpich"),
    ] {
        let check = check(&all, name);
        assert_ne!(check["verdict"], "fail", "{check}");
        assert!(
            check["found"].as_str().expect("text").contains(found),
            "{check}"
        );
        // What is not right says what to do.
        assert_eq!(check["verdict"] == "ok", check["fix"].is_null(), "{check}");
        assert!(plain.contains(name), "{plain}");
    }
}

#[test]
fn a_machine_where_something_is_missing() {
    let scratch = Scratch::new("doctor-ill");
    // Alone in its folder, with few descriptors, and without a launcher.
    let alone = scratch.file("splitproc");
    std::fs::copy(bin("splitproc"), &alone).expect("a copy");
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "ulimit -n 128; PATH=/nowhere; exec \"$0\" doctor \"$@\"",
    ]);
    command.arg(&alone).arg("--json");
    let done = run(&scratch, command);
    assert_eq!(done.status.code(), Some(1));
    let all: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    for (name, verdict, found, fix) in [
        ("installation", "fail", "lh-loader", "cargo build"),
        ("open files", "warn", "128", "ulimit -Hn"),
        ("MPI launcher", "warn", "none", "apt install mpich"),
    ] {
        let check = check(&all, name);
        assert_eq!(check["verdict"], verdict, "{check}");
        assert!(
            check["found"].as_str().expect("text").contains(found),
            "{check}"
        );
        assert!(
            check["fix"].as_str().expect("text").contains(fix),
            "{check}"
        );
    }
    done.fails_with(&["1 thing(s) must be fixed"]);
}
