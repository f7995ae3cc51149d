//! What an ELF file is packed in.

use std::io::Write;

use super::super::{Format, lz4, lzo};
use super::place;

/// A PE program with these sections.
pub(crate) fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = b"MZ".to_vec();
    place(&mut file, 0x3c, &0x80_u32.to_le_bytes());
    place(&mut file, 0x80, b"PE\0\0\x64\x86");
    place(&mut file, 0x86, &u16::try_from(sections.len()).unwrap().to_le_bytes());
    place(&mut file, 0x94, &0xf0_u16.to_le_bytes());
    let table = 0x80 + 24 + 0xf0;
    let mut offset = 0x400_u64;
    for (n, (name, bytes)) in (0_u64..).zip(sections) {
        let header = table + n * 40;
        place(&mut file, header, &[0; 40]);
        place(&mut file, header, name.as_bytes());
        let padded = bytes.len().next_multiple_of(512);
        let fields = [bytes.len(), 0x1000, padded, usize::try_from(offset).unwrap()];
        let fields = fields.map(|field| u32::try_from(field).unwrap().to_le_bytes());
        place(&mut file, header + 8, &fields.concat());
        place(&mut file, offset, bytes);
        offset += padded as u64;
        file.resize(usize::try_from(offset).unwrap(), 0);
    }
    file
}

/// An EFI zboot image.
pub(crate) fn zboot(packed: &[u8]) -> Vec<u8> {
    let mut file = b"MZ\0\0zimg".to_vec();
    let size = u32::try_from(packed.len()).unwrap();
    place(&mut file, 8, &[0x200, size].map(u32::to_le_bytes).concat());
    place(&mut file, 0x18, b"gzip\0");
    place(&mut file, 0x200, packed);
    file
}

/// A boot sector, two sectors of boot code, 100 bytes more, the payload, and a signature.
pub(crate) fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0x90; 3 * 512 + 100];
    place(&mut file, 0x1f1, &[2]);
    place(&mut file, 0x1fe, &[0x55, 0xaa]);
    place(&mut file, 0x202, b"HdrS\x0f\x02");
    place(&mut file, 0x248, &100_u32.to_le_bytes());
    place(&mut file, 0x24c, &u32::try_from(payload.len()).unwrap().to_le_bytes());
    [&file, payload, b"signature"].concat()
}

/// Every format that is unpacked.
pub(crate) const FORMATS: [Format; 7] =
    [Format::Gzip, Format::Bzip2, Format::Lzma, Format::Xz, Format::Lzo, Format::Lz4, Format::Zstd];

/// A payload as scripts/Makefile.lib makes it: packed, with the size at the end.
pub(crate) fn pack(format: Format, content: &[u8]) -> Vec<u8> {
    let mut packed = compress(format, content);
    if format != Format::Gzip {
        packed.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    }
    packed
}

fn compress(format: Format, content: &[u8]) -> Vec<u8> {
    use lzma_rust2::{CheckType, FilterType, LzmaOptions, LzmaWriter, XzOptions, XzWriter};
    let mut packed = Vec::new();
    match format {
        Format::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(packed, level);
            encoder.write_all(content).unwrap();
            return encoder.finish().unwrap();
        }
        Format::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(packed, bzip2::Compression::fast());
            encoder.write_all(content).unwrap();
            return encoder.finish().unwrap();
        }
        Format::Lzma => {
            let options = LzmaOptions::with_preset(1);
            let mut encoder = LzmaWriter::new_use_header(&mut packed, &options, None).unwrap();
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap();
        }
        Format::Xz => {
            let mut options = XzOptions::with_preset(1);
            options.set_check_sum_type(CheckType::Crc32);
            options.prepend_pre_filter(FilterType::BcjX86, 0);
            let mut encoder = XzWriter::new(&mut packed, options).unwrap();
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap();
        }
        Format::Lzo => {
            packed.extend(lzo::MAGIC);
            // Versions, method, level, flags, mode, times, no name, checksum.
            packed.extend(b"\x10\x40\x20\xa0\x09\x40\x03\x09\x03\0\0\x0d");
            packed.extend([0; 12 + 1 + 4]);
            for block in content.chunks(lzo::BLOCK) {
                let size = u32::try_from(block.len()).unwrap().to_be_bytes();
                packed.extend([size, size, lzo::adler32(block).to_be_bytes()].concat());
                packed.extend(block);
            }
            packed.extend([0; 4]);
        }
        Format::Lz4 => {
            packed.extend(lz4::MAGIC);
            for block in content.chunks(lz4::BLOCK) {
                let block = lz4_flex::block::compress(block);
                packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
                packed.extend(block);
            }
        }
        Format::Zstd => {
            use ruzstd::encoding::{CompressionLevel, compress_to_vec};
            return compress_to_vec(content, CompressionLevel::Fastest);
        }
    }
    packed
}
