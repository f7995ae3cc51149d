//! Why a source of physical memory cannot be used.

use std::io;
use std::path::PathBuf;

use super::dump_error::DumpError;

/// Why a source of physical memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The image cannot be opened.
    #[error("cannot use {path} as a memory image")]
    Image {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        error: io::Error,
    },
    /// The file is not a dump, or has a form that this program does not read.
    #[error("cannot use {path} as {form}")]
    Dump {
        /// The file.
        path: PathBuf,
        /// The expected form.
        form: &'static str,
        /// Why the file cannot be read.
        #[source]
        error: DumpError,
    },
    /// There is no memory device.
    #[error(
        "/dev/mem does not exist: this kernel has no CONFIG_DEVMEM. Read a memory image instead: \
         --memory raw:FILE"
    )]
    NoDevice,
    /// Lockdown refuses `/dev/mem`.
    #[error(
        "the kernel is locked down (Secure Boot, or lockdown= on its command line) and refuses \
         /dev/mem even for reading. Boot it without lockdown, or read a memory image: --memory \
         raw:FILE"
    )]
    LockedDown,
    /// There is no `/proc/kcore`.
    #[error(
        "/proc/kcore does not exist: this kernel has no CONFIG_PROC_KCORE. Read other nodes' \
         memory with --memory devmem, and this kernel's own from an image"
    )]
    NoKcore,
    /// Lockdown for confidentiality refuses `/proc/kcore`.
    #[error(
        "the kernel is locked down for confidentiality (lockdown=confidentiality on its command \
         line) and refuses /proc/kcore. Boot it without that, or read a memory image: --memory \
         raw:FILE"
    )]
    KcoreLockedDown,
    /// Another file is at `/proc/kcore`.
    #[error(
        "/proc/kcore is not a core of this kernel: a container hides it, or a systemd unit with \
         ProtectKernelTunables=. Run the watchdog outside of it"
    )]
    KcoreHidden,
    /// The user lacks the privilege.
    #[error("reading physical memory needs root (CAP_SYS_RAWIO): run it with sudo")]
    Privilege,
    /// Another error of `/dev/mem`.
    #[error("cannot open /dev/mem")]
    Device(#[source] io::Error),
    /// Another error of `/proc/kcore`.
    #[error("cannot use /proc/kcore")]
    Kcore(#[source] DumpError),
    /// Neither source of `live` can be used.
    #[error("neither /dev/mem nor /proc/kcore can be used: {devmem}; {kcore}")]
    Neither {
        /// Why `/proc/kcore` cannot be used.
        kcore: Box<SourceError>,
        /// Why `/dev/mem` cannot be used.
        devmem: Box<SourceError>,
    },
}
