//! Tests of LiME images.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// A header: magic, version, first and last address.
fn header(magic: u32, version: u32, first: u64, last: u64) -> Vec<u8> {
    let mut bytes = [magic.to_le_bytes(), version.to_le_bytes()].concat();
    for word in [first, last, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// An image of these ranges, each given by its first address and its bytes.
fn image(ranges: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let one = |(first, bytes): &(u64, Vec<u8>)| {
        let last = first + bytes.len() as u64 - 1;
        [header(0x4c69_4d45, 1, *first, last), bytes.clone()].concat()
    };
    ranges.iter().flat_map(one).collect()
}

fn open(bytes: &[u8]) -> Result<Dump, DumpError> {
    Dump::open_lime(file(bytes).path())
}

/// Check random images against a map of every byte. Ranges may overlap and come in any order; the
/// first range that has an address serves it.
#[test]
fn random_images_serve_what_they_describe() {
    let mut random = StdRng::seed_from_u64(0x6c69_6d65);
    for _ in 0..300 {
        let mut ranges: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut expected = BTreeMap::new();
        for _ in 0..random.random_range(1..6) {
            let first: u64 = random.random_range(0..64);
            let bytes: Vec<u8> = (0..random.random_range(1..24)).map(|_| random.random()).collect();
            for (at, byte) in (first..).zip(&bytes) {
                expected.entry(at).or_insert(*byte);
            }
            ranges.push((first, bytes));
        }
        serves(&open(&image(&ranges)).unwrap(), &expected, 100);
    }
}

/// Check an image that ends at every possible length. Without a whole first header it is refused.
/// Otherwise it serves what it holds, and reports that it was cut short.
#[test]
fn every_truncation() {
    let ranges = [(0x10, b"first".to_vec()), (0x20, b"second".to_vec())];
    let bytes = image(&ranges);
    for length in 0..=bytes.len() {
        let opened = open(&bytes[..length]);
        let held: usize = length.saturating_sub(32).min(5) + length.saturating_sub(32 + 5 + 32);
        if held == 0 {
            assert!(matches!(opened, Err(DumpError::HeadersCut | DumpError::Empty)), "{length}");
            continue;
        }
        let opened = opened.unwrap();
        assert_eq!(opened.ranges().size(), held as u64);
        // At the end of a range, nothing shows that another should follow.
        let whole = length == bytes.len() || length == 32 + 5;
        assert_eq!(opened.remark().is_none(), whole, "{length}: {:?}", opened.remark());
        let last = PhysRange::with_size(PhysAddr(0x25), 1).unwrap();
        let reason = opened.refusal(&last).map(|refusal| refusal.reason);
        match length {
            _ if length == bytes.len() => assert!(reason.is_none()),
            69.. => assert!(matches!(reason, Some(Reason::CutShort)), "{length}: {reason:?}"),
            _ => assert!(matches!(reason, Some(Reason::OutsideImage(_))), "{length}: {reason:?}"),
        }
    }
}

/// Check that impossible headers refuse the image: an empty range, wrapping addresses, another
/// version, no magic where a range should begin.
#[test]
fn hostile_headers() {
    let with = |magic, version, first, last| {
        let good = image(&[(0x1000, b"text".to_vec())]);
        open(&[good, header(magic, version, first, last), vec![0; 64]].concat())
    };
    let magic = 0x4c69_4d45;
    assert!(matches!(with(magic, 1, 1, 0), Err(DumpError::NoRange(_))), "no byte");
    assert!(matches!(with(magic, 1, 9, 2), Err(DumpError::NoRange(_))), "backwards");
    assert!(matches!(with(magic, 1, 0, u64::MAX), Err(DumpError::NoRange(_))), "no end");
    assert!(matches!(with(magic, 2, 0, 63), Err(DumpError::LimeVersion(2))));
    assert!(matches!(with(0, 1, 0, 63), Err(DumpError::NotLime { at: 36 })));
    // All but the last address: the image is reported as cut short.
    let huge = with(magic, 1, 0, u64::MAX - 1).unwrap();
    assert_eq!(huge.ranges().to_string(), "0x0..0x40,0x1000..0x1004");
    assert!(huge.remark().unwrap().contains("cut short"));
    assert!(matches!(open(b""), Err(DumpError::Empty)));
    let elf = open(&elf::core(&[elf::Load::new(0, 0, 1)], b"")).unwrap_err();
    assert!(elf.to_string().contains("--memory elf:FILE"), "{elf}");
    let lime = elf_error(&image(&[(0, vec![0; 64])]));
    assert!(lime.to_string().contains("--memory lime:FILE"), "{lime}");
}
