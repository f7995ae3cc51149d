//! The boot header of a bzImage, and the payload that it points to.
//!
//! Documentation/arch/x86/boot.rst. The fields used here have had their offsets since protocol 2.08
//! (Linux 2.6.26).

use super::ImageError;

/// Sectors of boot code if the header says 0.
const DEFAULT_SETUP_SECTORS: u64 = 4;
const SECTOR: u64 = 512;
const SETUP_SECTORS: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const HEADER_MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
/// The first protocol that gives the place of the payload.
const OLDEST: u16 = 0x0208;
/// Offset of the magic number of an arm64 `Image` (Documentation/arch/arm64/booting.rst).
const ARM64_MAGIC: usize = 0x38;

/// The payload of a bzImage: the packed kernel, with its unpacked size at the end.
pub(super) fn payload(file: &[u8]) -> Result<&[u8], ImageError> {
    let cut_short = || ImageError::Header("it ends within its boot header".to_owned());
    let version = u16::from_le_bytes(field(file, VERSION).ok_or_else(cut_short)?);
    if version < OLDEST {
        return Err(ImageError::Header(format!(
            "its boot protocol is {}.{:02}; only 2.08 (Linux 2.6.26) and later say where the \
             kernel is",
            version >> 8,
            version & 0xff
        )));
    }
    let [sectors] = field(file, SETUP_SECTORS).ok_or_else(cut_short)?;
    let offset = u32::from_le_bytes(field(file, PAYLOAD_OFFSET).ok_or_else(cut_short)?);
    let length = u32::from_le_bytes(field(file, PAYLOAD_LENGTH).ok_or_else(cut_short)?);
    let start = payload_start(sectors, offset);
    within(file, start, length).ok_or_else(|| {
        ImageError::Header(format!(
            "its kernel should be {length} bytes from byte {start} on, but the file ends after {} \
             bytes",
            file.len()
        ))
    })
}

/// The payload starts after the boot sector, `sectors` more, and `offset` bytes.
fn payload_start(sectors: u8, offset: u32) -> u64 {
    let sectors = if sectors == 0 { DEFAULT_SETUP_SECTORS } else { sectors.into() };
    sectors.saturating_add(1).saturating_mul(SECTOR).saturating_add(offset.into())
}

fn within(file: &[u8], start: u64, length: u32) -> Option<&[u8]> {
    let end = start.checked_add(length.into())?;
    file.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// Whether the file has a boot sector with a boot header.
pub(super) fn is_bzimage(file: &[u8]) -> bool {
    let is_boot_sector = field(file, BOOT_FLAG) == Some([0x55, 0xaa]);
    is_boot_sector && field(file, HEADER_MAGIC) == Some(*b"HdrS")
}

/// The error for a file of an unknown format.
pub(super) fn unknown(file: &[u8]) -> ImageError {
    ImageError::Other(if field(file, ARM64_MAGIC) == Some(*b"ARM\x64") {
        "an arm64 kernel"
    } else if file.starts_with(b"MZ") {
        "an EFI program, but neither a bzImage nor a unified kernel image, whose section `.linux` \
         is the kernel"
    } else if file.len() < PAYLOAD_LENGTH {
        "too short for a kernel"
    } else {
        "neither a bzImage, which has `HdrS` at byte 514, nor an ELF file (a flat binary of a VMM \
         has no sections: the vmlinux that it was made from has them)"
    })
}

fn field<const N: usize>(file: &[u8], offset: usize) -> Option<[u8; N]> {
    file.get(offset..)?.first_chunk().copied()
}
