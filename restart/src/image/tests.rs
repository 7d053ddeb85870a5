//! Round trips, and everything that can be wrong with a file.

use super::format::{HEADER, TRAILER};
use super::*;
use std::path::Path;

/// Bytes without a pattern.
fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 24) as u8
        })
        .collect()
}

/// Pages of each kind: zeros, noise, text, one byte.
fn mixed(len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let noise = random(4096, 5);
    let mut i = 0u32;
    while out.len() < len {
        match i % 5 {
            0 | 3 => out.extend_from_slice(&[0; 4096]),
            1 => out.extend_from_slice(&noise),
            2 => out.extend(
                std::iter::repeat_n(*b"splitproc ", 410)
                    .flatten()
                    .take(4096),
            ),
            _ => {
                out.extend_from_slice(&[0; 4095]);
                out.push(1);
            }
        }
        i += 1 + u32::from(i.is_multiple_of(7));
    }
    out.truncate(len);
    out
}

fn samples() -> Vec<Vec<u8>> {
    vec![
        random(3 * CHUNK + 4096, 1),
        vec![0; 2 * CHUNK],
        mixed(5 * CHUNK + 12345),
        Vec::new(),
        vec![7],
        random(4097, 2),
        mixed(CHUNK - 1),
        vec![0; 4095],
    ]
}

fn region(i: usize, len: usize) -> Region {
    let start = 0x3000_0000_0000 + (i << 32);
    Region {
        start,
        end: start + len,
        prot: 3,
        name: format!("r{i}"),
        ..Region::default()
    }
}

fn write(path: &Path, samples: &[Vec<u8>], level: Option<i32>, workers: usize) -> Summary {
    let options = Options {
        level,
        workers,
        rank: 2,
        ranks: 4,
        generation: 9,
        progress: Default::default(),
    };
    let mut w = Writer::create(path, options).unwrap();
    w.section("meta", &["a", "b"]).unwrap();
    for (i, s) in samples.iter().enumerate() {
        // SAFETY: the samples outlive the writer.
        unsafe { w.memory(&region(i, s.len()), s.as_ptr(), s.len()) }.unwrap();
    }
    w.region(&Region {
        file: Some(FileRef {
            path: "/bin/true".into(),
            ..FileRef::default()
        }),
        ..region(99, 4096)
    });
    w.blob("pipe", &random(100_000, 3)).unwrap();
    w.finish().unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let tmp = tempfile::tempdir().unwrap();
    for (level, workers) in [
        (None, 1),
        (None, 3),
        (Some(1), 1),
        (Some(3), 4),
        (Some(-5), 2),
    ] {
        let path = tmp.path().join("rank-0002.img");
        let samples = samples();
        let summary = write(&path, &samples, level, workers);
        let r = Reader::open(&path).unwrap();
        assert_eq!((r.rank(), r.ranks(), r.generation()), (2, 4, 9));
        assert_eq!(
            (r.bytes(), r.fingerprint(), r.memory()),
            (summary.bytes, summary.crc, summary.memory)
        );
        assert_eq!(std::fs::metadata(&path).unwrap().len(), summary.bytes);
        assert_eq!(r.section::<Vec<String>>("meta").unwrap(), ["a", "b"]);
        assert_eq!(r.blob("pipe").unwrap(), random(100_000, 3));
        assert!(r
            .blob("none")
            .unwrap_err()
            .to_string()
            .contains("no section `none`"));
        assert_eq!(r.sections().collect::<Vec<_>>(), ["meta", "pipe"]);
        assert_eq!(r.regions().len(), samples.len() + 1);
        assert!(!r.held(samples.len()) && r.regions()[samples.len()].file.is_some());
        r.verify(|done, total| assert!(done <= total)).unwrap();
        let mut all = Vec::new();
        let mut loads = Vec::new();
        for (i, s) in samples.iter().enumerate() {
            assert_eq!(r.regions()[i], region(i, s.len()));
            let mut walked = vec![0; s.len()];
            r.read(i, |offset, bytes| {
                assert!(
                    bytes.chunks(4096).all(|p| p.iter().any(|&b| b != 0)),
                    "a zero page was delivered"
                );
                walked[offset..offset + bytes.len()].copy_from_slice(bytes);
            })
            .unwrap();
            assert!(walked == *s, "region {i} walked");
            let mut one = vec![0; s.len()];
            // SAFETY: the buffer has the region's length.
            unsafe { r.read_into(i, one.as_mut_ptr()) }.unwrap();
            assert!(one == *s, "region {i} loaded");
            one.fill(0);
            all.push(one);
        }
        for (i, buffer) in all.iter_mut().enumerate() {
            loads.push(Load {
                region: i,
                at: buffer.as_mut_ptr(),
            });
        }
        // SAFETY: one buffer a region, of its length.
        unsafe { r.load(&loads, 3) }.unwrap();
        assert!(all == samples);
    }
}

#[test]
fn zero_pages_are_neither_stored_nor_touched() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("i.img");
    let mut memory = vec![0u8; 64 << 20];
    memory[40 << 20] = 1;
    let summary = write(&path, std::slice::from_ref(&memory), None, 2);
    assert_eq!((summary.memory, summary.spanned), (4096, 64 << 20));
    assert!(summary.bytes < 110_000);
    let mut target = vec![0xaa; memory.len()];
    // SAFETY: the buffer has the region's length.
    unsafe {
        Reader::open(&path)
            .unwrap()
            .read_into(0, target.as_mut_ptr())
    }
    .unwrap();
    assert_eq!(
        (
            target[0],
            target[40 << 20],
            target[(40 << 20) + 1],
            target[41 << 20]
        ),
        (0xaa, 1, 0, 0xaa)
    );
}

