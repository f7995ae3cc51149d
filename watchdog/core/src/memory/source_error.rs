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
        /// What is wrong with it.
        #[source]
        error: io::Error,
    },
    /// The dump is none, or not of a form that is read.
    #[error("cannot use {path} as {form}")]
    Dump {
        /// The file.
        path: PathBuf,
        /// What it should be.
        form: &'static str,
        /// What is wrong with it.
        #[source]
        error: DumpError,
    },
    /// There is no memory device.
    #[error(
        "/dev/mem does not exist: this kernel has no CONFIG_DEVMEM. Read a memory image instead: \
         --memory raw:FILE"
    )]
    NoDevice,
    /// Lockdown refuses it.
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
    /// Lockdown for confidentiality refuses it.
    #[error(
        "the kernel is locked down for confidentiality (lockdown=confidentiality on its command \
         line) and refuses /proc/kcore. Boot it without that, or read a memory image: --memory \
         raw:FILE"
    )]
    KcoreLockedDown,
    /// Something else is there.
    #[error(
        "/proc/kcore is not a core of this kernel: a container hides it, or a systemd unit with \
         ProtectKernelTunables=. Run the watchdog outside of it"
    )]
    KcoreHidden,
    /// The user may not.
    #[error("reading physical memory needs root (CAP_SYS_RAWIO): run it with sudo")]
    Privilege,
    /// Something else.
    #[error("cannot open /dev/mem")]
    Device(#[source] io::Error),
    /// Something else.
    #[error("cannot use /proc/kcore")]
    Kcore(#[source] DumpError),
    /// Neither half of `live` can be used.
    #[error("neither /dev/mem nor /proc/kcore can be used: {devmem}; {kcore}")]
    Neither {
        /// Why not `/proc/kcore`.
        kcore: Box<SourceError>,
        /// Why not `/dev/mem`.
        devmem: Box<SourceError>,
    },
}
