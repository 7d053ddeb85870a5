//! `splitproc verify`: reads everything and checks every checksum.

use super::cli::Verify;
use super::progress::Bar;
use super::{images, print, size, Failure, Outcome};
use restart::image::Reader;
use restart::manifest::{self, Manifest};

/// Runs the command. Goes on after a damaged image, so that all are told.
pub fn run(args: &Verify) -> Outcome {
    if args.path.is_file() {
        let reader = Reader::open(&args.path)?;
        check(&reader, &args.path.display().to_string())?;
        return print(&format!(
            "{}: right ({})\n",
            args.path.display(),
            size(reader.bytes())
        ));
    }
    let generations: Vec<u64> = match args.generation {
        Some(g) => vec![manifest::exactly(&args.path, g)?.generation],
        None => manifest::generations(&args.path)?
            .into_iter()
            .filter(|(_, c)| *c)
            .map(|(g, _)| g)
            .collect(),
    };
    if generations.is_empty() {
        return Err(manifest::latest_complete(&args.path)
            .map_or_else(Failure::from, |_| Failure::new(1, "try again")));
    }
    let mut bad = 0;
    for generation in generations {
        let mut wrong = Vec::new();
        match Manifest::load(&manifest::generation_dir(&args.path, generation)) {
            Ok(m) => {
                for rank in 0..m.ranks {
                    let name = format!("generation {generation} rank {rank}");
                    let result = images::open(&args.path, &m, rank).and_then(|r| check(&r, &name));
                    wrong.extend(result.err().map(|f| f.error));
                }
                if wrong.is_empty() {
                    print(&format!(
                        "generation {generation}: right ({} ranks, {})\n",
                        m.ranks,
                        size(m.bytes())
                    ))?;
                }
            }
            Err(e) => wrong.push(e.into()),
        }
        for error in &wrong {
            eprintln!("splitproc: {error:#}");
        }
        bad += usize::from(!wrong.is_empty());
    }
    match bad {
        0 => Ok(()),
        n => Err(Failure::new(1, format!("{n} generation(s) cannot be used"))),
    }
}

/// Verifies one image, with a bar on a terminal.
fn check(reader: &Reader, name: &str) -> Outcome {
    let mut bar = Bar::new(name);
    let result = reader.verify(|done, total| bar.show(done, total));
    bar.end();
    Ok(result?)
}
