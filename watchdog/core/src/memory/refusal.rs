//! Which part of memory a source cannot serve, and why.

use std::fmt;
use std::sync::Arc;

use super::{PhysRange, SourceError};

/// A part of memory that a source does not serve.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The part, all of it for the same reason.
    pub range: PhysRange,
    /// The reason.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.range, self.reason)
    }
}

/// Why a part of memory is not served; as a sentence that begins after the range.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Reason {
    /// Below or above everything that an image holds.
    #[error(
        "is not in the image, which holds {0}. Correct --node, or name the right image. If a raw \
         image does not start at physical address 0, use raw:FILE@PHYS"
    )]
    OutsideImage(PhysRange),
    /// Between what an image holds.
    #[error(
        "is a hole in the image: the program that wrote it left this memory out. Take the image \
         again without a filter (makedumpfile -d 0), or leave the hole out of --node"
    )]
    Hole,
    /// An image's headers promise it, and the file ends before it.
    #[error(
        "is missing from the image, which was cut short. Copy the image again, or take a new one"
    )]
    CutShort,
    /// `/dev/mem` shows no System RAM (`devmem_is_allowed`, arch/x86/mm/init.c, 6.1), and
    /// no other node can live in it.
    #[error(
        "is System RAM of this kernel ({0}). The kernel allocates from this range, so the range \
         cannot belong to another node, and /dev/mem does not show it. Reserve the range \
         (memmap=SIZE$START on the kernel command line) or correct --node; /proc/iomem shows the \
         map. To look at this kernel's own memory, use --memory live or --memory kcore"
    )]
    SystemRam(PhysRange),
    /// Drivers of node 0 answer for it.
    #[error(
        "is persistent memory to this kernel. The kernel's drivers may write to the range, or turn \
         it into RAM, so the range cannot belong to another node. Reserve the range with \
         memmap=SIZE$START on the kernel command line (not with `!`, which makes persistent \
         memory), or correct --node; /proc/iomem shows the map"
    )]
    Persistent,
    /// Registers, not memory.
    #[error(
        "is not memory but a device's address space (see /proc/iomem). Reading it could disturb \
         the device. Correct --node"
    )]
    Device,
    /// `/proc/kcore` has only what its kernel uses.
    #[error(
        "is not System RAM of this kernel, and /proc/kcore holds only System RAM. Use --memory \
         live, which reads other memory through /dev/mem, or correct --node"
    )]
    NotSystemRam,
    /// A part of a page, or memory that is offline.
    #[error(
        "is listed as System RAM in /proc/iomem but is not in /proc/kcore, which holds only whole \
         online pages. Leave it out of --node"
    )]
    NotInKcore,
    /// Neither `/dev/mem` nor `/proc/kcore` shows a page that is System RAM in part.
    #[error(
        "shares a page with System RAM of this kernel, and neither /dev/mem nor /proc/kcore shows \
         such a page. Leave the page out of --node"
    )]
    SharedPage,
    /// What would serve it cannot be used.
    #[error("cannot be read: {0}")]
    Unavailable(Arc<SourceError>),
    /// It could be read, but is not what the source was opened for.
    #[error("is outside of the memory that this command reads. Add the range with --node")]
    NotAsked,
}
