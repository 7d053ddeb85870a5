//! `splitproc dmtcp-restart`: finds this rank's image among those that DMTCP wrote, and becomes `dmtcp_restart`.
//!
//! DMTCP names images by process ids; at each checkpoint the plugin makes a link `rank-R-of-N.dmtcp` to a rank's, and
//! links `rank-R-of-N.CHECKPOINT.IMAGE` to this and to those of the rank's children, which are restarted with it.

use super::cli::DmtcpRestart;
use super::{mpi, Failure, Outcome};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of dmtcp_restart by which the user says which coordinator is meant.
const COORDINATOR: [&str; 3] = [
    "--join-coordinator",
    "--new-coordinator",
    "--any-coordinator",
];

/// What a file of gzip's begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What another image of DMTCP's begins with.
const PLAIN: &[u8; 22] = b"DMTCP_CHECKPOINT_IMAGE";
/// Where an area, which takes a page, has its size.
const SIZE: usize = 16;

/// Runs the command; returns only when it fails.
pub fn run(args: &DmtcpRestart) -> Outcome {
    let (rank, size) = mpi::rank_and_size()?;
    let ranks = match newest(&args.dir, size) {
        Some(ranks) => ranks,
        None => {
            let image = image(&args.dir, rank, size)?;
            lost(&args.dir, size)?;
            BTreeMap::from([(rank, vec![image])])
        }
    };
    // Every rank looks at all, for the reason that `image` has.
    for (of, images) in &ranks {
        for image in images {
            whole(image, *of == rank)?;
        }
    }
    let images = &ranks[&rank];
    let mut command = Command::new("dmtcp_restart");
    let chosen = |o: &OsString| COORDINATOR.iter().any(|c| o.to_str() == Some(c));
    if size > 1 && !args.options.iter().any(chosen) {
        // Each rank would start a coordinator of its own.
        command.arg("--join-coordinator");
    }
    command.args(&args.options).args(images);
    let error = command.exec();
    let text = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "dmtcp_restart is not on PATH: install DMTCP 4.2 or 5.0".into()
        }
        _ => format!("dmtcp_restart can't be run: {error}"),
    };
    Err(Failure::new(1, text))
}

fn link(dir: &Path, rank: u32, size: u32) -> PathBuf {
    dir.join(format!("rank-{rank}-of-{size}.dmtcp"))
}

/// The rank's image. Every rank looks whether all are there: one that came alone would wait for the others.
fn image(dir: &Path, rank: u32, size: u32) -> Result<PathBuf, Failure> {
    let link = |rank| link(dir, rank, size);
    let Some(missing) = (0..size).map(link).find(|link| !link.is_file()) else {
        return Ok(link(rank));
    };
    let sizes: Vec<u32> = std::fs::read_dir(dir)
        .map_err(|e| Failure::new(1, format!("{}: {e}", dir.display())))?
        .filter_map(|entry| job_size(&entry.ok()?.file_name().into_string().ok()?))
        .collect();
    let other = sizes.iter().find(|s| **s != size);
    let text = if let Ok(image) = std::fs::read_link(&missing) {
        format!(
            "{} names {}, which is not there: the image of a rank is lost",
            missing.display(),
            image.display()
        )
    } else if sizes.contains(&size) {
        format!(
            "{} is not there: the image of a rank is lost",
            missing.display()
        )
    } else if let Some(other) = other {
        format!(
            "{} holds a job of {other} rank(s), but {size} were started; start it with `mpirun -n {other} splitproc \
             dmtcp-restart {}`",
            dir.display(),
            dir.display()
        )
    } else if let Some(within) = checkpoint_within(dir) {
        format!(
            "{} has a directory for each checkpoint: name one of them, such as {}",
            dir.display(),
            within.display()
        )
    } else {
        format!(
            "{} is not there; name the directory that dmtcp_launch was given with --ckptdir",
            missing.display()
        )
    };
    Err(Failure::new(1, text))
}

/// The newest of the directories that `dmtcp_launch --enable-unique-checkpoint-filenames` makes, by number.
fn checkpoint_within(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let numbered = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (_, number) = name.strip_prefix("ckpt_")?.rsplit_once('_')?;
        let number: u32 = number.parse().ok()?;
        entry.path().is_dir().then(|| (number, entry.path()))
    });
    Some(numbered.max()?.1)
}

