//! `splitproc inspect`: what is in a checkpoint.
//!
//! Sections are shown as the host wrote them: a list by its length, anything else by its fields.

use super::cli::Inspect;
use super::{ago, images, print, size, Outcome};
use restart::image::{Reader, Region};
use restart::meta::{self, Meta};
use serde_json::{json, Map, Value};
use std::fmt::Write;

/// Longest line of a list's entry.
const WIDTH: usize = 110;
/// Entries of a list that are shown.
const SHOWN: usize = 64;

/// What comes first in a line.
const FIRST: [&str; 5] = ["tid", "fd", "kind", "name", "path"];
/// Sections that are told otherwise, or only to scripts.
const HIDDEN: [&str; 3] = [meta::SECTION, "loader", "advice"];

/// Runs the command.
pub fn run(args: &Inspect) -> Outcome {
    if args.path.is_file() {
        let reader = Reader::open(&args.path)?;
        return match args.json {
            true => print(&format!("{:#}\n", as_json(&reader)?)),
            false => print(&as_text(&reader, args.regions)?),
        };
    }
    let manifest = images::manifest(&args.path, args.generation)?;
    let readers = (0..manifest.ranks)
        .map(|rank| images::open(&args.path, &manifest, rank))
        .collect::<Result<Vec<_>, _>>()?;
    if args.json {
        let ranks = readers.iter().map(as_json).collect::<Result<Vec<_>, _>>()?;
        return print(&format!(
            "{:#}\n",
            json!({ "manifest": manifest, "images": ranks })
        ));
    }
    let mut text = format!(
        "generation {} of {}\n{} rank(s), {}, {}\n",
        manifest.generation,
        manifest.program,
        manifest.ranks,
        size(manifest.bytes()),
        ago(manifest.created),
    );
    for reader in &readers {
        text.push('\n');
        text += &as_text(reader, args.regions)?;
    }
    print(&text)
}

/// A section for people and scripts: JSON where it is, else its length.
fn section(reader: &Reader, name: &str) -> Result<Value, restart::image::Error> {
    let bytes = reader.blob(name)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({ "bytes": bytes.len() })))
}

fn as_json(reader: &Reader) -> Result<Value, restart::image::Error> {
    let mut sections = Map::new();
    for name in reader.sections() {
        sections.insert(name.into(), section(reader, name)?);
    }
    let regions: Vec<Value> = reader
        .regions()
        .iter()
        .enumerate()
        .map(|(i, r)| region_json(reader, i, r))
        .collect();
    Ok(json!({
        "file": reader.path(),
        "version": restart::image::VERSION,
        "rank": reader.rank(),
        "ranks": reader.ranks(),
        "generation": reader.generation(),
        "time": reader.time(),
        "bytes": reader.bytes(),
        "memory": reader.memory(),
        "crc": format!("{:08x}", reader.fingerprint()),
        "sections": sections,
        "regions": regions,
    }))
}

fn region_json(reader: &Reader, index: usize, region: &Region) -> Value {
    let (memory, stored) = reader.region_bytes(index);
    json!({
        "start": format!("{:#x}", region.start),
        "end": format!("{:#x}", region.end),
        "prot": protection(region),
        "shared": region.shared,
        "name": region.name,
        "file": region.file,
        "held": reader.held(index),
        "memory": memory,
        "stored": stored,
    })
}

/// As `/proc/PID/maps` writes it.
fn protection(region: &Region) -> String {
    let bit = |mask: i32, letter| {
        if region.prot & mask as u32 != 0 {
            letter
        } else {
            '-'
        }
    };
    let shared = if region.shared { 's' } else { 'p' };
    [
        bit(libc::PROT_READ, 'r'),
        bit(libc::PROT_WRITE, 'w'),
        bit(libc::PROT_EXEC, 'x'),
        shared,
    ]
    .iter()
    .collect()
}

fn as_text(reader: &Reader, all_regions: bool) -> Result<String, restart::image::Error> {
    let mut out = String::new();
    let _ = writeln!(out, "{}", reader.path().display());
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<12}{value}");
    };
    line("rank", format!("{} of {}", reader.rank(), reader.ranks()));
    line(
        "taken",
        format!("generation {}, {}", reader.generation(), ago(reader.time())),
    );
    line(
        "size",
        format!(
            "{} on disk, {} of memory",
            size(reader.bytes()),
            size(reader.memory())
        ),
    );
    line("crc", format!("{:08x}", reader.fingerprint()));
    if let Ok(meta) = reader.section::<Meta>(meta::SECTION) {
        line(
            "program",
            format!("{} (pid {})", meta.argv.join(" "), meta.pid),
        );
        line("file", meta.exe);
        line("halves", {
            let mpi = meta.mpi_library.map(|library| ("mpi".into(), library));
            let cuda = meta.cuda.map(|device| ("cuda".into(), device));
            let lower: String = mpi
                .into_iter()
                .chain(cuda)
                .chain(meta.halves)
                .map(|(name, library)| format!(", {name} ({library})"))
                .collect();
            format!("upper (saved); host{lower}: made anew at a restart")
        });
    }
    for name in reader.sections().filter(|n| !HIDDEN.contains(n)) {
        let mut value = section(reader, name)?;
        if let Some(files) = value.get_mut("descriptors") {
            name_objects(files);
        }
        show(&mut out, 1, name, &value);
    }
    show_regions(&mut out, reader, all_regions);
    Ok(out)
}

