//! What of a mapping comes into the image.

use super::*;
use restart::image::{Load, Reader};
use std::io::Write;
use std::os::fd::AsRawFd;

const PAGES: usize = 3;

/// Memory of its own, until the test ends.
fn map(prot: i32, flags: i32, fd: i32) -> Mapping {
    let len = PAGES * PAGE;
    // SAFETY: a new mapping, where the kernel likes.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    let start = at as usize;
    // The kernel may have joined it with a neighbour.
    let end = start + len;
    Mapping {
        start,
        end,
        ..known(start)
    }
}

fn known(at: usize) -> Mapping {
    let mut all = maps::own().unwrap().into_iter();
    all.find(|m| m.start <= at && at < m.end).unwrap()
}

/// Saves it, and gives its bytes as the image has them.
fn saved(mapping: &Mapping) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("image");
    let memory = File::open("/proc/thread-self/mem")?;
    let mut copies = Vec::new();
    let mut writer = Writer::create(&path, Options::default())?;
    let added = Source {
        writer: &mut writer,
        memory: &memory,
        pagemap: None,
        copies: &mut copies,
    }
    .add(mapping);
    let finished = writer.finish();
    added?;
    finished?;
    let mut bytes = vec![0; mapping.len()];
    let load = Load {
        region: 0,
        at: bytes.as_mut_ptr(),
    };
    // SAFETY: the buffer has the region's length.
    unsafe { Reader::open(&path)?.load(&[load], 1)? };
    Ok(bytes)
}

#[test]
fn only_what_is_behind_the_end_of_a_file_is_left_out() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; PAGE + 5]).unwrap();
    let mapping = map(libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd());
    assert_eq!(behind(&mapping), Some(2 * PAGE));
    let mut expected = vec![7; PAGE + 5];
    expected.resize(PAGES * PAGE, 0);
    assert_eq!(saved(&mapping).unwrap(), expected);
    drop(file);
    let deleted = known(mapping.start);
    assert!(deleted.is_deleted());
    assert_eq!(saved(&deleted).unwrap(), expected);
    // As where nobody tells the length.
    let unknown = Mapping {
        inode: 1,
        ..deleted
    };
    assert_eq!(behind(&unknown), None);
    assert_eq!(saved(&unknown).unwrap(), expected);
}

#[test]
fn memory_that_cannot_be_read_is_named() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; PAGES * PAGE]).unwrap();
    let empty = tempfile::tempfile().unwrap();
    let private = libc::MAP_PRIVATE;
    let of_file = map(libc::PROT_READ, private, file.as_raw_fd());
    let nameless = Mapping {
        inode: 1,
        name: "/gone (deleted)".into(),
        ..of_file.clone()
    };
    let anonymous = map(libc::PROT_NONE, private | libc::MAP_ANONYMOUS, -1);
    for mapping in [&of_file, &anonymous] {
        saved(mapping).unwrap();
        let middle = (mapping.start + PAGE) as *mut libc::c_void;
        let flags = private | libc::MAP_FIXED;
        // A page behind the end of a file stands for one that the kernel fails to read.
        // SAFETY: replaces our own memory, which nothing looks at.
        let put = unsafe { libc::mmap(middle, PAGE, libc::PROT_READ, flags, empty.as_raw_fd(), 0) };
        assert_eq!(put, middle);
    }
    for mapping in [&of_file, &anonymous, &nameless] {
        let text = format!("{:#}", saved(mapping).unwrap_err());
        let start = format!("{:#x}-", mapping.start);
        assert!(
            text.contains(&start) && text.contains("can't be read"),
            "{text}"
        );
    }
}
