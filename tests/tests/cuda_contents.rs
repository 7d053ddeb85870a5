//! What devices hold, in a checkpoint: only what was touched, through little memory; and what happens where there is too
//! little memory or disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{cuda_program, limit_memory, lines, newest_generation, splitproc, text, Job, Scratch};

const MIB: u64 = 1 << 20;
/// MiB of device memory that the program has, of which it writes a quarter.
const HELD: u64 = 96;

/// The program, launched with these options.
fn launch(scratch: &Scratch, app: &Path, options: &[&str], steps: &str) -> Job {
    let options: Vec<String> = ["--cuda", "cpu"]
        .iter()
        .chain(options)
        .map(|o| (*o).to_owned())
        .collect();
    let args = [&HELD.to_string(), steps, "20"];
    Job::launch_with(scratch, 0, &options, app, args)
}

/// The image's size.
fn image(scratch: &Scratch) -> u64 {
    let generation = newest_generation(&scratch.ckpt()).expect("a checkpoint");
    let file = generation.join("rank-0000.img");
    std::fs::metadata(file).expect("an image").size()
}

/// Whose address space may grow by less than what the device holds is checkpointed all the same, once it may grow at all;
/// what nobody has written is not in the image; a variable that was made zero is zero.
#[test]
fn device_memory_is_saved_in_parts_and_only_what_was_written() {
    let scratch = Scratch::new("cuda-parts");
    let app = cuda_program("cuda_large");
    let expected = launch(&scratch, &app, &[], "60").finish().ok().stdout;
    assert!(text(&expected).contains(", first 0\n"));
    let mut job = launch(&scratch, &app, &["--zstd", "off"], "60");
    job.must_reach(3);
    limit_memory(job.pid(), Some(10 * MIB));
    let refused = job.try_checkpoint(&scratch);
    refused.fails_with(&["96 MiB that devices hold", "are available", "try again"]);
    let now = lines(&job.stdout());
    job.must_reach(now + 2);
    limit_memory(job.pid(), Some(60 * MIB));
    job.checkpoint(&scratch);
    let size = image(&scratch);
    println!("an image of {} MiB", size / MIB);
    assert!(size > HELD / 4 * MIB && size < HELD / 2 * MIB);
    job.kill();
    let done = Job::restart(&scratch, 0).finish().ok();
    assert!(lines(&done.stdout) > 0 && expected.ends_with(&done.stdout));
}

/// A restart on a device with too little memory says so, with the figures, and is possible on another one.
#[test]
fn a_device_with_too_little_memory_is_refused() {
    let scratch = Scratch::new("cuda-small-device");
    let app = cuda_program("cuda_large");
    let expected = launch(&scratch, &app, &[], "40").finish().ok().stdout;
    let mut job = launch(&scratch, &app, &[], "40");
    job.must_reach(3);
    job.checkpoint(&scratch);
    job.kill();
    let mut small = splitproc(["restart"]);
    small
        .arg(scratch.ckpt())
        .env("SPLITPROC_CUDA_CPU_MEMORY", "64");
    let refused = Job::start(&scratch, small).finish();
    refused.fails_with(&["64 MiB free", "the program had 96 MiB"]);
    let done = Job::restart(&scratch, 0).finish().ok();
    assert!(lines(&done.stdout) > 0 && expected.ends_with(&done.stdout));
}

/// A small disk for checkpoints, of which root can make one anywhere.
struct Disk(PathBuf);

impl Disk {
    fn mount(scratch: &Scratch, options: &str) -> Option<Self> {
        std::fs::create_dir_all(scratch.ckpt()).expect("a folder");
        let disk = Self(scratch.ckpt());
        disk.mounted(options).then_some(disk)
    }

    fn mounted(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        mount
            .arg(&self.0)
            .output()
            .is_ok_and(|d| d.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What was not mounted need not be unmounted.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_told_with_the_figures_and_nothing_is_lost() {
    let scratch = Scratch::new("cuda-disk");
    let Some(disk) = Disk::mount(&scratch, "size=16m") else {
        println!("skipped: nothing can be mounted here");
        return;
    };
    let app = cuda_program("cuda_large");
    let expected = launch(&scratch, &app, &[], "60").finish().ok().stdout;
    let mut job = launch(&scratch, &app, &["--zstd", "off"], "60");
    job.must_reach(3);
    let refused = job.try_checkpoint(&scratch);
    refused.fails_with(&["No space left", "of the disk's 16 MiB are free"]);
    assert!(disk.mounted("remount,size=256m"));
    let now = lines(&job.stdout());
    job.must_reach(now + 2);
    job.checkpoint(&scratch);
    job.kill();
    let done = Job::restart(&scratch, 0).finish().ok();
    assert!(lines(&done.stdout) > 0 && expected.ends_with(&done.stdout));
}
