//! Opens sources of physical memory, with clear errors.

use std::path::Path;
use std::{fs, io};

use super::dump_error::DumpError;
use super::source_error::SourceError;
use super::{DevMem, Dump, Kcore, Live, MemoryMap, PhysAddr, RangeSet, RawImage, RawPiece};

/// Opens an image whose first byte is physical address `base`. A file in a known format that is not
/// raw is refused with advice.
///
/// # Errors
/// [`SourceError::Image`].
pub fn open_raw(path: &Path, base: PhysAddr) -> Result<RawImage, SourceError> {
    RawImage::open(path, base).map_err(|error| no_image(path, error))
}

/// Opens an image that holds these pieces of memory, one after the other.
///
/// # Errors
/// [`SourceError::Image`].
pub fn open_pieces(path: &Path, pieces: &[RawPiece]) -> Result<RawImage, SourceError> {
    RawImage::open_pieces(path, pieces).map_err(|error| no_image(path, error))
}

fn no_image(path: &Path, error: io::Error) -> SourceError {
    SourceError::Image { path: path.to_owned(), error }
}

/// Opens an ELF core.
///
/// # Errors
/// [`SourceError::Dump`].
pub fn open_elf(path: &Path) -> Result<Dump, SourceError> {
    Dump::open_elf(path).map_err(|error| no_dump(path, "an ELF core", error))
}

/// Opens a LiME image.
///
/// # Errors
/// [`SourceError::Dump`].
pub fn open_lime(path: &Path) -> Result<Dump, SourceError> {
    Dump::open_lime(path).map_err(|error| no_dump(path, "a LiME image", error))
}

fn no_dump(path: &Path, form: &'static str, error: DumpError) -> SourceError {
    SourceError::Dump { path: path.to_owned(), form, error }
}

/// Opens `/dev/mem` to serve `ranges`, which must be memory and not devices.
///
/// # Errors
/// [`SourceError`], with the kernel's reason.
pub fn open_devmem(ranges: RangeSet) -> Result<DevMem, SourceError> {
    DevMem::open(ranges).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::NoDevice,
        io::ErrorKind::PermissionDenied if !lockdown().contains("[none]") => {
            SourceError::LockedDown
        }
        io::ErrorKind::PermissionDenied => SourceError::Privilege,
        _ => SourceError::Device(error),
    })
}

/// Opens `/proc/kcore` to serve the System RAM of `map`, or the part of it in `asked`.
///
/// # Errors
/// [`SourceError`], with the kernel's reason.
pub fn open_kcore(map: &MemoryMap, asked: Option<&RangeSet>) -> Result<Kcore, SourceError> {
    let confidential = || lockdown().contains("[confidentiality]");
    Kcore::open(Path::new("/proc/kcore"), map.clone(), asked).map_err(|error| match error {
        DumpError::Io(error) if error.kind() == io::ErrorKind::NotFound => SourceError::NoKcore,
        DumpError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            if confidential() { SourceError::KcoreLockedDown } else { SourceError::Privilege }
        }
        DumpError::NotElf => SourceError::KcoreHidden,
        other => SourceError::Kcore(other),
    })
}

/// Opens the sources of `asked` on this machine: `/proc/kcore` for System RAM, `/dev/mem` for the
/// rest. If one of them cannot be used, the other is served alone.
///
/// # Errors
/// [`SourceError::Neither`].
pub fn open_live(map: &MemoryMap, asked: &RangeSet) -> Result<Live, SourceError> {
    let ram = open_kcore(map, Some(asked));
    let rest = open_devmem(Live::beside_ram(map, asked));
    let rest = rest.map(|devmem| devmem.explained_by(map.clone()));
    Live::new(map.clone(), ram, rest)
}

/// The kernel's lockdown levels, with the active one in brackets; `[none]` without lockdown.
fn lockdown() -> String {
    fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_else(|_| "[none]".to_owned())
}
