//! Images whose symbols are taken away, as those of kernels without `CONFIG_KALLSYMS`.

use std::path::Path;

use anyhow::{Result, ensure};
use watchdog_core::image;

/// Bytes of the token index of kallsyms (`kallsyms_token_index`, kernel/kallsyms_internal.h).
pub(crate) const INDEX: usize = 512;

/// Bytes of a token with its NUL.
const TOKEN: std::ops::RangeInclusive<u16> = 2..=128;

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

/// Whether these bytes are a token index of kallsyms: 256 numbers from 0 on, each at most one token
/// behind the one before.
pub(crate) fn is_token_index(bytes: &[u8]) -> bool {
    let numbers = bytes.as_chunks::<2>().0.iter().map(|number| u16::from_le_bytes(*number));
    let steps = numbers.clone().zip(numbers.skip(1));
    bytes.starts_with(&[0, 0])
        && steps.into_iter().all(|(one, next)| TOKEN.contains(&next.wrapping_sub(one)))
}
