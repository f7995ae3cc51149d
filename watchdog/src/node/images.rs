//! The vendor's images that the nodes' kernels must match.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::file_cache::{FileCache, Stamp};
use super::{ImageSpec, NodeName};
use watchdog_core::digest::Digest;
use watchdog_core::files;
use watchdog_core::image::{ImageError, VendorImage};
use watchdog_core::locate::{Kernel, Search, Stop, VendorSign};
use watchdog_core::text::chain;
use watchdog_core::verify::{Baseline, BaselineError, ImageSigns};

/// Vendor's images, each for one node or for all.
#[derive(Clone, Debug, Default)]
pub struct Images {
    given: Vec<Given>,
    unreadable: Vec<Unreadable>,
    /// The kernels whose images were already unpacked, by file.
    known: FileCache<ImageSigns>,
}

#[derive(Clone, Debug)]
struct Given {
    node: Option<NodeName>,
    file: PathBuf,
    /// The sign of the image once the file could be read.
    sign: Arc<Mutex<Option<VendorSign>>>,
}

/// An image whose file could not be read when the command started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The node that boots it; `None` for every node.
    pub node: Option<NodeName>,
    /// The error, which names the file.
    pub why: String,
}

impl Given {
    fn open(ImageSpec { node, file }: ImageSpec) -> (Self, Option<Unreadable>) {
        let given = Self { node: node.clone(), file, sign: Arc::default() };
        let why = given.sign().err().map(|error| chain(&error));
        (given, why.map(|why| Unreadable { node, why }))
    }

    /// The sign of the image. A file that could not be read is tried again.
    fn sign(&self) -> Result<VendorSign, ImageError> {
        let mut known = self.sign.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sign) = &*known {
            return Ok(sign.clone());
        }
        let image = VendorImage::open(&self.file)?;
        Ok(known.insert(VendorSign::new(&self.file.display().to_string(), &image)).clone())
    }
}

impl Images {
    /// Reads images. One without a node's name is for every node. A file that cannot be read
    /// concerns only its node: it is tried again at every search.
    #[must_use]
    pub fn open(files: Vec<ImageSpec>) -> Self {
        let (given, unreadable): (Vec<_>, Vec<_>) = files.into_iter().map(Given::open).unzip();
        let unreadable = unreadable.into_iter().flatten().collect();
        Self { given, unreadable, known: FileCache::default() }
    }

    /// The images that could not be read when the command started.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The files for a node: first those for it alone, then those for every node.
    pub(super) fn files(&self, node: &NodeName) -> Vec<&Path> {
        let own = self.given.iter().filter(|given| given.node.as_ref() == Some(node));
        let any = self.given.iter().filter(|given| given.node.is_none());
        own.chain(any).map(|given| given.file.as_path()).collect()
    }

    /// The baseline from a file, if that is the image of this kernel. The cache stores which kernel
    /// each file holds: a node that runs another kernel is judged often, and unpacking takes
    /// seconds.
    ///
    /// # Errors
    /// When no baseline can be made from the file.
    pub(super) fn baseline(
        &self,
        file: &Path,
        kernel: &Kernel,
    ) -> Result<Option<Baseline>, BaselineError> {
        let stamp = Stamp::of(file);
        let known = stamp.and_then(|stamp| self.known.get(file, stamp));
        if known.is_some_and(|signs| !signs.fit(kernel)) {
            return Ok(None);
        }
        let baseline = Baseline::of_image(file)?;
        if let Some(stamp) = stamp {
            self.known.put(file, stamp, baseline.image_signs());
        }
        Ok(baseline.fits(kernel).then_some(baseline))
    }

    /// Whether a file that was read for this kernel is of its build, but cannot follow KASLR.
    pub(super) fn lack_relocations(&self, file: &Path, kernel: &Kernel) -> bool {
        let known = Stamp::of(file).and_then(|stamp| self.known.get(file, stamp));
        known.is_some_and(|signs| signs.lack_relocations(kernel))
    }

    /// SHA-256 of each file, by its node and name. Files that can no longer be read are left out.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<String, String> {
        let digest = |Given { node, file, .. }: &Given| {
            let node = node.as_ref().map_or("every node", NodeName::as_str);
            let digest = Digest::of_reader(&mut files::open(file).ok()?).ok()?.to_string();
            Some((format!("{node}: {}", file.display()), digest))
        };
        self.given.iter().filter_map(digest).collect()
    }

    /// The parameters of a search for a node's kernel; without a name, for the kernel of any node.
    ///
    /// A search with images locates only their kernels. If one of the images cannot be read, the
    /// kernel may be of that image, so the search goes without any.
    pub(super) fn search(&self, node: Option<&NodeName>, gentle: bool, stop: &Stop) -> Search {
        let is_for = |given: &&Given| given.node.is_none() || given.node.as_ref() == node;
        let images = self.given.iter().filter(is_for);
        let images: Result<Vec<_>, _> = images.map(Given::sign).collect();
        let images = images.unwrap_or_else(|error| {
            log::debug!("the search goes without an image: {}", chain(&error));
            Vec::new()
        });
        Search { images, gentle, stop: stop.clone() }
    }
}
