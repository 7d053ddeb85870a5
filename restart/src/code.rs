//! Programs and libraries whose code a saved process runs: whether a file is still the one that it was.
//!
//! A copy is the same file, whatever its time stamp, its inode and its machine are. So what is inside is compared:
//! the build-id that the linker wrote and the length, or a checksum of all of it where there is no build-id.

use goblin::container::Ctx;
use goblin::elf::note::{NoteDataIterator, NT_GNU_BUILD_ID};
use goblin::elf::program_header::{ProgramHeader, PT_NOTE};
use goblin::elf::Elf;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the section that lists a process's code.
pub const SECTION: &str = "code";

/// A program or library that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Its file.
    pub path: PathBuf,
    /// Where the process has code of it.
    pub start: usize,
    /// What the file was.
    pub identity: Identity,
}

impl Code {
    /// How the file differs from what it was, after its name; `None`: it is the same.
    pub fn changed(&self) -> Option<String> {
        let now = match Identity::of(&self.path) {
            Ok(Some(now)) => now,
            Ok(None) => return Some("has changed: it is not a program or library any more".into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some("is not there any more".into())
            }
            Err(error) => return Some(format!("can't be read: {error}")),
        };
        self.identity.differs(&now)
    }
}

/// What tells an ELF file from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    size: u64,
    contents: Contents,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Contents {
    BuildId(String),
    Crc32(u32),
}

impl Identity {
    /// The file's; `None`: it is no ELF file.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut header = [0; 64];
        if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let contents = match build_id(&file, &header) {
            Some(id) => Contents::BuildId(id),
            None => Contents::Crc32(checksum(&mut file)?),
        };
        Ok(Some(Identity { size, contents }))
    }

    fn differs(&self, now: &Self) -> Option<String> {
        use Contents::{BuildId, Crc32};
        let how = match (&self.contents, &now.contents) {
            (BuildId(then), BuildId(id)) if then != id => {
                format!("its build-id is {id}, and was {then}")
            }
            _ if self.size != now.size => {
                format!("it has {} bytes, and had {}", now.size, self.size)
            }
            (Crc32(then), Crc32(sum)) if then != sum => "other bytes are in it".into(),
            (BuildId(_), Crc32(_)) | (Crc32(_), BuildId(_)) => "other bytes are in it".into(),
            _ => return None,
        };
        Some(format!("has changed: {how}"))
    }
}

/// The build-id; `None` where there is none, or what should say so is damaged.
fn build_id(file: &File, header: &[u8]) -> Option<String> {
    let header = Elf::parse_header(header).ok()?;
    let context = Ctx::new(header.container().ok()?, header.endianness().ok()?);
    let count = usize::from(header.e_phnum);
    let table = part(
        file,
        header.e_phoff,
        count * usize::from(header.e_phentsize),
    )?;
    let segments = ProgramHeader::parse(&table, 0, count, context).ok()?;
    let mut notes = segments.iter().filter(|s| s.p_type == PT_NOTE);
    notes.find_map(|segment| {
        let bytes = part(
            file,
            segment.p_offset,
            usize::try_from(segment.p_filesz).ok()?,
        )?;
        let mut notes = NoteDataIterator {
            data: &bytes,
            size: bytes.len(),
            offset: 0,
            ctx: (4, context),
        };
        let id = notes.find_map(|note| {
            let note = note.ok()?;
            (note.n_type == NT_GNU_BUILD_ID && note.name == "GNU").then_some(note.desc)
        })?;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    })
}

/// A small part of the file.
fn part(file: &File, offset: u64, len: usize) -> Option<Vec<u8>> {
    const LONGEST: usize = 1 << 20;
    let mut bytes = vec![0; Some(len).filter(|len| *len <= LONGEST)?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// The checksum of the whole file.
fn checksum(file: &mut File) -> io::Result<u32> {
    let mut sum = crc32fast::Hasher::new();
    let mut block = vec![0; 1 << 18];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(sum.finalize()),
            n => sum.update(&block[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with one segment of notes.
    fn elf(build_id: Option<&[u8]>, rest: &[u8]) -> Vec<u8> {
        let mut notes = Vec::new();
        let mut note = |kind: u32, desc: &[u8]| {
            for word in [4, desc.len() as u32, kind] {
                notes.extend(word.to_le_bytes());
            }
            notes.extend(b"GNU\0");
            notes.extend(desc);
            notes.resize(notes.len().next_multiple_of(4), 0);
        };
        note(5, &[1; 16]);
        if let Some(id) = build_id {
            note(NT_GNU_BUILD_ID, id);
        }
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..20].copy_from_slice(&[3, 0, 62, 0]);
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = PT_NOTE as u8;
        file[72] = 64 + 56;
        file[96..104].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        file.extend(notes);
        file.extend(rest);
        file
    }

    #[test]
    fn a_copy_is_the_same_and_a_change_is_told() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("lib.so");
        let code = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Code {
                path: path.clone(),
                start: 0,
                identity: Identity::of(&path).unwrap().unwrap(),
            }
        };
        let told = |code: &Code, now: &[u8]| {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, now).unwrap();
            code.changed().unwrap_or_default()
        };
        let with = code(&elf(Some(b"\x12\xab"), b"one"));
        assert_eq!(with.identity.contents, Contents::BuildId("12ab".into()));
        assert_eq!(told(&with, &elf(Some(b"\x12\xab"), b"one")), "");
        assert!(told(&with, &elf(Some(b"\x12\xac"), b"one")).contains("12ac, and was 12ab"));
        assert!(told(&with, &elf(Some(b"\x12\xab"), b"more")).contains("bytes, and had"));
        assert!(told(&with, &elf(None, b"more")).contains("has changed"));
        let without = code(&elf(None, b"one"));
        assert_eq!(told(&without, &elf(None, b"one")), "");
        assert!(told(&without, &elf(None, b"two")).contains("other bytes"));
        assert!(told(&without, b"text").contains("not a program"));
        std::fs::remove_file(&path).unwrap();
        assert!(without.changed().unwrap().contains("not there"));
        let damaged = &elf(Some(b"\x12\xab"), b"")[..150];
        assert!(matches!(
            code(damaged).identity.contents,
            Contents::Crc32(_)
        ));
    }

    #[test]
    fn a_build_id_of_the_linkers_is_found() {
        let this = Identity::of(&std::env::current_exe().unwrap())
            .unwrap()
            .unwrap();
        assert!(matches!(this.contents, Contents::BuildId(id) if id.len() >= 16));
    }
}
