//! Taking another node's processor: this kernel starts it anew, with its own code.

use std::fs;
use std::io;
use std::path::Path;

const STATES: &str = "/sys/devices/system/cpu/hotplug/states";

/// By the file `online`.
pub(crate) fn online(file: &Path) -> io::Result<()> {
    fs::write(file, "1")
}

/// By the state that it is to reach, the last there is (`enum cpuhp_state`).
pub(crate) fn target(file: &Path) -> io::Result<()> {
    let states = fs::read_to_string(STATES)?;
    let last = states.lines().last().and_then(|line| line.split(':').next()).unwrap_or_default();
    fs::write(file, last.trim())
}

/// All that share a core with one that runs.
pub(crate) fn siblings(file: &Path) -> io::Result<()> {
    fs::write(file, "on")
}
