//! The vendor's images that the nodes' kernels must match.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file_cache::{FileCache, Stamp};
use super::{ImageSpec, NodeName};
use watchdog_core::digest::Digest;
use watchdog_core::files;
use watchdog_core::image::{ImageError, VendorImage};
use watchdog_core::locate::{Kernel, Search, VendorSign};
use watchdog_core::verify::{Baseline, BaselineError, ImageSigns};

/// Vendor's images, each for one node or for all.
#[derive(Clone, Debug, Default)]
pub struct Images {
    given: Vec<Given>,
    /// The kernels whose images were already unpacked, by file.
    known: FileCache<ImageSigns>,
}

#[derive(Clone, Debug)]
struct Given {
    node: Option<NodeName>,
    file: PathBuf,
    sign: VendorSign,
}

impl Images {
    /// Reads images. One without a node's name is for every node.
    ///
    /// # Errors
    /// When a file is not a kernel image.
    pub fn open(files: Vec<ImageSpec>) -> Result<Self, ImageError> {
        let mut images = Vec::new();
        for ImageSpec { node, file } in files {
            let image = VendorImage::open(&file)?;
            let sign = VendorSign::new(&file.display().to_string(), &image);
            images.push(Given { node, file, sign });
        }
        Ok(Self { given: images, known: FileCache::default() })
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
    pub(super) fn search(&self, node: Option<&NodeName>, gentle: bool) -> Search {
        let is_for = |given: &&Given| given.node.is_none() || given.node.as_ref() == node;
        let images = self.given.iter().filter(is_for);
        Search { images: images.map(|given| given.sign.clone()).collect(), gentle }
    }
}
