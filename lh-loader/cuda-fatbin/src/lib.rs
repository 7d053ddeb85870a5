//! Fat binaries: a program's device code, for several devices, in one block of bytes.
//!
//! As `fatbinary` of CUDA 13.0 writes it (numbers are little-endian):
//!
//! ```text
//! wrapper    0 u32 0x466243b1    4 u32 version    8 u64 address of the container    16 u64 0
//! container  0 u32 0xba55ed50    4 u16 version    6 u16 size of this header (16)    8 u64 size of what follows
//! entry      0 u16 kind (1 PTX, 2 ELF)            4 u32 size of this header         8 u64 size of the data
//!         0x10 u32 compressed size             0x1c u32 architecture (90)        0x28 u64 flags
//!         0x38 u64 size when decompressed
//! data       the PTX's text, or the ELF file; compressed if the flags say so, filled up with zeroes
//! ```

pub mod link;
pub mod target;
pub mod variables;

use std::borrow::Cow;

/// What a wrapper begins with.
pub const WRAPPER: u32 = 0x4662_43b1;
/// What a container begins with.
pub const CONTAINER: u32 = 0xba55_ed50;

const PTX: u16 = 1;
const ELF: u16 = 2;
const LZ4: u64 = 0x2000;
const ZSTD: u64 = 0x8000;

/// Why there is no code to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is cut short, or something else.
    #[error("this is no fat binary: {0}")]
    Format(&'static str),
    /// There is code for GPUs only.
    #[error("the fat binary has no PTX (found: {0}): build with -gencode arch=compute_90,code=[sm_90,compute_90]")]
    NoPtx(String),
    /// The PTX of its parts does not make one text.
    #[error("{0}")]
    Link(#[from] link::Error),
    /// The compressed text is damaged.
    #[error("the code can't be decompressed: {0}")]
    Damaged(String),
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], Error> {
    let found = at.checked_add(N).and_then(|end| data.get(at..end));
    found
        .and_then(|b| b.try_into().ok())
        .ok_or(Error::Format("it ends too early"))
}

fn u16_at(data: &[u8], at: usize) -> Result<u16, Error> {
    bytes(data, at).map(u16::from_le_bytes)
}

fn u32_at(data: &[u8], at: usize) -> Result<u32, Error> {
    bytes(data, at).map(u32::from_le_bytes)
}

fn u64_at(data: &[u8], at: usize) -> Result<u64, Error> {
    bytes(data, at).map(u64::from_le_bytes)
}

/// The size of a container, header and all, from its first 16 bytes.
pub fn size(header: &[u8]) -> Result<usize, Error> {
    if u32_at(header, 0)? != CONTAINER {
        return Err(Error::Format("it begins with other bytes"));
    }
    let size = u64::from(u16_at(header, 6)?).checked_add(u64_at(header, 8)?);
    size.and_then(|s| usize::try_from(s).ok())
        .ok_or(Error::Format("its size makes no sense"))
}

/// An entry of a container.
struct Entry<'a> {
    kind: u16,
    architecture: u32,
    header: &'a [u8],
    data: &'a [u8],
}

fn entries(container: &[u8]) -> Result<Vec<Entry<'_>>, Error> {
    let end = size(container)?;
    let container = container
        .get(..end)
        .ok_or(Error::Format("it ends too early"))?;
    let mut at = u16_at(container, 6)? as usize;
    let mut found = Vec::new();
    while at < end {
        let header = &container[at..];
        let begin = u32_at(header, 4)? as usize;
        let size = usize::try_from(u64_at(header, 8)?)
            .map_err(|_| Error::Format("its size makes no sense"))?;
        let next = begin
            .checked_add(size)
            .filter(|n| *n > 0)
            .ok_or(Error::Format("its size makes no sense"))?;
        let data = header
            .get(begin..next)
            .ok_or(Error::Format("it ends too early"))?;
        found.push(Entry {
            kind: u16_at(header, 0)?,
            architecture: u32_at(header, 0x1c)?,
            header,
            data,
        });
        at += next;
    }
    Ok(found)
}

/// The architectures that a container has PTX for.
fn architectures(container: &[u8]) -> Result<Vec<u32>, Error> {
    let found = entries(container)?.into_iter().filter(|e| e.kind == PTX);
    Ok(found.map(|e| e.architecture).collect())
}

