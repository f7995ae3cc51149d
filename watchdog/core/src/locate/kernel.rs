//! The results of locating a kernel.

use std::sync::Arc;

use super::page_tables::Tables;
use super::{Pulse, Symbols};
use crate::memory::{PhysAddr, PhysRange, VirtAddr};

/// The kernel text of a node: the bytes from `_stext` to `_etext`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Physical address of `_stext`.
    pub phys: PhysAddr,
    /// The node's own virtual address of `_stext`.
    pub virt: VirtAddr,
    /// Bytes up to `_etext`.
    pub size: u64,
}

/// The statement of one witness about a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// `vmcoreinfo`, `kallsyms`, `page-tables`, `iomem` or `image`.
    pub name: &'static str,
    /// Whether it agrees with the others.
    pub agrees: bool,
    /// Its statement, fit to print.
    pub says: String,
}

/// A located kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As in `uname -r`. Foreign text: escape it before printing.
    pub release: String,
    /// As in `/proc/version`. Foreign text.
    pub banner: String,
    /// The linker's build id in hexadecimal, if the kernel publishes one.
    pub build_id: Option<String>,
    /// The place of the text.
    pub text: Text,
    /// Physical memory of the whole image, `_text` to `_end`.
    pub image: PhysRange,
    /// Physical address of the kernel's own top-level page table (`init_top_pgt`).
    pub page_table_root: PhysAddr,
    /// 4 or 5.
    pub paging_levels: u8,
    /// The bit of page-table entries that means "encrypted memory", or 0.
    pub encryption: u64,
    /// Whether it maps modules from 512 MiB behind the start of the image mapping on, instead of
    /// 1 GiB: it is built without KASLR (`KERNEL_IMAGE_SIZE`,
    /// arch/x86/include/asm/page_64_types.h).
    pub has_near_modules: bool,
    /// Whether its text was mapped writable when it was located, although its boot was over.
    pub is_writable: bool,
    /// How far KASLR moved the image from its link address, in bytes.
    pub kaslr_offset: u64,
    /// What the kernel adds to an image offset to get a physical address (`phys_base`); wraps.
    pub phys_base: u64,
    /// The statements of the witnesses.
    pub witnesses: Vec<Witness>,
    /// The clocks that advance while it lives.
    pub pulse: Pulse,
    /// The kernel's own symbol table.
    pub symbols: Arc<Symbols>,
}

impl Kernel {
    /// Its own page tables.
    #[must_use]
    pub const fn tables(&self) -> Tables {
        let Self { page_table_root: root, paging_levels: levels, encryption, .. } = *self;
        Tables { root, levels, encryption }
    }
}

/// Parts of a kernel that the kernel itself describes at another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// Physical address of the text, as the kernel states it.
    pub claimed: PhysAddr,
    /// Physical address at which it was found.
    pub found: PhysAddr,
}

/// A kernel that could not be located.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Why, as a sentence without its full stop.
    pub reason: String,
    /// The claimed address of its text.
    pub text: Option<PhysAddr>,
    /// The statement of each witness.
    pub witnesses: Vec<Witness>,
    /// The clocks that would advance if it lived, if its symbol table names them.
    pub pulse: Pulse,
    /// Whether it states another place. It then belongs to a virtual machine, or all addresses of
    /// this memory are wrong.
    pub displaced: Option<Displaced>,
}

impl Lost {
    /// A loss for a reason that no witness gave.
    #[must_use]
    pub fn because(reason: String) -> Self {
        Self { reason, text: None, witnesses: Vec::new(), pulse: Pulse::default(), displaced: None }
    }

    /// The loss of a kernel that states another place, with the distance in its reason.
    #[must_use]
    pub(super) fn displaced(mut self, displaced: Displaced) -> Self {
        let Displaced { claimed, found } = displaced;
        let (distance, side) =
            (claimed.0.abs_diff(found.0), if claimed > found { "above" } else { "below" });
        self.reason.push_str(&format!(
            ". Its VMCOREINFO says that its text is at {claimed}, {distance:#x} {side} the place \
             where it is. Either the kernel is a virtual machine's, or all physical addresses of \
             this memory are wrong by that distance: a file that lacks a hole of the machine must \
             be given with its addresses, as raw:FILE@ADDRESS"
        ));
        self.displaced = Some(displaced);
        self
    }
}

/// The finding about one kernel.
#[derive(Clone, Debug)]
pub enum Finding {
    /// The witnesses agree.
    Located(Box<Kernel>),
    /// Its text is still mapped writable: it is starting.
    Booting(Lost),
    /// The witnesses disagree, or there are too few.
    Lost(Lost),
}

impl Finding {
    /// Whether this is a kernel that states another place than where it is.
    #[must_use]
    pub const fn is_displaced(&self) -> bool {
        matches!(self, Self::Lost(Lost { displaced: Some(_), .. }))
    }

    /// Physical address of the text, if any witness named one.
    #[must_use]
    pub fn text_address(&self) -> Option<PhysAddr> {
        match self {
            Self::Located(kernel) => Some(kernel.text.phys),
            Self::Booting(lost) | Self::Lost(lost) => lost.text,
        }
    }

    /// The clocks that advance while this kernel lives.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        match self {
            Self::Located(kernel) => kernel.pulse,
            Self::Booting(lost) | Self::Lost(lost) => lost.pulse,
        }
    }

    /// `located`, `booting` or `lost`.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Located(_) => "located",
            Self::Booting(_) => "booting",
            Self::Lost(_) => "lost",
        }
    }

    /// Why it is not located; empty when it is.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Located(_) => "",
            Self::Booting(lost) | Self::Lost(lost) => &lost.reason,
        }
    }

    /// The statement of each witness.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        match self {
            Self::Located(kernel) => &kernel.witnesses,
            Self::Booting(lost) | Self::Lost(lost) => &lost.witnesses,
        }
    }
}
