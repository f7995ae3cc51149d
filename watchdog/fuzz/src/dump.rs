//! Memory dumps: an input as a file, checks of an opened dump, and seeds.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use rustix::fs::{MemfdFlags, memfd_create};
use watchdog_core::memory::{Memory, PhysAddr, PhysRange};

/// The file that every input of this process is written to, each over the last.
static FILE: LazyLock<File> = LazyLock::new(|| {
    let file = memfd_create("dump", MemfdFlags::CLOEXEC).expect("no file in memory");
    file.into()
});

/// Writes an input to a file and returns the path. The file is the same for all inputs.
///
/// # Panics
/// When there is not enough memory.
#[must_use]
pub fn file(bytes: &[u8]) -> PathBuf {
    FILE.set_len(0).and_then(|()| FILE.write_all_at(bytes, 0)).expect("no memory for an input");
    format!("/proc/self/fd/{}", FILE.as_raw_fd()).into()
}

/// Checks an opened dump of `length` bytes. Its ranges are in order, apart, and together no larger
/// than the file. All of them can be read, and nothing outside them.
///
/// # Panics
/// When any of this does not hold.
pub fn check(dump: &dyn Memory, length: usize) {
    let ranges = dump.ranges().ranges();
    assert!(!ranges.is_empty(), "opened, and there is nothing in it");
    assert!(ranges.windows(2).all(|pair| pair[0].end() < pair[1].start()), "{ranges:?}");
    let size: usize = ranges.iter().map(|range| range.size() as usize).sum();
    assert!(size <= length, "{size} bytes of memory in a file of {length}");
    for range in ranges {
        let mut bytes = vec![0; range.size() as usize];
        dump.read(range.start(), &mut bytes).expect("a range that is offered");
        assert!(dump.refusal(range).is_none(), "{range} is offered and refused");
        let beyond = dump.read(range.start(), &mut vec![0; bytes.len() + 1]);
        assert!(beyond.is_err(), "a byte behind {range} was read");
        if let Some(beyond) = PhysRange::with_size(range.end(), 1) {
            assert!(dump.refusal(&beyond).is_some(), "{beyond} is refused by reading alone");
        }
        let inner = range.size() / 2;
        let mut byte = [0];
        dump.read(PhysAddr(range.start().0 + inner), &mut byte).expect("a part of what is read");
        assert_eq!(byte[0], bytes[inner as usize], "read otherwise alone");
    }
}

/// A piece of memory: physical address and bytes.
type Piece = (u64, &'static [u8]);

const PIECES: [Piece; 3] = [(0x1000, b"text"), (0x1004, b"data, touching"), (0x8000, b"apart")];

/// Seeds of ELF cores (include/uapi/linux/elf.h).
#[must_use]
pub fn elf_seeds() -> Vec<(String, Vec<u8>)> {
    let [text, data, apart] = PIECES;
    let cut = elf(&PIECES, 3);
    [
        ("one-segment", elf(&[text], 1)),
        ("segments", elf(&PIECES, 3)),
        ("overlapping", elf(&[data, text, (0x1006, b"shadowed")], 3)),
        ("no-physical-address", elf(&[apart, (u64::MAX, b"kcore")], 2)),
        ("cut-in-data", cut[..cut.len() - 7].to_vec()),
        ("more-headers-than-file", elf(&[text], u16::MAX - 1)),
        ("count-in-section", elf(&PIECES, u16::MAX)),
    ]
    .map(|(name, seed)| (name.to_owned(), seed))
    .into()
}

/// A core of these pieces, whose header states `count` of them. If `count` is all ones (`PN_XNUM`),
/// section header 0 has the number. It is right behind the header of the file.
fn elf(pieces: &[Piece], count: u16) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([0_u64, 128, 64].map(u64::to_le_bytes).concat());
    file.extend([0; 4]);
    file.extend([64, 56, count, 64, 1, 0].map(u16::to_le_bytes).concat());
    let mut section = [0; 64];
    section[44..48].copy_from_slice(&(pieces.len() as u32).to_le_bytes());
    file.extend(section);
    let mut offset = (file.len() + pieces.len() * 56) as u64;
    for (phys, bytes) in pieces {
        let size = bytes.len() as u64;
        file.extend([1, 7].map(u32::to_le_bytes).concat());
        file.extend([offset, 0, *phys, size, size, 0x1000].map(u64::to_le_bytes).concat());
        offset += size;
    }
    pieces.iter().for_each(|(_, bytes)| file.extend(*bytes));
    file
}

/// Seeds of LiME images.
#[must_use]
pub fn lime_seeds() -> Vec<(String, Vec<u8>)> {
    let [text, data, apart] = PIECES;
    let whole = lime(&PIECES);
    [
        ("one-range", lime(&[text])),
        ("overlapping", lime(&[apart, data, text, (0x1006, b"shadowed")])),
        ("cut-in-header", whole[..whole.len() - 9].to_vec()),
        ("cut-in-data", whole[..whole.len() - 2].to_vec()),
        ("ranges", whole),
    ]
    .map(|(name, seed)| (name.to_owned(), seed))
    .into()
}

/// An image of these pieces, each behind its own header.
fn lime(pieces: &[Piece]) -> Vec<u8> {
    let mut file = Vec::new();
    for (phys, bytes) in pieces {
        file.extend(b"EMiL\x01\0\0\0");
        file.extend([*phys, phys + bytes.len() as u64 - 1, 0].map(u64::to_le_bytes).concat());
        file.extend(*bytes);
    }
    file
}
