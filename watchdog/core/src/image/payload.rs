//! The packed kernel in a bzImage.
//!
//! The formats are those of `KERNEL_GZIP` … `KERNEL_ZSTD` (init/Kconfig). scripts/Makefile.lib
//! packs the kernel and appends its unpacked size as 32 bits; gzip itself does that.

use std::io::{self, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{Format, ImageError, lz4, lzo};

/// Most memory for a dictionary, the unpacked bytes that later ones may refer to: 256 MiB. zstd
/// and, since 6.13, xz use up to 128 MiB for a kernel (scripts/Makefile.lib, scripts/xz_wrap.sh).
pub(super) const MAX_DICTIONARY: u32 = 256 << 20;

/// The format by its magic number, as the kernel itself detects it (lib/decompress.c).
pub(super) fn format_by_magic(payload: &[u8]) -> Option<Format> {
    const MAGIC: [(&[u8], Format); 7] = [
        (b"\x1f\x8b", Format::Gzip),
        (b"BZh", Format::Bzip2),
        (b"\x5d\x00\x00", Format::Lzma),
        (b"\xfd7zXZ\x00", Format::Xz),
        (&lzo::MAGIC, Format::Lzo),
        (&lz4::MAGIC, Format::Lz4),
        (b"\x28\xb5\x2f\xfd", Format::Zstd),
    ];
    MAGIC.iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, format)| *format)
}

fn format_of(payload: &[u8]) -> Result<Format, ImageError> {
    format_by_magic(payload).ok_or_else(|| {
        let start: Vec<_> = payload.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let start = start.join(" ");
        ImageError::Unsupported(format!("in an unknown way (it begins with {start})"))
    })
}

/// Unpacks a payload to at most `limit` bytes.
///
/// The result is compared with the size at the end of the payload. No memory is allocated by that
/// size.
pub(super) fn unpack(payload: &[u8], limit: u64) -> Result<Vec<u8>, ImageError> {
    let format = format_of(payload)?;
    let (packed, size) = payload
        .split_last_chunk()
        .ok_or_else(|| ImageError::Header("its kernel is empty".to_owned()))?;
    let stated = u64::from(u32::from_le_bytes(*size));
    if stated > limit {
        return Err(ImageError::TooMuch { stated, limit });
    }
    let mut unpacked = Vec::new();
    // One byte more than stated, to detect a payload that unpacks to more.
    let most = stated.saturating_add(1);
    decode(format, if format == Format::Gzip { payload } else { packed }, most, &mut unpacked)
        .map_err(|error| ImageError::Unpack { format, error })?;
    let found = unpacked.len() as u64;
    log::debug!(
        "{} bytes packed as {format}: unpacked {found}, and the image says {stated}",
        payload.len()
    );
    if found == stated {
        return Ok(unpacked);
    }
    let found = if found > stated { "more".to_owned() } else { found.to_string() };
    Err(ImageError::WrongSize { stated, found })
}

/// Unpacks a file that is packed as a whole, to at most `limit` bytes. It does not state its size.
pub(super) fn unpack_whole(packed: &[u8], limit: u64) -> Result<Vec<u8>, ImageError> {
    let format = format_of(packed)?;
    let mut unpacked = Vec::new();
    decode(format, packed, limit.saturating_add(1), &mut unpacked)
        .map_err(|error| ImageError::Unpack { format, error })?;
    log::debug!("{} bytes packed as {format}: unpacked {}", packed.len(), unpacked.len());
    if unpacked.len() as u64 > limit {
        return Err(ImageError::Endless { format, limit });
    }
    Ok(unpacked)
}

/// Decodes up to `most` bytes. If these are all, verifies the format's own checksum.
pub(super) fn decode(
    format: Format,
    packed: &[u8],
    most: u64,
    unpacked: &mut Vec<u8>,
) -> io::Result<()> {
    const KIB: u32 = MAX_DICTIONARY >> 10;
    let mut all = |decoder: &mut dyn Read| decoder.take(most).read_to_end(unpacked).map(drop);
    match format {
        Format::Gzip => all(&mut flate2::bufread::GzDecoder::new(packed)),
        Format::Bzip2 => all(&mut bzip2::bufread::BzDecoder::new(packed)),
        Format::Lzma => all(&mut lzma_rust2::LzmaReader::new_mem_limit(packed, KIB, None)?),
        Format::Xz => all(&mut lzma_rust2::XzReader::new_mem_limit(packed, false, KIB)),
        Format::Lzo => all(&mut lzo::Decoder::new(packed)?),
        Format::Lz4 => all(&mut lz4::Decoder::new(packed)),
        Format::Zstd => {
            let mut decoder =
                StreamingDecoder::new_with_max_window_size(packed, MAX_DICTIONARY.into())
                    .map_err(io::Error::other)?;
            all(&mut decoder)?;
            verify_zstd(&decoder.decoder)
        }
    }
}

/// Compares the checksums, which the decoder computes but does not compare. They are final only
/// after the decoder gave all its bytes.
fn verify_zstd(decoder: &FrameDecoder) -> io::Result<()> {
    let gave_all = decoder.is_finished() && decoder.can_collect() == 0;
    match (decoder.get_checksum_from_data(), decoder.get_calculated_checksum()) {
        (Some(stated), Some(found)) if gave_all && stated != found => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "wrong checksum"))
        }
        _ => Ok(()),
    }
}
