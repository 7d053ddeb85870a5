//! `driver.txt` and `runtime.txt`, the tables of CUDA's functions, as data, and the results of calls: build scripts make
//! libsplitproc_cuda.so's exports, the fronts and the lower half's table of them. `joint` is what ties that library to
//! libsplitproc.so.

pub mod joint;
mod results;
pub mod tables;

/// The driver's table as text.
pub const DRIVER: &str = include_str!("../driver.txt");
/// The runtime's table as text.
pub const RUNTIME: &str = include_str!("../runtime.txt");

/// A function of the driver.
#[derive(Clone, Debug)]
pub struct Driver {
    /// The name that libcuda.so.1 exports.
    pub name: String,
    /// Who implements it.
    pub class: String,
    /// The kinds of its parameters, as `driver.txt` names them.
    pub params: Vec<String>,
}

/// A symbol of the runtime library.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Its name.
    pub name: String,
    /// The only version that has it with this meaning.
    pub version: Option<u32>,
    /// Who implements it.
    pub class: String,
    /// The kinds of its parameters.
    pub params: Vec<String>,
}

/// Versions of the runtime library that there are fronts for.
pub const VERSIONS: [u32; 2] = [12, 13];

impl Driver {
    /// Has it a place in the lower half's table?
    pub fn crosses(&self) -> bool {
        let classes = ["fwd", "wait", "make", "free", "set"];
        classes.contains(&self.class.as_str()) || self.class.starts_with("over:")
    }

    /// The ending that its name has where stream 0 is the thread's own, if it has such a variant.
    pub fn variant(&self) -> Option<&'static str> {
        let at_once = self.name.starts_with("cuMemcpy") || self.name.starts_with("cuMemset");
        // It has a stream in its structure.
        let inside = self.name == "cuGraphInstantiateWithParams";
        if inside || self.params.iter().any(|p| p == "S") {
            Some("_ptsz")
        } else {
            at_once.then_some("_ptds")
        }
    }
}

impl Runtime {
    /// Is it there, with this meaning, in this version?
    pub fn is_in(&self, version: u32) -> bool {
        self.version.is_none_or(|v| v == version)
    }

    /// The name of the function that a variant is of.
    pub fn base(&self) -> &str {
        let name = self.name.as_str();
        let name = name.strip_suffix("_ptsz").unwrap_or(name);
        name.strip_suffix("_ptds").unwrap_or(name)
    }

    /// What libsplitproc_cuda.so calls it.
    pub fn symbol(&self) -> String {
        match self.version {
            Some(12) => format!("splitproc_{}_12", self.name),
            _ => format!("splitproc_{}", self.name),
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| l.split(' ').collect())
}

fn params(list: &str) -> Vec<String> {
    let list = (list != "-").then_some(list);
    list.into_iter()
        .flat_map(|l| l.split(','))
        .map(str::to_owned)
        .collect()
}

/// All functions of the driver, in the table's order.
///
/// # Panics
/// If a line is not as the head of the table says: a build stops there.
pub fn driver() -> Vec<Driver> {
    lines(DRIVER)
        .map(|fields| match fields[..] {
            [name, class, list] => Driver {
                name: name.into(),
                class: class.into(),
                params: params(list),
            },
            _ => panic!("cuda/driver.txt: {fields:?}"),
        })
        .collect()
}

/// Names of the lower half's functions, in the order of its table.
pub fn crossing() -> Vec<String> {
    let all = driver().into_iter();
    all.filter(Driver::crosses).map(|f| f.name).collect()
}

/// All symbols of the runtime libraries, in the table's order.
///
/// # Panics
/// If a line is not as the head of the table says: a build stops there.
pub fn runtime() -> Vec<Runtime> {
    lines(RUNTIME)
        .map(|fields| match fields[..] {
            [name, version, class, list] => Runtime {
                name: name.into(),
                version: version.parse().ok(),
                class: class.into(),
                params: params(list),
            },
            _ => panic!("cuda/runtime.txt: {fields:?}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        let functions = driver();
        let crossing = crossing();
        assert!(crossing.len() > 150 && crossing.len() < functions.len());
        assert!(crossing.contains(&"cuLaunchKernel".to_owned()));
        let launch = functions.iter().find(|f| f.name == "cuLaunchKernel");
        assert_eq!(launch.map(|f| f.params.len()), Some(11));
    }

    #[test]
    fn the_runtime_library_has_all_its_symbols() {
        let all = runtime();
        let count = |version| all.iter().filter(|f| f.is_in(version)).count();
        assert_eq!((count(12), count(13)), (435, 422));
        let named = |name: &str| functions_of(&driver()).contains(&name.to_owned());
        for f in &all {
            if let Some(target) = f.class.strip_prefix("driver:") {
                assert!(named(target), "{}: {target}", f.name);
            }
        }
    }

    fn functions_of(all: &[Driver]) -> Vec<String> {
        all.iter().map(|f| f.name.clone()).collect()
    }
}
