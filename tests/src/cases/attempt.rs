//! Attacks by root on node 0, with programs from `/host`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Stage;
use crate::machine::Output;

/// The outcome of an attack.
#[derive(Clone, Debug)]
pub struct Attack {
    /// `ok`, the name of the error, or `SIGKILL`.
    pub result: String,
    /// The process id of the attacker.
    pub pid: String,
}

impl Attack {
    /// Reads the outcome from what the attacking program wrote and how it ended.
    fn reported_by(output: &Output) -> Result<Self> {
        const KILLED: i32 = 128 + libc::SIGKILL;
        if output.status == KILLED {
            let said = String::from_utf8_lossy(&output.stderr);
            let pid = said.lines().find_map(|line| line.split_once(": pid "));
            let (_, pid) = pid.context("killed before it said its pid")?.to_owned();
            return Ok(Self { result: "SIGKILL".to_owned(), pid: pid.to_owned() });
        }
        ensure!(matches!(output.status, 0 | 1), "it could not be tried");
        let said: Value = serde_json::from_str(output.text().trim())?;
        let result = said.get("result").and_then(Value::as_str).context("no result")?.to_owned();
        let pid = said.get("pid").context("no pid")?.to_string();
        ensure!((result == "ok") == output.success(), "its status does not fit");
        Ok(Self { result, pid })
    }
}

impl Stage {
    /// Tries to write at a physical address, as root on node 0. The guard may kill the attacker.
    ///
    /// # Errors
    /// When the attack could not be tried.
    pub fn attack(&self, path: &str, at: u64, more: &[&str]) -> Result<Attack> {
        let at = format!("{at:#x}");
        let argv = [&["attack", "--path", path, "--at", &at], more].concat();
        let output = self.machine().node0().run(argv)?;
        Attack::reported_by(&output)
            .with_context(|| format!("attack --path {path} --at {at}: {output}"))
    }

    /// Tries to disarm the guard, or to stop the watchdog, as root on node 0.
    ///
    /// # Errors
    /// When the attempt could not be made.
    pub fn disarm_by(&self, by: &str, file: &str) -> Result<Attack> {
        let pid = self.watchdog()?.to_string();
        let mut argv = vec!["disarm", "--by", by, "--pid", &pid];
        if !file.is_empty() {
            argv.extend(["--file", file]);
        }
        let output = self.machine().node0().run(argv)?;
        Attack::reported_by(&output)
            .with_context(|| format!("disarm --by {by} --file {file}: {output}"))
    }

    /// Attacks as [`Self::attack`] does, and checks from the host that the byte did not change.
    /// Device registers are not part of the host's memory, so they are not compared.
    ///
    /// # Errors
    /// When the attack could not be tried, or changed memory.
    pub fn attack_unchanged(&self, path: &str, at: u64, more: &[&str]) -> Result<Attack> {
        let before = self.byte(at).ok();
        let attack = self.attack(path, at, more)?;
        ensure!(self.byte(at).ok() == before, "{path} changed {at:#x}");
        Ok(attack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the outcome of a denied and of a killed attacker is read with its pid. Incomplete
    /// or contradictory output must be an error.
    #[test]
    fn attacks() {
        let reported = |status, stdout: &str, stderr: &str| {
            let (stdout, stderr) = (stdout.into(), stderr.into());
            Attack::reported_by(&Output { status, stdout, stderr }).map(|it| (it.result, it.pid))
        };
        let said = |result: &str, pid: &str| (result.to_owned(), pid.to_owned());
        let (denied, pid) = ("{\"pid\":7,\"result\":\"EPERM\"}\n", "attack: pid 7\n");
        assert_eq!(reported(1, denied, pid).expect("denied"), said("EPERM", "7"));
        assert_eq!(reported(137, "", pid).expect("killed"), said("SIGKILL", "7"));
        assert!(reported(0, denied, pid).is_err());
        assert!(reported(2, "", pid).is_err());
        assert!(reported(137, "", "").is_err());
    }
}