/// The links that say which images belong together: by checkpoint, then by rank.
fn together(dir: &Path, size: u32) -> BTreeMap<u32, BTreeMap<u32, Vec<PathBuf>>> {
    let mut checkpoints: BTreeMap<u32, BTreeMap<u32, Vec<PathBuf>>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let parts = || {
            let (rank, rest) = name.to_str()?.strip_prefix("rank-")?.split_once("-of-")?;
            let mut rest = rest.splitn(3, '.');
            let (of, number) = (rest.next()?, rest.next()?);
            rest.next()?;
            let of_this = of.parse() == Ok(size);
            Some((number.parse().ok()?, rank.parse().ok()?)).filter(|_| of_this)
        };
        if let Some((number, rank)) = parts() {
            let ranks = checkpoints.entry(number).or_default();
            ranks.entry(rank).or_default().push(entry.path());
        }
    }
    checkpoints
}

/// The images of each rank and its children, of the newest checkpoint of which all are there.
fn newest(dir: &Path, size: u32) -> Option<BTreeMap<u32, Vec<PathBuf>>> {
    let there = |ranks: &BTreeMap<u32, Vec<PathBuf>>| {
        (0..size).all(|rank| ranks.contains_key(&rank))
            && ranks.values().flatten().all(|image| image.is_file())
    };
    let mut found = together(dir, size).into_values().rfind(there)?;
    found.values_mut().for_each(|images| images.sort());
    Some(found)
}

/// No checkpoint is whole; names an image that the newest one lacks, if there are links of one.
fn lost(dir: &Path, size: u32) -> Outcome {
    let newest = together(dir, size).into_values().next_back();
    for (rank, images) in newest.unwrap_or_default() {
        if let Some(link) = images.iter().find(|image| !image.is_file()) {
            let text = format!(
                "{} names an image that is not there: that of a child of rank {rank} is lost",
                link.display()
            );
            return Err(Failure::new(1, text));
        }
    }
    Ok(())
}

/// DMTCP starts from an image that was cut off and crashes, hangs or goes on with other memory, so its end is looked
/// at: an unpacked image's last page is a mark. Of a packed one gzip notes the length there, mostly one of whole pages. It is
/// not if a file is mapped that ends within a page; then gzip reads all of it, if it is this rank's.
fn whole(image: &Path, own: bool) -> Outcome {
    const PAGE: usize = 4096;
    let read = || -> std::io::Result<bool> {
        let mut file = std::fs::File::open(image)?;
        let mut begin = [0; PLAIN.len()];
        file.read_exact(&mut begin)?;
        if begin.starts_with(&GZIP) {
            let mut length = [0; 4];
            file.seek(SeekFrom::End(-4))?;
            file.read_exact(&mut length)?;
            let pages = (u32::from_le_bytes(length) as usize).is_multiple_of(PAGE);
            return Ok(pages || !own || unpacks(image)?);
        }
        if begin != *PLAIN {
            return Ok(true);
        }
        let mut last = [0; PAGE];
        file.seek(SeekFrom::End(-(PAGE as i64)))?;
        file.read_exact(&mut last)?;
        Ok(last[..8] == [0; 8] && last[SIZE..SIZE + 8] == (-1i64).to_le_bytes())
    };
    let text = match read() {
        Ok(true) => return Ok(()),
        Ok(false) => "the image was cut off".into(),
        Err(why) => why.to_string(),
    };
    let text = format!(
        "{}: {text}; restart from a copy that is whole",
        image.display()
    );
    Err(Failure::new(1, text))
}

/// Does gzip, which dmtcp_restart starts too, find the whole of it?
fn unpacks(image: &Path) -> std::io::Result<bool> {
    let mut command = Command::new("gzip");
    command.arg("-t").arg(image).stderr(Stdio::null());
    Ok(command.status()?.success())
}

