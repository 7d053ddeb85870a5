//! The last step of a launch or restart: this process becomes the loader.

use super::cli::{Crossing, Ids, Taking};
use super::cuda::{Device, DRIVER};
use super::{mpi, replace, Failure};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The files that lie beside this program.
#[derive(Debug)]
pub struct Parts {
    /// This program.
    pub splitproc: PathBuf,
    /// The freestanding loader.
    pub loader: PathBuf,
    /// Lower half 0.
    pub host: PathBuf,
    /// The program of every other lower half: it opens a library.
    pub mpi: PathBuf,
    /// The CUDA device made of processors.
    pub cuda_cpu: PathBuf,
    /// libsplitproc.so.
    pub plugin: PathBuf,
    /// What the fronts of CUDA's libraries need.
    pub cuda: PathBuf,
    /// Libraries of ours under the names of MPI libraries.
    pub fronts: Vec<PathBuf>,
}

impl Parts {
    /// Where they are to be.
    pub fn beside_us() -> Result<Parts, Failure> {
        let me = std::env::current_exe().map_err(|e| {
            Failure::new(
                1,
                format!("cannot tell where splitproc is installed: {e}; mount /proc"),
            )
        })?;
        let dir = me.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Parts {
            loader: dir.join("lh-loader"),
            host: dir.join("splitproc-host"),
            mpi: dir.join("splitproc-mpi-lh"),
            cuda_cpu: dir.join("libcuda_cpu.so"),
            plugin: dir.join("libsplitproc.so"),
            cuda: dir.join("libsplitproc_cuda.so"),
            fronts: restart::mpich::FRONTS
                .iter()
                .chain(&restart::mpich::SLEEVES)
                .map(|n| dir.join("fronts").join(n))
                .collect(),
            splitproc: me,
        })
    }

    /// Those that are not there.
    pub fn missing(&self) -> Vec<&Path> {
        [
            &self.loader,
            &self.host,
            &self.mpi,
            &self.cuda_cpu,
            &self.plugin,
            &self.cuda,
        ]
        .into_iter()
        .chain(&self.fronts)
        .map(PathBuf::as_path)
        .filter(|p| !p.is_file())
        .collect()
    }

    /// Refuses an incomplete installation.
    pub fn check(&self) -> Result<(), Failure> {
        match self.missing().first() {
            None => Ok(()),
            Some(path) => Err(Failure::new(
                1,
                format!("{}: not there; splitproc is not completely built or installed (cargo build --release --workspace)", path.display()),
            )),
        }
    }
}

/// What the loader is told.
#[derive(Debug)]
pub struct Start<'a> {
    /// The checkpoint directory, absolute.
    pub ckpt_dir: &'a Path,
    /// How checkpoints are taken.
    pub taking: &'a Taking,
    /// The MPI library, if there is an MPI half.
    pub mpi_library: Option<&'a Path>,
    /// The CUDA device, if there is a CUDA half.
    pub cuda: Option<Device>,
    /// More lower halves: name and library.
    pub halves: &'a [(String, String)],
    /// The TLS hole, as distances below FS.
    pub hole: [u64; 2],
    /// How threads cross.
    pub crossing: Crossing,
    /// AT_RANDOM's bytes and the image, in a restart.
    pub restore: Option<(&'a str, &'a Path)>,
    /// The program.
    pub exe: &'a Path,
    /// Its arguments, `argv[0]` included.
    pub argv: &'a [OsString],
    /// AT_EXECFN, where it is not `exe`.
    pub execfn: Option<&'a Path>,
    /// The process and its parent as the program knows them, where the kernel has other numbers.
    pub known_as: Option<Ids>,
}

/// `--NAME=VALUE`.
fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut text = OsString::from(format!("--{name}="));
    text.push(value);
    text
}

