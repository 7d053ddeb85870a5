//! A disk that hangs (a frozen file system): the checkpoint is given up within the bound, the program goes on, and once the
//! disk is back the next one is taken.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::{newest_generation, program, run, splitproc, text, wait_for, Job, Scratch, LIMIT};

/// A file system in a file, mounted at the checkpoint folder.
struct Disk(PathBuf);

fn done(command: &mut Command) -> bool {
    command.output().is_ok_and(|done| done.status.success())
}

impl Disk {
    fn mount(scratch: &Scratch) -> Option<Self> {
        let (file, at) = (scratch.file("disk"), scratch.ckpt());
        let made = std::fs::File::create(&file).and_then(|f| f.set_len(256 << 20));
        made.expect("a file for the disk");
        std::fs::create_dir_all(&at).expect("a folder");
        let mounted = done(Command::new("mkfs.ext4").arg("-q").arg(&file))
            && done(
                Command::new("mount")
                    .args(["-o", "loop"])
                    .arg(&file)
                    .arg(&at),
            );
        mounted.then_some(Self(at))
    }

    fn freeze(&self, how: &str) -> bool {
        done(Command::new("fsfreeze").arg(how).arg(&self.0))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.freeze("-u");
        done(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// Freezes the disk when `moment` has come in a checkpoint, until one is refused.
fn hangs(disk: &Disk, scratch: &Scratch, job: &mut Job, moment: impl Fn(&PathBuf) -> bool) {
    let ask = || {
        let mut command = splitproc(["checkpoint", "--wait", "--ckpt-dir"]);
        command.arg(scratch.ckpt());
        Job::start(scratch, command)
    };
    for _ in 0..20 {
        let before = newest_generation(&scratch.ckpt());
        let asked = ask();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            let newest = newest_generation(&scratch.ckpt());
            if newest != before && newest.is_some_and(|g| moment(&g)) {
                break;
            }
        }
        assert!(disk.freeze("-f"), "the disk is frozen");
        let first = asked.finish();
        if first.status.success() {
            disk.freeze("-u");
            continue; // it was too fast
        }
        let told = text(&first.stderr);
        println!("{told} after {:?}", begun.elapsed());
        first.fails_with(&["disk has done nothing", "ckpt"]);
        assert!(begun.elapsed() < Duration::from_secs(40));
        let begun = Instant::now();
        ask().finish().fails_with(&["an earlier checkpoint"]);
        assert!(begun.elapsed() < Duration::from_secs(10));
        disk.freeze("-u");
        wait_for("a checkpoint when the disk is back", LIMIT, || {
            job.try_checkpoint(scratch).status.success().then_some(())
        });
        return;
    }
    panic!("every checkpoint was taken before the disk was frozen");
}

#[test]
fn a_disk_that_hangs() {
    let scratch = Scratch::new("hung-disk");
    let Some(disk) = Disk::mount(&scratch) else {
        println!("not run: a file system can't be mounted here");
        return;
    };
    if !disk.freeze("-f") {
        println!("not run: the file system can't be frozen");
        return;
    }
    assert!(disk.freeze("-u"));
    let app = program("phases", "phases", &[]);
    let go = scratch.file("go");
    let options = ["--timeout".to_owned(), "3".to_owned()];
    let args = ["after".as_ref(), go.as_os_str()];
    let mut job = Job::launch_with(&scratch, 2, &options, &app, args);
    job.must_reach(2);
    job.checkpoint(&scratch);
    // Before anything is written; while it is.
    hangs(&disk, &scratch, &mut job, |_| true);
    let writes = |folder: &PathBuf| folder.join("rank-0000.img.tmp").exists();
    hangs(&disk, &scratch, &mut job, writes);
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    let mut command = splitproc(["verify"]);
    command.arg(scratch.ckpt());
    run(&scratch, command).ok();
    assert_eq!(
        text(&Job::restart(&scratch, 2).finish().ok().stdout),
        "ok\nok\n"
    );
}
