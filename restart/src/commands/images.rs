//! A generation's images, opened and compared with the manifest.

use super::Failure;
use restart::image::Reader;
use restart::manifest::{self, Manifest};
use std::path::{Path, PathBuf};

/// The newest complete generation, or the one that was asked for.
pub fn manifest(dir: &Path, generation: Option<u64>) -> Result<Manifest, Failure> {
    Ok(match generation {
        Some(g) => manifest::exactly(dir, g)?,
        None => manifest::latest_complete(dir)?,
    })
}

/// Where a rank's image lies.
pub fn path(dir: &Path, manifest: &Manifest, rank: u32) -> PathBuf {
    let file = manifest
        .image(rank)
        .map_or_else(|| manifest::image_name(rank), |i| i.file.clone());
    manifest::generation_dir(dir, manifest.generation).join(file)
}

/// Opens a rank's image: it is the one that the manifest names, and its header and index are right.
pub fn open(dir: &Path, manifest: &Manifest, rank: u32) -> Result<Reader, Failure> {
    let path = path(dir, manifest, rank);
    let reader = Reader::open(&path)?;
    reader.expect_rank(rank, manifest.ranks)?;
    let matches = manifest
        .image(rank)
        .is_some_and(|i| i.bytes == reader.bytes() && i.crc == reader.fingerprint());
    if !matches || reader.generation() != manifest.generation {
        let text = format!(
            "{}: not the image that the manifest of generation {} names; copy the generation's directory again, or \
             restart from another --generation",
            path.display(),
            manifest.generation
        );
        return Err(Failure::new(1, text));
    }
    Ok(reader)
}
