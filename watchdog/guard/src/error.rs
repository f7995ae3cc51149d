//! Errors of the guard.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use jiff::Timestamp;
use watchdog_common::{MAX_RANGES, MAX_WRITABLE};

use super::bpffs::PinError;
use super::canary::CanaryError;
use super::preflight::PreflightError;
use super::record::RecordError;
use super::release::Refusal;
use watchdog_core::memory::PhysRange;

/// Why the guard could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The kernel or this process lacks something that the guard needs.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The start was asked to stop.
    #[error("the load of the guard was stopped")]
    Stopped,
    /// The configuration has more ranges than the programs can hold.
    #[error(
        "the other nodes' memory has {0} ranges, and the guard holds at most {MAX_RANGES}: name \
         fewer and larger ranges with --node"
    )]
    TooManyRanges(usize),
    /// The configuration has more writable ranges than the programs can hold.
    #[error(
        "`dev_mem_writable` names {0} ranges, and the guard holds at most {MAX_WRITABLE}: name \
         fewer and larger ones"
    )]
    TooManyWritable(usize),
    /// A writable range belongs to another node.
    #[error(
        "`dev_mem_writable` under [guard] names memory in {0}, and that memory belongs to another \
         node: remove it from `dev_mem_writable`"
    )]
    WritableNode(PhysRange),
    /// The list of running processors cannot be read.
    #[error("the list of node 0's processors cannot be read from /sys/devices/system/cpu/online")]
    Processors(#[source] io::Error),
    /// The kernel does not lock the process's memory.
    #[error("the watchdog's memory cannot be kept out of swap: give the watchdog CAP_IPC_LOCK")]
    Swap(#[source] io::Error),
    /// The private mount of `/proc` fails, or does not show all processes.
    #[error("the machine's processes cannot be inspected: run the watchdog outside of containers")]
    Processes(#[source] io::Error),
    /// A file name may mean another file than for process 1.
    #[error(
        "this process has its own mount namespace or root directory, and cannot leave it (that \
         needs CAP_SYS_CHROOT), so a file name may lead to another file than for process 1. Run \
         the watchdog outside of containers. In a service unit, remove ProtectSystem=, PrivateTmp= \
         and similar settings"
    )]
    Mounts,
    /// The kernel refused the eBPF object.
    #[error("the kernel refused to load the guard's eBPF programs")]
    Load(#[from] EbpfError),
    /// The kernel refused one program.
    #[error("the kernel refused to load the guard's eBPF program `{0}`: {1}")]
    Program(&'static str, String),
    /// The embedded object lacks a part.
    #[error("this build of watchdog has no `{0}` in its eBPF programs: rebuild it")]
    Missing(&'static str),
    /// A table cannot be used.
    #[error("the guard's tables (eBPF maps) cannot be opened")]
    Map(#[from] aya::maps::MapError),
    /// The root cgroup cannot be opened.
    #[error(
        "the guard cannot be attached to the root control group, where it protects \
         kernel.ftrace_enabled. Mount the file system of control groups of version 2 at any place \
         (mkdir -p /run/cgroup2; mount -t cgroup2 cgroup2 /run/cgroup2). Or set \
         `ftrace-enabled = \"off\"` under [guard.paths]; root can then switch the guard off"
    )]
    Cgroup(#[source] io::Error),
    /// The event loop does not accept the ring buffer.
    #[error("the buffer with the guard's events cannot be read")]
    Listen(#[source] io::Error),
    /// The canary page cannot be used.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The pins cannot be made, read or removed.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// One pin cannot be made.
    #[error("the guard cannot be pinned at {0}")]
    Pin(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file that belongs to the guard cannot be opened.
    #[error("{0} cannot be opened, so the guard cannot protect it")]
    Register(PathBuf, #[source] io::Error),
    /// The record cannot be stored.
    #[error("the guard's record (its settings and test results) cannot be stored")]
    Record(#[from] RecordError),
    /// A guard in force cannot be read or replaced.
    #[error(transparent)]
    InForce(#[from] InForceError),
    /// The guard in force is stricter.
    #[error(
        "the new guard would be weaker than the guard in force since {0}: {1}. The guard in force \
         stays. Configure at least the same protection, or first take the guard in force down \
         (watchdog guard disarm)"
    )]
    Weaker(Timestamp, String),
}

impl GuardError {
    /// Whether the kernel, or a program of another guard, denied an operation.
    pub(super) fn is_denied(&self) -> bool {
        let mut error: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(this) = error {
            if let Some(error) = this.downcast_ref::<io::Error>() {
                return error.kind() == io::ErrorKind::PermissionDenied;
            }
            error = this.source();
        }
        false
    }
}

/// Why a guard in force cannot be read, replaced or taken down.
#[derive(Debug, thiserror::Error)]
pub enum InForceError {
    /// Its pins cannot be read or removed.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// Its record cannot be read.
    #[error(
        "the guard in {0} cannot be read: {1}. If another build of watchdog armed it, take it \
         down with that build"
    )]
    Record(String, #[source] RecordError),
    /// Its tables cannot be used.
    #[error("the guard's tables (eBPF maps) cannot be read or written")]
    Map(#[from] aya::maps::MapError),
    /// Its watchdog runs.
    #[error(
        "the watchdog runs as process {0}: stop it first (systemctl stop integrity-watchdog). The \
         guard stays in force until it is taken down"
    )]
    Watched(u32),
    /// This process may not take it down.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a denial is found in errors of pins, of tables and of the canary page, and that
    /// other errors are not denials.
    #[test]
    fn denials() {
        let denied = || io::Error::from_raw_os_error(libc::EPERM);
        let file = |error| PinError::File { path: PathBuf::new(), done: "made", error };
        let table = aya::maps::MapError::SyscallError(aya::sys::SyscallError {
            call: "bpf_map_create",
            io_error: denied(),
        });
        for error in [
            GuardError::Pins(file(denied())),
            GuardError::Map(table),
            GuardError::Canary(CanaryError::from(denied())),
            GuardError::Pin(PathBuf::new(), Box::new(denied())),
        ] {
            assert!(error.is_denied(), "{error:?}");
        }
        assert!(!GuardError::Pins(file(io::ErrorKind::NotFound.into())).is_denied());
        assert!(!GuardError::Stopped.is_denied());
    }
}
