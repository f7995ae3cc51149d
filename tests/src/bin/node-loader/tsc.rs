//! The frequency of the time-stamp counter. A node cannot measure it, since it has no PIT, HPET or
//! PM timer to compare with.

use std::{fs::OpenOptions, io::Read, os::unix::fs::OpenOptionsExt};

use anyhow::{Context, Result};

/// Finds the frequency in kHz in the messages of the running kernel.
pub(crate) fn frequency_of_this_machine() -> Result<u32> {
    // Each read(2) of /dev/kmsg returns one record. Without O_NONBLOCK, the read after the last
    // record would wait for the next message.
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg")
        .context("cannot read the kernel's messages from /dev/kmsg")?;
    let mut record = vec![0; 0x2000];
    let mut found = None;
    loop {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let message = String::from_utf8_lossy(&record[..length]);
                found = frequency(&message).or(found);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            // The record was overwritten before this read. Continue with the next one.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => return Err(error).context("cannot read the kernel's messages"),
        }
    }
    found.context(
        "the kernel's messages no longer say how fast the time-stamp counter runs: \
         find `tsc: Detected … MHz` in the journal and give it as --tsc-khz",
    )
}

/// Returns the frequency in a message, in kHz. Messages are `tsc: Detected 2893.199 MHz processor`
/// and `tsc: Refined TSC clocksource calibration: 2893.202 MHz` (arch/x86/kernel/tsc.c, 6.1).
fn frequency(message: &str) -> Option<u32> {
    let (_, message) = message.split_once(";tsc: ")?;
    let number = message
        .strip_prefix("Detected ")
        .or_else(|| message.strip_prefix("Refined TSC clocksource calibration: "))?;
    let (number, _) = number.split_once(" MHz")?;
    let (mhz, khz) = number.split_once('.')?;
    if khz.len() != 3 {
        return None;
    }
    mhz.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(khz.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that both forms of the kernel's message are parsed, to the last digit.
    #[test]
    fn frequency_is_read_from_messages() {
        assert_eq!(frequency("6,5,0,-;tsc: Detected 2893.199 MHz processor\n"), Some(2_893_199));
        assert_eq!(
            frequency("6,9,0,-;tsc: Refined TSC clocksource calibration: 1000.004 MHz\n"),
            Some(1_000_004)
        );
        assert_eq!(frequency("6,5,0,-;tsc: Fast TSC calibration using PIT\n"), None);
    }
}
