//! `watchdog scan`.

use std::thread;
use std::time::{Duration, Instant};

use super::Status;
use super::args::ScanArgs;
use super::kernel::{find, mapping_findings};
use super::report::{json, people};
use super::scan_report::{LISTED, NodeReport, TextReport, print};
use super::state::store;
use crate::node::{Found, NoBaseline, Target, baseline_for};
use watchdog_core::locate::{Beat, Finding, Report, living};
use watchdog_core::text::chain;
use watchdog_core::verify::{BaselineStore, Verdict, Verifier, copy_text};

/// From one sweep to the next of a kernel that is patching its text.
const PATCHING: Duration = Duration::from_millis(200);
/// How long these sweeps are repeated: twice as long as the verifier leaves sites pending for a
/// kernel that holds the mutexes of its patching code.
const LONGEST_PATCHING: Duration = Duration::from_secs(60);
/// The longest wait for clocks that stand still.
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// Sweeps every node once.
pub(super) fn execute(args: ScanArgs) -> anyhow::Result<Status> {
    let config = args.memory.config()?;
    let target = args.memory.target(&config)?;
    let store = store(&config);
    let found = find(&target)?;
    let mut worst = Status::Good;
    for found in &found {
        let first = found.finding.pulse().read_clocks(&*target.memory);
        let mut report = judge_node(&target, &store, found, args.verbose)?;
        report.alive = is_alive(&target, &found.finding, first);
        let node = config.nodes.iter().find(|node| node.name == found.node.name);
        let is_allowed = report.allow(&args.allow, node.map_or(&[], |node| &node.allow));
        worst = worse(worst, report.verdict, is_allowed);
        let is_incomplete = args.complete && report.is_incomplete();
        if (report.alive == Some(false) || is_incomplete) && worst == Status::Good {
            worst = Status::Undecided;
        }
        if args.memory.place.json {
            json(&report)?;
        } else {
            print(&mut people(), found, &report, args.verbose)?;
        }
    }
    if found.is_empty() {
        anyhow::bail!("no kernel was found in {}", target.nodes.memory().in_brief());
    }
    Ok(worst)
}

/// The worse of two results: tampered, then undecided, then good.
fn worse(so_far: Status, verdict: Verdict, is_allowed: bool) -> Status {
    match (so_far, verdict) {
        (Status::Tampered, _) | (_, Verdict::Tampered) => Status::Tampered,
        (so_far, Verdict::Instrumented) if is_allowed => so_far,
        (_, Verdict::Instrumented) => Status::Tampered,
        (so_far, Verdict::Clean | Verdict::Patched) => so_far,
        (_, Verdict::Unverified | Verdict::Booting | Verdict::Lost) => Status::Undecided,
    }
}

/// Whether a node's clocks advanced after `first`. Waits for clocks that did not. `None` if that
/// cannot be known: memory in a file may be at rest.
fn is_alive(target: &Target, finding: &Finding, first: Beat) -> Option<bool> {
    if target.guarded.is_none() || !first.is_known() || !matches!(finding, Finding::Located(_)) {
        return None;
    }
    let (memory, pulse) = (&*target.memory, finding.pulse());
    let timeout = pulse.read_clocks(memory).rest().min(LONGEST_LOOK);
    let advanced = pulse.read_clocks(memory).advanced_since(&first);
    Some(advanced || living(memory, &[pulse], timeout).contains(&true))
}

