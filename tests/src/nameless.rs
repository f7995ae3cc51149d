//! Images whose symbols are taken away, as those of kernels without `CONFIG_KALLSYMS`.

use std::path::Path;

use anyhow::{Result, ensure};
use watchdog_core::image;

/// Bytes of the token index of kallsyms (`kallsyms_token_index`, kernel/kallsyms_internal.h).
const INDEX: usize = 512;

/// Unpacks an image, and clears the token index of its kallsyms. Without it, no name can be read.
///
/// # Errors
/// If the image cannot be read, or has no kallsyms.
pub fn without_symbols(image: &Path) -> Result<Vec<u8>> {
    let (_, mut unpacked) = image::open_unpacked(image)?;
    let mut cleared = 0;
    for at in (0..unpacked.len() - INDEX).step_by(4) {
        let index = &mut unpacked[at..at + INDEX];
        if is_token_index(index) {
            index.fill(0);
            cleared += 1;
        }
    }
    ensure!(cleared > 0, "{} has no kallsyms", image.display());
    Ok(unpacked)
}

/// Whether these bytes are 256 ascending numbers from 0 on.
fn is_token_index(bytes: &[u8]) -> bool {
    let numbers = bytes.as_chunks::<2>().0.iter().map(|number| u16::from_le_bytes(*number));
    bytes.starts_with(&[0, 0]) && numbers.is_sorted_by(|one, next| one < next)
}
