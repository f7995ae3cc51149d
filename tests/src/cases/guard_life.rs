//! The life of a guard: how it is shown, taken over and disarmed, and what it does when its
//! watchdog is killed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::disarming::{goes_on, still_denies};
use super::guard::{configuration, configured};
use super::journal::Entry;
use super::stage::{UNIT, WATCHDOG};
use super::{List, Stage, Start};

pub(super) const CASES: List = &[
    ("disarm: the command, while the watchdog runs", Start::Standard, while_it_runs),
    ("disarm: the command, while the watchdog starts", Start::Standard, while_it_starts),
    (
        "disarm: the command, from no console, filtered, and by a copy",
        Start::Standard,
        not_like_that,
    ),
    ("disarm: a second watchdog, and a weaker one after the first", Start::Standard, never_weaker),
    (
        "disarm: SIGKILL in the middle of an attack, by process 1",
        Start::Standard,
        killed_in_the_middle,
    ),
    ("disarm: with the secret, and with none other", Start::Learned, by_secret),
    ("guard: what it is, and that it works, is shown and tried again", Start::Standard, shown),
    ("disarm: sealed, which only a restart ends", Start::Learned, sealed),
];

/// Check that the guard is not disarmed while its watchdog runs.
fn while_it_runs(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let output = stage.on_console(&format!("{WATCHDOG} guard disarm"))?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.to_string().contains("stop it first"), "{output}");
        goes_on(stage, watchdog)
    })
}

