//! The vendor's kernel image, in every packing and container.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::image::VendorImage;
use watchdog_fuzz::bounded;

/// Largest size that is unpacked. The bound of the watchdog itself is far higher, but unpacking so
/// much is slow with coverage counters.
const MOST: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = bounded(|| VendorImage::parse_at_most(bytes.to_vec(), MOST)) {
        assert!((8..=64).contains(&image.build_id().len()), "{:?}", image.build_id());
        assert!(image.build_id_note().ends_with(image.build_id()), "{:?}", image.build_id_note());
        assert!(image.banner().starts_with("Linux version "), "{}", image.banner());
        assert!(!image.release().is_empty() && image.text_size() > 0, "{image:?}");
        assert!(image.text_virt().checked_add(image.text_size()).is_some(), "{image:?}");
    }
});
