//! Why the memory map is unknown.

use std::io;

/// Why the memory map is unknown.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// The operating system's error.
        #[source]
        error: io::Error,
    },
    /// The kernel hides the addresses.
    #[error(
        "/proc/iomem shows no addresses: reading physical memory needs root (CAP_SYS_ADMIN and \
         CAP_SYS_RAWIO); run it with sudo"
    )]
    Hidden,
    /// A line has an unknown form.
    #[error("{path} has a line of unknown form: `{line}`")]
    Form {
        /// The file.
        path: String,
        /// The line.
        line: String,
    },
    /// The firmware's map is missing.
    #[error(
        "/sys/firmware/memmap is empty or missing (CONFIG_FIRMWARE_MEMMAP): nodes cannot be \
         discovered; name them with --node NAME=START..END"
    )]
    NoFirmwareMap,
}
