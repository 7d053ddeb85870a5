//! Lower halves that can't be entered on the shared FS: they are entered on borrowed TCBs instead, which
//! `--log info` tells and `--crossing shared` refuses.

use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{half_libraries, program, run, splitproc, text, Job, Scratch};

/// A program over halves that have to be entered on borrowed TCBs.
struct Case {
    app: PathBuf,
    half: PathBuf,
    /// Of `launch` and `restart`.
    env: Option<(&'static str, &'static str)>,
    /// What is told.
    why: &'static str,
}

impl Case {
    /// `splitproc` with the case's environment.
    fn splitproc(&self, args: &[&str]) -> Command {
        let mut command = splitproc(args);
        command.envs(self.env);
        command
    }

    /// `splitproc launch` of the program.
    fn launch(&self, scratch: &Scratch, crossing: &str) -> Command {
        let mut command = self.splitproc(&["launch", "--log", "info", "--crossing", crossing]);
        for name in ["one", "two"] {
            command
                .arg("--half")
                .arg(format!("{name}={}", self.half.display()));
        }
        command
            .arg("--ckpt-dir")
            .arg(scratch.ckpt())
            .arg("--")
            .arg(&self.app);
        command
            .arg("tls")
            .arg(scratch.file("go"))
            .arg(half_libraries())
            .arg("3");
        command
    }

    /// Each half's way and its reason are told.
    #[track_caller]
    fn check(&self, stderr: &[u8]) {
        for half in ["one", "two"] {
            let line = format!(
                "lower half {half} is entered on borrowed TCBs: {}",
                self.why
            );
            assert!(
                text(stderr).contains(&line),
                "no `{line}` in\n{}",
                text(stderr)
            );
        }
    }

    /// The program runs, is checkpointed, and goes on, in its own process and after a restart.
    fn falls_back(&self, name: &str) {
        for restart in [false, true] {
            let scratch = Scratch::new(name);
            let mut job = Job::start(&scratch, self.launch(&scratch, "auto"));
            job.must_reach(1);
            self.check(&job.stderr());
            job.checkpoint(&scratch);
            if restart {
                job.kill();
                let mut command = self.splitproc(&["restart", "--log", "info"]);
                command.arg(scratch.ckpt());
                job = Job::start(&scratch, command);
            }
            std::fs::write(scratch.file("go"), "").expect("the go file");
            let done = job.finish().ok();
            self.check(&done.stderr);
            assert!(
                text(&done.stdout).ends_with("ok\n"),
                "{}",
                text(&done.stdout)
            );
        }
        let scratch = Scratch::new(name);
        run(&scratch, self.launch(&scratch, "shared")).fails_with(&[self.why, "--crossing auto"]);
    }
}

#[test]
fn static_tls_that_does_not_fit_into_the_hole() {
    half_libraries();
    let flags = ["-shared", "-fPIC", "-DLARGE_TLS=16384"];
    let case = Case {
        app: program("crossing", "crossing-large", &[]),
        half: program("half", "half-large.so", &flags),
        // As the program itself would need it to open such a library.
        env: Some(("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=60000")),
        why: "its libraries' static TLS does not fit into its part of the TLS hole",
    };
    case.falls_back("fallback-tls");
}

/// Copies libc to the folder, with another build-id.
fn other_libc(folder: &Path) {
    let libc = std::fs::read_to_string("/proc/self/maps").expect("own maps");
    let libc = libc.lines().find_map(|l| {
        l.split_whitespace()
            .nth(5)
            .filter(|p| p.ends_with("/libc.so.6"))
    });
    let mut bytes = std::fs::read(libc.expect("a libc of our own")).expect("libc");
    // A note's header: lengths of name and contents, type, name.
    let note = *b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let at = bytes
        .windows(note.len())
        .position(|w| w == note)
        .expect("a build-id");
    bytes[at + note.len()] ^= 0xff;
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("libc.so.6"), bytes).expect("another libc");
}

#[test]
fn another_build_of_glibc() {
    let halves = half_libraries();
    let folder = halves.join("other-libc");
    other_libc(&folder);
    let rpath = format!("-Wl,--disable-new-dtags,-rpath,{}", folder.display());
    let case = Case {
        app: program("crossing", "crossing-other-libc", &[&rpath]),
        half: halves.join("half.so"),
        env: None,
        why: "its C library is another build than the program's",
    };
    case.falls_back("fallback-libc");
}
