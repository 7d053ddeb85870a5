//! The manifest: what makes the images of all ranks one generation.
//!
//! ```text
//! CKPT_DIR/                  0700
//!   job.json                 0600  the running job (the embedded host's)
//!   lock                     0600  held by rank 0 of the running job
//!   gen-0001/                0700
//!     rank-0000.img          0600
//!     rank-0001.img          0600
//!     manifest.json          0600  written by rank 0 once every image is on disk
//!   gen-0002/ …
//! ```
//!
//! A generation without a manifest is incomplete, so a job that is killed at any moment restarts from
//! the last one that has it.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Version of the manifest's fields.
pub const VERSION: u32 = 1;
/// The manifest's file name.
pub const FILE: &str = "manifest.json";

/// Why a generation cannot be used. Each message is whole: none has a `source` that would be told again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{}: cannot {what}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The kernel's reason.
        cause: io::Error,
    },
    /// No such checkpoint directory.
    #[error("{}: no such checkpoint directory; name the directory that `splitproc launch --ckpt-dir` was given", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// No generation has a manifest.
    #[error(
        "{}: holds no complete checkpoint{}; take one with `splitproc checkpoint --wait`",
        path.display(),
        if *.incomplete == 0 { String::new() } else { format!(" ({incomplete} incomplete)") }
    )]
    NoneComplete {
        /// The directory.
        path: PathBuf,
        /// Generations without a manifest.
        incomplete: usize,
    },
    /// The wanted generation is not there, or not complete.
    #[error("{}: generation {generation} {what}; complete generations: {there}", path.display())]
    NoGeneration {
        /// The directory.
        path: PathBuf,
        /// The wanted generation.
        generation: u64,
        /// What is the matter with it.
        what: &'static str,
        /// The generations that could be used.
        there: String,
    },
    /// The manifest is not what it should be.
    #[error("{}: {what}; restart from another --generation", path.display())]
    Damaged {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Written by another version.
    #[error("{}: manifest version {found}, but this splitproc reads version {VERSION}; restart with the splitproc that wrote it", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The version it says.
        found: u32,
    },
}

/// One generation of a job's checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `VERSION`.
    pub version: u32,
    /// The job, a random name.
    pub job: String,
    /// The generation.
    pub generation: u64,
    /// Number of ranks.
    pub ranks: u32,
    /// Absolute path of the program.
    pub program: String,
    /// Its arguments, `argv[0]` included.
    pub argv: Vec<String>,
    /// When it was committed, seconds since 1970.
    pub created: u64,
    /// How long the program was stopped, at most over the ranks.
    #[serde(default)]
    pub seconds: f64,
    /// The MPI library of the lower half, if the job has one.
    #[serde(default)]
    pub mpi: Option<String>,
    /// The device of the CUDA half, if the job has one: `gpu` or `cpu`.
    #[serde(default)]
    pub cuda: Option<String>,
    /// The images, one a rank.
    pub images: Vec<ImageEntry>,
}

/// One rank's image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// The rank.
    pub rank: u32,
    /// File name inside the generation's directory.
    pub file: String,
    /// Length of the file.
    pub bytes: u64,
    /// Its fingerprint: `image::Summary::crc`.
    pub crc: u32,
}

/// Where a generation lives.
pub fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("gen-{generation:04}"))
}

/// The file name of a rank's image.
pub fn image_name(rank: u32) -> String {
    format!("rank-{rank:04}.img")
}

/// Makes a directory, and those above it, with mode 0700 where they are new.
pub fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error(dir, "create"))
}

fn io_error<'a>(path: &'a Path, what: &'static str) -> impl FnOnce(io::Error) -> Error + 'a {
    move |cause| Error::Io {
        path: path.to_owned(),
        what,
        cause,
    }
}

