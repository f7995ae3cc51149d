//! Files that hold a kernel: a bzImage, a unified kernel image, an EFI zboot image, a `vmlinux`
//! that is packed as a whole.

use super::{ImageError, bzimage, payload, pe, vmlinux};

/// How deep containers may be in each other. A unified kernel image may hold a packed bzImage,
/// which holds the kernel.
const MAX_DEPTH: u32 = 4;

/// Unpacks a file down to the kernel's ELF file, to at most `limit` bytes in each step. From a
/// bzImage, relocations follow it.
///
/// # Errors
/// [`ImageError`], without a path.
pub(super) fn kernel(file: &[u8], limit: u64) -> Result<Vec<u8>, ImageError> {
    within(file, limit, MAX_DEPTH)
}

fn within(file: &[u8], limit: u64, depth: u32) -> Result<Vec<u8>, ImageError> {
    let depth = depth.checked_sub(1).ok_or(ImageError::Nested)?;
    if vmlinux::is_elf(file) {
        return Ok(file.to_vec());
    }
    // The EFI stub makes a bzImage an EFI program too.
    if bzimage::is_bzimage(file) {
        let payload = bzimage::payload(file)?;
        if vmlinux::is_elf(payload) {
            log::debug!("{} bytes that are not packed", payload.len());
            return Ok(payload.to_vec());
        }
        return payload::unpack(payload, limit);
    }
    if let Some(packed) = pe::zboot(file) {
        log::debug!("an EFI zboot image");
        return within(packed?, limit, depth);
    }
    if let Some(linux) = pe::linux(file) {
        log::debug!("a unified kernel image");
        return within(linux?, limit, depth);
    }
    if payload::format_by_magic(file).is_some() {
        return within(&payload::unpack_whole(file, limit)?, limit, depth);
    }
    Err(bzimage::unknown(file))
}