/// Check that `guard status` and `guard disarm` do no harm to a guard that is being armed.
fn while_it_starts(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        stage.halt()?;
        stage.disarm()?;
        // From the first pin on, there is something that could be disarmed.
        stage.shell(&format!(
            "systemctl start --no-block {UNIT}
             until ls /sys/fs/bpf/watchdog/*/STATE >/dev/null 2>&1; do :; done"
        ))?;
        let state = || -> Result<String> {
            let line = format!("systemctl show -p ActiveState --value {UNIT}");
            Ok(stage.shell(&line)?.text().trim().to_owned())
        };
        let (begun, mut looked) = (Instant::now(), 0);
        while state()? == "activating" {
            ensure!(begun.elapsed().as_secs() < 300, "it does not start");
            // The output does not matter: the guard may be in force by now.
            stage.machine().node0().shell(&format!("{WATCHDOG} guard status"))?;
            let disarmed = stage.on_console(&format!("{WATCHDOG} guard disarm"))?;
            looked += usize::from(disarmed.to_string().contains("runs as process"));
            ensure!(disarmed.status == 2, "{disarmed}");
        }
        ensure!(looked > 0, "it was never seen while it started");
        let status = stage.machine().node0().shell(&format!("{WATCHDOG} guard status"))?;
        ensure!(status.success(), "{status}");
        still_denies(stage)
    })
}

/// Check that `guard disarm` is refused after the watchdog was stopped, if it runs without a
/// console or from a copy of the executable. A seccomp filter, which may answer its system calls,
/// must be refused too.
fn not_like_that(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        stage.halt()?;
        let shell = |line: &str| stage.machine().node0().shell(line);
        let output = shell(&format!("{WATCHDOG} guard disarm"))?;
        ensure!(output.status == 2 && output.to_string().contains("from a console"), "{output}");
        let filtered = "systemd-run --wait --quiet --pipe -p SystemCallFilter=~@clock";
        let output = shell(&format!("{filtered} {WATCHDOG} guard disarm"))?;
        ensure!(output.to_string().contains("without a seccomp filter"), "{output}");
        let output = stage.on_console("/host/watchdog guard disarm")?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.to_string().contains("only the executable that armed"), "{output}");
        still_denies(stage)?;
        let mark = stage.mark()?;
        stage.start()?;
        // No watchdog ran to report the attempts when they were made.
        let is_own = |it: &Entry| it.field("WATCHDOG_PATH") == "self";
        let reported = stage.wait_for(mark, "self", is_own)?;
        ensure!(reported.is("guard-tampered"), "{reported:?}");
        Ok(())
    })
}

/// Check that a second watchdog does not start beside the first. After the first, a watchdog with
/// fewer ranges, a weaker policy or an easier way to disarm must not take the guard over.
fn never_weaker(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let run = |configuration: &str| -> Result<String> {
            stage.machine().node0().write("/tmp/other.toml", 0o644, configuration.as_bytes())?;
            let line = format!("timeout 60 {WATCHDOG} run --config /tmp/other.toml");
            let output = stage.machine().node0().shell(&line)?;
            ensure!(output.status == 2, "{output}");
            Ok(output.to_string())
        };
        let same = configuration("");
        let said = run(&same)?;
        ensure!(said.contains("the watchdog runs as process"), "{said}");
        // The guard trusts this process, but it ends before it creates anything.
        let elsewhere = format!("timeout 60 {WATCHDOG} run --state-dir /etc/watchdog");
        let output = stage.machine().node0().shell(&elsewhere)?;
        ensure!(output.status == 2, "{output}");
        stage.shell("test ! -e /etc/watchdog/baselines")?;
        stage.halt()?;
        for (weaker, why) in [
            (configuration("[guard]\npreset = \"observe\""), "policy of `write` is `deny`"),
            (configuration("[guard.paths]\nmprotect = \"off\""), "policy of `mprotect`"),
            (configuration("[guard]\ndisarm = \"root\""), "by root, from anywhere"),
            (same.replace("0x38000000..", "0x38001000.."), "would not"),
        ] {
            let said = run(&weaker)?;
            ensure!(said.contains("would be weaker") && said.contains(why), "{said}");
            still_denies(stage)?;
        }
        Ok(())
    })
}

/// Check that a watchdog that is killed during an attack lets no write through and loses no
/// attempt. The attempts that are reported, and those that the next watchdog counts, must add up to
/// all.
fn killed_in_the_middle(stage: &Stage) -> Result<()> {
    const ATTEMPTS: u64 = 100_000;
    configured(stage, "", || {
        let target = stage.machine().truth(1)?.text_phys_start + 0x1000;
        let (before, mark) = (stage.byte(target)?, stage.mark()?);
        let [at, value, count] =
            [format!("{target:#x}"), format!("{:#x}", before ^ 0xff), ATTEMPTS.to_string()];
        let flood =
            ["attack", "--path", "flood", "--at", &at, "--value", &value, "--count", &count];
        let node0 = stage.machine().node0();
        let (output, kills) = thread::scope(|scope| -> Result<_> {
            let attack = scope.spawn(|| node0.run(flood));
            let mut kills = 0;
            while !attack.is_finished() {
                thread::sleep(Duration::from_millis(700));
                let killed = node0.shell(&format!("systemctl kill -s SIGKILL {UNIT}"))?;
                kills += usize::from(killed.success());
            }
            let output = attack.join().ok().context("the attack's thread died")??;
            Ok((output, kills))
        })?;
        ensure!(output.text().contains("EPERM"), "{output}");
        ensure!(stage.byte(target)? == before, "a write went through");
        ensure!(kills > 0, "the attack was over too soon");
        // systemd restarts the service, but not without limit.
        stage.shell(&format!("systemctl reset-failed {UNIT}"))?;
        stage.start()?;
        let begun = Instant::now();
        loop {
            let entries = stage.entries(mark)?;
            let is_write = |it: &&Entry| it.field("WATCHDOG_PATH") == "write";
            let count = |it: &Entry| it.field("WATCHDOG_COUNT").parse().unwrap_or(1_u64);
            let by = |wanted: &dyn Fn(&Entry) -> bool| -> u64 {
                entries.iter().filter(is_write).filter(|it| wanted(it)).map(count).sum()
            };
            let reported = by(&|it| it.is("write-denied"));
            let counted = by(&|it| it.is("guard-degraded"));
            // If a watchdog is killed before it records a report, the next one counts that again.
            let twice: u64 = last_words(&entries).into_iter().map(count).sum();
            if (ATTEMPTS..=ATTEMPTS + twice).contains(&(reported + counted)) {
                stage.note(&format!(
                    "{ATTEMPTS} attempts, {kills} kills: {reported} reported, {counted} counted"
                ));
                return still_denies(stage);
            }
            let is_open = reported + counted < ATTEMPTS && begun.elapsed().as_secs() < 180;
            let sum = format!("{reported} reported and {counted} counted");
            ensure!(is_open, "{sum} of {ATTEMPTS}, {kills} kills");
            thread::sleep(Duration::from_secs(1));
        }
    })
}

/// The last write that each watchdog reported, except for the one that runs.
fn last_words(entries: &[Entry]) -> Vec<&Entry> {
    let reported: Vec<_> = entries.iter().filter(|it| it.is("write-denied")).collect();
    let pairs = reported.windows(2).filter(|pair| pair[0].field("_PID") != pair[1].field("_PID"));
    pairs.map(|pair| pair[0]).collect()
}

/// Check that a guard with a secret is disarmed by that secret only, wherever it is typed.
fn by_secret(stage: &Stage) -> Result<()> {
    let shell = |line: &str| stage.machine().node0().shell(line);
    let line = shell(&format!("printf 'open sesame' | {WATCHDOG} guard secret"))?;
    ensure!(line.success() && line.text().starts_with("disarm = \"$argon2"), "{line}");
    let by = |secret: &str| {
        shell(&format!("printf '{secret}' | {WATCHDOG} guard disarm --secret-file -"))
    };
    let mark = stage.mark()?;
    stage.configured(&configuration(&format!("[guard]\n{}", line.text())), || {
        stage.halt()?;
        let without = shell(&format!("{WATCHDOG} guard disarm </dev/null"))?;
        for (output, why) in [(by("open sesam")?, "not the secret"), (without, "needs a secret")] {
            ensure!(output.status == 2 && output.to_string().contains(why), "{output}");
        }
        still_denies(stage)?;
        let output = by("open sesame")?;
        ensure!(output.success(), "{output}");
        let target = stage.machine().truth(1)?.text_phys_start;
        let attack = stage.attack("mmap", target, &[])?;
        ensure!(attack.result == "ok", "it is not down: {}", attack.result);
        stage.wait_for(mark, "guard-disarmed", |it| it.is("guard-disarmed")).map(drop)
    })
}

/// Check that `guard status` shows the guard in force, and that `guard self-test` tests it from
/// another process than the one that armed it. Without a guard, the status must report that.
fn shown(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let (quiet, json) = (stage.mark()?, |output: crate::machine::Output| {
            serde_json::from_str::<serde_json::Value>(&output.text()).context("no JSON")
        });
        let status = stage.shell(&format!("{WATCHDOG} guard status --json"))?;
        let status = json(status)?;
        ensure!(status["watched"] == true && status["pid"] == watchdog, "{status}");
        ensure!(status["policies"]["write"] == "deny", "{status}");
        let tested = json(stage.shell(&format!("{WATCHDOG} guard self-test --json"))?)?;
        let lines = tested.as_array().context("no list")?;
        let seen = |path: &str| lines.iter().any(|it| it["path"] == path && it["seen"] == true);
        for path in ["write", "mmap", "mprotect", "remap-file-pages", "self", "lockdown"] {
            ensure!(seen(path), "{path} was not seen: {tested}");
        }
        let shown = stage.shell(&format!("{WATCHDOG} guard status"))?.text();
        ensure!(shown.contains("watched by process") && shown.lines().count() > 20, "{shown}");
        ensure!(shown.lines().all(|line| line.chars().count() <= 120), "{shown}");
        // A self-test is not an attempt.
        let entries = stage.alerts(quiet)?;
        ensure!(entries.is_empty(), "{entries:#?}");
        Ok(())
    })?;
    stage.idle()?;
    let none = stage.machine().node0().shell(&format!("{WATCHDOG} guard status"))?;
    ensure!(none.status == 2 && none.to_string().contains("no guard is in force"), "{none}");
    Ok(())
}

/// Check that a sealed guard is not disarmed, not even on a console.
fn sealed(stage: &Stage) -> Result<()> {
    configured(stage, "[guard]\ndisarm = \"never\"", || {
        stage.halt()?;
        let output = stage.on_console(&format!("{WATCHDOG} guard disarm"))?;
        ensure!(output.status == 2 && output.to_string().contains("is sealed"), "{output}");
        still_denies(stage)
    })
}
