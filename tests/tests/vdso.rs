//! A restart on another kernel: the slots behind the program's vDSO change, and the program notices nothing.
//!
//! The other kernel is this one without its vDSO (`SPLITPROC_VDSO=off`): its slots lead to system calls in the
//! loader, those of the kernel as it is lead into the kernel's vDSO, which each process has at another address.

use lh_loader::layout::{LHINFO_BASE, LOADER_BASE, LOWER_BASE};
use lh_loader::lhinfo::LhInfo;
use std::mem::offset_of;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use tests::{program, splitproc, text, Job, Scratch};

/// Slots of functions that every kernel's vDSO has, without those for clocks of threads.
const FUNCTIONS: usize = 5;

/// Where the slots of a process lead.
fn slots(pid: i32) -> [usize; FUNCTIONS] {
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("the process's memory");
    let at = LHINFO_BASE + offset_of!(LhInfo, vdso_slots);
    std::array::from_fn(|slot| {
        let mut word = [0; 8];
        memory
            .read_exact_at(&mut word, (at + slot * 8) as u64)
            .expect("lhInfo");
        usize::from_ne_bytes(word)
    })
}

/// The kernel's own vDSO in a process.
fn kernels(pid: i32) -> Range<usize> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process's maps");
    let line = maps
        .lines()
        .find(|l| l.ends_with("[vdso]"))
        .expect("a vDSO");
    let (start, end) = line
        .split(' ')
        .next()
        .and_then(|l| l.split_once('-'))
        .expect("a range");
    let hex = |text| usize::from_str_radix(text, 16).expect("an address");
    hex(start)..hex(end)
}

/// The process's slots lead where this setting says.
#[track_caller]
fn check(job: &Job, setting: &str) -> [usize; FUNCTIONS] {
    let pid = *job.ranks().first().expect("a process");
    let place = match setting {
        "off" => LOADER_BASE..LOWER_BASE,
        _ => kernels(pid),
    };
    let slots = slots(pid);
    for slot in slots {
        assert!(
            place.contains(&slot),
            "{setting}: {slot:#x} is not in {place:#x?}"
        );
    }
    slots
}

fn over_two_restarts(settings: [&str; 3]) {
    let scratch = Scratch::new(&format!("vdso-{}", settings.concat()));
    let app = program("state", "state", &["-lrt"]);
    let mut command = splitproc(["launch", "--ckpt-dir"]);
    command.arg(scratch.ckpt()).arg("--").arg(&app).arg("ids");
    command
        .arg(scratch.file("go"))
        .env("SPLITPROC_VDSO", settings[0]);
    let mut job = Job::start(&scratch, command);
    job.must_reach(1);
    let mut before = check(&job, settings[0]);
    for setting in &settings[1..] {
        job.checkpoint(&scratch);
        job.kill();
        let mut command = splitproc(["restart"]);
        command.arg(scratch.ckpt()).env("SPLITPROC_VDSO", setting);
        job = Job::start(&scratch, command);
        // It takes one once it runs.
        job.checkpoint_once_up(&scratch);
        let now = check(&job, setting);
        assert_ne!(now, before);
        before = now;
    }
    std::fs::write(scratch.file("go"), "").expect("the go file");
    assert_eq!(text(&job.finish().ok().stdout), "ok\n");
}

#[test]
fn to_a_kernel_without_a_vdso_and_back() {
    over_two_restarts(["on", "off", "on"]);
}

#[test]
fn from_a_kernel_without_a_vdso() {
    over_two_restarts(["off", "on", "off"]);
}
