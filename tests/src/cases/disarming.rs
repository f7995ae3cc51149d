//! Root on node 0 against the guard itself: each way to switch it off, to stop its watchdog or to
//! have it replaced by a weaker one. All are refused and told, and the guard goes on.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::guard::{configuration, configured};
use super::journal::Entry;
use super::stage::{UNIT, WATCHDOG};
use super::{List, Stage, Start};

pub(super) const CASES: List = &[
    ("disarm: SIGKILL", Start::Standard, |it| refused(it, "kill", "")),
    ("disarm: SIGSTOP", Start::Standard, |it| refused(it, "stop", "")),
    ("disarm: SIGTERM by a pidfd", Start::Standard, |it| refused(it, "pidfd", "")),
    ("disarm: SIGKILL to one thread", Start::Standard, |it| refused(it, "thread", "")),
    ("disarm: SIGKILL as the signal of a file", Start::Standard, |it| {
        refused(it, "file-signal", "")
    }),
    ("disarm: ptrace", Start::Standard, |it| refused(it, "trace", "")),
    ("disarm: process_vm_writev", Start::Standard, |it| refused(it, "write-memory", "")),
    ("disarm: /proc/PID/mem", Start::Standard, |it| refused(it, "proc-mem", "")),
    ("disarm: a descriptor taken by pidfd_getfd", Start::Standard, |it| {
        refused(it, "steal-descriptor", "")
    }),
    ("disarm: the watchdog's executable under a tracer", Start::Standard, |it| {
        refused(it, "traced-exec", "")
    }),
    ("disarm: no processor time", Start::Standard, |it| refused(it, "processor-limit", "")),
    ("disarm: the idle scheduling class", Start::Standard, |it| refused(it, "idle", "")),
    ("disarm: passing itself off as the watchdog", Start::Standard, |it| {
        refused(it, "impostor", &pin(it, "STATE")?)
    }),
    ("disarm: a pinned table", Start::Standard, |it| {
        refused(it, "pinned-table", &pin(it, "STATE")?)
    }),
    ("disarm: every table by its id", Start::Standard, |it| refused(it, "table-by-id", "")),
    ("disarm: the program detached from the root cgroup", Start::Standard, |it| {
        refused(it, "detach-program", "")
    }),
    ("disarm: every link detached or redirected", Start::Standard, links_stay),
    ("disarm: a link's pin removed", Start::Standard, |it| {
        refused(it, "unlink", &pin(it, "link-mmap_file")?)
    }),
    ("disarm: a link's pin renamed", Start::Standard, |it| {
        refused(it, "rename", &pin(it, "link-mmap_file")?)
    }),
    ("disarm: a folder of pins planted", Start::Standard, |it| {
        refused(it, "make-folder", &pin(it, "")?)
    }),
    ("disarm: the pins unmounted", Start::Standard, |it| refused(it, "unmount", "/sys/fs/bpf")),
    ("disarm: /sys unmounted with the pins", Start::Standard, |it| refused(it, "unmount", "/sys")),
    ("disarm: cgroup.kill", Start::Standard, |it| refused(it, "write", &cgroup("cgroup.kill"))),
    ("disarm: cgroup.freeze", Start::Standard, |it| refused(it, "write", &cgroup("cgroup.freeze"))),
    ("disarm: memory.max of the cgroup", Start::Standard, |it| {
        refused(it, "write", &cgroup("memory.max"))
    }),
    ("disarm: the cgroup above frozen", Start::Standard, |it| refused(it, "write", ABOVE)),
    ("disarm: the executable written, when nobody runs it", Start::Standard, executable_stays),
    ("disarm: the executable removed", Start::Standard, |it| refused(it, "unlink", WATCHDOG)),
    ("disarm: the executable replaced", Start::Standard, |it| refused(it, "replace", WATCHDOG)),
    ("disarm: the configuration written", Start::Standard, |it| {
        refused(it, "write", CONFIGURATION)
    }),
    ("disarm: the configuration removed", Start::Standard, |it| {
        refused(it, "unlink", CONFIGURATION)
    }),
    ("disarm: a file planted beside it", Start::Standard, |it| {
        refused(it, "make-file", "/etc/watchdog")
    }),
    ("disarm: a baseline written", Start::Standard, |it| refused(it, "write", BASELINE)),
    ("disarm: a baseline planted", Start::Standard, |it| refused(it, "make-file", BASELINES)),
    ("disarm: a baseline imported", Start::Standard, baseline_imported),
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

pub(super) const CONFIGURATION: &str = "/etc/watchdog/watchdog.toml";
pub(super) const BASELINES: &str = "/var/lib/watchdog/baselines";
const BASELINE: &str = "/var/lib/watchdog/baselines/service-1.baseline";
const ABOVE: &str = "/sys/fs/cgroup/system.slice/cgroup.freeze";

fn cgroup(file: &str) -> String {
    format!("/sys/fs/cgroup/system.slice/{UNIT}/{file}")
}

/// A pin of the guard in force.
fn pin(stage: &Stage, name: &str) -> Result<String> {
    configured(stage, "", || Ok(()))?;
    newest_pin(stage, name)
}

/// A pin of the guard in force, which is the newest.
pub(super) fn newest_pin(stage: &Stage, name: &str) -> Result<String> {
    let newest = stage.shell("ls /sys/fs/bpf/watchdog | sort -n | tail -1")?.text();
    Ok(format!("/sys/fs/bpf/watchdog/{}/{name}", newest.trim()))
}

/// Checks that an attempt at the guard's own is refused.
fn refused(stage: &Stage, by: &str, file: &str) -> Result<()> {
    configured(stage, "", || refused_as(stage, "self", by, file))
}

/// Checks that an attempt is refused with EPERM and told as the worst there is, with this path and
/// with its process, and that all goes on.
pub(super) fn refused_as(stage: &Stage, path: &str, by: &str, file: &str) -> Result<()> {
    let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
    let attack = stage.disarm_by(by, file)?;
    // A tracer's refusal is EACCES where it is a file that is opened.
    let is_refused = match attack.result.as_str() {
        "EPERM" | "EACCES" => true,
        // The verifier does not know a helper that it was refused.
        "EINVAL" => by == "write-user",
        _ => false,
    };
    ensure!(is_refused, "{by} {file}: {}", attack.result);
    let entry = stage.wait_for(mark, path, |it| it.field("WATCHDOG_PATH") == path)?;
    ensure!(entry.is("guard-tampered") && entry.field("PRIORITY") == "2", "{entry:?}");
    ensure!(entry.field("WATCHDOG_ACTION") == "denied", "{entry:?}");
    // A child of it, where it is a child that is traced.
    let is_it = entry.field("WATCHDOG_PID") == attack.pid || by == "traced-exec";
    ensure!(is_it && entry.field("WATCHDOG_COMM") == "disarm", "{entry:?}");
    goes_on(stage, watchdog)
}

/// Checks that a line of shell is refused and told as the worst there is.
pub(super) fn refused_by_shell(stage: &Stage, line: &str) -> Result<()> {
    let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
    let output = stage.machine().node0().shell(line)?;
    ensure!(!output.success(), "{line}: {output}");
    let entry = stage.wait_for(mark, "self", |it| it.field("WATCHDOG_PATH") == "self")?;
    ensure!(entry.is("guard-tampered") && entry.field("WATCHDOG_ACTION") == "denied", "{entry:?}");
    goes_on(stage, watchdog)
}

/// Checks that the same watchdog runs, that the guard is whole, and that writes are denied.
pub(super) fn goes_on(stage: &Stage, watchdog: u32) -> Result<()> {
    ensure!(stage.watchdog()? == watchdog, "the watchdog was started anew");
    still_denies(stage)
}

pub(super) fn still_denies(stage: &Stage) -> Result<()> {
    let target = stage.machine().truth(1)?.text_phys_start;
    let attack = stage.attack_unchanged("mmap", target, &[])?;
    ensure!(attack.result == "EPERM", "the guard is off: {}", attack.result);
    Ok(())
}

/// Check that the executable cannot be written or cut under a guard whose watchdog has ended. While
/// it runs, the kernel itself refuses that.
fn executable_stays(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        stage.halt()?;
        for by in ["write", "truncate", "unlink", "rename", "replace"] {
            let output = stage.machine().node0().run(["disarm", "--by", by, "--file", WATCHDOG])?;
            ensure!(output.text().contains("\"EPERM\""), "{by}: {output}");
        }
        still_denies(stage)
    })
}

