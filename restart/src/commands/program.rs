//! Finding the program as `execvp` would, through scripts, and refusing what cannot be run.

use super::elf::Elf;
use super::Failure;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How many interpreters of interpreters there may be, as in the kernel.
const DEPTH: usize = 5;

/// The dynamic loader of glibc's programs, in whatever folder.
const GLIBC: &str = "/ld-linux-x86-64.so.2";

/// A program that can be run.
#[derive(Debug)]
pub struct Program {
    /// Absolute path of the ELF file, links resolved.
    pub exe: PathBuf,
    /// Its arguments, `argv[0]` included.
    pub argv: Vec<OsString>,
    /// What `execve` would have been given: AT_EXECFN.
    pub execfn: PathBuf,
    /// What the file says.
    pub elf: Elf,
}

fn not_found(name: &OsStr) -> Failure {
    Failure::new(
        127,
        format!(
            "{}: not found; check the name, or give its path",
            name.to_string_lossy()
        ),
    )
}

fn cannot(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(126, format!("{}: {why}", path.display()))
}

/// Finds `argv[0]` and what runs it.
pub fn find(argv: &[OsString]) -> Result<Program, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let name = argv
        .first()
        .ok_or_else(|| Failure::new(127, "no program was named"))?;
    resolve(look_up(name, &path)?, argv.to_vec(), &path)
}

/// The program that `execve` would run for this path, and what runs it.
pub fn at(path: &Path, argv: &[OsString]) -> Result<Program, Failure> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    resolve(path.to_owned(), argv.to_vec(), &folders)
}

/// Looks a name up along PATH, unless it is a path itself.
fn look_up(name: &OsStr, path: &OsStr) -> Result<PathBuf, Failure> {
    if name.is_empty() {
        return Err(not_found(name));
    }
    if name.as_bytes().contains(&b'/') {
        let file = PathBuf::from(name);
        return match fs::metadata(&file) {
            Ok(_) => Ok(file),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(not_found(name)),
            Err(e) => Err(cannot(&file, e)),
        };
    }
    let mut refused = None;
    for folder in std::env::split_paths(path) {
        let folder = if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        };
        let file = folder.join(name);
        match fs::metadata(&file) {
            Ok(m) if m.is_file() && m.permissions().mode() & 0o111 != 0 => return Ok(file),
            Ok(m) if m.is_file() => refused = refused.or(Some(file)),
            _ => {}
        }
    }
    match refused {
        Some(file) => Err(cannot(
            &file,
            "permission denied; make it executable (chmod +x)",
        )),
        None => Err(not_found(name)),
    }
}

/// Follows `#!` lines to the ELF file, and checks it.
fn resolve(mut file: PathBuf, mut argv: Vec<OsString>, path: &OsStr) -> Result<Program, Failure> {
    let execfn = file.clone();
    for _ in 0..DEPTH {
        let meta = fs::metadata(&file).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Failure::new(
                127,
                format!(
                    "{}: the interpreter of {} is not there",
                    file.display(),
                    argv_tail(&argv)
                ),
            ),
            _ => cannot(&file, e),
        })?;
        if meta.is_dir() {
            return Err(cannot(&file, "is a directory"));
        }
        if !meta.is_file() || !executable(&file) {
            return Err(cannot(
                &file,
                "permission denied; make it executable (chmod +x)",
            ));
        }
        if meta.mode() & (libc::S_ISUID | libc::S_ISGID) != 0 {
            return Err(cannot(
                &file,
                "is a setuid or setgid program: splitproc cannot run it with its privileges",
            ));
        }
        if has_capabilities(&file) {
            return Err(cannot(
                &file,
                "has file capabilities (getcap shows them): splitproc cannot run it with its privileges",
            ));
        }
        let mut start = Vec::new();
        File::open(&file)
            .and_then(|f| f.take(4096).read_to_end(&mut start))
            .map_err(|e| cannot(&file, format!("cannot read it: {e}; splitproc loads programs itself, so they must be readable")))?;
        if start.starts_with(b"\x7fELF") {
            let elf = Elf::read(&file).map_err(|e| cannot(&file, e))?;
            match &elf.interpreter {
                None => {
                    return Err(cannot(
                        &file,
                        "is statically linked: splitproc needs a dynamically linked program",
                    ))
                }
                Some(ld) if !ld.ends_with(GLIBC) => {
                    let why =
                        format!("is loaded by {ld}: splitproc needs a program for glibc ({GLIBC})");
                    return Err(cannot(&file, why));
                }
                Some(_) => {}
            }
            let exe = fs::canonicalize(&file).map_err(|e| cannot(&file, e))?;
            return Ok(Program {
                exe,
                argv,
                execfn,
                elf,
            });
        }
        (file, argv) = interpreter(&file, &start, argv, path)?;
    }
    Err(cannot(&file, "too many interpreters of interpreters"))
}

fn argv_tail(argv: &[OsString]) -> String {
    argv.iter()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .next()
        .unwrap_or_default()
}

/// Whether the kernel would give privileges to who runs it.
fn has_capabilities(file: &Path) -> bool {
    let Ok(name) = std::ffi::CString::new(file.as_os_str().as_bytes()) else {
        return false;
    };
    let attribute = c"security.capability".as_ptr();
    // SAFETY: both are NUL-terminated strings; with no buffer, only the attribute's length is asked for.
    unsafe { libc::getxattr(name.as_ptr(), attribute, std::ptr::null_mut(), 0) > 0 }
}

