//! Generates the functions and the predefined objects of Open MPI's library.

use mpi_abi::{Predefined, ALIASES, KINDS};
use std::fmt::Write as _;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmpi.so.40");
    println!("cargo:rustc-link-lib=c");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let write = |name: &str, text: String| {
        std::fs::write(out.join(name), text).expect("OUT_DIR is writable");
    };
    write("exports.rs", mpi_spec::front::exports() + &persistent());
    write("objects.rs", objects());
}

/// Open MPI 4 has the persistent collectives under another prefix.
fn persistent() -> String {
    let mut text = String::new();
    for f in mpi_spec::functions() {
        let collective = f.name.ends_with("_init") && f.params.iter().any(|p| p.kind == "I");
        if !collective || f.name.starts_with("P") {
            continue;
        }
        text += &mpi_spec::front::export_as(&f, &["MPIX_", "PMPIX_"]);
    }
    text
}

/// An exported object for each predefined one, and a table for each kind of where they are.
fn objects() -> String {
    let mut text = String::new();
    let mut tables = String::new();
    let mut choice = String::new();
    for kind in KINDS {
        let all = || {
            kind.predefined()
                .iter()
                .filter_map(|p| Some((p, p.symbol()?)))
        };
        all().for_each(|(p, symbol)| object(&mut text, symbol, p.canonical, p.name));
        let row = |(p, symbol): (&Predefined, _)| {
            format!(
                "    ({}, {}, &{symbol}),\n",
                p.canonical,
                p.fortran().unwrap_or(-1)
            )
        };
        let rows: String = all().map(row).collect();
        let name = format!("{kind:?}").to_uppercase();
        tables += &format!("static {name}: [Row; {}] = [\n{rows}];\n", all().count());
        choice += &format!("        Kind::{kind:?} => &{name},\n");
    }
    for (_, symbol, canonical) in ALIASES {
        object(&mut text, symbol, *canonical, symbol);
    }
    format!(
        "{text}\n/// Canonical handle, number in Fortran, and place.\ntype Row = (i32, i32, &'static Object);\n{tables}\n\
         /// The predefined objects of a kind, the null object first.\n\
         fn table(kind: Kind) -> &'static [Row] {{\n    match kind {{\n{choice}    }}\n}}\n"
    )
}

fn object(text: &mut String, symbol: &str, canonical: i32, name: &str) {
    writeln!(
        text,
        "/// `{name}`.\n#[no_mangle]\npub static {symbol}: Object = Object::new({canonical});"
    )
    .expect("a string takes all");
}
