//! Tests of sources, over made-up files.

mod elf;
mod iomem;
mod kcore;
mod lime;

use std::collections::BTreeMap;
use std::fs;

use super::*;

/// A temporary file of these bytes.
fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}

/// Checks that a source serves exactly these bytes: at every address below `end`, in one read of
/// each length up to eight bytes.
fn serves(memory: &dyn Memory, expected: &BTreeMap<u64, u8>, end: u64) {
    for at in 0..end {
        for length in 1..=8_u64 {
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            let read = memory.read(PhysAddr(at), &mut bytes);
            let wanted: Option<Vec<u8>> =
                (at..at + length).map(|at| expected.get(&at).copied()).collect();
            let Some(wanted) = wanted else {
                let Err(ReadError::Refused { refusal, .. }) = read else {
                    panic!("{length} bytes at {at:#x} are not in it and were read: {read:?}");
                };
                let first = (at..at + length).find(|at| !expected.contains_key(at));
                assert_eq!(Some(refusal.range.start().0), first, "{refusal}");
                continue;
            };
            read.unwrap();
            assert_eq!(bytes, wanted, "{at:#x}");
            assert!(memory.refusal(&PhysRange::with_size(PhysAddr(at), length).unwrap()).is_none());
        }
    }
    assert_eq!(memory.ranges().size(), expected.len() as u64);
}

/// The error of opening a file of these bytes as an ELF core.
fn elf_error(bytes: &[u8]) -> DumpError {
    Dump::open_elf(file(bytes).path()).unwrap_err()
}

/// Check that both readers refuse a file that is neither a core nor a LiME image, with advice.
#[test]
fn foreign_files() {
    for (bytes, sentence) in [
        (&b"KDUMP   \x06\0\0\0"[..], "makedumpfile -E"),
        (b"DISKDUMP\x06\0\0\0", "diskdump"),
        (b"makedumpfile\0\0\0\0\x01", "makedumpfile -R"),
        (b"AVML\x02\0\0\0", "avml-convert"),
        (b"\x1f\x8b\x08\0", "gunzip"),
    ] {
        let mut padded = bytes.to_vec();
        padded.resize(64, 0);
        let file = file(&padded);
        for opened in [Dump::open_elf(file.path()), Dump::open_lime(file.path())] {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }
    assert!(matches!(elf_error(&[0; 64]), DumpError::NotElf));
    assert!(matches!(elf_error(b""), DumpError::NotElf));
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Dump::open_elf(directory.path()), Err(DumpError::Io(_))));
}
