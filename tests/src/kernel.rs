//! A kernel that a node can boot: its image and its modules, unpacked from a Debian package by
//! `cargo xtask setup`.

use std::{collections::HashMap, fs, io::Read, path::Path, path::PathBuf};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

use crate::btf::Btf;
use xtask::{kernels::cached_name, own_kernels};

use crate::cache;
use crate::disk;

/// A kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    directory: PathBuf,
    /// As `uname -r` prints it.
    pub release: String,
}

impl Kernel {
    /// Finds the kernel of this name: a version (`6.1`) or a suite (`sid`), both of the flavour
    /// `amd64`, or one of these with a flavour (`6.12-rt-amd64`).
    pub fn named(name: &str) -> Result<Self> {
        let name = cached_name(name);
        let directory = cache::require(
            cache::kernels().join(&name),
            &format!("kernel {name}"),
            &if name.starts_with(own_kernels::PREFIX) {
                format!("cargo xtask kernels {name}")
            } else {
                format!("cargo xtask setup --kernel {name}")
            },
        )?;
        let release = fs::read_to_string(directory.join("release"))
            .with_context(|| format!("{} is not a kernel of this version", directory.display()))?;
        Ok(Self { directory, release: release.trim().to_owned() })
    }

    /// Returns the path of the bzImage.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// Returns the directory that is `/lib/modules` on a machine with this kernel.
    #[must_use]
    pub fn module_root(&self) -> PathBuf {
        self.directory.join("lib/modules")
    }

    /// Returns a disk with the same content, which is made at the first request.
    ///
    /// # Errors
    /// If the disk cannot be made.
    pub fn module_disk(&self) -> Result<PathBuf> {
        let image = self.directory.join("modules.ext4");
        if !image.exists() {
            disk::make(&self.module_root(), &image)?;
        }
        Ok(image)
    }

    /// Returns the modules to load for `names`, dependencies first, without duplicates. A built-in
    /// module needs no loading. A name that is neither a module nor built in is an error.
    pub fn modules<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Module>> {
        let tree = self.module_root().join(&self.release);
        let read = |file: &str| {
            let path = tree.join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (listed, built_in) = (read("modules.dep")?, read("modules.builtin")?);
        let dependencies = Dependencies::parse(&listed);
        let is_built_in = |name: &str| built_in.lines().any(|line| module_name(line) == name);
        let mut found = Vec::new();
        for name in names {
            let name = name.replace('-', "_");
            if is_built_in(&name) {
                continue;
            }
            for path in dependencies.in_load_order(&name).with_context(|| {
                format!("kernel {} has no module {name}, nor is it built in", self.release)
            })? {
                let module = Module { name: module_name(path), path: tree.join(path) };
                if !found.contains(&module) {
                    found.push(module);
                }
            }
        }
        Ok(found)
    }

    /// Returns the types in the BTF of the kernel's image.
    pub(crate) fn types(&self) -> Result<Btf> {
        let path = self.image();
        let of_image = || -> Result<Btf> {
            let kernel = unpack(&fs::read(&path)?)?;
            let file = object::File::parse(kernel.as_slice())?;
            let section = file.section_by_name(".BTF").context("it has no .BTF")?;
            Ok(Btf::parse(section.data()?.to_vec())?)
        };
        of_image().with_context(|| format!("no types in {}", path.display()))
    }

    /// Does the kernel have this module? False if it is built in.
    pub fn has_module(&self, name: &str) -> bool {
        self.modules([name]).is_ok_and(|modules| !modules.is_empty())
    }
}

/// A module file of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// With underscores, as `/proc/modules` shows it.
    pub name: String,
    path: PathBuf,
}

impl Module {
    /// Returns the module's file, decompressed.
    pub fn read(&self) -> Result<Vec<u8>> {
        let packed = fs::read(&self.path)
            .with_context(|| format!("cannot read module {}", self.path.display()))?;
        decompress(&self.path, packed)
            .with_context(|| format!("cannot decompress {}", self.path.display()))
    }
}

fn decompress(path: &Path, packed: Vec<u8>) -> Result<Vec<u8>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => Ok(packed),
        Some("xz") => unxz(&packed),
        Some("zst") => unzstd(&packed),
        _ => bail!("no known compression"),
    }
}

/// Unpacks the kernel in a bzImage (Documentation/arch/x86/boot.rst), as packed by Debian. The
/// unpacked size follows the packed kernel.
fn unpack(image: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| {
        let bytes = image.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map(|bytes| u32::from_le_bytes(*bytes) as usize).context("it is cut off")
    };
    let setup_sectors = (word(0x1f1)? & 0xff) + 1;
    let start = setup_sectors * 512 + word(0x248)?;
    let packed = image.get(start..start + word(0x24c)?).context("it is cut off")?;
    let (packed, _size) = packed.split_last_chunk::<4>().context("it is empty")?;
    match packed {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => unxz(packed),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => unzstd(packed),
        _ => bail!("no known compression"),
    }
}

fn unxz(packed: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    lzma_rust2::XzReader::new(packed, true).read_to_end(&mut content)?;
    Ok(content)
}

fn unzstd(packed: &[u8]) -> Result<Vec<u8>> {
    /// The window with which a kernel is packed (scripts/Makefile.lib).
    const WINDOW: u64 = 128 << 20;
    let mut content = Vec::new();
    ruzstd::decoding::StreamingDecoder::new_with_max_window_size(packed, WINDOW)
        .map_err(|error| anyhow::anyhow!("{error}"))?
        .read_to_end(&mut content)?;
    Ok(content)
}

/// The content of `modules.dep`: for each module all its dependencies, so that a look-up needs no
/// recursion (kmod, `depmod(8)`).
struct Dependencies<'a>(HashMap<String, Vec<&'a str>>);

impl<'a> Dependencies<'a> {
    fn parse(text: &'a str) -> Self {
        let mut modules = HashMap::new();
        for line in text.lines() {
            let Some((path, needs)) = line.split_once(':') else { continue };
            // The deepest dependency is last in the file. The module itself comes after all of
            // them.
            let mut order: Vec<&str> = needs.split_whitespace().rev().collect();
            order.push(path);
            modules.insert(module_name(path), order);
        }
        Self(modules)
    }

    fn in_load_order(&self, name: &str) -> Option<&[&'a str]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// `kernel/fs/mbcache.ko.xz` → `mbcache`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that dependencies come before the modules that need them.
    #[test]
    fn load_order() {
        let dependencies = Dependencies::parse(
            "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n\
             kernel/lib/crc-t10dif.ko:\n",
        );
        assert_eq!(
            dependencies.in_load_order("9p").expect("known"),
            ["kernel/fs/netfs/netfs.ko.xz", "kernel/net/9p/9pnet.ko.xz", "kernel/fs/9p/9p.ko.xz"]
        );
        assert!(dependencies.in_load_order("crc_t10dif").is_some());
        assert!(dependencies.in_load_order("ext4").is_none());
    }
}