/// Whether we may execute it.
fn executable(file: &Path) -> bool {
    let Ok(name) = std::ffi::CString::new(file.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: `name` is a NUL-terminated string that lives during the call.
    unsafe { libc::access(name.as_ptr(), libc::X_OK) == 0 }
}

/// What runs a file that is not ELF, and with which arguments.
fn interpreter(
    script: &Path,
    start: &[u8],
    argv: Vec<OsString>,
    path: &OsStr,
) -> Result<(PathBuf, Vec<OsString>), Failure> {
    let rest = argv.into_iter().skip(1);
    let line = start.split(|&b| b == b'\n').next().unwrap_or_default();
    let Some(line) = line.strip_prefix(b"#!") else {
        if line.contains(&0) {
            return Err(cannot(script, "is neither a program nor a script"));
        }
        // As execvp and the shells do for a script without a first line of its own.
        let argv = ["sh".into(), script.into()]
            .into_iter()
            .chain(rest)
            .collect();
        return Ok((PathBuf::from("/bin/sh"), argv));
    };
    let line = line.trim_ascii();
    let end = line
        .iter()
        .position(|b| b" \t".contains(b))
        .unwrap_or(line.len());
    let (name, argument) = (&line[..end], line[end..].trim_ascii());
    if name.is_empty() {
        return Err(cannot(script, "its #! line names no interpreter"));
    }
    // `env NAME` would replace the process by NAME: what it would run is run at once.
    let simple = !argument.is_empty() && !argument.iter().any(|b| b"-=/ \t".contains(b));
    if name.ends_with(b"/env") && simple {
        let command = OsStr::from_bytes(argument);
        let argv = [command.to_owned(), script.into()]
            .into_iter()
            .chain(rest)
            .collect();
        return Ok((look_up(command, path)?, argv));
    }
    let name = OsStr::from_bytes(name);
    let mut new = vec![name.to_owned()];
    if !argument.is_empty() {
        new.push(OsStr::from_bytes(argument).to_owned());
    }
    new.push(script.into());
    new.extend(rest);
    Ok((PathBuf::from(name), new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path, name: &str, text: &[u8], mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn run(words: &[&OsStr], path: &Path) -> Result<Program, Failure> {
        let argv: Vec<OsString> = words.iter().map(|&w| w.to_owned()).collect();
        let search =
            std::env::join_paths([path, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        resolve(look_up(&argv[0], &search)?, argv, &search)
    }

    fn refused(words: &[&OsStr], path: &Path) -> (u8, String) {
        let f = run(words, path).unwrap_err();
        (f.code, f.error.to_string())
    }

    #[test]
    fn scripts_run_their_interpreters() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        let script = file(dir, "a", b"#! /bin/sh  -e x \necho\n", 0o755);
        let p = run(&["a".as_ref(), "1".as_ref()], dir).unwrap();
        assert_eq!(p.exe, fs::canonicalize("/bin/sh").unwrap());
        assert_eq!(
            p.argv,
            [
                "/bin/sh".as_ref(),
                "-e x".as_ref(),
                script.as_os_str(),
                "1".as_ref()
            ]
        );
        let script = file(dir, "b", b"#!/usr/bin/env sh\n", 0o755);
        let p = run(&[script.as_os_str()], dir).unwrap();
        assert_eq!(p.argv, ["sh".as_ref(), script.as_os_str()]);
        let nested = file(
            dir,
            "c",
            format!("#!{}\n", script.display()).as_bytes(),
            0o755,
        );
        let p = run(&[nested.as_os_str()], dir).unwrap();
        assert_eq!(
            p.argv,
            ["sh".as_ref(), script.as_os_str(), nested.as_os_str()]
        );
        let plain = file(dir, "d", b"echo\n", 0o755);
        assert_eq!(
            run(&["d".as_ref()], dir).unwrap().argv,
            ["sh".as_ref(), plain.as_os_str()]
        );
    }

    #[test]
    fn what_cannot_be_run_is_refused_as_a_shell_would() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        assert_eq!(refused(&["no-such-program".as_ref()], dir).0, 127);
        assert_eq!(refused(&["./no-such-program".as_ref()], dir).0, 127);
        assert_eq!(refused(&[dir.as_os_str()], dir).0, 126);
        file(dir, "plain", b"echo", 0o644);
        let (code, text) = refused(&["plain".as_ref()], dir);
        assert!(code == 126 && text.contains("chmod"), "{text}");
        file(dir, "setuid", &fs::read("/bin/true").unwrap(), 0o4755);
        let (code, text) = refused(&["setuid".as_ref()], dir);
        assert!(code == 126 && text.contains("setuid"), "{text}");
        file(dir, "lost", b"#!/no/such/interpreter\n", 0o755);
        let (code, text) = refused(&["lost".as_ref()], dir);
        assert!(code == 127 && text.contains("lost"), "{text}");
        file(dir, "junk", b"\x00\x01\x02", 0o755);
        assert_eq!(refused(&["junk".as_ref()], dir).0, 126);
        let turning = dir.join("turning");
        file(
            dir,
            "turning",
            format!("#!{}\n", turning.display()).as_bytes(),
            0o755,
        );
        assert!(refused(&[turning.as_os_str()], dir).1.contains("too many"));
    }
}
