//! The programs and libraries whose code the process runs: a restart is to find them as they were.

use super::maps::Mapping;
use restart::code::{Code, Identity};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file as the kernel knows it: device, inode, length, time of its last change.
type Key = (u64, u64, u64, i64, i64);

struct Known {
    /// What has been read, so that it is read once.
    files: BTreeMap<Key, Option<Identity>>,
    /// What the image said, in a restarted process: memory is all that is left of those files.
    restored: Vec<Code>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known {
    files: BTreeMap::new(),
    restored: Vec::new(),
});

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers what the image of this process says.
pub fn restored(code: Vec<Code>) {
    known().restored = code;
}

/// The code in these mappings, each file once.
pub fn mapped(mappings: &[Mapping]) -> Vec<Code> {
    let mut known = known();
    let code = |m: &&Mapping| m.prot & libc::PROT_EXEC != 0;
    let mut found: Vec<Code> = Vec::new();
    for mapping in mappings.iter().filter(code) {
        if mapping.inode == 0 {
            let here = |c: &&Code| (mapping.start..mapping.end).contains(&c.start);
            found.extend(known.restored.iter().filter(here).cloned());
        } else if mapping.name.starts_with('/')
            && !mapping.is_deleted()
            && !found.iter().any(|c| c.path == Path::new(&mapping.name))
        {
            found.extend(known.look(mapping));
        }
    }
    found
}

impl Known {
    /// The file behind a mapping, if it is still the one at its path.
    fn look(&mut self, mapping: &Mapping) -> Option<Code> {
        let path = Path::new(&mapping.name);
        let about = std::fs::metadata(path).ok()?;
        // The device is not compared: some file systems tell another one here than in the list of mappings.
        let same = about.ino() == mapping.inode;
        let read = || Identity::of(path).ok().flatten();
        let identity = same.then(|| self.files.entry(key(&about)).or_insert_with(read))?;
        Some(Code {
            path: path.into(),
            start: mapping.start,
            identity: identity.clone()?,
        })
    }
}

fn key(about: &Metadata) -> Key {
    let (seconds, nanoseconds) = (about.mtime(), about.mtime_nsec());
    (about.dev(), about.ino(), about.len(), seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::maps;

    #[test]
    fn code_is_found_in_files_and_again_without_them() {
        let own = maps::own().unwrap();
        let exe = std::env::current_exe().unwrap();
        let before = mapped(&own);
        let this = before.iter().find(|c| c.path == exe).unwrap();
        assert!(this.changed().is_none());
        assert!(before.iter().all(|c| !c.path.starts_with("[vdso]")));
        restored(before.clone());
        let mut nameless = own;
        for mapping in &mut nameless {
            mapping.inode = 0;
            mapping.name.clear();
        }
        assert_eq!(mapped(&nameless), before);
        nameless.retain(|m| m.start != this.start);
        assert_eq!(mapped(&nameless).len(), before.len() - 1);
    }
}
