//! `splitproc restart`: checks everything that can be checked, then becomes the loader.

use super::cli::{Crossing, Restart};
use super::launch::{checkpoint_dir, library_for_restart};
use super::loader::{Parts, Start};
use super::progress::Bar;
use super::{cuda, images, mpi, room, Failure, Outcome};
use clap::ValueEnum;
use restart::code::{self, Code};
use restart::image::{FileRef, Reader};
use restart::meta::{self, Meta};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Runs the command; returns only when it fails, and then ends the other ranks too.
pub fn run(args: &Restart) -> Outcome {
    let Err(failure) = become_loader(args) else {
        return Ok(());
    };
    wait_for_lower_ranks();
    // First what is wrong: the launcher ends this process as well.
    let line = format!("splitproc: {:#}\n", failure.error);
    // In one piece, so that ranks' lines do not run into each other; nobody is left to tell if it fails.
    let _ = std::io::stderr().write_all(line.as_bytes());
    mpi::abort_job();
    std::process::exit(failure.code.into())
}

/// What is wrong for all ranks is told once: a lower rank tells it, and has the launcher end this one meanwhile.
fn wait_for_lower_ranks() {
    let rank = mpi::rank_and_size().map_or(0, |(rank, _)| rank);
    std::thread::sleep(std::time::Duration::from_millis(250) * rank.min(4));
}

fn become_loader(args: &Restart) -> Outcome {
    let (rank, size) = mpi::rank_and_size()?;
    let manifest = images::manifest(&args.dir, args.generation)?;
    if manifest.ranks != size {
        let how = if manifest.ranks == 1 {
            "start it without an MPI launcher, or with 1 rank".into()
        } else {
            format!(
                "start it with `mpirun.mpich -n {} splitproc restart {}`",
                manifest.ranks,
                args.dir.display()
            )
        };
        let text = format!(
            "generation {} has {} rank(s), but {size} were started; {how}",
            manifest.generation, manifest.ranks
        );
        return Err(Failure::new(1, text));
    }
    // Rank 0 looks at every rank's image, so that one message tells of a file that is not there.
    if rank == 0 {
        for other in 1..size {
            images::open(&args.dir, &manifest, other)?;
        }
    }
    let image = images::open(&args.dir, &manifest, rank)?;
    let meta: Meta = image.section(meta::SECTION)?;
    meta.check_processor()
        .map_err(|text| Failure::new(1, text))?;
    check_files(&image, args.accept_changed, rank)?;
    let device = cuda::device_for_restart(args.taking.cuda, meta.cuda.as_deref())?;
    let halves =
        usize::from(meta.mpi_library.is_some()) + usize::from(device.is_some()) + meta.halves.len();
    room::for_restart(&image, halves)?;
    check_code(&image, args.accept_changed, rank)?;
    let mut bar = Bar::new(format!("rank {rank}"));
    image.verify_stored(|done, total| bar.show(done, total))?;
    bar.end();
    let parts = Parts::beside_us()?;
    parts.check()?;
    let library = library_for_restart(&args.taking, meta.mpi_library.as_deref())?;
    let ckpt_dir = new_checkpoints(args, rank)?;
    let path = images::path(&std::fs::canonicalize(&args.dir)?, &manifest, rank);
    let argv: Vec<OsString> = meta.argv.iter().map(OsString::from).collect();
    let start = Start {
        ckpt_dir: &ckpt_dir,
        taking: &args.taking,
        mpi_library: library.as_deref(),
        cuda: device,
        halves: &meta.halves,
        hole: meta.hole.map(u64::from),
        crossing: crossing(args.taking.crossing, &meta.crossing),
        restore: Some((&meta.random, &path)),
        exe: Path::new(&meta.exe),
        execfn: None,
        known_as: None,
        argv: &argv,
    };
    Err(start.exec(&parts))
}

/// Where new checkpoints go. A directory that is only read is as good for a restart, without any.
fn new_checkpoints(args: &Restart, rank: u32) -> Result<PathBuf, Failure> {
    if let Some(dir) = &args.ckpt_dir {
        return checkpoint_dir(dir);
    }
    checkpoint_dir(&args.dir).or_else(|failure| {
        if rank == 0 {
            warn(&format!(
                "{:#}, or no new checkpoints can be taken",
                failure.error
            ));
        }
        Ok(std::fs::canonicalize(&args.dir)?)
    })
}

/// The way that is wished, else the one that the launch was told.
fn crossing(wish: Option<Crossing>, launch: &str) -> Crossing {
    wish.or_else(|| Crossing::from_str(launch, false).ok())
        .unwrap_or_default()
}

