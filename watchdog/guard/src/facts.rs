//! What the guard needs to know of the running kernel and of this process. All of it is read before
//! anything is decided, so that [`Plan`](super::plan::Plan) reads nothing.

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

/// What the running kernel says of itself and of this process.
#[derive(Debug)]
pub(super) struct KernelFacts {
    /// Types, offsets of fields, and whether LSM programs fire.
    pub(super) kernel: Running,
    pub(super) enums: KernelEnums,
    /// Processors that run.
    pub(super) online: Processors,
    /// The inode number of the mount namespace that process 1 is in.
    pub(super) init_mnt_ns: u32,
    /// What the call of each helper has in its instruction; `None` if the kernel shows no
    /// addresses.
    pub(super) helpers: Option<[i32; HELPERS]>,
    pub(super) dma_devices: DmaDevices,
    /// Where the kernel's page tables are, or why that is unknown.
    pub(super) page_tables: Result<PageTables, String>,
    /// This process (thread group) id.
    pub(super) pid: u32,
    pub(super) now: Timestamp,
}

impl KernelFacts {
    /// Reads what `kernel` does not have yet.
    ///
    /// # Errors
    /// - [`GuardError::Mounts`] if a file name may mean another file than for process 1: nothing
    ///   that is read by name would be a fact.
    /// - [`GuardError::Preflight`] if the kernel lacks a name of an enumeration.
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
