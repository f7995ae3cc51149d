//! Tests of payloads: in every format, with wrong sizes, as bombs, damaged.

use super::super::made_up::{Elf, FORMATS, bzimage, pack, place};
use super::super::{Format, ImageError, payload};
use super::refusal;
use crate::text::chain;

/// Check that a kernel of several lz4 blocks is unpacked whole, and so are joined lz4 files.
#[test]
fn many_lz4_blocks() {
    let content: Vec<u8> = (0..20_000_000_u32).map(|at| (at >> 7) as u8).collect();
    let packed = pack(Format::Lz4, &content);
    assert_eq!(payload::unpack(&packed, 1 << 30).unwrap(), content);
    let half = pack(Format::Lz4, &content[..5]);
    let size = u32::try_from(content.len() + 5).unwrap().to_le_bytes();
    let joined = [&half[..half.len() - 4], &packed[..packed.len() - 4], &size].concat();
    assert_eq!(payload::unpack(&joined, 1 << 30).unwrap(), [&content[..5], &content].concat());
}

/// Check that the stated size is compared with the unpacked one, in both directions.
#[test]
fn wrong_size() {
    let content = b"kernel".repeat(1000);
    for format in FORMATS {
        let packed = pack(format, &content);
        let end = packed.len() - 4;
        for wrong in [0_u32, 5999, 6001, 1 << 24] {
            let file = [&packed[..end], &wrong.to_le_bytes()].concat();
            let error = chain(&payload::unpack(&file, 1 << 24).unwrap_err());
            // gzip's own decoder may detect the wrong size first.
            let expected = error.contains("said to be") || format == Format::Gzip;
            assert!(expected && error.ends_with("fetch it again"), "{format}: {error}");
        }
    }
}

/// Check in every format that unpacking stops at the stated size, and that a stated size above the
/// limit is refused.
#[test]
fn bombs() {
    let content = vec![0; 24 << 20];
    for format in FORMATS {
        let packed = pack(format, &content);
        let error = payload::unpack(&packed, 1 << 20).unwrap_err();
        assert!(matches!(error, ImageError::TooMuch { stated: 0x180_0000, .. }), "{error}");

        let lying = [&packed[..packed.len() - 4], &0x1000_u32.to_le_bytes()].concat();
        let mut unpacked = Vec::new();
        let stream = if format == Format::Gzip { &packed } else { &packed[..packed.len() - 4] };
        payload::decode(format, stream, 0x1001, &mut unpacked).unwrap();
        assert!(unpacked.len() == 0x1001 && unpacked.capacity() < 0x1_0000, "{format}");
        let error = payload::unpack(&lying, 1 << 20).unwrap_err();
        assert!(matches!(error, ImageError::WrongSize { stated: 0x1000, .. }), "{error}");
    }
}

/// Check that a dictionary larger than any kernel's is refused before memory is allocated for it.
#[test]
fn huge_dictionaries() {
    let content = b"kernel".repeat(1000);
    let mut lzma = pack(Format::Lzma, &content);
    place(&mut lzma, 1, &0x5fff_0000_u32.to_le_bytes());
    // A frame header: magic, no single segment, a window of 2^30 bytes.
    let zstd = b"\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00\x00\x00\x00\x00";
    for payload in [&lzma[..], zstd, &xz_of_4_gib(&content)] {
        let error = chain(&payload::unpack(payload, 1 << 20).unwrap_err());
        assert!(error.contains("cannot be unpacked"), "{error}");
        assert!(["memory", "indow"].iter().any(|why| error.contains(why)), "{error}");
    }
}

/// A payload of xz whose block states, with a right checksum, a dictionary of 4 GiB.
fn xz_of_4_gib(content: &[u8]) -> Vec<u8> {
    let mut xz = pack(Format::Xz, content);
    let block = 12;
    let checksum = block + usize::from(xz[block]) * 4;
    // The filter LZMA2 with one byte of properties, which encodes the size like a logarithm.
    let filter = xz[block..checksum].windows(2).position(|bytes| bytes == [0x21, 1]).unwrap();
    xz[block + filter + 2] = 40;
    let mut crc = flate2::Crc::new();
    crc.update(&xz[block..checksum]);
    place(&mut xz, checksum as u64, &crc.sum().to_le_bytes());
    xz
}

/// Check that damage anywhere in a payload is an error or makes no difference, and never causes a
/// panic. Every byte is changed, and every length is cut.
#[test]
fn damaged_payload() {
    let content: Vec<u8> = Elf::kernel().build().into_iter().step_by(8).collect();
    for format in FORMATS {
        let sound = pack(format, &content);
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x41;
            if let Ok(unpacked) = payload::unpack(&damaged, 1 << 20) {
                // lz4 and lzma have no checksum.
                let unchecked = matches!(format, Format::Lz4 | Format::Lzma);
                assert!(unchecked || unpacked == content, "{format}: byte {at}");
            }
            let cut = [&sound[..at], &sound[sound.len() - 4..]].concat();
            if let Ok(unpacked) = payload::unpack(&cut, 1 << 20) {
                assert_eq!(unpacked, content, "{format}: cut to {at}");
            }
        }
    }
}

/// Check that the message names an unsupported packing, with advice.
#[test]
fn unsupported_packing() {
    for (payload, expected) in
        [(&b"\x04\x22\x4d\x18...."[..], "04 22 4d 18"), (b"\x01\x02\x03....", "01 02 03")]
    {
        let error = refusal(&bzimage(payload));
        assert!(error.contains(expected) && error.contains("scripts/extract-vmlinux"), "{error}");
    }
}
