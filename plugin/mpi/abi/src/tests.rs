//! Every mapping goes there and back.

use super::*;
use crate::canonical::Status;

fn every_kind() -> impl Iterator<Item = &'static Numbers> {
    let kinds = "r t k split lock assert amode whence order distrib darg class thread compare topo combiner verbosity bind scope";
    kinds
        .split(' ')
        .map(|k| Numbers::of(k).expect("a kind of the table"))
        .chain([numbers::FLAVOR, numbers::MODEL, numbers::ERROR])
}

fn there_and_back<A: Abi>() {
    for kind in every_kind() {
        for row in kind.rows {
            let Some(own) = A::number(row) else { continue };
            assert_eq!(kind.to_canonical::<A>(own), row.canonical(), "{row:?}");
            assert_eq!(kind.from_canonical::<A>(row.canonical()), own, "{row:?}");
        }
    }
}

#[test]
fn numbers_go_there_and_back() {
    there_and_back::<OpenMpi>();
    there_and_back::<Standard>();
}

#[test]
fn a_number_without_a_name_is_itself_or_wrong() {
    assert_eq!(OpenMpi::rank_to_canonical(7), 7);
    assert_eq!(OpenMpi::rank_to_canonical(-2), canonical::PROC_NULL);
    // Open MPI's has no -3, which is MPI_ROOT canonically.
    assert_eq!(OpenMpi::rank_to_canonical(-3), numbers::WRONG);
    assert_eq!(OpenMpi::rank_to_canonical(-99), -99);
    assert_eq!(numbers::SPLIT.to_canonical::<OpenMpi>(1), numbers::WRONG);
}

#[test]
fn bits_are_mapped_one_by_one() {
    let both = numbers::ASSERT.to_canonical::<OpenMpi>(2 | 16);
    assert_eq!(both, 8192 | 16384);
    assert_eq!(numbers::ASSERT.from_canonical::<OpenMpi>(both), 2 | 16);
    assert_eq!(numbers::AMODE.to_canonical::<Standard>(2 | 32), 1 | 8);
    // A bit that means nothing stays wrong.
    assert_ne!(numbers::ASSERT.to_canonical::<OpenMpi>(1 << 20), 0);
}

#[test]
fn error_codes_are_classes_or_the_programs() {
    for row in numbers::ERROR.rows {
        for (own, canonical) in [
            (
                row.openmpi(),
                error_to_canonical::<OpenMpi> as fn(i32) -> i32,
            ),
            (row.standard(), error_to_canonical::<Standard>),
        ] {
            assert!(
                own.is_none_or(|own| canonical(own) == row.canonical()),
                "{row:?}"
            );
        }
    }
    // MPICH's code for a wrong rank has more bits than its class.
    assert_eq!(error_from_canonical::<OpenMpi>(0x0c3f_8f06), 6);
    assert_eq!(error_from_canonical::<OpenMpi>(0x4000_0101), 0x4000_0101);
    assert_eq!(error_to_canonical::<OpenMpi>(0x4000_0101), 0x4000_0101);
    // A class that the ABI has not got.
    assert_eq!(error_from_canonical::<OpenMpi>(81), 16);
    assert_eq!(error_from_canonical::<Standard>(0), 0);
}

#[test]
fn predefined_objects_are_one_each() {
    for kind in KINDS {
        let all = kind.predefined();
        assert!(!all.is_empty());
        for (i, a) in all.iter().enumerate() {
            assert_eq!(a.kind, kind);
            assert_eq!(kind.canonical(a.canonical).map(|p| p.name), Some(a.name));
            if let Some(n) = a.standard() {
                assert_eq!(kind.standard(n).map(|p| p.name), Some(a.name));
            }
            for b in &all[i + 1..] {
                assert_ne!(a.canonical, b.canonical, "{} {}", a.name, b.name);
                assert!(
                    a.symbol().is_none() || a.symbol() != b.symbol(),
                    "{}",
                    a.name
                );
                assert!(
                    a.fortran().is_none() || a.fortran() != b.fortran(),
                    "{}",
                    a.name
                );
                assert!(
                    a.standard().is_none() || a.standard() != b.standard(),
                    "{}",
                    a.name
                );
            }
        }
    }
    assert!(KINDS.iter().all(|k| "CGDORMEIWFS"
        .chars()
        .any(|c| Kind::of(c.encode_utf8(&mut [0; 4])) == Some(*k))));
}

#[test]
fn the_standards_handles_tell_the_size_of_fixed_types() {
    // Bits 3 to 5 of such a handle are the logarithm of the size.
    for (name, size) in [
        ("BYTE", 1),
        ("INT16_T", 2),
        ("INT32_T", 4),
        ("REAL8", 8),
        ("COMPLEX16", 16),
    ] {
        let all = Kind::Datatype.predefined();
        let p = all
            .iter()
            .find(|p| p.name == name)
            .expect("a name of the table");
        let handle = p.standard().expect("it has one");
        assert_eq!(1 << ((handle >> 3) & 7), size, "{name}");
        assert_eq!((p.canonical >> 8) & 0xff, size, "{name}");
    }
}

#[test]
fn statuses_go_there_and_back() {
    let mut status = Status {
        source: canonical::PROC_NULL,
        tag: canonical::ANY_TAG,
        error: canonical::ERR_TRUNCATE,
        ..Status::default()
    };
    status.set_count(0x1_2345_6789);
    status.count_hi_and_cancelled |= 1;
    let own = OpenMpiStatus::from(status);
    assert_eq!((own.source, own.tag, own.error), (-2, -1, 15));
    assert_eq!((own.bytes, own.cancelled), (0x1_2345_6789, 1));
    let own = StandardStatus::from(status);
    assert_eq!((own.source, own.tag, own.error), (-3, -2, 15));
    for back in [Status::from(OpenMpiStatus::from(status)), Status::from(own)] {
        assert_eq!(
            (back.source, back.tag, back.error),
            (-1, -1, canonical::ERR_TRUNCATE)
        );
        assert_eq!((back.count(), back.cancelled()), (0x1_2345_6789, true));
    }
    assert_eq!(size_of::<OpenMpiStatus>(), 24);
    assert_eq!(size_of::<StandardStatus>(), 32);
}
