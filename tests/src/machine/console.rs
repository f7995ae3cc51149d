//! What nodes print: a log file for each.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What Linux prints when there is no going on. A soft lockup is not among
/// them: under emulation on a busy host it is a matter of patience.
const SIGNS_OF_DEATH: [&str; 6] = [
    "Kernel panic - not syncing",
    "BUG: unable to handle",
    "BUG: kernel NULL pointer",
    "kernel BUG at",
    "Oops:",
    "general protection fault",
];

/// How much of a console an error message shows.
const TAIL_LINES: usize = 25;

/// Where node `node`'s console is logged.
pub(super) fn log(directory: &Path, node: u8) -> PathBuf {
    directory.join(format!("node{node}.log"))
}

/// The line that says that a kernel has died, if there is one.
pub(super) fn sign_of_death(log: &Path) -> Option<String> {
    read(log)
        .lines()
        .find(|line| SIGNS_OF_DEATH.iter().any(|sign| line.contains(sign)))
        .map(|line| line.trim().to_owned())
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = read(log);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// The text of a log; nothing where there is none yet. Escape sequences of
/// consoles are taken out.
fn read(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a panic is seen and an ordinary boot is not taken for one.
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
