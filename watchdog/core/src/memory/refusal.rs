//! Which part of memory a source cannot serve, and why.

use std::fmt;
use std::sync::Arc;

use super::{LentTo, PhysRange, SourceError};

/// A part of memory that a source does not serve.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The part. The reason is the same for all of it.
    pub range: PhysRange,
    /// The reason.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.range, self.reason)
    }
}

/// Why a source does not serve a part of memory, as a sentence that continues after the range.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Reason {
    /// The part lies below or above everything that an image holds.
    #[error(
        "is not in the image, which holds {0}. Correct --node, or name the right image. If a raw \
         image does not start at physical address 0, use raw:FILE@PHYS"
    )]
    OutsideImage(PhysRange),
    /// The part lies between ranges that an image holds.
    #[error(
        "is a hole in the image: the program that wrote it left this memory out. Take the image \
         again without a filter (makedumpfile -d 0), or leave the hole out of --node"
    )]
    Hole,
    /// The image's headers promise the part, but the file ends before it.
    #[error(
        "is missing from the image, which was cut short. Copy the image again, or take a new one"
    )]
    CutShort,
    /// The part is System RAM. `/dev/mem` does not show it (`devmem_is_allowed`,
    /// arch/x86/mm/init.c, 6.1), and no other node can live in it.
    #[error(
        "is System RAM of this kernel ({0}). The kernel allocates from this range, so the range \
         cannot belong to another node, and /dev/mem does not show it. Reserve the range \
         (memmap=SIZE$START on the kernel command line) or correct --node; /proc/iomem shows the \
         map. To look at this kernel's own memory, use --memory live or --memory kcore"
    )]
    SystemRam(PhysRange),
    /// The part is the image of this kernel itself, inside memory that `memmap=` reserves.
    #[error(
        "is the image of this kernel itself. KASLR or the boot loader placed the kernel there \
         before memmap= reserved the memory around it, so no node can use the range and the guard \
         does not cover it. Start this kernel with `nokaslr`, or with at most four memmap= (KASLR \
         avoids no more), and reboot; or leave the range out of --node"
    )]
    OwnKernel,
    /// The part is memory that this kernel lends to another one.
    #[error(
        "is memory that this kernel lends to another one ({0}). This kernel still owns it, so the \
         guard does not cover it. To look at the kernel there, use --memory live with {1}"
    )]
    Lent(LentTo, String),
    /// The part is claimed or mapped by a driver of node 0, as the text says. `/dev/mem` refuses
    /// to show it (`iomem_is_exclusive()`, kernel/resource.c, 5.10 to 7.2).
    #[error(
        "is {0}, and this kernel does not let /dev/mem show it. Unload the driver to read this \
         part, or leave it out of --node"
    )]
    Claimed(String),
    /// The part is persistent memory, which drivers of node 0 manage.
    #[error(
        "is persistent memory to this kernel. The kernel's drivers may write to the range, or turn \
         it into RAM, so the range cannot belong to another node. Reserve the range with \
         memmap=SIZE$START on the kernel command line (not with `!`, which makes persistent \
         memory), or correct --node; /proc/iomem shows the map"
    )]
    Persistent,
    /// The part is a device's registers, not memory.
    #[error(
        "is not memory but a device's address space (see /proc/iomem). Reading it could disturb \
         the device. Correct --node"
    )]
    Device,
    /// The part is not RAM of this kernel, and `/proc/kcore` holds nothing else.
    #[error(
        "is not System RAM of this kernel, and /proc/kcore holds only System RAM. Use --memory \
         live, which reads other memory through /dev/mem, or correct --node"
    )]
    NotSystemRam,
    /// The part is less than a page, or is offline memory.
    #[error(
        "is listed as System RAM in /proc/iomem but is not in /proc/kcore, which holds only whole \
         online pages. Leave it out of --node"
    )]
    NotInKcore,
    /// The part shares a page with System RAM; neither `/dev/mem` nor `/proc/kcore` shows such a
    /// page.
    #[error(
        "shares a page with System RAM of this kernel, and neither /dev/mem nor /proc/kcore shows \
         such a page. Leave the page out of --node"
    )]
    SharedPage,
    /// The source that would serve the part cannot be used.
    #[error("cannot be read: {0}")]
    Unavailable(Arc<SourceError>),
    /// The part is readable, but the source was not opened for it.
    #[error("is outside of the memory that this command reads. Add the range with --node")]
    NotAsked,
}