/// Refuses to go on with a changed file in place of one that was mapped and whose bytes the image does not hold; one that
/// the program only reads may be accepted.
fn check_files(image: &Reader, accepted: bool, rank: u32) -> Result<(), Failure> {
    let regions = || image.regions().iter().enumerate();
    // A file in memory, by whose writable mapping the image has its bytes.
    let has_bytes = |of: &FileRef| {
        let same = |f: &FileRef| (f.dev, f.inode) == (of.dev, of.inode);
        regions().any(|(i, r)| r.shared && image.held(i) && r.file.as_ref().is_some_and(same))
    };
    for (i, region) in regions() {
        let Some(file) = region
            .file
            .as_ref()
            .filter(|f| !image.held(i) && !f.deleted && (!region.shared || !has_bytes(f)))
        else {
            continue;
        };
        let path = file.path.display();
        let refused = |what: &str, remedy: &str| {
            let text = format!(
                "{path}: {what}; the program has it mapped: put the file back as it was{remedy}"
            );
            Err(Failure::new(1, text))
        };
        let what = match std::fs::metadata(&file.path) {
            Err(e) => return refused(&e.to_string(), ""),
            Ok(m) if file.size != 0 && m.size() != file.size => {
                format!(
                    "has {} bytes, but had {} at the checkpoint",
                    m.size(),
                    file.size
                )
            }
            Ok(m) if file.mtime != 0 && m.mtime() != file.mtime && !region.shared => {
                "has changed since the checkpoint".into()
            }
            Ok(_) => continue,
        };
        if !region.shared || region.prot & libc::PROT_WRITE as u32 != 0 {
            return refused(&what, "");
        }
        if !accepted {
            let remedy =
                ", or restart with --accept-changed: the program then reads it as it is now";
            return refused(&what, remedy);
        }
        if rank == 0 {
            warn(&format!(
                "{path}: {what}; the program has it mapped, and reads it as it is now"
            ));
        }
    }
    Ok(())
}

/// Tells something, in one piece; nobody is left to tell if that fails.
fn warn(what: &str) {
    let _ = std::io::stderr().write_all(format!("splitproc: warning: {what}\n").as_bytes());
}

/// Refuses to go on with programs and libraries that are not what they were, unless that is known. The image holds
/// their memory whole, so that the program would be right without them; but whoever has put another version there
/// may expect that it runs.
fn check_code(image: &Reader, accepted: bool, rank: u32) -> Result<(), Failure> {
    let code: Vec<Code> = image.section(code::SECTION)?;
    let changed = |c: &Code| Some(format!("{} {}", c.path.display(), c.changed()?));
    let changed: Vec<String> = code.iter().filter_map(changed).collect();
    if changed.is_empty() {
        return Ok(());
    }
    if !accepted {
        let text = format!(
            "{}; put back what the program ran at the checkpoint, or restart with --accept-changed: it then goes on \
             with the code that it had in memory",
            changed.join("; ")
        );
        return Err(Failure::new(1, text));
    }
    if rank == 0 {
        for what in changed {
            warn(&format!(
                "{what}; the program goes on with the code that it had in memory"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use restart::image::{FileRef, Options, Region, Writer};

    #[test]
    fn a_mapped_file_that_changed_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let mapped = tmp.path().join("lib.so");
        std::fs::write(&mapped, "12345").unwrap();
        let m = std::fs::metadata(&mapped).unwrap();
        let file = FileRef {
            path: mapped.clone(),
            size: 5,
            mtime: m.mtime(),
            ..FileRef::default()
        };
        let mut writer = Writer::create(tmp.path().join("i.img"), Options::default()).unwrap();
        writer.region(&Region {
            start: 4096,
            end: 8192,
            prot: 1,
            shared: true,
            file: Some(file),
            ..Region::default()
        });
        writer.finish().unwrap();
        let image = Reader::open(tmp.path().join("i.img")).unwrap();
        check_files(&image, false, 0).unwrap();
        std::fs::write(&mapped, "123456").unwrap();
        let text = check_files(&image, false, 0).unwrap_err().error.to_string();
        assert!(text.contains("lib.so: has 6 bytes, but had 5"), "{text}");
        assert!(text.contains("--accept-changed"), "{text}");
        check_files(&image, true, 0).unwrap();
        std::fs::remove_file(&mapped).unwrap();
        assert!(check_files(&image, true, 0)
            .unwrap_err()
            .error
            .to_string()
            .contains("No such file"));
    }

    #[test]
    fn a_restart_crosses_as_the_launch_did() {
        assert_eq!(crossing(None, "borrowed"), Crossing::Borrowed);
        assert_eq!(crossing(None, ""), Crossing::Auto);
        assert_eq!(
            crossing(Some(Crossing::Shared), "borrowed"),
            Crossing::Shared
        );
    }
}
