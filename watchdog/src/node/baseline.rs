//! Chooses the baseline by which a node's kernel is judged.

use super::{Images, NodeName};
use watchdog_core::locate::Kernel;
use watchdog_core::text::printable;
use watchdog_core::verify::{Baseline, BaselineError, BaselineKind, BaselineStore, StoreError};

/// Why a kernel has no baseline, although an image was given or imported for its node.
#[derive(Debug, thiserror::Error)]
pub enum NoBaseline {
    /// The stored baseline cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image cannot be used.
    #[error(
        "node {node} runs {kernel} and is not judged: its image cannot be used, and no imported \
         baseline is of that kernel. Nothing is learned in place of an image. Restore the file, \
         which is tried again, or import it with `watchdog baseline import`"
    )]
    Image {
        /// The node.
        node: NodeName,
        /// The kernel that it runs, fit to print.
        kernel: String,
        /// Why the image cannot be used.
        #[source]
        error: BaselineError,
    },
    /// The baseline is of another kernel.
    #[error(
        "node {node} runs {kernel}, but {baseline}: give the image of the kernel it boots, with \
         --image or `watchdog baseline import`"
    )]
    OtherKernel {
        /// The node.
        node: NodeName,
        /// The kernel that it runs, fit to print.
        kernel: String,
        /// The baseline that exists, fit to print.
        baseline: String,
    },
    /// The baseline is of this kernel, but fits only where KASLR did not move it.
    #[error(
        "node {node} runs the same build as {file}, but that file has no relocations, and KASLR \
         moved the kernel: give the bzImage of the same build (/boot/vmlinuz-RELEASE)"
    )]
    NoRelocations {
        /// The node.
        node: NodeName,
        /// The image, fit to print.
        file: String,
    },
}

/// The baseline for a located kernel: from an image that was given for the node, else the stored
/// one. `None` if no baseline of this kernel exists. A learned baseline of another kernel or place
/// counts as none, because every boot makes it one. If an image cannot be used, a stored baseline
/// replaces it only if it was imported: a learned one proves less than the image.
///
/// # Errors
/// [`NoBaseline`] if an image was given or imported, and no image is of this kernel, or a file
/// cannot be used.
pub fn baseline_for(
    images: &Images,
    store: &BaselineStore,
    node: &NodeName,
    kernel: &Kernel,
) -> Result<Option<Baseline>, NoBaseline> {
    let in_words = || {
        let build_id = kernel.build_id.as_deref().unwrap_or("unknown");
        let release = printable(kernel.release.as_bytes(), 64);
        format!("Linux {release} (build id {})", printable(build_id.as_bytes(), 64))
    };
    let other = |baseline: String| NoBaseline::OtherKernel {
        node: node.clone(),
        kernel: in_words(),
        baseline,
    };
    let files = images.files(node);
    let mut unusable = None;
    for file in &files {
        match images.baseline(file, kernel) {
            Ok(Some(baseline)) => return Ok(Some(baseline)),
            Ok(None) => {}
            Err(error) => unusable = unusable.or(Some(error)),
        }
    }
    if let Some(error) = unusable {
        let is_of_it = |it: &Baseline| it.kind == BaselineKind::Image && it.fits(kernel);
        let stored = store.load(node.as_str())?.filter(is_of_it);
        let failed = |error| NoBaseline::Image { node: node.clone(), kernel: in_words(), error };
        return stored.map(Some).ok_or_else(|| failed(error));
    }
    let fixed = |file: &str| NoBaseline::NoRelocations {
        node: node.clone(),
        file: printable(file.as_bytes(), 256),
    };
    if let Some(file) = files.iter().find(|file| images.lack_relocations(file, kernel)) {
        return Err(fixed(&file.display().to_string()));
    }
    if !files.is_empty() {
        return Err(other("no image given for it is of that kernel".to_owned()));
    }
    match store.load(node.as_str())? {
        Some(baseline) if baseline.fits(kernel) => Ok(Some(baseline)),
        Some(baseline)
            if baseline.kind == BaselineKind::Image
                && baseline.image_signs().lack_relocations(kernel) =>
        {
            Err(fixed(&baseline.origin.source))
        }
        Some(baseline) if baseline.kind == BaselineKind::Image => {
            let of = printable(baseline.identity.release.as_bytes(), 64);
            let id = baseline.identity.build_id.as_deref().unwrap_or("unknown");
            Err(other(format!("its baseline is of Linux {of} (build id {id})")))
        }
        _ => Ok(None),
    }
}
