//! Options that several commands share: memory, nodes and images, configuration and output.

use std::path::PathBuf;

use clap::Args;

use crate::config::{self, Config, NodeSection};
use crate::node::{ImageSpec, NodeSpec, Target, TargetError, named};
use watchdog_core::memory::MemorySource;

/// Where baselines are, and how results are printed.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Configuration file [default: /etc/watchdog/watchdog.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where baselines are kept [default: /var/lib/watchdog]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Print one JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

impl PlaceArgs {
    /// The configuration, overridden by what the command line says.
    ///
    /// # Errors
    /// When the configuration cannot be read or is wrong.
    pub(super) fn config(&self) -> Result<Config, config::ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(state_dir) = &self.state_dir {
            config.state_dir.clone_from(state_dir);
        }
        Ok(config)
    }
}

/// Options of every command that reads memory.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// Where physical memory is read [default: devmem]
    ///
    /// devmem: this machine's /dev/mem: everything but this kernel's own RAM
    /// kcore: this kernel's own RAM, from /proc/kcore
    /// live: devmem or kcore, whichever has the range
    /// raw:FILE[@PHYS]: a raw image, or a virtual machine's live RAM file;
    ///   PHYS is the physical address of its first byte (default 0)
    /// raw:FILE@PHYS+LENGTH,PHYS+LENGTH,…: the same with holes: the pieces in
    ///   the order of the file; the last one needs no length
    /// elf:FILE: an ELF core of kdump, makedumpfile -E or QEMU
    /// lime:FILE: an image of LiME or AVML
    #[arg(long, value_name = "SOURCE", verbatim_doc_comment)]
    pub memory: Option<MemorySource>,
    /// A node's physical memory; repeat for more nodes [default: discovered]
    ///
    /// END is exclusive; a node may have several ranges. Without --node, nodes are discovered. In
    /// an image, every kernel is a node. On a live machine, every kernel is a node that lies in
    /// memory which the firmware calls RAM and this kernel does not use. With kcore, the node is
    /// this kernel itself. Holes of a core within a node's ranges are left out and reported.
    #[arg(long = "node", value_name = "[NAME=]START..END[,…]")]
    pub nodes: Vec<NodeSpec>,
    /// The vendor's image that a node's kernel must match; repeatable
    ///
    /// It is one more witness of where the kernel is, and the baseline for its text.
    /// FILE is the bzImage that the node boots (/boot/vmlinuz-…), a unified kernel image, or its
    /// vmlinux. Without NAME, it is for every node. With several images, each kernel must match
    /// one of them.
    #[arg(long = "image", value_name = "[NAME=]FILE")]
    pub images: Vec<ImageSpec>,
    /// Where, and by which configuration.
    #[command(flatten)]
    pub place: PlaceArgs,
}

impl MemoryArgs {
    /// The configuration, overridden by what the command line says.
    ///
    /// # Errors
    /// When the configuration cannot be read or is wrong.
    pub(super) fn config(&self) -> Result<Config, config::ConfigError> {
        let mut config = self.place.config()?;
        if let Some(memory) = &self.memory {
            config.memory.clone_from(memory);
        }
        Ok(config)
    }

    /// What the command works on: memory, nodes, and the images their kernels must be.
    ///
    /// # Errors
    /// When memory cannot be read, or nodes or images are wrong.
    pub(super) fn target(&self, config: &Config) -> Result<Target, TargetError> {
        let images = if self.images.is_empty() {
            let spec = |node: &NodeSection| {
                let (node, file) = (Some(node.name.clone()), node.image.clone()?);
                Some(ImageSpec { node, file })
            };
            config.nodes.iter().filter_map(spec).collect()
        } else {
            self.images.clone()
        };
        let nodes = if self.nodes.is_empty() {
            config.nodes.iter().map(|node| (node.name.clone(), node.ranges.clone())).collect()
        } else {
            named(&self.nodes)
        };
        Target::open(&config.memory, nodes)?.with_images(images)
    }
}
