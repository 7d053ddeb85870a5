//! Programs and libraries that are not at a restart what they were at the checkpoint.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tests::{half_libraries, program, splitproc, text, Done, Job, Scratch};

/// A copy, with another inode and another time than the file had.
fn put(from: &Path, to: &Path) {
    let fresh = to.with_extension("new");
    std::fs::copy(from, &fresh).expect("a copy");
    let file = std::fs::File::options().append(true).open(&fresh);
    let ago = SystemTime::now() - Duration::from_secs(100_000);
    file.and_then(|f| f.set_modified(ago))
        .expect("the copy's time");
    std::fs::rename(fresh, to).expect("the copy");
}

/// Changes the file's last byte, or adds one.
fn change(path: &Path, longer: bool) {
    let mut bytes = std::fs::read(path).expect("the file");
    if longer {
        bytes.push(0);
    } else {
        *bytes.last_mut().expect("a byte") ^= 1;
    }
    std::fs::write(path, bytes).expect("the file");
}

/// A counter whose program and preloaded library are copies, checkpointed and killed.
struct Copies {
    scratch: Scratch,
    app: PathBuf,
    library: PathBuf,
    output: Vec<u8>,
}

impl Copies {
    fn checkpointed(name: &str, program: &Path, library: &Path) -> Self {
        let scratch = Scratch::new(name);
        let app = scratch.file("app");
        put(program, &app);
        let copy = scratch.file("library.so");
        put(library, &copy);
        let mut command = splitproc(["launch", "--ckpt-dir"]);
        command.arg(scratch.ckpt()).arg("--").arg(&app);
        command.args(["150", "10"]).env("LD_PRELOAD", &copy);
        command.current_dir(scratch.path());
        let mut job = Job::start(&scratch, command);
        job.must_reach(2);
        job.checkpoint(&scratch);
        job.kill();
        let output = Job::restart(&scratch, 0).finish().ok().stdout;
        Self {
            scratch,
            app,
            library: copy,
            output,
        }
    }

    fn restart(&self, options: &[&str]) -> Done {
        let mut command = splitproc(["restart"]);
        command.args(options).arg(self.scratch.ckpt());
        Job::start(&self.scratch, command).finish()
    }

    /// It runs, and nothing is said of its code.
    #[track_caller]
    fn runs(&self) {
        let done = self.restart(&[]).ok();
        let told = text(&done.stderr);
        assert!(!told.contains("app") && !told.contains("library"), "{told}");
        assert!(self.output.ends_with(&done.stdout));
    }

    /// It is refused before it runs, with these words; and it runs, with the same words, where that is accepted.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        let done = self.restart(&[]);
        assert_eq!(text(&done.stdout), "");
        assert_eq!(done.status.code(), Some(1));
        done.fails_with(&[words, &["--accept-changed"]].concat());
        let done = self.restart(&["--accept-changed"]).ok();
        let told = text(&done.stderr);
        assert!(told.contains("warning"), "{told}");
        assert!(words.iter().all(|w| told.contains(w)), "{told}");
        assert!(self.output.ends_with(&done.stdout));
    }
}

#[test]
fn a_changed_or_missing_program_or_library_is_refused_and_a_copy_is_not() {
    let folder = half_libraries();
    let (plug, late) = (folder.join("plug.so"), folder.join("late.so"));
    let counter = tests::example("counter");
    let copies = Copies::checkpointed("changed", &counter, &plug);
    let (app, library) = (&copies.app, &copies.library);

    put(&counter, app);
    put(&plug, library);
    copies.runs();

    put(&late, library);
    copies.refused(&["library.so has changed", "build-id"]);
    std::fs::remove_file(library).expect("the library");
    change(app, true);
    copies.refused(&["library.so is not there", "app has changed", "bytes"]);
}

/// Without a build-id all bytes count. In a second generation the process's memory is all that is left of its files.
#[test]
fn a_program_without_a_build_id_is_known_in_each_generation() {
    let plain = program(
        "passthrough",
        "no-build-id.so",
        &["-shared", "-fPIC", "-Wl,--build-id=none"],
    );
    let counter = tests::example("counter");
    let copies = Copies::checkpointed("changed-later", &counter, &plain);
    let mut job = Job::restart(&copies.scratch, 0);
    job.must_reach(1);
    job.checkpoint(&copies.scratch);
    job.kill();
    copies.restart(&["--generation", "2"]).ok();
    change(&copies.library, false);
    copies
        .restart(&["--generation", "2"])
        .fails_with(&["library.so has changed", "other bytes"]);
    copies.refused(&["library.so has changed", "other bytes"]);
}

/// Such as the C library's `gconv-modules.cache` after an upgrade.
#[test]
fn a_changed_file_that_is_mapped_to_be_read_is_refused_or_accepted() {
    let scratch = Scratch::new("changed-mapped");
    let (file, go) = (scratch.file("cache"), scratch.file("go"));
    std::fs::write(&file, "old").expect("the file");
    let app = program("mapped", "mapped", &[]);
    let mut job = Job::launch(&scratch, 0, &app, [&file, &go]);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    for new in ["newer", "n"] {
        std::fs::write(&file, new).expect("the file");
        let done = Job::restart(&scratch, 0).finish();
        assert_eq!(text(&done.stdout), "");
        done.fails_with(&["cache", "bytes, but had 3", "--accept-changed"]);
        let mut command = splitproc(["restart", "--accept-changed"]);
        command.arg(scratch.ckpt());
        let done = Job::start(&scratch, command).finish().ok();
        assert_eq!(text(&done.stdout), "n\n");
        let told = text(&done.stderr);
        assert!(told.contains("warning") && told.contains("cache"), "{told}");
    }
}
