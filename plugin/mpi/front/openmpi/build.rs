//! Generates the functions and the predefined objects of Open MPI's library.

use mpi_abi::{Kind, Predefined, ALIASES, KINDS};
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
    write("fortran.rs", fortran());
}

/// Functions of Fortran's library for which `fortran` has others, and how many arguments they have.
const FORTRAN: &[(&str, usize)] = &[
    ("attr_get", 5),
    ("comm_get_attr", 5),
    ("type_get_attr", 5),
    ("win_get_attr", 5),
    ("op_create", 4),
    ("grequest_start", 6),
    ("group_incl", 5),
    ("group_excl", 5),
    ("group_range_incl", 5),
    ("group_range_excl", 5),
    ("group_union", 4),
    ("group_intersection", 4),
    ("group_difference", 4),
    ("alltoallw", 10),
    ("ialltoallw", 11),
    ("neighbor_alltoallw", 10),
    ("ineighbor_alltoallw", 11),
    ("alltoallw_init", 12),
    ("neighbor_alltoallw_init", 12),
    ("wait", 3),
    ("test", 4),
    ("waitany", 5),
    ("testany", 6),
    ("waitall", 4),
    ("testall", 5),
    ("waitsome", 6),
    ("testsome", 6),
];

/// A function of `fortran`'s under every name that Fortran's library has it by.
fn fortran() -> String {
    let mut text = String::new();
    for (name, arguments) in FORTRAN {
        let x = if name.ends_with("_init") { "x" } else { "" };
        let small = format!("mpi{x}_{name}");
        let large = small.to_uppercase();
        let mixed = format!("{}{}", &large[..5 + x.len()], &small[5 + x.len()..]);
        let mut names = vec![format!("ompi{x}_{name}_f")];
        for p in ["", "p"] {
            names.extend(["", "_", "__"].map(|end| format!("{p}{small}{end}")));
            let p = p.to_uppercase();
            names.push(format!("{p}{large}"));
            names.extend(["_f", "_f08"].map(|end| format!("{p}{mixed}{end}")));
        }
        let parameters: Vec<_> = (0..*arguments).map(|i| format!("a{i}: usize")).collect();
        let passed: Vec<_> = (0..*arguments).map(|i| format!("a{i}")).collect();
        for (i, symbol) in names.iter().enumerate() {
            writeln!(
                text,
                "/// `{symbol}`.\n/// # Safety\n/// As the MPI standard says of its arguments.\n\
                 #[export_name = \"{symbol}\"]\npub unsafe extern \"C\" fn {name}_{i}({}) {{ fortran::{name}({}) }}",
                parameters.join(", "),
                passed.join(", "),
            )
            .expect("a string takes all");
        }
    }
    text
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
        all().for_each(|(p, symbol)| object(&mut text, kind, symbol, p.canonical, p.name));
        let row = |(p, symbol): (&Predefined, _)| {
            format!(
                "    ({}, {}, &{symbol}.canonical),\n",
                p.canonical,
                p.fortran().unwrap_or(-1)
            )
        };
        let rows: String = all().map(row).collect();
        let name = format!("{kind:?}").to_uppercase();
        tables += &format!("static {name}: [Row; {}] = [\n{rows}];\n", all().count());
        choice += &format!("        Kind::{kind:?} => &{name},\n");
    }
    for (kind, symbol, canonical) in ALIASES {
        object(&mut text, *kind, symbol, *canonical, symbol);
    }
    format!(
        "{text}\n/// Canonical handle, number in Fortran, and place.\ntype Row = (i32, i32, &'static AtomicI32);\n{tables}\n\
         /// The predefined objects of a kind, the null object first.\n\
         fn table(kind: Kind) -> &'static [Row] {{\n    match kind {{\n{choice}    }}\n}}\n"
    )
}

/// How large Open MPI's objects are.
fn size(kind: Kind) -> usize {
    match kind {
        Kind::Group | Kind::Request | Kind::Message | Kind::Info => 0x100,
        Kind::Comm | Kind::Datatype | Kind::Window | Kind::Session => 0x200,
        Kind::Errhandler => 0x400,
        Kind::File => 0x600,
        Kind::Op => 0x800,
    }
}

fn object(text: &mut String, kind: Kind, symbol: &str, canonical: i32, name: &str) {
    writeln!(
        text,
        "/// `{name}`.\n#[no_mangle]\npub static {symbol}: Object<{}> = Object::new({canonical});",
        size(kind) - 8
    )
    .expect("a string takes all");
}