/// The PTX of a container that a driver takes for a device of this architecture: of the newest one up to it. If all are newer,
/// it is the oldest, which does not run there.
pub fn ptx(container: &[u8], most: u32) -> Result<String, Error> {
    let (found, others): (Vec<_>, Vec<_>) =
        entries(container)?.into_iter().partition(|e| e.kind == PTX);
    let best = found.into_iter().max_by_key(|e| {
        let (fits, number) = (e.architecture <= most, i64::from(e.architecture));
        (fits, if fits { number } else { -number })
    });
    let Some(entry) = best else {
        let others = others.iter().map(|e| format!("sm_{}", e.architecture));
        return Err(Error::NoPtx(others.collect::<Vec<_>>().join(", ")));
    };
    let text = decompressed(entry.header, entry.data)?;
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|e| Error::Damaged(e.to_string()))
}

/// The ELF files of a container: code for one kind of GPU each.
pub fn elf(container: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, Error> {
    let found = entries(container)?.into_iter().filter(|e| e.kind == ELF);
    found.map(|e| decompressed(e.header, e.data)).collect()
}

/// The container with one more entry: this text, for the architecture that it says.
pub fn with_ptx(container: &[u8], text: &str) -> Result<Vec<u8>, Error> {
    let number = |directive: &str| -> Vec<u32> {
        let after = text.split_once(directive).map_or("", |(_, rest)| rest);
        let line = after.lines().next().unwrap_or_default();
        let numbers = line.split(|c: char| !c.is_ascii_digit());
        numbers.filter_map(|n| n.parse().ok()).collect()
    };
    let (version, target) = (number(".version"), number(".target"));
    let mut data = text.as_bytes().to_vec();
    data.resize((text.len() + 1).next_multiple_of(8), 0);
    let first = |of: &[u32], i: usize| u64::from(of.get(i).copied().unwrap_or_default());
    // As the compiler writes it: with a place for its options, of which there are none; 64-bit code.
    let mut header = [0_u64; 10];
    header[0] = u64::from(PTX) | 0x101 << 16 | 80 << 32;
    header[1] = data.len() as u64;
    header[2] = 0x40 << 32;
    header[3] = first(&version, 1) | first(&version, 0) << 16 | first(&target, 0) << 32;
    header[5] = 0x11;
    header[8] = 0x48;
    let mut all = container
        .get(..size(container)?)
        .ok_or(Error::Format("it ends too early"))?
        .to_vec();
    all.extend(header.iter().flat_map(|w| w.to_le_bytes()));
    all.extend(data);
    let len = (all.len() - usize::from(u16_at(container, 6)?)) as u64;
    all[8..16].copy_from_slice(&len.to_le_bytes());
    Ok(all)
}

fn decompressed<'a>(entry: &[u8], data: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    let flags = u64_at(entry, 0x28)?;
    if flags & (ZSTD | LZ4) == 0 {
        return Ok(data.into());
    }
    let size = u64_at(entry, 0x38)? as usize;
    let data = data
        .get(..u32_at(entry, 0x10)? as usize)
        .ok_or(Error::Format("it ends too early"))?;
    let text = match flags & ZSTD {
        0 => lz4_flex::block::decompress(data, size).map_err(|e| e.to_string()),
        _ => zstd::bulk::decompress(data, size).map_err(|e| e.to_string()),
    };
    text.map(Cow::from).map_err(Error::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u16, architecture: u32, flags: u64, data: &[u8], size: usize) -> Vec<u8> {
        let mut e = vec![0u8; 0x40];
        e[..2].copy_from_slice(&kind.to_le_bytes());
        e[4..8].copy_from_slice(&0x40u32.to_le_bytes());
        let padded = data.len().next_multiple_of(8);
        e[8..16].copy_from_slice(&(padded as u64).to_le_bytes());
        e[0x10..0x14].copy_from_slice(&(data.len() as u32).to_le_bytes());
        e[0x1c..0x20].copy_from_slice(&architecture.to_le_bytes());
        e[0x28..0x30].copy_from_slice(&flags.to_le_bytes());
        e[0x38..0x40].copy_from_slice(&(size as u64).to_le_bytes());
        e.extend(data);
        e.resize(0x40 + padded, 0);
        e
    }

    fn container(entries: &[Vec<u8>]) -> Vec<u8> {
        let all = entries.concat();
        let mut c = CONTAINER.to_le_bytes().to_vec();
        c.extend([1, 0, 16, 0]);
        c.extend((all.len() as u64).to_le_bytes());
        c.extend(all);
        c
    }

    #[test]
    fn the_newest_text_is_taken_however_it_is_compressed() {
        let text = b".version 9.0\n.target sm_90\n".repeat(9);
        let zstd = zstd::bulk::compress(&text, 3).unwrap();
        let lz4 = lz4_flex::block::compress(&text);
        for (flags, data) in [(0, &text), (ZSTD, &zstd), (LZ4, &lz4)] {
            let elf = entry(2, 90, 0, b"\x7fELF", 4);
            let old = entry(PTX, 75, 0, b"old", 3);
            let new = entry(PTX, 90, flags, data, text.len());
            let bytes = container(&[elf, new, old]);
            assert_eq!(size(&bytes), Ok(bytes.len()));
            assert_eq!(ptx(&bytes, 90).unwrap().as_bytes(), text);
            let newer = entry(PTX, 100, 0, b"newer", 5);
            let all = [newer, bytes[16..].to_vec()];
            assert_eq!(ptx(&container(&all), 90).unwrap().as_bytes(), text);
            assert_eq!(ptx(&container(&all[..1]), 90).as_deref(), Ok("newer"));
        }
    }

    #[test]
    fn all_files_for_gpus_are_found() {
        let file = b"\x7fELF and more of it".repeat(9);
        let zstd = zstd::bulk::compress(&file, 3).unwrap();
        let text = entry(PTX, 90, 0, b"text", 4);
        let plain = entry(ELF, 80, 0, &file, file.len());
        let small = entry(ELF, 90, ZSTD, &zstd, file.len());
        let bytes = container(&[plain, text, small]);
        let found = elf(&bytes).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|f| f.starts_with(&file)));
    }

    #[test]
    fn parts_are_linked_for_the_oldest_that_all_have() {
        let text = |sm: u32, name: &str| {
            let text =
                format!(".version 9.0\n.target sm_{sm}\n.visible .func {name}{sm}() {{ ret; }}\n");
            entry(PTX, sm, 0, text.as_bytes(), text.len())
        };
        let program = container(&[text(80, "program"), text(90, "program")]);
        let library = container(&[
            text(75, "library"),
            text(90, "library"),
            text(121, "library"),
        ]);
        let linked = link::link_all(&[&program, &library], 120).unwrap();
        assert!(linked.contains(".target sm_90\n"), "{linked}");
        assert!(linked.contains("program90") && linked.contains("library90"));
        let linked = link::link_all(&[&library], 90).unwrap();
        assert!(linked.contains("library90"), "{linked}");
        let only_elf = container(&[entry(2, 90, 0, b"\x7fELF", 4)]);
        let refused = link::link_all(&[&program, &only_elf], 120);
        assert!(matches!(refused, Err(Error::NoPtx(_))), "{refused:?}");
    }

    #[test]
    fn a_text_can_be_added() {
        let file = entry(2, 90, 0, b"\x7fELF", 4);
        let text = ".version 9.0\n.target sm_90\n.address_size 64\n";
        let bytes = with_ptx(&container(&[file]), text).unwrap();
        assert_eq!(size(&bytes), Ok(bytes.len()));
        assert_eq!(ptx(&bytes, 90).as_deref(), Ok(text));
        assert_eq!(elf(&bytes).unwrap().len(), 1);
        assert_eq!(entries(&bytes).unwrap()[1].architecture, 90);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let only_elf = container(&[entry(2, 90, 0, b"\x7fELF", 4)]);
        assert!(ptx(&only_elf, 90)
            .unwrap_err()
            .to_string()
            .contains("sm_90"));
        let text = container(&[entry(PTX, 90, ZSTD, b"not zstd", 100)]);
        assert!(matches!(ptx(&text, 90), Err(Error::Damaged(_))));
        for len in 0..text.len() {
            assert!(ptx(&text[..len], 90).is_err(), "{len} bytes");
        }
        assert!(ptx(b"something else entirely", 90).is_err());
    }
}
