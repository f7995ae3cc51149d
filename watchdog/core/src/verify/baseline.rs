//! The baseline of a kernel's text: the bytes that the text should have.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::copy_text;
use super::measure::{MAX_TEXT, MeasureError, TextCopy};
use super::reference::{Reference, ReferenceError};
use crate::digest::Digest;
use crate::image::{self, ImageError, KernelImage};
use crate::locate::Kernel;
use crate::memory::Memory;
use crate::text::printable;

/// Longest name of a source in a log line.
const MAX_SHOWN: usize = 256;

/// Largest text that is learned, so that the stored baseline can be loaded again. Distribution
/// kernels have about 20 MiB of text.
const MAX_LEARNED: u64 = 64 << 20;

/// Where a baseline comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaselineKind {
    /// The vendor's image. It fits wherever KASLR puts the kernel.
    Image,
    /// The text that the first sweep read, trusted on first use.
    Learned,
}

/// The kernel that a baseline belongs to.
///
/// A learned baseline holds the text as one boot relocated it. It records the place of that text
/// and fits no other place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `uname -r`.
    pub release: String,
    /// The build id (hexadecimal), where the kernel has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build_id: Option<String>,
    /// Physical and virtual address of `_stext`. A baseline from an image has no place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<(u64, u64)>,
    /// Bytes from `_stext` to `_etext`.
    pub size: u64,
}

impl Identity {
    /// The identity of a located kernel.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Self {
        Self {
            release: kernel.release.clone(),
            build_id: kernel.build_id.clone(),
            place: Some((kernel.text.phys.0, kernel.text.virt.0)),
            size: kernel.text.size,
        }
    }
}

/// What a baseline was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Path of the image file, or `memory`.
    pub source: String,
    /// SHA-256 of the file, or of the learned text, as `sha256sum` prints it.
    pub sha256: Digest,
    /// When the baseline was made.
    pub made: Timestamp,
}

/// The expected text, with the changes that the kernel may make to it.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Where it comes from.
    pub kind: BaselineKind,
    /// The kernel that the baseline belongs to.
    pub identity: Identity,
    /// What it was made from.
    pub origin: Origin,
    /// The text, the tables and the symbols.
    pub reference: Arc<Reference>,
}

/// The properties that match a kernel to a vendor's image, without the data for judging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSigns {
    build_id: String,
    banner: String,
    size: u64,
    link_address: u64,
    is_relocatable: bool,
}

impl ImageSigns {
    /// Whether the kernel matches this image in all but its place: KASLR moved the kernel, and the
    /// image has no relocations.
    #[must_use]
    pub fn lack_relocations(&self, kernel: &Kernel) -> bool {
        !self.is_movable_to(kernel) && Self { is_relocatable: true, ..self.clone() }.fit(kernel)
    }

    fn is_movable_to(&self, kernel: &Kernel) -> bool {
        kernel.text.virt.0 == self.link_address || self.is_relocatable
    }

    /// Whether the kernel matches this image.
    #[must_use]
    pub fn fit(&self, kernel: &Kernel) -> bool {
        // Kernels before 5.13 do not publish their build id. Every kernel has a banner.
        let same_id = kernel.build_id.as_ref().is_none_or(|id| *id == self.build_id);
        let same_banner = kernel.banner == self.banner;
        let same_size = kernel.text.size == self.size;
        let movable = self.is_movable_to(kernel);
        log::debug!(
            "image and kernel: same build id {same_id}, same banner {same_banner}, same size \
             {same_size}, can be where KASLR put it {movable}"
        );
        same_id && same_banner && same_size && movable
    }
}

/// Why a baseline could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The file is not a usable kernel image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image cannot be moved, but its kernel moves itself.
    #[error(
        "cannot judge by {file}: it has no relocations, but its kernel is built with KASLR \
         (CONFIG_RANDOMIZE_BASE), which moves it at boot. Give the bzImage of the same build, or \
         its vmlinux.unstripped (since 6.15)"
    )]
    NoRelocations {
        /// The image file.
        file: String,
    },
    /// The image lacks data that judging needs.
    #[error("cannot judge by {file}: {error}")]
    Reference {
        /// The image file.
        file: String,
        /// What is missing.
        error: ReferenceError,
    },
    /// The text could not be read.
    #[error(transparent)]
    Measure(#[from] MeasureError),
}

impl Baseline {
    /// Makes a baseline from the vendor's image in `file`.
    ///
    /// # Errors
    /// [`BaselineError`] when the file is not an image with all data that judging needs.
    pub fn of_image(file: &Path) -> Result<Self, BaselineError> {
        let (bytes, laid_out) = lay_out(file)?;
        Self::of_laid_out(file, bytes, &laid_out)
    }

    /// As [`Self::of_image`], for every later boot of the kernel: KASLR may move it to any place.
    ///
    /// # Errors
    /// As [`Self::of_image`], and when KASLR moves the kernel but the image has no relocations.
    pub fn import(file: &Path) -> Result<Self, BaselineError> {
        let (bytes, laid_out) = lay_out(file)?;
        if laid_out.relocations.is_empty() && laid_out.has_kaslr() {
            return Err(BaselineError::NoRelocations { file: file.display().to_string() });
        }
        Self::of_laid_out(file, bytes, &laid_out)
    }

