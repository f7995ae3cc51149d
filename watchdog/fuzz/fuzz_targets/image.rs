//! A kernel's ELF file: its layout, and the reference for judging.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::image::KernelImage;
use watchdog_core::verify::reference::Reference;
use watchdog_fuzz::bounded;

/// Largest kernel that is laid out. The bound of the watchdog itself is far higher, but so many
/// bytes are slow with coverage counters.
const MOST: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    bounded(|| {
        let Ok(image) = KernelImage::lay_out_at_most(bytes, MOST) else { return };
        for section in image.sections() {
            assert_eq!(image.content(section).len(), section.size as usize, "{section:?}");
        }
        let Ok(reference) = Reference::of_image(&image) else { return };
        assert_eq!(reference.text.bytes.len() as u64, image.vendor.text_size());
    });
});
