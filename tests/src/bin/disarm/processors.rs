//! Attack on another node's processor: this kernel restarts it with its own code.

use std::fs;
use std::io;
use std::path::Path;

const STATES: &str = "/sys/devices/system/cpu/hotplug/states";

/// Starts the processor by its file `online`.
pub(crate) fn online(file: &Path) -> io::Result<()> {
    fs::write(file, "1")
}

/// Sets the processor's target state to the last state of the list (`enum cpuhp_state`).
pub(crate) fn target(file: &Path) -> io::Result<()> {
    let states = fs::read_to_string(STATES)?;
    let last = states.lines().last().and_then(|line| line.split(':').next()).unwrap_or_default();
    fs::write(file, last.trim())
}

/// Starts all processors that share a core with a running one.
pub(crate) fn siblings(file: &Path) -> io::Result<()> {
    fs::write(file, "on")
}
