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
            let lower: String = mpi
                .into_iter()
                .chain(meta.halves)
                .map(|(name, library)| format!(", {name} ({library})"))
                .collect();
            format!("upper (saved); host{lower}: made anew at a restart")
        });
    }
    for name in reader.sections().filter(|n| *n != meta::SECTION) {
        show(&mut out, name, &section(reader, name)?);
    }
    show_regions(&mut out, reader, all_regions);
    Ok(out)
}

/// One section.
fn show(out: &mut String, name: &str, value: &Value) {
    match value {
        Value::Array(items) => {
            let _ = writeln!(out, "  {name:<15} {}", items.len());
            for item in items.iter().take(SHOWN) {
                let _ = writeln!(out, "    {}", short(item));
            }
            if items.len() > SHOWN {
                let _ = writeln!(out, "    … {} more (--json shows all)", items.len() - SHOWN);
            }
        }
        Value::Object(fields) => {
            let _ = writeln!(out, "  {name}");
            for (key, field) in fields {
                match field {
                    Value::Array(items) if items.iter().any(Value::is_object) => {
                        show(out, &format!("  {key}"), field);
                    }
                    Value::Object(inner) if inner.values().any(Value::is_array) => {
                        show(out, &format!("  {key}"), field);
                    }
                    _ => {
                        let _ = writeln!(out, "    {key:<17} {}", short(field));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "  {name:<15} {}", short(other));
        }
    }
}

/// One line for a value, without control characters.
fn short(value: &Value) -> String {
    let text = match value {
        Value::String(s) => s.clone(),
        Value::Object(fields) => fields
            .iter()
            .map(|(k, v)| format!("{k} {}", short(v)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    };
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = clean.clone().take(WIDTH).collect();
    if clean.count() > WIDTH {
        line.push('…');
    }
    line
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
            "name a b, tid 5",
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
