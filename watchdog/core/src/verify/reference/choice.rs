//! The symbols of an image: those of kallsyms or of a `vmlinux`, and what neither names.

use super::{ImageSymbols, ReferenceError, derived, nameless};
use crate::image::KernelImage;

impl ImageSymbols {
    /// Reads the symbols of an image: those for kallsyms, or those of a `vmlinux`, whichever has
    /// data too. What neither names is derived.
    ///
    /// # Errors
    /// [`ReferenceError`] if its text lies elsewhere by its symbols, or if it has none and is too
    /// old to be judged without them.
    pub(super) fn of_image(image: &KernelImage) -> Result<Self, ReferenceError> {
        let own = || Self::from_ascending(image.symbols.iter().cloned());
        let symbols = match Self::of_kallsyms(image) {
            Ok(Some(symbols)) if symbols.has_data() => return Ok(symbols),
            Ok(Some(symbols)) => {
                let own = own();
                if own.has_data() { own } else { symbols }
            }
            Ok(None) | Err(_) if !image.symbols.is_empty() => own(),
            Ok(None) => return nameless::symbols(image),
            Err(error) => return Err(error),
        };
        if symbols.has_data() {
            log::debug!("the image has the symbols of a vmlinux, and kallsyms lacks those of data");
            return Ok(symbols);
        }
        log::debug!("the image does not name its data: derived from the forms of its tables");
        Ok(derived::with_derived(image, &symbols))
    }
}
