//! Witness: the vendor's image of the kernel, found in memory by its build id.
//!
//! The linker's note with the build id stands in the image's `.notes`, at a distance from `_stext`
//! that is the same in the file and in memory, since the image is loaded in one piece. Which bytes
//! to look for, and how large the text is, comes from the file alone.

use memchr::memmem::Finder;

use crate::image::VendorImage;
use crate::memory::PhysAddr;
use crate::text::{hex, printable};

/// What to look for on behalf of an image.
#[derive(Clone, Debug)]
pub struct VendorSign {
    file: String,
    note: Finder<'static>,
    /// From `_stext` to the note, in bytes.
    distance: i64,
    text_size: u64,
    build_id: String,
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
        }
    }

    /// The file and its build id, for a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} (build id {})", self.file, self.build_id)
    }

    /// Bytes of the note.
    pub(super) fn length(&self) -> usize {
        self.note.needle().len()
    }

    /// Where the note stands in some bytes.
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
        })
    }
}

/// What the vendor's image says of a kernel.
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
}
