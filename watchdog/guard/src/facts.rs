//! Facts about the running kernel and this process. They are all read before the guard is planned,
//! so that [`Plan`](super::plan::Plan) reads nothing.

#[cfg(test)]
pub(super) mod made_up;

use std::{fs, io, process};

use jiff::Timestamp;
use watchdog_common::{DmaDevices, HELPERS, PageTables};

use super::error::GuardError;
use super::kernel_enums::KernelEnums;
use super::preflight::{PreflightError, Running};
use super::processes::Processes;
use super::processors::Processors;
use super::{dma_devices, foreign, frames};

/// Where the kernel lists the processors that run.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Facts about the running kernel and this process.
#[derive(Debug)]
pub(super) struct KernelFacts {
    /// Types, offsets of fields, and whether LSM programs fire.
    pub(super) kernel: Running,
    pub(super) enums: KernelEnums,
    /// Processors that run.
    pub(super) online: Processors,
    /// The inode number of the mount namespace that process 1 is in.
    pub(super) init_mnt_ns: u32,
    /// The number that a call of each helper has in its instruction; `None` if the kernel shows no
    /// addresses.
    pub(super) helpers: Option<[i32; HELPERS]>,
    pub(super) dma_devices: DmaDevices,
    /// Where the kernel's page tables are, or why this is unknown.
    pub(super) page_tables: Result<PageTables, String>,
    /// This process (thread group) id.
    pub(super) pid: u32,
    pub(super) now: Timestamp,
}

impl KernelFacts {
    /// Reads the facts that `kernel` does not have.
    ///
    /// # Errors
    /// - [`GuardError::Mounts`] if a file name may mean another file than for process 1. Files that
    ///   are read by name could then be the wrong ones.
    /// - [`GuardError::Preflight`] if one of the kernel's enumerations lacks a name.
    /// - [`GuardError::Processes`], [`GuardError::Processors`] if a file cannot be read.
    pub(super) fn read(kernel: Running, processes: &Processes) -> Result<Self, GuardError> {
        if !processes.finds_as_first().map_err(GuardError::Processes)? {
            return Err(GuardError::Mounts);
        }
        let enums = KernelEnums::resolve(&kernel.btf).map_err(PreflightError::from)?;
        let helpers = foreign::helpers(processes).unwrap_or_else(|error| {
            log::debug!("the helpers that BPF programs call are unknown: {error}");
            None
        });
        Ok(Self {
            kernel,
            enums,
            online: online().map_err(GuardError::Processors)?,
            init_mnt_ns: processes.init_mnt_ns().map_err(GuardError::Processes)?,
            helpers,
            dma_devices: dma_devices::of_this_kernel(),
            page_tables: frames::page_tables(),
            pid: process::id(),
            now: Timestamp::now(),
        })
    }

    /// Whether LSM programs fire on this kernel.
    pub(super) const fn has_lsm(&self) -> bool {
        self.kernel.no_lsm.is_none()
    }
}

fn online() -> io::Result<Processors> {
    let online = fs::read_to_string(ONLINE)?;
    online.trim().parse().map_err(|why: String| io::Error::new(io::ErrorKind::InvalidData, why))
}