impl Manifest {
    /// Commits the generation: the manifest is on disk when this returns. All images must be before.
    pub fn commit(&self, dir: &Path) -> Result<(), Error> {
        let folder = generation_dir(dir, self.generation);
        let path = folder.join(FILE);
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::Damaged {
            path: path.clone(),
            what: e.to_string(),
        })?;
        write_atomically(&path, &text)?;
        // The generation's own name must last as well.
        let top = fs::File::open(dir).map_err(io_error(dir, "open"))?;
        top.sync_all().map_err(io_error(dir, "write to disk"))
    }

    /// Reads the manifest of one generation's directory and checks that it makes sense.
    pub fn load(folder: &Path) -> Result<Manifest, Error> {
        let path = folder.join(FILE);
        let text = fs::read(&path).map_err(io_error(&path, "read"))?;
        let damaged = |what: String| Error::Damaged {
            path: path.clone(),
            what,
        };
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let v: Versioned =
            serde_json::from_slice(&text).map_err(|e| damaged(format!("not a manifest: {e}")))?;
        if v.version != VERSION {
            return Err(Error::Version {
                path,
                found: v.version,
            });
        }
        let m: Manifest =
            serde_json::from_slice(&text).map_err(|e| damaged(format!("not a manifest: {e}")))?;
        let mut ranks: Vec<u32> = m.images.iter().map(|i| i.rank).collect();
        ranks.sort_unstable();
        if ranks.len() != m.ranks as usize || ranks.iter().enumerate().any(|(i, &r)| i as u32 != r)
        {
            return Err(damaged(format!(
                "says {} ranks but does not list one image for each",
                m.ranks
            )));
        }
        if m.images.iter().any(|i| i.file.contains('/')) {
            return Err(damaged("names an image outside its directory".into()));
        }
        if number_of(folder).is_some_and(|number| number != m.generation) {
            return Err(damaged(format!(
                "is that of generation {}, and this directory is another's",
                m.generation
            )));
        }
        Ok(m)
    }

    /// The image of a rank.
    pub fn image(&self, rank: u32) -> Option<&ImageEntry> {
        self.images.iter().find(|i| i.rank == rank)
    }

    /// Bytes of all images.
    pub fn bytes(&self) -> u64 {
        self.images.iter().map(|i| i.bytes).sum()
    }
}

/// Writes a file of mode 0600 under a temporary name, fsyncs and renames it.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_and_rename(path, bytes, true)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let opened = fs::File::open(folder).map_err(io_error(folder, "open"))?;
    opened.sync_all().map_err(io_error(folder, "write to disk"))
}

/// The same for what is worth nothing once the machine has crashed: the disk gets it when it likes.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_and_rename(path, bytes, false)
}

fn write_and_rename(path: &Path, bytes: &[u8], sync: bool) -> Result<(), Error> {
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io_error(&temporary, "create"))?;
    file.write_all(bytes)
        .map_err(io_error(&temporary, "write"))?;
    if sync {
        file.sync_all()
            .map_err(io_error(&temporary, "write to disk"))?;
    }
    fs::rename(&temporary, path).map_err(io_error(path, "rename to"))
}

/// The generation that a directory is of, by its name.
fn number_of(folder: &Path) -> Option<u64> {
    let name = folder.file_name()?.to_str()?;
    name.strip_prefix("gen-")?.parse().ok()
}

