//! A restart on another processor, as its image tells it: refused before the program runs, with what differs.

use restart::image::{Options, Reader, Writer};
use restart::manifest::latest_complete;
use restart::meta::{self, Meta};
use tests::{newest_generation, text, Case, Job, Scratch};

/// The image with another `meta`, as another machine would have written it.
fn forge(scratch: &Scratch, change: impl Fn(&mut Meta)) {
    let mut manifest = latest_complete(&scratch.ckpt()).expect("a manifest");
    let generation = newest_generation(&scratch.ckpt()).expect("a generation");
    let path = generation.join("rank-0000.img");
    let reader = Reader::open(&path).expect("the image");
    let options = Options {
        generation: manifest.generation,
        ..Options::default()
    };
    let mut writer = Writer::create(&path, options).expect("an image");
    for name in reader.sections() {
        if name == meta::SECTION {
            let mut meta: Meta = reader.section(name).expect("meta");
            change(&mut meta);
            writer.section(name, &meta).expect("meta");
        } else {
            let bytes = reader.blob(name).expect("a section");
            writer.blob(name, &bytes).expect("a section");
        }
    }
    let summary = writer.finish().expect("an image");
    (manifest.images[0].bytes, manifest.images[0].crc) = (summary.bytes, summary.crc);
    manifest.commit(&scratch.ckpt()).expect("a manifest");
}

#[test]
fn another_processor_is_refused_by_name() {
    let scratch = Scratch::new("processor");
    let case = Case::counter(&scratch);
    let job = case.checkpointed(&scratch, 2, || case.launch(&scratch));
    job.kill();
    let refused = |words: &[&str], change: &dyn Fn(&mut Meta)| {
        forge(&scratch, |meta| {
            meta.host = "another-machine".into();
            change(meta);
        });
        let done = Job::restart(&scratch, 0).finish();
        assert_eq!(text(&done.stdout), "", "the program ran");
        assert_eq!(done.status.code(), Some(1));
        done.fails_with(&[words, &["another-machine"]].concat());
    };
    refused(&["XSAVE", "component 2", "64 bytes at 576"], &|meta| {
        let layout = meta.xsave.as_mut().expect("the layout is in the image");
        layout.components[0].offset = 576;
        layout.components[0].size = 64;
    });
    refused(&["avx9000"], &|meta| meta.cpu_flags.push("avx9000".into()));
}
