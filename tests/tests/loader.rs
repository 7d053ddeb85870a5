//! What a program sees of how it was started: the same as without splitproc.

use std::ffi::OsStr;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{program, repo, run, splitproc, text, Done, Job, Scratch};

/// A run in the scratch folder, natively or launched.
fn start(scratch: &Scratch, launched: bool, words: &[&str], env: &[(&str, &OsStr)]) -> Done {
    let mut command = if launched {
        let mut command = splitproc(["launch", "--ckpt-dir"]);
        command.arg(scratch.ckpt()).arg("--").args(words);
        command
    } else {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    command
        .current_dir(scratch.path())
        .env("AUXV_TEST", "a value")
        .envs(env.iter().copied());
    run(scratch, command)
}

/// Both runs must end alike and print the same; what they print.
#[track_caller]
fn same(scratch: &Scratch, words: &[&str], env: &[(&str, &OsStr)]) -> String {
    let native = start(scratch, false, words, env);
    let ours = start(scratch, true, words, env);
    assert_eq!(text(&ours.stderr), text(&native.stderr));
    assert_eq!(text(&ours.stdout), text(&native.stdout));
    assert_eq!(ours.status.code(), native.status.code());
    text(&ours.stdout)
}

/// A copy of a built program in the scratch folder.
fn copy(scratch: &Scratch, built: &Path, name: &str) -> PathBuf {
    let to = scratch.file(name);
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    std::fs::copy(built, &to).expect("a copy");
    to
}

#[test]
fn the_auxiliary_vector_and_the_program_s_path_are_what_they_are_natively() {
    let scratch = Scratch::new("auxv");
    copy(&scratch, &program("auxv", "auxv", &[]), "auxv");
    copy(
        &scratch,
        &program("auxv", "auxv-no-pie", &["-no-pie"]),
        "bin/fixed",
    );
    symlink("auxv", scratch.file("linked")).expect("a link");
    let out = same(&scratch, &["./auxv", "one", "", "two words"], &[]);
    assert!(!out.contains("NO"), "{out}");
    assert!(
        out.contains("execfn ./auxv\n") && out.contains("comm auxv\n"),
        "{out}"
    );
    let absolute = scratch.file("bin/fixed");
    same(&scratch, &[absolute.to_str().expect("a path")], &[]);
    let out = same(&scratch, &["./linked"], &[]);
    assert!(
        out.contains("comm linked\n") && out.contains("/auxv\n"),
        "{out}"
    );
    let path = std::env::var_os("PATH").expect("PATH");
    let mut folders = vec![scratch.file("bin")];
    folders.extend(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).expect("PATH");
    let out = same(&scratch, &["fixed", "x"], &[("PATH", &path)]);
    assert!(out.contains("/bin/fixed\n"), "{out}");
}

#[test]
fn a_script_s_interpreter_is_started_as_the_kernel_does_it() {
    let scratch = Scratch::new("auxv-script");
    let app = copy(&scratch, &program("auxv", "auxv", &[]), "bin/auxv");
    for line in ["", " -x", "  two words "] {
        let script = scratch.file("script");
        std::fs::write(&script, format!("#! {}{line}\nrest\n", app.display())).expect("a script");
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("a script");
        let out = same(&scratch, &["./script", "argument"], &[]);
        assert!(
            out.contains("execfn ./script\n") && out.contains("comm script\n"),
            "{out}"
        );
    }
}

#[test]
fn libraries_are_found_where_they_are_natively() {
    let scratch = Scratch::new("origin");
    for (folder, name, library) in [
        ("lib", "ORIGIN", "libwhere.so"),
        ("lib", "RUNPATH", "liblater.so"),
        ("other", "LD_LIBRARY_PATH", "libwhere.so"),
        ("other", "LD_LIBRARY_PATH", "liblater.so"),
    ] {
        std::fs::create_dir_all(scratch.file(folder)).expect("a folder");
        let done = Command::new("gcc")
            .args([
                "-shared",
                "-fPIC",
                "-O1",
                &format!("-DNAME=\"{name}\""),
                "-o",
            ])
            .arg(scratch.file(folder).join(library))
            .arg(repo().join("tests/c/where.c"))
            .status();
        assert!(done.expect("gcc").success());
    }
    let lib = format!("-L{}", scratch.file("lib").display());
    let flags = ["-DWHERE", &lib, "-Wl,--no-as-needed", "-lwhere"];
    for (name, tags) in [
        ("rpath", "--disable-new-dtags"),
        ("runpath", "--enable-new-dtags"),
    ] {
        let tags = format!("-Wl,{tags},-rpath,$ORIGIN/../lib");
        let built = program(
            "auxv",
            &format!("auxv-{name}"),
            &[&flags[..], &[&tags]].concat(),
        );
        copy(&scratch, &built, &format!("bin/{name}"));
        let plain = same(&scratch, &[&format!("bin/{name}")], &[]);
        assert!(plain.contains("library ORIGIN\nlater RUNPATH\n"), "{plain}");
        let other = scratch.file("other");
        let env = [("LD_LIBRARY_PATH", other.as_os_str())];
        let out = same(&scratch, &[&format!("bin/{name}")], &env);
        // A RUNPATH comes after LD_LIBRARY_PATH, an RPATH before it.
        assert_eq!(
            out.contains("library LD_LIBRARY_PATH\n"),
            name == "runpath",
            "{out}"
        );
    }
}

#[test]
fn addresses_are_random_and_nothing_is_left_in_tmp() {
    let scratch = Scratch::new("aslr");
    let listing = || -> Vec<_> {
        let ours = |name: &str| name.contains("splitproc") || name.contains("lh-loader");
        std::fs::read_dir("/tmp")
            .expect("/tmp")
            .filter_map(|e| e.ok()?.file_name().into_string().ok().filter(|n| ours(n)))
            .collect()
    };
    let before = listing();
    let places_of = || {
        let done = start(
            &scratch,
            true,
            &["grep", "-m1", "/libc.so.6", "/proc/self/maps"],
            &[],
        );
        let upper = start(&scratch, true, &["cat", "/proc/self/maps"], &[]).ok();
        let line = |m: &str| {
            m.lines()
                .find(|l| l.starts_with("30") && l.ends_with("libc.so.6"))
                .map(String::from)
        };
        (
            text(&done.stdout),
            line(&text(&upper.stdout)).expect("the upper half's libc"),
        )
    };
    let places: std::collections::BTreeSet<_> = (0..4).map(|_| places_of()).collect();
    assert_eq!(places.len(), 4);
    let flags = start(&scratch, true, &["cat", "/proc/self/personality"], &[]).ok();
    assert_eq!(text(&flags.stdout), "00000000\n");
    assert_eq!(listing(), before);
}

#[test]
fn what_can_not_be_run_is_126_with_the_reason() {
    let scratch = Scratch::new("refused");
    let app = copy(&scratch, &program("auxv", "auxv", &[]), "app");
    let refused = |words: &[&str]| {
        let done = start(&scratch, true, &["./app"], &[]);
        assert_eq!(done.status.code(), Some(126), "{}", text(&done.stderr));
        assert!(done.stdout.is_empty());
        let why = text(&done.stderr);
        for word in words {
            assert!(why.contains(word), "{word}: {why}");
        }
    };
    let mode = |mode| std::fs::set_permissions(&app, PermissionsExt::from_mode(mode));
    mode(0o4755).expect("chmod");
    refused(&["app", "setuid"]);
    mode(0o2755).expect("chmod");
    refused(&["app", "setgid"]);
    mode(0o755).expect("chmod");
    // cap_net_raw+ep, as setcap writes it; not every user and file system may.
    let value = [
        1u8, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let name = std::ffi::CString::new(app.to_str().expect("a path")).expect("a path");
    let attribute = c"security.capability".as_ptr();
    // SAFETY: NUL-terminated strings and a value with its length.
    let set = unsafe {
        libc::setxattr(
            name.as_ptr(),
            attribute,
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    if set == 0 {
        refused(&["app", "capabilities"]);
    }
    let elf = std::fs::read(&app).expect("the program");
    for (at, byte, word) in [(4, 1, "32-bit"), (18, 183, "x86-64")] {
        let mut other = elf.clone();
        other[at] = byte;
        std::fs::remove_file(&app).expect("rm");
        std::fs::write(&app, other).expect("a program");
        std::fs::set_permissions(&app, PermissionsExt::from_mode(0o755)).expect("chmod");
        refused(&["app", word]);
    }
}

/// `cancel`'s output when nobody disturbs it.
fn cancelled(scratch: &Scratch) -> (PathBuf, String) {
    let app = program("cancel", "cancel", &["-fexceptions"]);
    let mut command = Command::new(&app);
    command.current_dir(scratch.path());
    let expected = text(&run(scratch, command).ok().stdout);
    assert_eq!(
        expected.matches(" cancelled 111\n").count(),
        expected.lines().count()
    );
    (app, expected)
}

#[test]
fn a_thread_cancelled_in_a_system_call_unwinds_with_its_cleanups() {
    let scratch = Scratch::new("cancel");
    let (app, expected) = cancelled(&scratch);
    let words = [app.to_str().expect("a path")];
    assert_eq!(
        text(&start(&scratch, true, &words, &[]).ok().stdout),
        expected
    );
}

#[test]
fn a_thread_restarted_in_a_system_call_is_cancelled_there() {
    let scratch = Scratch::new("cancel-restart");
    let (app, expected) = cancelled(&scratch);
    let go = scratch.file("go");
    let mut job = Job::launch(&scratch, 0, &app, [&go]);
    job.must_reach(1);
    job.checkpoint(&scratch);
    job.kill();
    std::fs::write(&go, "").expect("the go file");
    let done = Job::restart(&scratch, 0).finish().ok();
    let expected: String = expected
        .lines()
        .filter(|l| !l.starts_with("waitpid"))
        .flat_map(|l| [l, "\n"])
        .collect();
    assert_eq!(text(&done.stdout), expected);
}

#[test]
fn a_lower_half_cancels_its_own_threads_and_changes_their_ids() {
    let scratch = Scratch::new("lower-cancel");
    let include = format!("-I{}", repo().join("plugin/include").display());
    let app = program("lower-cancel", "lower-cancel", &["-fexceptions", &include]);
    let flags = ["-DLIBRARY", "-fexceptions", "-shared", "-fPIC"];
    let library = program("lower-cancel", "liblower-cancel.so", &flags);
    for crossing in ["shared", "borrowed"] {
        let mut command = splitproc(["launch", "--crossing", crossing, "--half"]);
        command.arg(format!("x={}", library.display()));
        command
            .arg("--ckpt-dir")
            .arg(scratch.ckpt())
            .arg("--")
            .arg(&app);
        let done = run(&scratch, command).ok();
        assert_eq!(
            text(&done.stdout),
            "lower 8\nupper 8\nboth 0 well\n",
            "{crossing}"
        );
    }
}

#[test]
fn what_is_not_routed_is_named_under_log_debug() {
    let scratch = Scratch::new("not-routed");
    let library = scratch.file("libodd.so");
    let done = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(repo().join("tests/c/odd.c"))
        .status();
    assert!(done.expect("gcc").success());
    let app = program("auxv", "auxv", &[]);
    for (level, said) in [("debug", true), ("warn", false)] {
        let mut command = splitproc(["launch", "--log", level, "--ckpt-dir"]);
        command.arg(scratch.ckpt()).arg("--").arg(&app);
        command.env("LD_PRELOAD", &library);
        let done = run(&scratch, command).ok();
        let named = |l: &&str| l.contains("libodd.so+0x") && l.contains("any system call)");
        let lines = text(&done.stderr);
        assert_eq!(lines.lines().filter(named).count() == 1, said, "{lines}");
    }
}

#[test]
fn the_environment_says_where_lhinfo_is() {
    let scratch = Scratch::new("lhinfo");
    let native = text(&start(&scratch, false, &["env"], &[]).ok().stdout);
    let ours = text(&start(&scratch, true, &["env"], &[]).ok().stdout);
    let (lhinfo, others): (Vec<_>, Vec<_>) =
        ours.lines().partition(|l| l.starts_with("LHINFO_PTR="));
    let place = format!("LHINFO_PTR={:#018x}", lh_loader::layout::LHINFO_BASE);
    assert_eq!(lhinfo, [place]);
    // And nothing else is in the program's environment that was not there.
    let job = |l: &&str| !l.starts_with("E2E_JOB=");
    let native: Vec<_> = native.lines().filter(job).collect();
    assert_eq!(others.into_iter().filter(job).collect::<Vec<_>>(), native);
}
