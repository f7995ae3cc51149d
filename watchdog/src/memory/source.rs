//! `--memory`: which source of physical memory, and opening it with clear errors.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use serde::{Deserialize, Deserializer};

use super::{DevMem, PhysAddr, RangeSet, RawImage, parse_address};

/// A source of physical memory, as the user names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MemorySource {
    /// This machine's memory through `/dev/mem`.
    #[default]
    DevMem,
    /// A file that holds memory byte for byte.
    Raw {
        /// The file.
        path: PathBuf,
        /// Physical address of its first byte.
        base: PhysAddr,
    },
}

impl FromStr for MemorySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "devmem" {
            return Ok(Self::DevMem);
        }
        let file = text.strip_prefix("raw:").filter(|file| !file.is_empty()).ok_or_else(|| {
            format!("`{text}` is no memory source: use `devmem` or `raw:FILE[@PHYS]`")
        })?;
        // A file name may hold an `@`; only a number behind the last one is an address.
        let (path, base) = file
            .rsplit_once('@')
            .and_then(|(path, base)| Some((path, parse_address(base).ok()?)))
            .unwrap_or((file, PhysAddr(0)));
        Ok(Self::Raw { path: path.into(), base })
    }
}

impl fmt::Display for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DevMem => f.write_str("devmem"),
            Self::Raw { path, base } => write!(f, "raw:{}@{base}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for MemorySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a source of physical memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The image cannot be opened.
    #[error("cannot use {path} as a memory image")]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: io::Error,
    },
    /// There is no memory device.
    #[error(
        "/dev/mem does not exist: this kernel has no CONFIG_DEVMEM. Read a memory image instead: --memory raw:FILE"
    )]
    NoDevice,
    /// Lockdown refuses it.
    #[error(
        "the kernel is locked down (Secure Boot, or lockdown= on its command line) and refuses /dev/mem even for reading. Boot it without lockdown, or read a memory image: --memory raw:FILE"
    )]
    LockedDown,
    /// The user may not.
    #[error("reading physical memory needs root (CAP_SYS_RAWIO): run it with sudo")]
    Privilege,
    /// Something else.
    #[error("cannot open /dev/mem")]
    Device(#[source] io::Error),
}

/// Opens an image whose first byte is physical address `base`.
///
/// # Errors
/// [`SourceError::Image`].
pub fn open_raw(path: &Path, base: PhysAddr) -> Result<RawImage, SourceError> {
    RawImage::open(path, base).map_err(|error| SourceError::Image { path: path.to_owned(), error })
}

/// Opens `/dev/mem` to serve `ranges`, which must be memory, not devices.
///
/// # Errors
/// [`SourceError`], with the reason the kernel had.
pub fn open_devmem(ranges: RangeSet) -> Result<DevMem, SourceError> {
    DevMem::open(Path::new("/dev/mem"), ranges).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::NoDevice,
        io::ErrorKind::PermissionDenied if locked_down() => SourceError::LockedDown,
        io::ErrorKind::PermissionDenied => SourceError::Privilege,
        _ => SourceError::Device(error),
    })
}

/// Whether lockdown is on; `[none]` is bracketed when it is not.
fn locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|lockdown| !lockdown.contains("[none]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that sources parse, with the address where there is one, and that others are refused.
    #[test]
    fn parse() {
        let raw = |path: &str, base| MemorySource::Raw { path: path.into(), base: PhysAddr(base) };
        assert_eq!("devmem".parse(), Ok(MemorySource::DevMem));
        assert_eq!("raw:ram".parse(), Ok(raw("ram", 0)));
        assert_eq!("raw:ram@0x38000000".parse(), Ok(raw("ram", 0x3800_0000)));
        assert_eq!("raw:me@home/ram".parse(), Ok(raw("me@home/ram", 0)));
        for wrong in ["", "raw:", "ram.img", "elf:vmcore"] {
            assert!(wrong.parse::<MemorySource>().is_err(), "{wrong}");
        }
    }
}
