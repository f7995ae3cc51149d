//! Witness: the vendor's image of the kernel, found in memory by its build id.
//!
//! The linker's note with the build id is in the image's `.notes`. Its distance from `_stext` is
//! the same in the file and in memory, because the image is loaded in one piece. The file alone
//! gives the bytes to search for and the size of the text.

use memchr::memmem::Finder;

use crate::image::VendorImage;
use crate::memory::PhysAddr;
use crate::text::{hex, printable};

/// What the search needs to know about an image.
#[derive(Clone, Debug)]
pub struct VendorSign {
    file: String,
    note: Finder<'static>,
    /// Bytes from `_stext` to the note.
    distance: i64,
    text_size: u64,
    build_id: String,
    release: String,
    banner: String,
}

impl VendorSign {
    /// The sign of an image that came from `file`.
    #[must_use]
    pub fn new(file: &str, image: &VendorImage) -> Self {
        Self {
            file: printable(file.as_bytes(), 256),
            note: Finder::new(image.build_id_note()).into_owned(),
            distance: image.build_id_note_offset(),
            text_size: image.text_size(),
            build_id: hex(image.build_id()),
            release: image.release().to_owned(),
            banner: image.banner().to_owned(),
        }
    }

    /// The sign of an image that is made up.
    #[cfg(test)]
    pub(super) fn made_up(note: &[u8], distance: i64, text_size: u64, release: &str) -> Self {
        Self {
            file: "made up".to_owned(),
            note: Finder::new(note).into_owned(),
            distance,
            text_size,
            build_id: "c0ffee".to_owned(),
            release: release.to_owned(),
            banner: format!("Linux version {release} (made up)"),
        }
    }

    /// The file and its build id, for a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} (build id {})", self.file, self.build_id)
    }

    /// Length of the note in bytes.
    pub(super) fn length(&self) -> usize {
        self.note.needle().len()
    }

    /// Offsets of the note in some bytes.
    pub(super) fn find_in<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        self.note.find_iter(bytes)
    }

    /// The claim that a note at physical `note_at` makes.
    #[must_use]
    pub fn claim(&self, note_at: PhysAddr) -> Option<VendorClaim> {
        Some(VendorClaim {
            file: self.file.clone(),
            phys: PhysAddr(note_at.0.checked_sub_signed(self.distance)?),
            size: self.text_size,
            build_id: self.build_id.clone(),
            release: self.release.clone(),
            banner: self.banner.clone(),
        })
    }
}

/// The claim of the vendor's image about a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorClaim {
    /// The image's file, fit to print.
    pub file: String,
    /// Physical address of `_stext`.
    pub phys: PhysAddr,
    /// Bytes to `_etext`.
    pub size: u64,
    /// In hexadecimal.
    pub build_id: String,
    /// As in `uname -r`. Foreign text.
    pub release: String,
    /// As in `/proc/version`. Foreign text.
    pub banner: String,
}