/// Check that no link can be detached or be given another program: the kernel has no such thing for
/// the guard's, so nothing needs to be denied.
fn links_stay(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let attack = stage.disarm_by("detach-link", "")?;
        ensure!(attack.result != "ok", "a link was detached");
        goes_on(stage, watchdog)
    })
}

/// Check that the guard is not taken down under a watchdog.
fn while_it_runs(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let output = stage.on_console(&format!("{WATCHDOG} guard disarm"))?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.to_string().contains("stop it first"), "{output}");
        goes_on(stage, watchdog)
    })
}

/// Check that the command which makes baselines does not overwrite what the guard keeps, although
/// its executable is the one that the guard trusts, that this is told as what it is, and that it
/// still makes them elsewhere.
fn baseline_imported(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
        let image = std::fs::read(stage.kernel.image())?;
        stage.machine().node0().write("/tmp/vmlinuz", 0o644, &image)?;
        let import = format!("{WATCHDOG} baseline import --node service-1 --image /tmp/vmlinuz");
        let output = stage.machine().node0().shell(&import)?;
        ensure!(
            output.status == 2 && output.to_string().contains("keeps the baselines"),
            "{output}"
        );
        let told = stage.wait_for(mark, "self", |it| it.field("WATCHDOG_PATH") == "self")?;
        ensure!(told.is("guard-tampered") && told.field("WATCHDOG_EXE") == WATCHDOG, "{told:?}");
        stage.shell(&format!("{import} --state-dir /tmp/elsewhere; rm -r /tmp/elsewhere"))?;
        goes_on(stage, watchdog)
    })
}

