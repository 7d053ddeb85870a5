//! The `meta` section: what `splitproc restart` must know before it starts anything.

use crate::xsave;
use serde::{Deserialize, Serialize};

/// Name of the section.
pub const SECTION: &str = "meta";

/// Who was saved, and what the loader is to be given at a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The rank.
    pub rank: u32,
    /// Ranks of the job.
    pub size: u32,
    /// Generation of the checkpoint.
    pub generation: u64,
    /// The program as it was named on the command line.
    pub program: String,
    /// Its arguments, `argv[0]` included.
    pub argv: Vec<String>,
    /// Absolute path of the program.
    pub exe: String,
    /// AT_RANDOM's bytes, 32 hexadecimal digits.
    pub random: String,
    /// The TLS hole, as distances below FS.
    pub hole: [u32; 2],
    /// How threads were told to cross into lower halves: a value of `--crossing`.
    #[serde(default)]
    pub crossing: String,
    /// The MPI library of the lower half; `None`: the job has no MPI half.
    #[serde(default)]
    pub mpi_library: Option<String>,
    /// The device of the CUDA half, `gpu` or `cpu`; `None`: the job has no CUDA half.
    #[serde(default)]
    pub cuda: Option<String>,
    /// The lower halves that `--half` asked for, in order: name and library.
    #[serde(default)]
    pub halves: Vec<(String, String)>,
    /// The processor's features, as `/proc/cpuinfo` names them.
    #[serde(default)]
    pub cpu_flags: Vec<String>,
    /// Where it keeps which registers; `None`: the image is from before that was noted.
    #[serde(default)]
    pub xsave: Option<xsave::Layout>,
    /// The kernel's release.
    #[serde(default)]
    pub kernel: String,
    /// The host's name.
    #[serde(default)]
    pub host: String,
    /// The application's pid as it knows it.
    #[serde(default)]
    pub pid: u32,
}

impl Meta {
    /// Why this processor can't go on with the program, for people.
    pub fn check_processor(&self) -> Result<(), String> {
        let there = match self.host.as_str() {
            "" => "the machine of the checkpoint",
            host => host,
        };
        let missing = missing_flags(&self.cpu_flags, &cpu_flags());
        if !missing.is_empty() {
            return Err(format!(
                "this processor lacks {}, which the program had on {there}; restart on a machine that has it",
                missing.join(", ")
            ));
        }
        let saved = self.xsave.as_ref();
        match saved.and_then(|saved| saved.differs(&xsave::Layout::here())) {
            Some(what) => Err(format!(
                "this processor saves its registers in another layout (XSAVE) than that of {there}: {what}; restart on \
                 a machine with the same kind of processor"
            )),
            None => Ok(()),
        }
    }
}

/// This machine's processor features, sorted; empty where the kernel does not tell.
pub fn cpu_flags() -> Vec<String> {
    flags_of(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn flags_of(cpuinfo: &str) -> Vec<String> {
    let line = cpuinfo.lines().find_map(|l| {
        let (key, value) = l.split_once(':')?;
        (key.trim() == "flags").then_some(value)
    });
    let mut flags: Vec<String> = line
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    flags.sort();
    flags.dedup();
    flags
}

/// Features that programs can see and use; the rest of `/proc/cpuinfo` is about the kernel, power and
/// bugs, and may differ between two machines that run the same code.
const USED: &[&str] = &[
    "3dnow",
    "abm",
    "adx",
    "aes",
    "avx",
    "bmi1",
    "bmi2",
    "cldemote",
    "clflushopt",
    "clwb",
    "clzero",
    "cx16",
    "f16c",
    "fma",
    "fsgsbase",
    "gfni",
    "lahf_lm",
    "lzcnt",
    "mmx",
    "movbe",
    "movdir64b",
    "movdiri",
    "pclmulqdq",
    "pku",
    "popcnt",
    "rdpid",
    "rdrand",
    "rdseed",
    "rdtscp",
    "rtm",
    "serialize",
    "sha_ni",
    "sse",
    "ssse3",
    "vaes",
    "vpclmulqdq",
    "waitpkg",
    "wbnoinvd",
    "xsave",
    "xsavec",
];

/// The features that programs may have begun to use there and that are missing here.
fn missing_flags(saved: &[String], here: &[String]) -> Vec<String> {
    let used = |flag: &str| {
        USED.contains(&flag)
            || ["avx", "sse", "amx", "fma", "apx"]
                .iter()
                .any(|family| flag.starts_with(family))
    };
    saved
        .iter()
        .filter(|f| used(f) && !here.contains(f))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_programs_use_are_missed() {
        let saved = flags_of("processor\t: 0\nflags\t\t: fpu avx512f sse4_2 tsc_scale avx2\n");
        assert_eq!(saved, ["avx2", "avx512f", "fpu", "sse4_2", "tsc_scale"]);
        let here = flags_of("flags : fpu sse4_2 avx2");
        assert_eq!(missing_flags(&saved, &here), ["avx512f"]);
        assert!(missing_flags(&saved, &saved).is_empty());
    }

    #[test]
    fn another_processor_is_refused() {
        let mut meta = Meta {
            cpu_flags: cpu_flags(),
            xsave: Some(xsave::Layout::here()),
            host: "n1".into(),
            ..Meta::default()
        };
        meta.check_processor().unwrap();
        meta.xsave.as_mut().unwrap().xcr0 ^= 4;
        let text = meta.check_processor().unwrap_err();
        assert!(text.contains("XCR0") && text.contains("n1"), "{text}");
        meta.cpu_flags.push("avx9000".into());
        let text = meta.check_processor().unwrap_err();
        assert!(text.contains("avx9000") && text.contains("n1"), "{text}");
    }
}
