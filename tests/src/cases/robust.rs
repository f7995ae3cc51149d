//! What would end the watch, blind it or turn it against itself, without any attack on the guard.

use anyhow::{Result, ensure};

use super::guard::configured;
use super::stage::WATCHDOG;
use super::{List, Stage, Start};

pub(super) const CASES: List = &[(
    "robust: commands that the guard does not trust write nothing that it keeps",
    Start::Standard,
    deputies,
)];

const CONFIGURATION: &str = "/etc/watchdog/watchdog.toml";
const BASELINE: &str = "/var/lib/watchdog/baselines/service-1.baseline";

/// Check that no command but `run` and `guard` can be had to write what the guard keeps: not by a link
/// in a place that it writes, and not by a watch that arms no guard. What they are for still works.
fn deputies(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let kept = format!("sha256sum {CONFIGURATION} {BASELINE}");
        let before = stage.shell(&kept)?.text();
        let shell = |line: &str| stage.machine().node0().shell(line);
        stage.shell(&format!(
            "mkdir /tmp/man; ln -s {CONFIGURATION} /tmp/man/watchdog.1
             ln -s {BASELINE} /tmp/man/.watchdog-run.1.unfinished"
        ))?;
        shell(&format!("{WATCHDOG} man /tmp/man"))?;
        ensure!(shell(&kept)?.text() == before, "a page was written through a link");
        let page =
            stage.shell("test ! -L /tmp/man/watchdog.1; head -c 4000 /tmp/man/watchdog.1")?;
        ensure!(page.text().contains("watchdog"), "{page}");
        // Into the folder itself, which only the guard's own may write.
        for line in [
            format!("{WATCHDOG} man /etc/watchdog"),
            format!(
                "mkdir -p /tmp/state; ln -s /etc/watchdog /tmp/state/baselines; \
                     {WATCHDOG} baseline import --node a --image /boot/vmlinuz-* --state-dir /tmp/state"
            ),
        ] {
            let output = shell(&line)?;
            ensure!(output.status == 2, "{line}: {output}");
        }
        // A watch that arms no guard, as where another one is on, would learn a baseline of any name.
        let learn = "timeout -s KILL 30 watchdog run --degraded --node b=0x38000000..0x50000000";
        let output = shell(learn)?;
        ensure!(output.to_string().contains("no guard"), "{output}");
        stage.shell("test ! -e /var/lib/watchdog/baselines/b.baseline")?;
        let listed = stage.shell("ls -A /etc/watchdog")?.text();
        ensure!(listed.trim() == "watchdog.toml", "{listed}");
        for line in ["scan", "locate", "baseline check"] {
            let output = shell(&format!("{WATCHDOG} {line}"))?;
            ensure!(output.success(), "{line}: {output}");
        }
        ensure!(shell(&kept)?.text() == before, "what the guard keeps was changed");
        ensure!(stage.watchdog()? == watchdog, "the watchdog was started again");
        Ok(())
    })
}
