//! `spec.txt`, the table of MPI's functions, as data: build scripts make the model's exports, the fronts and the
//! lower half's adapters of it.

pub mod front;

use std::fmt;

/// The table's text.
pub const TEXT: &str = include_str!("../spec.txt");

/// How a parameter's value is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is the parameter.
    Value,
    /// The parameter points to one that is read.
    Read,
    /// The parameter points to one that is written.
    Written,
    /// The parameter points to one that is read and written.
    Both,
    /// The parameter points to an array.
    Array {
        /// How many there are.
        count: Count,
        /// They are read.
        read: bool,
        /// They are written.
        written: bool,
    },
}

/// Where an array's length is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It is the parameter of this index.
    At(usize),
    /// The parameter of this index points to it, and it is known when the function has returned.
    Behind(usize),
    /// The number of the communicator's peers.
    Peers,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its kind, as `spec.txt` names it.
    pub kind: String,
    /// How it is passed.
    pub access: Access,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name without `MPI_`.
    pub name: String,
    /// Who implements it.
    pub class: String,
    /// The kind of what it returns.
    pub ret: String,
    /// Its parameters.
    pub params: Vec<Param>,
}

/// Kinds of handles.
pub const HANDLES: &[&str] = &["C", "D", "O", "G", "R", "I", "E", "M", "W", "F", "S"];

impl Param {
    fn parse(text: &str) -> Option<Param> {
        let whole = |kind: &str, access| {
            let kind = kind.to_owned();
            Some(Param { kind, access })
        };
        if let Some((kind, rest)) = text.split_once('[') {
            let (count, access) = rest.split_once(']')?;
            let count = match (count.strip_prefix('*'), count) {
                (Some(n), _) => Count::Behind(n.parse().ok()?),
                (None, "C") => Count::Peers,
                (None, n) => Count::At(n.parse().ok()?),
            };
            let (read, written) = match access {
                "" => (true, false),
                ">" => (false, true),
                "&" => (true, true),
                _ => return None,
            };
            return whole(
                kind,
                Access::Array {
                    count,
                    read,
                    written,
                },
            );
        }
        match text.split_at(text.len().saturating_sub(1)) {
            (kind, ">") => whole(kind, Access::Written),
            (kind, "<") => whole(kind, Access::Read),
            (kind, "&") => whole(kind, Access::Both),
            _ => whole(text, Access::Value),
        }
    }

    /// One letter for how a call passes it: `l` and `f` for what is 64 bits, `b` for a message buffer, `d` for the datatypes
    /// of an all-to-all, `p` for other pointers, a handle's kind, and `i` for all that is an int.
    pub fn letter(&self) -> char {
        let kind = self.kind.as_str();
        match (&self.access, kind) {
            (
                Access::Array {
                    count: Count::Peers,
                    ..
                },
                "D",
            ) => 'd',
            (Access::Value, "i" | "l" | "f" | "p" | "b") => kind.chars().next().unwrap_or('i'),
            (Access::Value, _) if HANDLES.contains(&kind) => kind.chars().next().unwrap_or('i'),
            (Access::Value, "w" | "auto") => 'p',
            (Access::Value, _) if !kind.starts_with("fn:") => 'i',
            _ => 'p',
        }
    }
}

impl Function {
    fn parse(line: &str) -> Option<Function> {
        let mut fields = line.split(' ').map(str::to_owned);
        let mut next = || fields.next();
        let (name, class, ret, params) = (next()?, next()?, next()?, next()?);
        let params = match params.as_str() {
            "-" => Some(Vec::new()),
            list => list.split(',').map(Param::parse).collect(),
        };
        match (next(), params) {
            (None, Some(params)) => Some(Function {
                name,
                class,
                ret,
                params,
            }),
            _ => None,
        }
    }

    /// Its parameters' letters.
    pub fn letters(&self) -> String {
        self.params.iter().map(Param::letter).collect()
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "MPI_{}", self.name)
    }
}

/// All functions, in the table's order, which gives each its index.
///
/// # Panics
/// If a line of the table is not as its head says: a build stops there.
pub fn functions() -> Vec<Function> {
    let lines = TEXT
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|l| Function::parse(l).unwrap_or_else(|| panic!("mpi/spec.txt: {l}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_its_head_says() {
        let f = Function::parse("Testsome hand:complete i i,R[0]&,p,p,s[*2]>").unwrap();
        assert_eq!(f.letters(), "ipppp");
        assert_eq!(f.params[1].kind, "R");
        let (read, written) = (true, true);
        assert_eq!(
            f.params[1].access,
            Access::Array {
                count: Count::At(0),
                read,
                written
            }
        );
        let (read, count) = (false, Count::Behind(2));
        assert_eq!(
            f.params[4].access,
            Access::Array {
                count,
                read,
                written
            }
        );
        let f = Function::parse("Alltoallw coll i b,p,p,D[C],b,p,p,D[C],C").unwrap();
        assert_eq!(f.letters(), "bppdbppdC");
        assert!(Function::parse("Wait hand:complete i R&,s> more").is_none());
        assert!(Function::parse("Wait hand:complete i R[").is_none());
    }

    #[test]
    fn every_line_names_a_function_once() {
        let mut names: Vec<_> = functions().into_iter().map(|f| f.name).collect();
        assert!(names.len() > 600);
        names.dedup();
        assert_eq!(names.len(), functions().len());
    }
}