impl Start<'_> {
    /// The loader's command line.
    fn arguments(&self, parts: &Parts) -> Vec<OsString> {
        let mut a: Vec<OsString> = vec!["--half".into(), "host".into(), parts.host.clone().into()];
        if let Some(library) = self.mpi_library {
            a.extend(["--half".into(), "mpi".into(), parts.mpi.clone().into()]);
            a.extend(["--lib".into(), library.into()]);
        }
        if let Some(device) = self.cuda {
            a.extend(["--half".into(), "cuda".into(), parts.mpi.clone().into()]);
            let library = match device {
                Device::Gpu => DRIVER.into(),
                Device::Cpu => parts.cuda_cpu.clone().into(),
            };
            a.extend(["--lib".into(), library]);
        }
        for (name, library) in self.halves {
            a.extend(["--half".into(), name.into(), parts.mpi.clone().into()]);
            a.extend(["--lib".into(), library.into()]);
        }
        a.extend([
            "--hole".into(),
            self.hole[0].to_string().into(),
            self.hole[1].to_string().into(),
        ]);
        if let Some((random, image)) = self.restore {
            a.extend([
                "--random".into(),
                random.into(),
                "--restore".into(),
                image.into(),
            ]);
        }
        a.extend(["--crossing".into(), self.crossing.name().into()]);
        a.extend(["--log".into(), self.taking.log.name().into()]);
        if let Some(Ids { pid, parent }) = self.known_as {
            a.extend(["--known-as".into(), pid.to_string().into()]);
            a.push(parent.to_string().into());
        }
        let again = self.again(parts);
        a.extend(["--again".into(), again.len().to_string().into()]);
        a.extend(again);
        a.extend(["--exe".into(), self.exe.into()]);
        if let Some(execfn) = self.execfn {
            a.extend(["--execfn".into(), execfn.into()]);
        }
        a.push("--".into());
        a.extend(self.argv.iter().cloned());
        a
    }

    /// The command by which what the program executes in its place goes on under splitproc, without its last words:
    /// the program's path and its arguments.
    fn again(&self, parts: &Parts) -> Vec<OsString> {
        let t = self.taking;
        let mut a: Vec<OsString> = vec![parts.splitproc.clone().into(), "launch".into()];
        a.push("--again".into());
        if mpi::launcher() != restart::launcher::Launcher::None {
            a.push("--ranked".into());
        }
        // A path is good in any directory.
        let library = std::fs::canonicalize(&t.mpi)
            .ok()
            .filter(|_| t.mpi.contains('/'));
        a.extend([
            option("ckpt-dir", self.ckpt_dir),
            option(
                "mpi",
                library.map_or(OsString::from(&t.mpi), PathBuf::into_os_string),
            ),
            option("cuda", t.cuda.name()),
            option("zstd", &t.zstd),
            option("keep", t.keep.to_string()),
            option("timeout", t.timeout.to_string()),
            option("log", t.log.name()),
            option("crossing", self.crossing.name()),
        ]);
        a.extend(
            t.interval
                .map(|seconds| option("interval", seconds.to_string())),
        );
        a.extend(
            t.ckpt_signal
                .map(|signal| option("ckpt-signal", signal.0.to_string())),
        );
        a.extend(t.on_term.then(|| "--on-term".into()));
        let half = |(name, library): &(String, String)| option("half", format!("{name}={library}"));
        a.extend(self.halves.iter().map(half));
        a
    }

    /// The variables that the lower halves get beside the application's own.
    fn variables(&self, parts: &Parts) -> Vec<(&'static str, OsString)> {
        let mut preload = OsString::from(&parts.plugin);
        if let Some(own) = std::env::var_os("LD_PRELOAD").filter(|p| !p.is_empty()) {
            preload.push(":");
            preload.push(own);
        }
        let t = self.taking;
        // The host takes 0 for off.
        let level = if t.zstd == "off" { "0" } else { &t.zstd };
        let mut all = vec![
            ("SPLITPROC_CKPT_DIR", self.ckpt_dir.into()),
            ("SPLITPROC_ZSTD_LEVEL", level.into()),
            ("SPLITPROC_KEEP", t.keep.to_string().into()),
            ("SPLITPROC_TIMEOUT", t.timeout.to_string().into()),
            ("SPLITPROC_LOG", t.log.name().into()),
            ("SPLITPROC_PRELOAD", preload),
        ];
        let wanted = self.mpi_library.is_some() || self.cuda.is_some();
        if let (true, Some(front)) = (wanted, parts.fronts.first()) {
            // The program gets them in the place of the libraries of their names.
            all.extend(
                front
                    .parent()
                    .map(|folder| ("SPLITPROC_FRONTS", folder.into())),
            );
        }
        if let Some(signal) = t.ckpt_signal {
            all.push(("SPLITPROC_CKPT_SIGNAL", signal.0.to_string().into()));
        }
        if t.on_term {
            all.push(("SPLITPROC_ON_TERM", "1".into()));
        }
        if let Some(seconds) = t.interval {
            all.push(("SPLITPROC_INTERVAL", seconds.to_string().into()));
        }
        all
    }

    /// The loader's environment: the program's, in its order, and our variables.
    fn environment(&self, parts: &Parts) -> Vec<CString> {
        const REMOVED: [&str; 4] = [
            "SPLITPROC_FRONTS",
            "SPLITPROC_INTERVAL",
            "SPLITPROC_CKPT_SIGNAL",
            "SPLITPROC_ON_TERM",
        ];
        let ours = self.variables(parts);
        let names: Vec<&str> = ours.iter().map(|(name, _)| *name).chain(REMOVED).collect();
        let is = |entry: &CString, name: &&str| {
            let rest = entry.to_bytes().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"="))
        };
        let mut all = replace::environment();
        all.retain(|entry| !names.iter().any(|name| is(entry, name)));
        for (name, value) in ours {
            let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
            // What came from a command line or a variable has no NUL.
            all.extend(CString::new(text));
        }
        all
    }

    /// Replaces this process; returns only when that fails.
    pub fn exec(&self, parts: &Parts) -> Failure {
        let mut argv = vec![parts.loader.clone().into_os_string()];
        argv.extend(self.arguments(parts));
        let error = replace::exec(&parts.loader, &argv, &self.environment(parts));
        Failure::new(126, format!("{}: {error}", parts.loader.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cli::{Cli, Command};
    use clap::Parser;

    fn parts() -> Parts {
        Parts {
            splitproc: "/b/splitproc".into(),
            loader: "/b/lh-loader".into(),
            host: "/b/host".into(),
            mpi: "/b/mpi".into(),
            cuda_cpu: "/b/libcuda_cpu.so".into(),
            plugin: "/b/libsplitproc.so".into(),
            cuda: "/b/libsplitproc_cuda.so".into(),
            fronts: vec!["/b/fronts/libmpich.so.12".into()],
        }
    }

    #[test]
    fn the_loader_is_told_what_the_contract_says() {
        let line = [
            "splitproc",
            "launch",
            "--interval",
            "5",
            "--zstd",
            "off",
            "--log",
            "debug",
            "--",
            "p",
        ];
        let Command::Launch(launch) = Cli::parse_from(line).command else {
            panic!()
        };
        let argv = ["p".into(), "-x".into()];
        let mut start = Start {
            ckpt_dir: Path::new("/c"),
            taking: &launch.taking,
            mpi_library: Some(Path::new("/m.so")),
            cuda: Some(Device::Cpu),
            halves: &[("blas".into(), "libblas.so.3".into())],
            hole: [128, 8320],
            crossing: Crossing::BorrowedPrctl,
            restore: Some(("00ff", Path::new("/i.img"))),
            exe: Path::new("/p"),
            argv: &argv,
            execfn: Some(Path::new("./p")),
            known_as: None,
        };
        let joined = start.arguments(&parts()).join(" ".as_ref());
        assert_eq!(
            joined,
            "--half host /b/host --half mpi /b/mpi --lib /m.so --half cuda /b/mpi --lib /b/libcuda_cpu.so --half blas /b/mpi --lib libblas.so.3 --hole 128 8320 --random 00ff --restore /i.img --crossing borrowed-prctl --log debug --again 13 /b/splitproc launch --again --ckpt-dir=/c --mpi=auto --cuda=auto --zstd=off --keep=2 --timeout=120 --log=debug --crossing=borrowed-prctl --interval=5 --half=blas=libblas.so.3 --exe /p --execfn ./p -- p -x"
        );
        let get = |start: &Start, name| {
            start
                .variables(&parts())
                .into_iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.into_string().unwrap())
        };
        assert_eq!(get(&start, "SPLITPROC_INTERVAL").as_deref(), Some("5"));
        assert_eq!(get(&start, "SPLITPROC_ZSTD_LEVEL").as_deref(), Some("0"));
        assert_eq!(
            get(&start, "SPLITPROC_FRONTS").as_deref(),
            Some("/b/fronts")
        );
        (start.mpi_library, start.cuda, start.halves, start.restore) = (None, None, &[], None);
        let joined = start
            .arguments(&parts())
            .join(" ".as_ref())
            .into_string()
            .unwrap();
        assert!(!joined.contains("--half mpi") && !joined.contains("random"));
        assert_eq!(get(&start, "SPLITPROC_FRONTS"), None);
    }
}
