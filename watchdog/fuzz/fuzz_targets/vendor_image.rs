//! The vendor's kernel image, in every packing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::image::VendorImage;
use watchdog_fuzz::bounded;

/// Largest unpacked size that an image may state. The bound of the watchdog itself is far higher,
/// but unpacking so much is slow with coverage counters.
const MOST: u32 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if stated_size(bytes).is_some_and(|size| size > MOST) {
        return;
    }
    if let Ok(image) = bounded(|| VendorImage::parse(bytes.to_vec())) {
        assert!((8..=64).contains(&image.build_id().len()), "{:?}", image.build_id());
        assert!(image.build_id_note().ends_with(image.build_id()), "{:?}", image.build_id_note());
        assert!(image.banner().starts_with("Linux version "), "{}", image.banner());
        assert!(!image.release().is_empty() && image.text_size() > 0, "{image:?}");
        assert!(image.text_virt().checked_add(image.text_size()).is_some(), "{image:?}");
    }
});

/// The unpacked size that a bzImage states at the end of its payload
/// (Documentation/arch/x86/boot.rst: `setup_sects`, `payload_offset`, `payload_length`).
fn stated_size(file: &[u8]) -> Option<u32> {
    let number = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let sectors = match *file.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let end = (sectors + 1) * 512 + number(0x248)? as usize + number(0x24c)? as usize;
    number(end.checked_sub(4)?)
}
