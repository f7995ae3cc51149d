//! The initramfs of a node, as an uncompressed cpio archive.

use std::{fs::File, io::BufWriter, io::Write, path::Path};

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};

use crate::{kernel::Kernel, livepatch};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const DEVICE: u32 = 0o020_666;
/// The device number of `/dev/null` (Documentation/admin-guide/devices.txt).
const NULL: [u32; 2] = [1, 3];

/// Modules that node 0 needs to mount its root file system.
///
/// ext4 finds its checksum by name at run time, so `modules.dep` does not list it. Since 6.14 it is
/// library code and not a module.
const NODE0_MODULES: &[&str] =
    &["virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4"];

/// Writes node 0's initramfs: `init`, and the modules for its root file system.
pub fn for_node0(path: &Path, init: &[u8], kernel: &Kernel) -> Result<()> {
    let wanted = NODE0_MODULES
        .iter()
        .copied()
        .filter(|name| *name != "crc32c_generic" || kernel.has_module(name));
    write(path, init, kernel, &[("boot", wanted.collect())])
}

/// Writes a service node's initramfs: `init`, and modules that it can load on request.
/// [`livepatch::NAME`] is not one of the kernel's own modules; it is made for this kernel.
pub fn for_service_node(
    path: &Path,
    init: &[u8],
    kernel: &Kernel,
    modules: &[String],
) -> Result<()> {
    let sets: Vec<_> = modules.iter().map(|name| (name.as_str(), vec![name.as_str()])).collect();
    write(path, init, kernel, &sets)
}

/// Writes the initramfs of a node that loads no modules.
pub fn without_modules(path: &Path, init: &[u8]) -> Result<()> {
    trailer(Archive::begin(path, init)?.out)?.flush()?;
    Ok(())
}

/// Writes an initramfs. Each set of modules becomes a directory `/modules/SET`, with files in load
/// order.
fn write(path: &Path, init: &[u8], kernel: &Kernel, sets: &[(&str, Vec<&str>)]) -> Result<()> {
    let mut archive = Archive::begin(path, init)?;
    for (set, modules) in sets {
        archive.add(&format!("modules/{set}"), DIRECTORY, &[])?;
        if *set == livepatch::NAME {
            let module = livepatch::module(kernel)?;
            archive.add(&format!("modules/{set}/00-{set}.ko"), FILE, &module)?;
            continue;
        }
        for (index, module) in kernel.modules(modules.iter().copied())?.iter().enumerate() {
            let name = format!("modules/{set}/{index:02}-{}.ko", module.name);
            archive.add(&name, FILE, &module.read()?)?;
        }
    }
    trailer(archive.out)?.flush()?;
    Ok(())
}

struct Archive {
    out: BufWriter<File>,
    next_inode: u32,
}

impl Archive {
    /// Begins an archive with the program, an empty directory `/modules`, and `/dev/null`. A Rust
    /// program opens that device, or aborts, if its standard streams are closed. They are on a
    /// kernel without a console device: one without CONFIG_VT, on a node.
    fn begin(path: &Path, init: &[u8]) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut archive = Self { out: BufWriter::new(file), next_inode: 0 };
        archive.add("init", PROGRAM, init)?;
        archive.add("modules", DIRECTORY, &[])?;
        archive.add("dev", DIRECTORY, &[])?;
        let [major, minor] = NULL;
        let null = archive.entry("dev/null", DEVICE).rdev_major(major).rdev_minor(minor);
        null.write(&mut archive.out, 0).finish()?;
        Ok(archive)
    }

    /// Describes the next entry. Entries with the same inode number would become hard links of each
    /// other.
    fn entry(&mut self, name: &str, mode: u32) -> Builder {
        self.next_inode += 1;
        Builder::new(name).mode(mode).ino(self.next_inode)
    }

    fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let entry = self.entry(name, mode);
        let mut writer = entry.write(&mut self.out, u32::try_from(content.len())?);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}
