//! A booted machine with the watchdog installed on node 0, as an operator would install it.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::journal::{Entry, Follower};
use super::{Start, snapshots};
use crate::cache;
use crate::kernel::Kernel;
use crate::layout;
use crate::machine::{Builder, Machine, Output, Snapshot, snapshot};

pub(super) const UNIT: &str = "integrity-watchdog.service";
const CATALOG: &str = "integrity-watchdog.catalog";
/// The executable that the service runs. The guard trusts no other, not even a copy.
pub(super) const WATCHDOG: &str = "/usr/bin/watchdog";
const CONFIGURATION: &str = "/etc/watchdog/watchdog.toml";
/// Puts the watchdog where its package would put it.
pub(super) const INSTALL: &str = "install -m 755 /host/watchdog /usr/bin/watchdog
install -m 644 /host/integrity-watchdog.service /etc/systemd/system/
install -D -m 644 -t /usr/lib/systemd/catalog /host/integrity-watchdog.catalog";
/// A processor that belongs to no node until a case gives it to node 0.
pub(super) const SPARE_PROCESSOR: u8 = layout::MAX_SERVICE_NODES + 1;
/// Node 0's preemption mode: where its kernel takes a processor from threads (`sched_dynamic_show`,
/// kernel/sched/debug.c).
const PREEMPTION: &str = "/sys/kernel/debug/sched/preempt";
/// How long any action of the watchdog may take under emulation.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(180);
/// Polls of the follower of the journal after which the whole journal is listed.
const LIST_EVERY: u32 = 512;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The machine, and what cases need of it.
pub struct Stage {
    machine: Machine,
    /// The kernel of every node.
    pub kernel: Kernel,
    /// The configuration of the service while it runs.
    serving: RefCell<Option<String>>,
    /// Runs from the first wait on.
    journal: RefCell<Option<Follower>>,
}

impl Stage {
    /// A machine with this kernel on every node, restored from a snapshot.
    ///
    /// # Errors
    /// When a machine that has to be made does not become ready, or its snapshot cannot be
    /// restored.
    pub fn set(kernel: &str, start: Start) -> Result<Self> {
        Self::set_with(kernel, start, |_| {})
    }