#[test]
fn an_unfinished_image_has_no_name_and_a_finished_one_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("i.img");
    let memory = random(CHUNK, 4);
    let mut w = Writer::create(&path, Options::default()).unwrap();
    // SAFETY: the memory outlives the writer.
    unsafe { w.memory(&region(0, CHUNK), memory.as_ptr(), CHUNK) }.unwrap();
    assert!(!path.exists());
    drop(w);
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
    write(&path, &[memory], Some(1), 1);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

/// Opens and verifies a copy of the image that `change` has spoilt.
fn spoilt(bytes: &[u8], path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut copy = bytes.to_vec();
    change(&mut copy);
    std::fs::write(path, &copy).unwrap();
    let error = Reader::open(path)
        .and_then(|r| r.verify(|_, _| ()))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    error
}

#[test]
fn a_truncated_image_is_refused_wherever_it_ends() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("i.img");
    let summary = write(&path, &samples(), Some(1), 2);
    let bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    let index = u64::from_le_bytes(
        bytes[end - TRAILER + 8..end - TRAILER + 16]
            .try_into()
            .unwrap(),
    ) as usize;
    assert_eq!(summary.bytes as usize, end);
    let mut cuts = vec![
        0,
        1,
        HEADER - 1,
        HEADER,
        HEADER + 1,
        HEADER + TRAILER,
        index - 1,
        index,
        index + 1,
        index + 4,
    ];
    cuts.extend([end - TRAILER - 1, end - TRAILER, end - TRAILER + 1, end - 1]);
    for c in &Reader::open(&path).unwrap().chunks {
        cuts.extend([
            c.file_offset as usize,
            (c.file_offset + u64::from(c.stored)) as usize,
        ]);
    }
    for cut in cuts {
        let error = spoilt(&bytes, &path, |b| b.truncate(cut));
        assert!(error.contains("truncated"), "cut at {cut}: {error}");
        assert!(error.contains("--generation"), "{error}");
    }
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("i.img");
    write(&path, &[mixed(CHUNK + 5000), random(9000, 1)], Some(1), 2);
    let bytes = std::fs::read(&path).unwrap();
    let chunks = Reader::open(&path).unwrap().chunks.clone();
    let end = bytes.len();
    let index = u64::from_le_bytes(
        bytes[end - TRAILER + 8..end - TRAILER + 16]
            .try_into()
            .unwrap(),
    ) as usize;
    let flip = |at: usize, bit: u8| spoilt(&bytes, &path, |b| b[at] ^= 1 << bit);
    for at in (0..HEADER)
        .chain(index..index + 40)
        .chain(end - TRAILER - 100..end)
    {
        flip(at, (at % 8) as u8);
    }
    for at in (HEADER..end).step_by(997) {
        flip(at, 3);
    }
    for c in &chunks {
        let error = flip(c.file_offset as usize + c.stored as usize / 2, 0);
        assert!(error.contains("damaged: the memory chunk of 0x"), "{error}");
    }
    assert!(flip(0, 0).contains("not a splitproc image"));
    assert!(flip(30, 0).contains("damaged: the header"));
}

#[test]
fn another_version_another_rank_and_another_file_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("i.img");
    write(&path, &[], None, 1);
    let r = Reader::open(&path).unwrap();
    r.expect_rank(2, 4).unwrap();
    let error = r.expect_rank(1, 4).unwrap_err().to_string();
    assert!(error.contains("rank 2 of 4, not rank 1 of 4"), "{error}");
    assert!(r.expect_rank(2, 3).is_err());
    let bytes = std::fs::read(&path).unwrap();
    let error = spoilt(&bytes, &path, |b| {
        b[8..12].copy_from_slice(&7u32.to_le_bytes())
    });
    assert!(
        error.contains("version 7") && error.contains("reads version 1"),
        "{error}"
    );
    assert!(spoilt(&bytes, &path, |b| b.fill(0)).contains("not a splitproc image"));
    let error = Reader::open(tmp.path().join("none.img"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("No such file") && error.contains("--generation"),
        "{error}"
    );
    assert!(Reader::open(tmp.path())
        .unwrap_err()
        .to_string()
        .contains("not a splitproc image"));
    // An image pasted together from two others.
    write(&path, &[random(5000, 8)], None, 1);
    let other = std::fs::read(&path).unwrap();
    let error = spoilt(&other, &path, |b| {
        b[16..20].copy_from_slice(&1u32.to_le_bytes())
    });
    assert!(error.contains("header"), "{error}");
}

#[test]
fn a_disk_that_is_full_is_named() {
    let error = Writer::create("/dev/full/x.img", Options::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("/dev/full/x.img.tmp"), "{error}");
    let error =
        Error::io(Path::new("d/r.img"), "write")(std::io::Error::from_raw_os_error(libc::ENOSPC))
            .to_string();
    assert!(
        error.contains("d/r.img: cannot write") && error.contains("--ckpt-dir"),
        "{error}"
    );
}
