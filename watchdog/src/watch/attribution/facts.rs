//! Gathers the facts about a change: waits for late reports of the guard, and reads whether an
//! IOMMU confines the devices.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::attribute::{Attribution, Change, attribute};
use super::iommu::confines_devices;
use super::write_log::WriteLog;
use watchdog_core::memory::RangeSet;

/// How long a report of the guard may take to reach the log.
const SETTLE: Duration = Duration::from_millis(200);
const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// Attributes a change of a node's `memory` that was just detected. `since` is the start of the
/// last sweep, if there was one. `None` without a guard.
pub(in crate::watch) fn investigate(
    log: &WriteLog,
    memory: &RangeSet,
    since: Option<Instant>,
) -> Option<Attribution> {
    if !log.has_guard() {
        return None;
    }
    if since.is_some() {
        thread::sleep(SETTLE);
    }
    let are_devices_confined = confines_devices(Path::new(PCI_DEVICES));
    attribute(&log.snapshot(), &Change { memory, since, are_devices_confined })
}