    /// The same. If a machine has to be booted, `progress` is called with each step that it
    /// reaches.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_with(kernel: &str, start: Start, mut progress: impl FnMut(&str)) -> Result<Self> {
        Self::restored(&snapshots::of(kernel, start, &mut progress)?, kernel, start)
    }

    /// The machine of a snapshot that was taken in this state.
    pub(super) fn restored(snapshot: &Snapshot, kernel: &str, start: Start) -> Result<Self> {
        let stage = Self::new(snapshot.restore(Self::builder(kernel))?, kernel)?;
        stage.serving.replace(start.configuration());
        Ok(stage)
    }

    /// A stage on a machine with another description, on which `prepare` ran after its boot. The
    /// machine is kept as a snapshot of this name.
    ///
    /// # Errors
    /// When the machine does not boot, or node 0 does not accept the files or fails in `prepare`.
    pub fn on(machine: Builder, kernel: &str, name: &str, prepare: &str) -> Result<Self> {
        let builder = Self::described(machine, kernel);
        let machine = snapshot::kept(name, &builder, &format!("{INSTALL}\n{prepare}"), || {
            let stage = Self::new(builder.clone().boot()?, kernel)?;
            stage.install()?;
            stage.shell(prepare)?;
            Ok(stage.into_machine())
        })?;
        Self::new(machine.restore(builder)?, kernel)
    }

    /// Boots a machine with the watchdog as a service that starts when node 0 boots, before any
    /// other node starts.
    ///
    /// # Errors
    /// When the machine does not boot.
    pub fn watched_from_boot(kernel: &str, configuration: &str, more: &str) -> Result<Self> {
        let script = format!(
            "{INSTALL}
             mkdir -p /etc/watchdog
             cat >{CONFIGURATION} <<'EOF'
{configuration}
EOF
             systemctl --quiet enable {UNIT}
             {more}"
        );
        let machine = Self::builder(kernel).at_boot(script).without_starting_nodes();
        Self::new(machine.boot()?, kernel)
    }

    /// The machine that cases run on.
    pub(super) fn builder(kernel: &str) -> Builder {
        Self::described(Machine::builder().iommu().module(1, "loop"), kernel)
    }

    /// A machine with this kernel on every node, and with the files of the watchdog.
    pub(crate) fn described(machine: Builder, kernel: &str) -> Builder {
        let dist = cache::project_root().join("dist");
        machine
            .kernel(kernel)
            .service_kernels(kernel)
            .spare_processors(1)
            .without_fast_strings()
            .share(UNIT, dist.join(UNIT))
            .share(CATALOG, dist.join(CATALOG))
    }

    pub(crate) fn new(machine: Machine, kernel: &str) -> Result<Self> {
        let kernel = Kernel::named(kernel)?;
        Ok(Self { machine, kernel, serving: RefCell::default(), journal: RefCell::default() })
    }

    /// Installs the watchdog.
    pub(crate) fn install(&self) -> Result<()> {
        self.shell(&format!("{INSTALL}; journalctl --update-catalog; systemctl daemon-reload"))
            .map(drop)
    }

    /// The machine alone.
    pub(crate) fn into_machine(self) -> Machine {
        self.machine
    }

    /// Prints a measurement of a case.
    pub fn note(&self, text: &str) {
        println!("note: {text}");
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs a line of shell on node 0 that must succeed.
    ///
    /// # Errors
    /// When it fails, or node 0 does not answer.
    pub fn shell(&self, script: &str) -> Result<Output> {
        let output = self.machine.node0().shell(&format!("set -e\n{script}"))?;
        ensure!(output.success(), "`{script}` on node 0: {output}");
        Ok(output)
    }

    /// Gives node 0 the spare processor, and a kernel that takes a processor from threads wherever
    /// they are in it. This must come before the guard, which lets no process start a processor.
    ///
    /// # Errors
    /// When node 0 does not accept them.
    pub fn preempt(&self) -> Result<()> {
        let online = format!("/sys/devices/system/cpu/cpu{SPARE_PROCESSOR}/online");
        self.shell(&format!("echo 1 >{online}; echo full >{PREEMPTION}")).map(drop)
    }

    /// Starts the watchdog as a service, and returns when it reports that it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self) -> Result<()> {
        let started = self.machine.node0().run(["systemctl", "start", UNIT])?;
        if !started.success() {
            let journal = self.machine.node0().shell(&format!(
                "journalctl --no-pager -n 30 -u {UNIT}; journalctl --no-pager -n 10 -t watchdog"
            ))?;
            bail!("the service did not start: {started}\n{}", journal.text());
        }
        Ok(())
    }

    /// Stops the service, which must end without an error, and disarms the guard, which outlives
    /// it.
    ///
    /// # Errors
    /// When the service ended with an error, or the guard stays.
    pub fn stop(&self) -> Result<()> {
        let halted = self.halt();
        let disarmed = self.disarm();
        halted.and(disarmed)
    }

    /// Disarms the guard as an operator on the machine's console does.
    ///
    /// # Errors
    /// When the guard stays.
    pub fn disarm(&self) -> Result<()> {
        let output = self.on_console(&format!("{WATCHDOG} guard disarm"))?;
        if !output.success() {
            let said = self.machine.node0().shell("journalctl --no-pager -n 20 -t watchdog")?;
            bail!("the guard stays: {output}\n{}", said.text());
        }
        Ok(())
    }

    /// Runs a command with a virtual terminal as its controlling terminal.
    ///
    /// # Errors
    /// When node 0 does not answer.
    pub fn on_console(&self, command: &str) -> Result<Output> {
        // A new session that opens a terminal gets it as its controlling terminal.
        self.machine.node0().shell(&format!("setsid --wait sh -c 'exec </dev/tty5; {command}'"))
    }

    /// Stops the service, which must end without an error. The guard stays.
    ///
    /// # Errors
    /// When the service ended with an error.
    pub fn halt(&self) -> Result<()> {
        self.shell(&format!("systemctl stop {UNIT}"))?;
        let result = self.shell(&format!("systemctl show -p Result -p ExecMainStatus {UNIT}"))?;
        let text = result.text();
        ensure!(
            text.contains("Result=success") && text.contains("ExecMainStatus=0"),
            "the service ended badly: {text}"
        );
        Ok(())
    }

    /// Runs a case while the service runs. The service is stopped afterwards, even if the case
    /// failed.
    ///
    /// # Errors
    /// The error of the case, else that of the service.
    pub fn watched(&self, case: impl FnOnce() -> Result<()>) -> Result<()> {
        self.idle()?;
        self.start()?;
        let result = case();
        let stopped = self.stop();
        result.and(stopped)
    }

    /// Runs a case while the service runs under this configuration. The service is restarted only
    /// if it has another one.
    ///
    /// # Errors
    /// The error of the case, else that of the service.
    pub fn configured(&self, text: &str, case: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.serving.borrow().as_deref() != Some(text) {
            self.idle()?;
            self.shell("mkdir -p /etc/watchdog")?;
            self.machine.node0().write(CONFIGURATION, 0o644, text.as_bytes())?;
            self.serving.replace(Some(text.to_owned()));
            self.start()?;
        }
        case()
    }

    /// Stops the service, disarms its guard and removes its configuration.
    ///
    /// # Errors
    /// When the service was not active, or ended with an error.
    pub fn idle(&self) -> Result<()> {
        if self.serving.take().is_none() {
            return Ok(());
        }
        self.shell(&format!("systemctl is-active {UNIT}"))?;
        self.stop()?;
        self.shell(&format!("rm {CONFIGURATION}")).map(drop)
    }

    /// A position in the journal: the number of the watchdog's entries so far. (With
    /// `--after-cursor` and a filter, journalctl of systemd 252 skips the next entry.)
    ///
    /// # Errors
    /// When node 0 does not answer.
    pub fn mark(&self) -> Result<usize> {
        Ok(self.entries(0)?.len())
    }

    /// The watchdog's entries since a mark.
    ///
    /// # Errors
    /// When node 0 does not answer, or an entry is not JSON.
    pub fn entries(&self, mark: usize) -> Result<Vec<Entry>> {
        let output =
            self.shell("journalctl --sync; journalctl -t watchdog -o json --no-pager -q")?;
        Ok(Entry::all_of(&output.text())?.into_iter().skip(mark).collect())
    }

    /// The same. If the kernel preempts threads anywhere (7.2), reports of calls that were not
    /// judged are left out. Such a kernel may skip a program at any time, whatever a case does.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn alerts(&self, mark: usize) -> Result<Vec<Entry>> {
        let mut entries = self.entries(mark)?;
        if ["full", "lazy"].contains(&self.preemption()?.as_str()) {
            entries.retain(|it| !it.field("MESSAGE").contains("The kernel skips a program"));
        }
        Ok(entries)
    }

    /// Node 0's preemption mode. The kernel shows `none voluntary (full) lazy`, with the current
    /// mode in parentheses.
    fn preemption(&self) -> Result<String> {
        let modes = self.shell(&format!("cat {PREEMPTION}"))?.text();
        Ok(modes.split(['(', ')']).nth(1).context("no preemption mode")?.to_owned())
    }

    /// Waits for an entry.
    ///
    /// # Errors
    /// When none arrives in time. The error lists what arrived instead.
    pub fn wait_for(
        &self,
        mark: usize,
        what: &str,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Result<Entry> {
        let mut journal = self.journal.borrow_mut();
        let journal = match &mut *journal {
            Some(journal) => journal,
            none => none.insert(Follower::start(self.machine.node0())?),
        };
        let mut polls = 0_u32;
        let waited = self.machine.health().wait("no entry", ENTRY_TIMEOUT, POLL_INTERVAL, || {
            polls += 1;
            // If the follower missed one entry, it would count all later ones too low.
            if polls.is_multiple_of(LIST_EVERY) {
                return Ok(self.entries(mark)?.into_iter().find(|entry| is_it(entry)));
            }
            let mut entries = journal.entries()?.iter().skip(mark);
            Ok(entries.find(|entry| is_it(entry)).cloned())
        });
        waited.with_context(|| {
            let entries = self.entries(mark).unwrap_or_default();
            let came: Vec<_> = entries.iter().map(ToString::to_string).collect();
            format!("awaited: {what}; the journal has:\n{}", came.join("\n"))
        })
    }

    /// The time since node 0 booted.
    ///
    /// # Errors
    /// When node 0 does not answer.
    pub fn uptime(&self) -> Result<Duration> {
        let text = self.shell("cat /proc/uptime")?.text();
        let seconds = text.split(' ').next().context("/proc/uptime is empty")?.parse()?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// A stopwatch: the time from now to an entry, less the time for which the host kept node 0's
    /// processor waiting.
    ///
    /// # Errors
    /// When node 0 or QEMU does not answer.
    pub fn stopwatch(&self) -> Result<impl Fn(&Entry) -> Result<Duration>> {
        let (begun, starved) = (self.uptime()?, self.machine.starved()?);
        Ok(move |entry: &Entry| {
            let took = entry.since_boot()?.saturating_sub(begun);
            Ok(took.saturating_sub(self.machine.starved()? - starved))
        })
    }

    /// The process id of the watchdog: the main process of the service.
    ///
    /// # Errors
    /// When the service does not run.
    pub fn watchdog(&self) -> Result<u32> {
        let shown = self.shell(&format!("systemctl show --property MainPID --value {UNIT}"))?;
        let process = shown.text().trim().parse()?;
        ensure!(process != 0, "the service does not run");
        Ok(process)
    }

    /// A byte of the machine's memory, as the host sees it.
    ///
    /// # Errors
    /// When there is no such memory.
    pub fn byte(&self, at: u64) -> Result<u8> {
        let mut byte = [0];
        self.machine.ram().read(at, &mut byte)?;
        Ok(byte[0])
    }

    /// Changes a byte as a device would: no kernel notices.
    ///
    /// # Errors
    /// When there is no such memory.
    pub fn poke(&self, at: u64, value: u8) -> Result<()> {
        self.machine.ram().write(at, &[value])
    }
}
