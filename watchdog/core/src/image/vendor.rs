//! A vendor's kernel image, as a description of the kernel that boots from it.

use crate::memory::VirtAddr;

/// The facts in a vendor's kernel image about the kernel that boots from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorImage {
    pub(super) build_id: Vec<u8>,
    pub(super) build_id_note: Vec<u8>,
    pub(super) build_id_note_offset: i64,
    pub(super) text_virt: VirtAddr,
    pub(super) text_size: u64,
    pub(super) release: String,
    pub(super) banner: String,
}

impl VendorImage {
    /// The GNU build id: 8 to 64 bytes, usually the 20 of a SHA-1.
    #[must_use]
    pub fn build_id(&self) -> &[u8] {
        &self.build_id
    }

    /// The build id's note as it is in the running kernel's memory, where nothing relocates it: the
    /// header of 12 bytes, `GNU\0`, the id.
    #[must_use]
    pub fn build_id_note(&self) -> &[u8] {
        &self.build_id_note
    }

    /// Bytes from `_stext` to [`Self::build_id_note`], by link addresses.
    ///
    /// Physical addresses give the same distance. The boot code moves the whole image at once, and
    /// an image whose program headers separate the two is refused.
    #[must_use]
    pub fn build_id_note_offset(&self) -> i64 {
        self.build_id_note_offset
    }

    /// The link address of `_stext`. It is there if KASLR is off.
    #[must_use]
    pub fn text_virt(&self) -> VirtAddr {
        self.text_virt
    }

    /// Bytes from `_stext` to `_etext`.
    #[must_use]
    pub fn text_size(&self) -> u64 {
        self.text_size
    }

    /// The release, as `uname -r` prints it. Foreign text: escape it before printing.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The line `Linux version …` of `/proc/version`, without its newline. Foreign text.
    #[must_use]
    pub fn banner(&self) -> &str {
        &self.banner
    }
}
