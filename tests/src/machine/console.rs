//! The consoles of the nodes: one log file for each.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines that Linux prints when it cannot continue. Soft lockups are not among them: under
/// emulation on a busy host they are only delays.
const SIGNS_OF_DEATH: [&str; 6] = [
    "Kernel panic - not syncing",
    "BUG: unable to handle",
    "BUG: kernel NULL pointer",
    "kernel BUG at",
    "Oops:",
    "general protection fault",
];

/// Number of lines of a console that an error message shows.
const TAIL_LINES: usize = 25;

/// Returns the log file of node `node`'s console.
pub(crate) fn log(directory: &Path, node: u8) -> PathBuf {
    directory.join(format!("node{node}.log"))
}

/// Returns the line that reports the death of a kernel, if there is one.
pub(super) fn sign_of_death(log: &Path) -> Option<String> {
    read(log)
        .lines()
        .find(|line| SIGNS_OF_DEATH.iter().any(|sign| line.contains(sign)))
        .map(|line| line.trim().to_owned())
}

/// Returns the last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = read(log);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Returns the text of a log without console escape sequences. If the log does not exist yet, the
/// text is empty.
fn read(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a panic is detected and that an ordinary boot is not taken for one.
    #[test]
    fn death_is_told_from_life() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 1);
        assert_eq!(sign_of_death(&log), None);
        fs::write(&log, "[    0.1] Linux version 6.1\r\n[   2.0] watchdog: BUG: soft lockup\r\n")
            .expect("writable");
        assert_eq!(sign_of_death(&log), None);
        fs::write(&log, "[    0.1] Kernel panic - not syncing: No init\r\n").expect("writable");
        assert_eq!(
            sign_of_death(&log).as_deref(),
            Some("[    0.1] Kernel panic - not syncing: No init")
        );
    }

    /// Check that an error shows the end of a long console, not its beginning.
    #[test]
    fn tail_is_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 1);
        let lines: Vec<_> = (0..100).map(|n| format!("line {n}")).collect();
        fs::write(&log, lines.join("\r\n")).expect("writable");
        assert!(tail(&log).starts_with("line 75\n"));
        assert!(tail(&log).ends_with("line 99"));
    }
}
