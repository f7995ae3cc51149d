//! EFI programs that hold a kernel.
//!
//! A unified kernel image has the kernel in its section `.linux` (the UAPI group's specification
//! "Unified Kernel Image"). An EFI zboot image has a header of its own with the place of the packed
//! kernel (drivers/firmware/efi/libstub/zboot-header.S).

use super::ImageError;

/// Offset of the offset of the PE header.
const PE_AT: usize = 0x3c;
/// Bytes of `PE\0\0` and of the COFF header behind it.
const COFF_END: usize = 24;
const SECTION_COUNT: usize = 6;
const OPTIONAL_SIZE: usize = 20;
const SECTION_HEADER: usize = 40;
/// Most sections. A unified kernel image has some ten for each profile.
const MAX_SECTIONS: u16 = 1024;

/// The kernel in a unified kernel image: `None` if the file is not an EFI program, or has no
/// section `.linux`. It is the same for all profiles of an image.
pub(super) fn linux(file: &[u8]) -> Option<Result<&[u8], ImageError>> {
    if !file.starts_with(b"MZ") {
        return None;
    }
    let header = file.get(usize::try_from(word(file, PE_AT)?).ok()?..)?;
    if !header.starts_with(b"PE\0\0") {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let table = COFF_END.checked_add(half(OPTIONAL_SIZE)?.into())?;
    let (sections, _) = header.get(table..)?.as_chunks::<SECTION_HEADER>();
    let count = half(SECTION_COUNT)?.min(MAX_SECTIONS);
    let mut named =
        sections.iter().take(count.into()).filter(|section| section.starts_with(b".linux\0\0"));
    let section = named.next()?;
    if named.next().is_some() {
        return Some(Err(ImageError::Header("it has two sections `.linux`".to_owned())));
    }
    // The bytes in the file may be padded to more than the section has.
    let size = word(section, 8)?.min(word(section, 16)?);
    let offset = word(section, 20)?;
    Some(within(file, offset, size).ok_or_else(|| {
        ImageError::Header(format!(
            "its section `.linux` should be {size} bytes from byte {offset} on, but the file ends \
             after {} bytes",
            file.len()
        ))
    }))
}

/// The packed kernel in a zboot image; `None` if the file is none.
pub(super) fn zboot(file: &[u8]) -> Option<Result<&[u8], ImageError>> {
    if !file.starts_with(b"MZ") || file.get(4..8) != Some(b"zimg") {
        return None;
    }
    let (offset, size) = (word(file, 8)?, word(file, 12)?);
    Some(within(file, offset, size).ok_or_else(|| {
        ImageError::Header(format!(
            "its kernel should be {size} bytes from byte {offset} on, but the file ends after {} \
             bytes",
            file.len()
        ))
    }))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn within(file: &[u8], offset: u32, size: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    file.get(start..start.checked_add(usize::try_from(size).ok()?)?)
}
