//! Measures a whole command.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Runs a command and returns how long it took.
pub(crate) fn measure(command: &[String]) -> Result<Value> {
    let (program, arguments) = command.split_first().context("no command")?;
    let begun = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    let clock = begun.elapsed();
    ensure!(status.success(), "`{}` failed: {status}", command.join(" "));
    Ok(json!({ "processor_ms": millis(processor()?), "clock_ms": millis(clock) }))
}

/// Processor time of all children that have ended.
fn processor() -> Result<Duration> {
    // SAFETY: all zero is a valid value of the structure, which is a local.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let got = libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        ensure!(got == 0, "{}", std::io::Error::last_os_error());
        usage
    };
    let [seconds, micros] = [
        usage.ru_utime.tv_sec + usage.ru_stime.tv_sec,
        usage.ru_utime.tv_usec + usage.ru_stime.tv_usec,
    ];
    Ok(Duration::from_micros(u64::try_from(seconds * 1_000_000 + micros)?))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
