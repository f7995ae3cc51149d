//! Legitimate causes for a kernel to rewrite its own text. The host must see that each one changes
//! the text, and that all bytes are restored afterwards. The watchdog must be able to explain every
//! byte by the vendor's image at any time.

mod judge;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use judge::Judge;
use watchdog_core::verify::Verdict;
use watchdog_tests::livepatch;
use watchdog_tests::machine::{Machine, ServiceNode};
use watchdog_tests::toggles::text::{self, Changes};
use watchdog_tests::toggles::{self, MODULES, Mechanism, Toggles};
use watchdog_tests::truth::Truth;

/// Maximum time for a kernel to restore its text: it removes the jumps of optimised kprobes with a
/// delay.
const RESTORED: Duration = Duration::from_secs(180);

/// A node and its text.
struct Subject<'a> {
    machine: &'a Machine,
    node: &'a ServiceNode,
    truth: Truth,
    /// The name of its kernel's package.
    kernel: &'a str,
}

impl Subject<'_> {
    fn text(&self) -> Result<Vec<u8>> {
        text::read(self.machine.ram(), &self.truth)
    }

    fn judge(&self) -> Result<Judge> {
        Judge::of(self.machine, &self.truth, self.kernel)
    }

    fn changes_since(&self, before: &[u8]) -> Result<Changes> {
        Ok(Changes::between(before, &self.text()?))
    }

    /// Waits until the text has reached a state.
    fn wait(&self, before: &[u8], what: &str, is_so: impl Fn(&Changes) -> bool) -> Result<Changes> {
        let begun = Instant::now();
        loop {
            let changes = self.changes_since(before)?;
            if is_so(&changes) {
                return Ok(changes);
            }
            ensure!(begun.elapsed() < RESTORED, "{what}: {changes}, {:?}", self.names(&changes)?);
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns the places of the changes, at most 32, by the kernel's own names.
    fn names(&self, changes: &Changes) -> Result<Vec<String>> {
        let first = changes.places.iter().take(32);
        let first: Vec<u64> = first.map(|at| self.truth.stext_virt + at.start as u64).collect();
        self.node.names_of(&first)
    }
}

/// Runs a test with a kernel, on a service node.
fn on(kernel: &str, work: impl FnOnce(Subject) -> Result<()>) -> Result<()> {
    let builder = Machine::builder().service_nodes(1).service_kernel(1, kernel);
    let machine = toggles::pack(builder, 1).booted_as(&format!("toggles-{kernel}"))?;
    let (node, truth) = (machine.node(1)?, machine.truth(1)?);
    let release = truth.release.clone();
    work(Subject { machine: &machine, node, truth, kernel }).with_context(|| release)
}

/// The tests of each kernel, as separate tests.
macro_rules! with_each {
    ($($module:ident, $kernel:literal;)*) => {
        $(mod $module {
            use anyhow::Result;

            #[test]
            #[ignore = "boots a machine: cargo xtask test"]
            fn every_toggle() -> Result<()> {
                super::every_toggle_rewrites_text_and_restores_it($kernel)
            }

            #[test]
            #[ignore = "boots a machine: cargo xtask test"]
            fn kprobes() -> Result<()> {
                super::kprobes_are_breakpoints_or_jumps($kernel)
            }

            #[test]
            #[ignore = "boots a machine: cargo xtask test"]
            fn random_toggles() -> Result<()> {
                super::random_toggles_leave_nothing($kernel)
            }
        })*
    };
}

with_each! {
    linux_6_1, "6.1";
    linux_6_12, "6.12";
    linux_7_2, "7.2";
}

/// Is a place, `name+0x12`, in this function?
fn is_in(place: &str, function: &str) -> bool {
    place.strip_prefix(function).is_some_and(|rest| rest.starts_with('+'))
}

/// Check on a kernel that every toggle rewrites text and that the watchdog explains the changes.
/// Changes that lead out of the closed tables are reported as instrumented. When the toggle is off,
/// every byte is restored.
fn every_toggle_rewrites_text_and_restores_it(kernel: &str) -> Result<()> {
    on(kernel, |subject| {
        let mut toggles = Toggles::new(subject.node, 0)?;
        let mut judge = subject.judge()?;
        ensure!(judge.settled()?.verdict == Verdict::Patched, "not a healthy kernel");
        for toggle in toggles.all().to_vec() {
            let before = subject.text()?;
            let on = toggles.flip_named(&toggle.name)?;
            let while_on = judge.settled().with_context(|| format!("{toggle} is on"))?;
            let causes: Vec<_> = while_on
                .causes
                .iter()
                .map(|(cause, places)| format!("{} {} ({places})", cause.mechanism, cause.name))
                .collect();
            println!("{} | {toggle} | {} {causes:?}", subject.truth.release, while_on.verdict);
            let during = subject.changes_since(&before)?;
            let names = subject.names(&during)?;
            let there = |function: &String| names.iter().position(|name| is_in(name, function));
            let function = toggle.function();
            let place = function.as_ref().map_or(Some(0), there);
            let place = place.with_context(|| format!("{toggle} is not in {names:?}"))?;
            let off = toggles.flip_named(&toggle.name)?;
            let left = || format!("{toggle} left something");
            subject.wait(&before, &left(), Changes::is_empty)?;
            let after = judge.settled().with_context(|| format!("{toggle} is off again"))?;
            ensure!(after.verdict == Verdict::Patched, "{toggle} left {:?}", after.causes);
            let (release, took) = (&subject.truth.release, [on.took, off.took]);
            let mechanism = toggle.mechanism;
            let place = names.get(place).map_or("", String::as_str);
            println!("{release} | {toggle} | {mechanism:?} | {during} | {took:.2?} | {place}");
            // Only a setting that waits for probes, and all modules except one, may leave text
            // unchanged.
            let may_do_nothing = toggle.name == "no optimised kprobes"
                || (mechanism == Mechanism::Module && !toggle.name.contains(MODULES[0]));
            // Programs on a tracepoint only make changes that closed tables list.
            let leads_out = !during.is_empty()
                && !toggle.name.starts_with("BPF on ")
                && matches!(
                    mechanism,
                    Mechanism::Ftrace | Mechanism::Kprobe | Mechanism::Bpf | Mechanism::Livepatch
                );
            let is_named = while_on.verdict == Verdict::Instrumented && !causes.is_empty();
            ensure!(!leads_out || is_named, "{toggle} is {}, by {causes:?}", while_on.verdict);
            let target = match mechanism {
                Mechanism::Livepatch => Some(format!("[{}]", livepatch::NAME)),
                Mechanism::Kprobe => function.map(|function| format!(" at {function}")),
                _ => None,
            };
            let is_reported = |target: String| causes.iter().any(|cause| cause.contains(&target));
            ensure!(target.is_none_or(is_reported), "{toggle} leads elsewhere: {causes:?}");
            ensure!(may_do_nothing || !during.is_empty(), "{toggle} changes nothing");
        }
        Ok(())
    })
}

/// Check that a kprobe in a function is an int3 if jumps are not allowed, that it becomes a jump if
/// they are, and that both are removed.
fn kprobes_are_breakpoints_or_jumps(kernel: &str) -> Result<()> {
    const PROBE: &str = "kprobe in vfs_read";
    const NO_JUMPS: &str = "no optimised kprobes";
    on(kernel, |subject| {
        let mut toggles = Toggles::new(subject.node, 0)?;
        let before = subject.text()?;
        toggles.flip_named(NO_JUMPS)?;
        toggles.flip_named(PROBE)?;
        // Tracing any event also switches others on, so the probe is not the only change.
        let begins_with = |byte: u8| {
            let (text, changes) = (subject.text()?, subject.changes_since(&before)?);
            let mut names = Vec::new();
            for place in changes.places.iter().filter(|place| text[place.start] == byte) {
                let at = subject.truth.stext_virt + place.start as u64;
                names.extend(subject.node.names_of(&[at])?);
            }
            anyhow::Ok(names.into_iter().find(|name| is_in(name, "vfs_read")))
        };
        let place = begins_with(0xcc)?.context("no int3 in vfs_read")?;
        toggles.flip_named(NO_JUMPS)?;
        let begun = Instant::now();
        while begins_with(0xe9)?.as_ref() != Some(&place) {
            ensure!(begun.elapsed() < RESTORED, "no jump at {place}");
        }
        let took = begun.elapsed();
        println!("{} | {place}: int3, after {took:.1?} jmp", subject.truth.release);
        toggles.all_off()?;
        subject.wait(&before, "all is off", Changes::is_empty).map(drop)
    })
}

/// Check that every kernel survives all toggles in random order (`WATCHDOG_TOGGLES` steps, seed
/// `WATCHDOG_SEED`), and that nothing remains in its text. A verifier that sweeps all the time must
/// explain every byte.
fn random_toggles_leave_nothing(kernel: &str) -> Result<()> {
    let number = |name, default| std::env::var(name).map_or(Ok(default), |value| value.parse());
    let (steps, seed) = (number("WATCHDOG_TOGGLES", 200)?, number("WATCHDOG_SEED", 1)?);
    on(kernel, |subject| {
        let (begun, before) = (Instant::now(), subject.text()?);
        let mut toggles = Toggles::new(subject.node, seed)?;
        let (mut judge, stop) = (subject.judge()?, AtomicBool::new(false));
        let record = thread::scope(|scope| {
            let sweeping = scope.spawn(|| judge.sweep_until(&stop));
            let toggled =
                toggle_at_random(&subject, &mut toggles, &before, steps, || sweeping.is_finished());
            stop.store(true, Ordering::Relaxed);
            let record = sweeping.join().expect("no panic")?;
            toggled.map(|()| record)
        })?;
        let swept = judge.settled()?;
        ensure!(swept.verdict == Verdict::Patched, "left at the end: {:?}", swept.causes);
        let release = &subject.truth.release;
        println!(
            "{release} | {} sweeps, {} of them instrumented, {} while it was patching, none with \
             anything unexplained; the longest {:.1?}; {:.0?} in all",
            record.sweeps,
            record.instrumented,
            record.pending,
            record.longest,
            begun.elapsed()
        );
        for cause in &record.causes {
            println!("{release} |   {cause}");
        }
        ensure!(record.sweeps as u64 * 3 > steps, "it was swept too seldom: {record:?}");
        Ok(())
    })
}

/// Switches `steps` random toggles, then all of them off. Ends early if the judge has ended.
fn toggle_at_random(
    subject: &Subject,
    toggles: &mut Toggles,
    before: &[u8],
    steps: u64,
    judge_ended: impl Fn() -> bool,
) -> Result<()> {
    let begun = Instant::now();
    let (mut last, mut changed, mut most) = (before.to_vec(), 0, 0);
    for _ in 0..steps {
        if judge_ended() {
            break;
        }
        let step = toggles.step()?;
        let text = subject.text()?;
        let changes = Changes::between(&last, &text);
        println!("{} | {step} | {changes}", subject.truth.release);
        changed += u64::from(!changes.is_empty());
        most = most.max(Changes::between(before, &text).bytes);
        last = text;
    }
    let on = toggles.on().count();
    toggles.all_off()?;
    let what = format!("after {steps} steps");
    subject.wait(before, &what, Changes::is_empty)?;
    let (release, took) = (&subject.truth.release, begun.elapsed());
    println!(
        "{release} | {steps} steps, {changed} changed text, up to {most} bytes; \
             {on} were on at the end; all restored; {took:.0?}"
    );
    Ok(())
}