/// N of `rank-R-of-N.dmtcp`.
fn job_size(name: &str) -> Option<u32> {
    let (_, size) = name.strip_prefix("rank-")?.split_once("-of-")?;
    size.strip_suffix(".dmtcp")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_finds_its_image_or_says_why_not() {
        let tmp = tempfile::tempdir().unwrap();
        let text = |rank, size| image(tmp.path(), rank, size).unwrap_err().error.to_string();
        assert!(text(0, 2).contains("--ckptdir"));
        for number in ["00002", "00010"] {
            let name = format!("ckpt_app_3a7-40000-5_{number}");
            std::fs::create_dir(tmp.path().join(name)).unwrap();
        }
        assert!(text(0, 2).ends_with("ckpt_app_3a7-40000-5_00010"));
        for rank in 0..2 {
            std::fs::write(tmp.path().join(format!("rank-{rank}-of-2.dmtcp")), "").unwrap();
        }
        assert!(image(tmp.path(), 1, 2)
            .unwrap()
            .ends_with("rank-1-of-2.dmtcp"));
        assert!(text(0, 4).contains("a job of 2 rank(s), but 4 were started"));
        std::fs::remove_file(tmp.path().join("rank-1-of-2.dmtcp")).unwrap();
        assert!(text(0, 2).contains("rank-1-of-2.dmtcp is not there"));
        std::os::unix::fs::symlink("gone.dmtcp", tmp.path().join("rank-1-of-2.dmtcp")).unwrap();
        assert!(text(0, 2).contains("gone.dmtcp, which is not there"));
    }

    #[test]
    fn an_image_that_was_cut_off_is_refused_by_name() {
        let tmp = tempfile::tempdir().unwrap();
        let image = tmp.path().join("ckpt_a.dmtcp");
        let mut plain = vec![7; 3 * 4096];
        plain[..PLAIN.len()].copy_from_slice(PLAIN);
        plain[2 * 4096..2 * 4096 + 8].fill(0);
        plain[2 * 4096 + SIZE..2 * 4096 + SIZE + 8].fill(0xff);
        let packed = [&GZIP[..], &[9; 5000], &[0, 0x30, 0, 0]].concat();
        // A file is mapped that ends within a page.
        let mut odd = plain.clone();
        odd.splice(4096..4096, [7; 100]);
        for bytes in [plain, packed, odd.clone()] {
            std::fs::write(&image, &bytes).unwrap();
            assert!(whole(&image, true).is_ok());
            for len in [bytes.len() - 1, 4096, 1] {
                std::fs::write(&image, &bytes[..len]).unwrap();
                let why = whole(&image, true).unwrap_err().error.to_string();
                assert!(why.contains("ckpt_a.dmtcp"), "{why}");
            }
        }
        std::fs::write(&image, &odd).unwrap();
        let packed = Command::new("gzip").arg("-c").arg(&image).output();
        let packed = packed.unwrap().stdout;
        std::fs::write(&image, &packed).unwrap();
        assert!(whole(&image, true).is_ok());
        std::fs::write(&image, &packed[..packed.len() - 30]).unwrap();
        assert!(whole(&image, true).is_err());
    }

    #[test]
    fn all_ranks_and_their_children_are_of_the_newest_whole_checkpoint() {
        let tmp = tempfile::tempdir().unwrap();
        let images = || {
            let name = |i: &PathBuf| i.file_name().unwrap().to_str().unwrap().to_owned();
            let found = newest(tmp.path(), 2)?;
            Some(found.values().flatten().map(name).collect::<Vec<_>>())
        };
        let write = |name: &str| std::fs::write(tmp.path().join(name), "").unwrap();
        let link = |name: &str| std::os::unix::fs::symlink("no", tmp.path().join(name)).unwrap();
        write("rank-1-of-2.dmtcp");
        write("rank-0-of-2.9.ckpt_x.dmtcp");
        write("rank-1-of-12.9.ckpt_x.dmtcp");
        assert_eq!(images(), None);
        assert!(lost(tmp.path(), 2).is_ok());
        link("rank-1-of-2.9.ckpt_a.dmtcp");
        assert_eq!(images(), None);
        let why = lost(tmp.path(), 2).unwrap_err().error.to_string();
        assert!(why.contains("rank-1-of-2.9.ckpt_a.dmtcp"), "{why}");
        write("rank-0-of-2.10.ckpt_x.dmtcp");
        write("rank-1-of-2.10.ckpt_b.dmtcp");
        write("rank-1-of-2.10.ckpt_a.dmtcp");
        write("rank-0-of-2.11.ckpt_x.dmtcp");
        link("rank-1-of-2.11.ckpt_b.dmtcp");
        let whole = [
            "rank-0-of-2.10.ckpt_x.dmtcp",
            "rank-1-of-2.10.ckpt_a.dmtcp",
            "rank-1-of-2.10.ckpt_b.dmtcp",
        ];
        assert_eq!(images().unwrap(), whole);
    }
}