/// Check that looking at a guard that is only being armed, or taking it down, leaves it alone.
fn while_it_starts(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        stage.halt()?;
        stage.disarm()?;
        // From the first pin on there is something that could be taken down.
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
            // Whatever it says: it may be in force by now.
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

/// Check that, with the watchdog stopped, the command is refused where there is no console, where
/// somebody else may answer its system calls, and from a copy of the executable.
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
        // Nobody was there to tell of them when they were made.
        let is_own = |it: &Entry| it.field("WATCHDOG_PATH") == "self";
        let told = stage.wait_for(mark, "self", is_own)?;
        ensure!(told.is("guard-tampered"), "{told:?}");
        Ok(())
    })
}

/// Check that there is no second watchdog, and that one with less to guard, a weaker policy, or an
/// easier end does not take over.
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
        stage.halt()?;
        for (weaker, why) in [
            (configuration("[guard]\npreset = \"observe\""), "policy for `write` is `deny`"),
            (configuration("[guard.paths]\nmprotect = \"off\""), "policy for `mprotect`"),
            (configuration("[guard]\ndisarm = \"root\""), "by root, from anywhere"),
            (same.replace("0x38000000..", "0x38001000.."), "would not"),
        ] {
            let said = run(&weaker)?;
            ensure!(said.contains("give way to a weaker one") && said.contains(why), "{said}");
            still_denies(stage)?;
        }
        Ok(())
    })
}

/// Check that a watchdog that is killed in the middle of an attack lets no write through and leaves
/// no attempt untold: what is told, counted and made good by the next one is all of them.
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
        // systemd starts it again, but not for ever.
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
            let told = by(&|it| it.is("write-denied"));
            let counted = by(&|it| it.is("guard-degraded"));
            // Who is killed between telling and taking note of it has the next one count it again.
            let twice: u64 = last_words(&entries).into_iter().map(count).sum();
            if (ATTEMPTS..=ATTEMPTS + twice).contains(&(told + counted)) {
                stage.note(&format!(
                    "{ATTEMPTS} attempts, {kills} kills: {told} told, {counted} counted"
                ));
                return still_denies(stage);
            }
            let is_open = told + counted < ATTEMPTS && begun.elapsed().as_secs() < 180;
            ensure!(is_open, "{told} told and {counted} counted of {ATTEMPTS}, {kills} kills");
            thread::sleep(Duration::from_secs(1));
        }
    })
}

/// The last write that each watchdog told of, but for the one that runs.
fn last_words(entries: &[Entry]) -> Vec<&Entry> {
    let told: Vec<_> = entries.iter().filter(|it| it.is("write-denied")).collect();
    let pairs = told.windows(2).filter(|pair| pair[0].field("_PID") != pair[1].field("_PID"));
    pairs.map(|pair| pair[0]).collect()
}

/// Check that a guard with a secret is taken down by that one only, wherever it is typed.
fn by_secret(stage: &Stage) -> Result<()> {
    let shell = |line: &str| stage.machine().node0().shell(line);
    let line = shell(&format!("printf 'open sesame' | {WATCHDOG} guard secret"))?;
    ensure!(line.success() && line.text().starts_with("disarm_secret = \"$argon2"), "{line}");
    let by = |secret: &str| {
        shell(&format!("printf '{secret}' | {WATCHDOG} guard disarm --secret-file -"))
    };
    let mark = stage.mark()?;
    stage.configured(&configuration(&format!("[guard]\n{}", line.text())), || {
        stage.halt()?;
        let without = shell(&format!("{WATCHDOG} guard disarm </dev/null"))?;
        for (output, why) in [(by("open sesam")?, "not the secret"), (without, "by a secret")] {
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

/// Check that `guard status` shows the guard in force, and that `guard self-test` tries it from
/// another process than the one that armed it.
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
        // A trial is no attempt.
        let entries = stage.alerts(quiet)?;
        ensure!(entries.is_empty(), "{entries:#?}");
        Ok(())
    })?;
    stage.idle()?;
    let none = stage.machine().node0().shell(&format!("{WATCHDOG} guard status"))?;
    ensure!(none.status == 2 && none.to_string().contains("no guard is in force"), "{none}");
    Ok(())
}

/// Check that nobody takes a sealed guard down, on whatever console.
fn sealed(stage: &Stage) -> Result<()> {
    configured(stage, "[guard]\nsealed = true", || {
        stage.halt()?;
        let output = stage.on_console(&format!("{WATCHDOG} guard disarm"))?;
        ensure!(output.status == 2 && output.to_string().contains("is sealed"), "{output}");
        still_denies(stage)
    })
}