    fn of_laid_out(
        file: &Path,
        bytes: Digest,
        laid_out: &KernelImage,
    ) -> Result<Self, BaselineError> {
        let source = file.display().to_string();
        let failed = |error| BaselineError::Reference { file: source.clone(), error };
        let reference = Reference::of_image(laid_out).map_err(failed)?;
        Ok(Self {
            kind: BaselineKind::Image,
            identity: Identity {
                release: reference.release.clone(),
                build_id: Some(reference.build_id.clone()),
                place: None,
                size: reference.text.bytes.len() as u64,
            },
            origin: Origin { source, sha256: bytes, made: Timestamp::now() },
            reference: Arc::new(reference),
        })
    }

    /// Makes a baseline from the current text, which is assumed to be correct.
    ///
    /// # Errors
    /// [`BaselineError::Measure`] when the text cannot be read, or is too large to be learned.
    pub fn learn(memory: &dyn Memory, kernel: &Kernel) -> Result<Self, BaselineError> {
        if kernel.text.size > MAX_LEARNED {
            return Err(MeasureError::Size(kernel.text.size).into());
        }
        let text = copy_text(memory, &kernel.text)?;
        let sha256 = Digest::of(text.bytes());
        let TextCopy(text) = text;
        Ok(Self {
            kind: BaselineKind::Learned,
            identity: Identity::of(kernel),
            origin: Origin { source: "memory".to_owned(), sha256, made: Timestamp::now() },
            reference: Arc::new(Reference::learned(memory, kernel, text)),
        })
    }

    /// Whether this baseline can judge the kernel.
    #[must_use]
    pub fn fits(&self, kernel: &Kernel) -> bool {
        let fits = self.is_of(kernel);
        log::debug!(
            "the baseline made from {} {} the kernel at {}",
            printable(self.origin.source.as_bytes(), MAX_SHOWN),
            if fits { "fits" } else { "does not fit" },
            kernel.text.phys
        );
        fits
    }

    fn is_of(&self, kernel: &Kernel) -> bool {
        match self.kind {
            BaselineKind::Learned => self.identity == Identity::of(kernel),
            BaselineKind::Image => self.image_signs().fit(kernel),
        }
    }

    /// The properties that match a kernel to the image of this baseline.
    #[must_use]
    pub fn image_signs(&self) -> ImageSigns {
        let reference = &self.reference;
        ImageSigns {
            build_id: reference.build_id.clone(),
            banner: reference.banner.clone(),
            size: self.identity.size,
            link_address: reference.link_address,
            is_relocatable: !reference.text.relocations.is_empty(),
        }
    }

    /// Whether the parts of a baseline that was read from a file fit each other.
    pub(super) fn is_sound(&self) -> bool {
        let size = self.reference.text.bytes.len() as u64;
        self.reference.symbols.is_sound()
            && size == self.identity.size
            && (1..=MAX_TEXT).contains(&size)
            && self.reference.text.offset == 0
    }
}

fn lay_out(file: &Path) -> Result<(Digest, KernelImage), ImageError> {
    let (bytes, unpacked) = image::open_unpacked(file)?;
    let unusable = |error| ImageError::Unusable { path: file.to_owned(), error: Box::new(error) };
    Ok((bytes, KernelImage::lay_out(&unpacked).map_err(unusable)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::tests::made_up::{FIRST, Machine};

    /// Check that an image without relocations is distinguished from one of another kernel.
    #[test]
    fn lacking_relocations() {
        let kernel = Machine::with(FIRST).kernel();
        let signs = ImageSigns {
            build_id: kernel.build_id.clone().unwrap_or_default(),
            banner: kernel.banner.clone(),
            size: kernel.text.size,
            link_address: kernel.text.virt.0 - (16 << 20),
            is_relocatable: false,
        };
        assert!(!signs.fit(&kernel) && signs.lack_relocations(&kernel));
        let whole = ImageSigns { is_relocatable: true, ..signs.clone() };
        assert!(whole.fit(&kernel) && !whole.lack_relocations(&kernel));
        let unmoved = ImageSigns { link_address: kernel.text.virt.0, ..signs.clone() };
        assert!(unmoved.fit(&kernel) && !unmoved.lack_relocations(&kernel));
        let other = ImageSigns { banner: "another".to_owned(), ..signs };
        assert!(!other.fit(&kernel) && !other.lack_relocations(&kernel));
    }

    /// Check that a text up to the bound is learned and a larger one is refused.
    #[test]
    fn text_beyond_the_bound() {
        let machine = Machine::with(FIRST);
        let mut kernel = machine.kernel();
        assert!(Baseline::learn(&machine, &kernel).is_ok());
        kernel.text.size = MAX_LEARNED + 1;
        let error = Baseline::learn(&machine, &kernel).unwrap_err();
        assert!(matches!(error, BaselineError::Measure(MeasureError::Size(_))), "{error:?}");
    }
}