/// The generations in a checkpoint directory, oldest first; `true`: complete.
pub fn generations(dir: &Path) -> Result<Vec<(u64, bool)>, Error> {
    let entries = fs::read_dir(dir).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NoDirectory {
            path: dir.to_owned(),
        },
        _ => io_error(dir, "list")(e),
    })?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(dir, "list"))?;
        if let Some(generation) = number_of(&entry.path()) {
            found.push((generation, entry.path().join(FILE).exists()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The number for the next checkpoint: above every generation there is, complete or not.
pub fn next_generation(dir: &Path) -> Result<u64, Error> {
    match generations(dir) {
        Ok(all) => Ok(all.last().map_or(1, |&(g, _)| g + 1)),
        Err(Error::NoDirectory { .. }) => Ok(1),
        Err(e) => Err(e),
    }
}

/// The newest complete generation.
pub fn latest_complete(dir: &Path) -> Result<Manifest, Error> {
    let all = generations(dir)?;
    match all.iter().rev().find(|(_, complete)| *complete) {
        Some(&(generation, _)) => Manifest::load(&generation_dir(dir, generation)),
        None => Err(Error::NoneComplete {
            path: dir.to_owned(),
            incomplete: all.len(),
        }),
    }
}

/// One generation by number.
pub fn exactly(dir: &Path, generation: u64) -> Result<Manifest, Error> {
    let all = generations(dir)?;
    let what = match all.iter().find(|(g, _)| *g == generation) {
        Some((_, true)) => return Manifest::load(&generation_dir(dir, generation)),
        Some((_, false)) => "is not complete",
        None => "is not there",
    };
    let complete: Vec<String> = all
        .iter()
        .filter(|(_, c)| *c)
        .map(|(g, _)| g.to_string())
        .collect();
    let there = if complete.is_empty() {
        "none".into()
    } else {
        complete.join(", ")
    };
    Err(Error::NoGeneration {
        path: dir.to_owned(),
        generation,
        what,
        there,
    })
}

/// Removes all but the newest `keep` complete generations, and incomplete ones older than the newest
/// complete one (a newer one may be under way). Returns what was removed. `keep` 0 keeps everything.
pub fn prune(dir: &Path, keep: usize) -> Result<Vec<u64>, Error> {
    let all = generations(dir)?;
    let complete: Vec<u64> = all.iter().filter(|(_, c)| *c).map(|(g, _)| *g).collect();
    let (Some(&newest), true) = (complete.last(), keep > 0) else {
        return Ok(Vec::new());
    };
    let oldest_kept = complete[complete.len().saturating_sub(keep)];
    let mut removed = Vec::new();
    for (generation, whole) in all {
        if if whole {
            generation < oldest_kept
        } else {
            generation < newest
        } {
            let folder = generation_dir(dir, generation);
            // The manifest goes first: what is half removed must not look complete.
            match fs::remove_file(folder.join(FILE)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(&folder, "remove")(e))
                }
                _ => {}
            }
            fs::remove_dir_all(&folder).map_err(io_error(&folder, "remove"))?;
            removed.push(generation);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(generation: u64) -> Manifest {
        let entry = |rank| ImageEntry {
            rank,
            file: image_name(rank),
            bytes: 10,
            crc: 7,
        };
        Manifest {
            version: VERSION,
            generation,
            ranks: 2,
            images: vec![entry(0), entry(1)],
            ..Manifest::default()
        }
    }

    #[test]
    fn the_newest_complete_generation_is_found_and_the_rest_pruned() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ckpt");
        assert!(matches!(
            latest_complete(&dir),
            Err(Error::NoDirectory { .. })
        ));
        assert_eq!(next_generation(&dir).unwrap(), 1);
        make_dir(&dir).unwrap();
        assert!(matches!(
            latest_complete(&dir),
            Err(Error::NoneComplete { incomplete: 0, .. })
        ));
        for g in 1..=5 {
            make_dir(&generation_dir(&dir, g)).unwrap();
            if g != 2 && g != 5 {
                manifest(g).commit(&dir).unwrap();
            }
        }
        assert_eq!(latest_complete(&dir).unwrap(), manifest(4));
        assert_eq!(next_generation(&dir).unwrap(), 6);
        assert_eq!(exactly(&dir, 1).unwrap().generation, 1);
        let e = exactly(&dir, 5).unwrap_err().to_string();
        assert!(
            e.contains("is not complete") && e.contains("1, 3, 4"),
            "{e}"
        );
        assert!(prune(&dir, 0).unwrap().is_empty());
        assert_eq!(prune(&dir, 2).unwrap(), [1, 2]);
        assert_eq!(
            generations(&dir).unwrap(),
            [(3, true), (4, true), (5, false)]
        );
    }

    #[test]
    fn a_manifest_that_makes_no_sense_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = generation_dir(tmp.path(), 1);
        make_dir(&dir).unwrap();
        let check = |text: &str| {
            fs::write(dir.join(FILE), text).unwrap();
            Manifest::load(&dir).unwrap_err().to_string()
        };
        assert!(check("{").contains("not a manifest"));
        assert!(check("{\"version\": 9}").contains("version 9"));
        let mut m = manifest(1);
        m.ranks = 3;
        assert!(check(&serde_json::to_string(&m).unwrap()).contains("3 ranks"));
        m = manifest(1);
        m.images[0].file = "../x".into();
        assert!(check(&serde_json::to_string(&m).unwrap()).contains("outside"));
        m = manifest(2);
        assert!(check(&serde_json::to_string(&m).unwrap()).contains("that of generation 2"));
    }

    #[test]
    fn files_and_directories_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let tmp = tempfile::tempdir().unwrap();
        let dir = generation_dir(&tmp.path().join("a"), 1);
        make_dir(&dir).unwrap();
        manifest(1).commit(&tmp.path().join("a")).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(FILE)), 0o600);
    }
}