/// Descriptors refer to open files by their place in a list: puts the files there instead.
fn name_objects(files: &mut Value) {
    let Some(Value::Array(objects)) = files.get_mut("objects").map(Value::take) else {
        return;
    };
    let descriptors = files.get_mut("descriptors").and_then(Value::as_array_mut);
    for object in descriptors
        .into_iter()
        .flatten()
        .filter_map(|d| d.get_mut("object"))
    {
        let place = object.as_u64().and_then(|i| usize::try_from(i).ok());
        if let Some(file) = place.and_then(|i| objects.get(i)) {
            *object = file.clone();
        }
    }
}

/// One section, or a part of one, so deep.
fn show(out: &mut String, depth: usize, name: &str, value: &Value) {
    let indent = depth * 2;
    let width = 20_usize.saturating_sub(indent).max(1);
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let _ = writeln!(out, "{:indent$}{name:<width$} {}", "", items.len());
            for item in items.iter().take(SHOWN) {
                let _ = writeln!(out, "{:indent$}  {}", "", short(item));
            }
            if items.len() > SHOWN {
                let more = items.len() - SHOWN;
                let _ = writeln!(out, "{:indent$}  … {more} more (--json shows all)", "");
            }
        }
        // Numbers without names tell nobody anything.
        Value::Array(items) if items.iter().any(Value::is_array) => {
            let _ = writeln!(
                out,
                "{:indent$}{name:<width$} {} (see --json)",
                "",
                items.len()
            );
        }
        Value::Object(fields) => {
            let _ = writeln!(out, "{:indent$}{name}", "");
            for (key, field) in fields.iter().filter(|(_, v)| !v.is_null()) {
                show(out, depth + 1, key, field);
            }
        }
        other => {
            let _ = writeln!(out, "{:indent$}{name:<width$} {}", "", short(other));
        }
    }
}

/// One line for a value, without control characters.
fn short(value: &Value) -> String {
    let text = match value {
        Value::String(s) => s.clone(),
        // What is unset is left out, and what it is called comes first.
        Value::Object(fields) => {
            let mut set: Vec<_> = fields.iter().filter(|(_, v)| !is_unset(v)).collect();
            set.sort_by_key(|(k, _)| FIRST.iter().position(|f| f == k).unwrap_or(FIRST.len()));
            let told = |(k, v): (&String, &Value)| match v {
                Value::Bool(true) => k.replace('_', " "),
                _ => format!("{k} {}", short(v)),
            };
            set.into_iter().map(told).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = clean.clone().take(WIDTH).collect();
    if clean.count() > WIDTH {
        line.push('…');
    }
    line
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn show_regions(out: &mut String, reader: &Reader, all: bool) {
    let regions = reader.regions();
    let spanned: u64 = regions.iter().map(|r| r.len() as u64).sum();
    let _ = writeln!(
        out,
        "  regions     {} over {}{}",
        regions.len(),
        size(spanned),
        if all { "" } else { " (--regions lists all)" }
    );
    let mut order: Vec<usize> = (0..regions.len()).collect();
    if !all {
        // The largest tell most.
        order.sort_by_key(|&i| std::cmp::Reverse(reader.region_bytes(i).0));
        order.truncate(8);
    }
    for i in order {
        let region = &regions[i];
        let (memory, stored) = reader.region_bytes(i);
        let name = region
            .file
            .as_ref()
            .map_or_else(|| region.name.clone(), |f| f.path.display().to_string());
        let held = match reader.held(i) {
            true => format!("{} in {}", size(memory), size(stored)),
            false => "from its file".into(),
        };
        let _ = writeln!(
            out,
            "    {:012x}-{:012x} {} {held:<24}{name}",
            region.start,
            region.end,
            protection(region)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use restart::image::{Options, Writer};

    #[test]
    fn an_image_is_shown_with_its_sections_and_regions() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("rank-0000.img");
        let memory = vec![3u8; 8192];
        let mut writer = Writer::create(&path, Options::default()).unwrap();
        let meta = Meta {
            argv: vec!["./app".into(), "1".into()],
            pid: 77,
            ..Meta::default()
        };
        writer.section(meta::SECTION, &meta).unwrap();
        writer
            .section("threads", &json!([{ "tid": 5, "name": "a\u{1b}b" }]))
            .unwrap();
        writer
            .section("process", &json!({ "cwd": "/tmp" }))
            .unwrap();
        writer.blob("pipe", &[0xff, 0]).unwrap();
        let region = Region {
            start: 0x1000,
            end: 0x3000,
            prot: 3,
            name: "[heap]".into(),
            ..Region::default()
        };
        // SAFETY: `memory` outlives the writer.
        unsafe { writer.memory(&region, memory.as_ptr(), memory.len()) }.unwrap();
        writer.finish().unwrap();
        let reader = Reader::open(&path).unwrap();
        let text = as_text(&reader, false).unwrap();
        for part in [
            "rank 0",
            "./app 1 (pid 77)",
            "tid 5, name a b\n",
            "cwd",
            "8.0 KiB",
            "000000001000-000000003000 rw-p",
            "[heap]",
        ] {
            assert!(
                text.replace("rank        0", "rank 0").contains(part),
                "{part}: {text}"
            );
        }
        let json = as_json(&reader).unwrap();
        assert_eq!(json["sections"]["meta"]["pid"], 77);
        assert_eq!(json["sections"]["pipe"]["bytes"], 2);
        assert_eq!(json["regions"][0]["prot"], "rw-p");
    }
}