/// Sweeps one node.
fn judge_node<'a>(
    target: &Target,
    store: &BaselineStore,
    found: &'a Found,
    verbose: bool,
) -> anyhow::Result<NodeReport<'a>> {
    let begun = Instant::now();
    let memory = &*target.memory;
    let name = found.node.name.as_str();
    let kernel = Report::new(name, &found.finding, &[], &found.strays);
    let report =
        |verdict, reason, text| NodeReport::new(name, verdict, reason, kernel, text, begun);
    let Finding::Located(located) = &found.finding else {
        let verdict = match found.finding {
            Finding::Booting(_) => Verdict::Booting,
            _ => Verdict::Lost,
        };
        return Ok(report(verdict, Some(found.finding.reason().to_owned()), None));
    };
    let mapping = mapping_findings(memory, located)?;
    let baseline = match baseline_for(&target.images, store, &found.node.name, located) {
        Ok(baseline) => baseline,
        // No baseline fits this kernel, or the one that may fit cannot be read. Other nodes are
        // judged all the same.
        Err(
            error @ (NoBaseline::OtherKernel { .. }
            | NoBaseline::NoRelocations { .. }
            | NoBaseline::Image { .. }),
        ) => {
            let text = TextReport::unjudged(&copy_text(memory, &located.text)?);
            let verdict = if mapping.is_empty() { Verdict::Unverified } else { Verdict::Tampered };
            let reasons: Vec<_> = mapping.into_iter().chain([chain(&error)]).collect();
            return Ok(report(verdict, sentence(&reasons), Some(text)));
        }
        Err(error) => return Err(error.into()),
    };
    let Some(baseline) = baseline else {
        let text = TextReport::unjudged(&copy_text(memory, &located.text)?);
        let verdict = if mapping.is_empty() { Verdict::Unverified } else { Verdict::Tampered };
        return Ok(report(verdict, sentence(&mapping), Some(text)));
    };
    let mut verifier = Verifier::new(baseline, located);
    // A kernel that is patching its text is judged when the patching is over.
    let sweep = || verifier.sweep(memory, located, LISTED);
    let swept = repeat_until(|swept| swept.pending == 0, LONGEST_PATCHING, PATCHING, sweep)?;
    let verdict = match swept.verdict {
        _ if !mapping.is_empty() => Verdict::Tampered,
        Verdict::Tampered => Verdict::Tampered,
        _ if swept.pending > 0 => Verdict::Unverified,
        verdict => verdict,
    };
    let reason = sentence(&mapping)
        .or_else(|| unsettled(swept.pending))
        .or_else(|| undecided(swept.undecided));
    let text = TextReport::judged(swept, &verifier, located, verbose);
    Ok(report(verdict, reason, Some(text)))
}

/// Repeats an act every `pause` until it is done, or until `limit` has passed. Returns the last
/// result.
fn repeat_until<T, E>(
    is_done: impl Fn(&T) -> bool,
    limit: Duration,
    pause: Duration,
    mut act: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        let result = act()?;
        if is_done(&result) || begun.elapsed() >= limit {
            return Ok(result);
        }
        thread::sleep(pause);
    }
}

/// Why a text that was still changing could not be judged.
fn unsettled(places: usize) -> Option<String> {
    (places > 0).then(|| {
        format!("{places} places of its text were still changing after {LONGEST_PATCHING:?}")
    })
}

/// Why a text that was copied at a bad moment could not be judged.
fn undecided(places: usize) -> Option<String> {
    (places > 0).then(|| {
        format!(
            "the kernel was patching itself when its memory was copied or stopped: {places} places \
             of its text are undecided. Copy its memory again"
        )
    })
}

fn sentence(mapping: &[String]) -> Option<String> {
    (!mapping.is_empty()).then(|| mapping.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check the documented order: tampered, then undecided, then good. Check that instrumentation
    /// counts as tampering unless it is allowed.
    #[test]
    fn exit_status() {
        let judged = |verdicts: &[Verdict], allowed| {
            verdicts.iter().fold(Status::Good, |so_far, verdict| worse(so_far, *verdict, allowed))
        };
        let status = |verdicts: &[Verdict]| judged(verdicts, false);
        assert_eq!(status(&[]), Status::Good);
        assert_eq!(status(&[Verdict::Clean, Verdict::Patched]), Status::Good);
        for undecided in [Verdict::Lost, Verdict::Unverified, Verdict::Booting] {
            assert_eq!(status(&[undecided, Verdict::Clean]), Status::Undecided);
            assert_eq!(status(&[Verdict::Tampered, undecided]), Status::Tampered);
            assert_eq!(status(&[undecided, Verdict::Tampered]), Status::Tampered);
        }
        let traced = [Verdict::Patched, Verdict::Instrumented];
        assert_eq!(status(&traced), Status::Tampered);
        assert_eq!(judged(&traced, true), Status::Good);
        assert_eq!(judged(&[Verdict::Tampered], true), Status::Tampered);
    }
    /// Check that a scan ends at its limit if a text never settles, and after the first sweep that
    /// finds the text settled.
    #[test]
    fn scans_end() {
        let pause = Duration::from_millis(1);
        let looks = |limit, is_done: fn(&u32) -> bool| {
            let mut looks = 0;
            let act = || {
                looks += 1;
                Ok::<_, ()>(looks)
            };
            repeat_until(is_done, limit, pause, act)
        };
        assert!(looks(Duration::from_millis(20), |_| false).is_ok_and(|looks| looks > 1));
        assert_eq!(looks(Duration::from_secs(60), |looks| *looks == 3), Ok(3));
        assert!(unsettled(0).is_none() && unsettled(2).is_some_and(|why| why.starts_with("2 ")));
    }
}
