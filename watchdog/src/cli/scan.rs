//! `watchdog scan`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Status;
use super::args::ScanArgs;
use super::locate::{find, print_kernel};
use super::report::{people, row};
use crate::alert::hex;
use crate::locate::{Finding, Kernel, Recheck, Report, recheck};
use crate::memory::{Memory, PhysAddr, VirtAddr};
use crate::node::{Found, Target};
use crate::verify::{
    BaselineKind, BaselineStore, Difference, Digest, Identity, Judgement, Verdict, copy_text, sweep,
};
use crate::watch::symbol;

/// Where state is kept when nothing else is said.
pub(super) const STATE_DIR: &str = "/var/lib/watchdog";
/// Differences listed in JSON.
const LISTED: usize = 10_000;
/// Differences shown to a person who did not ask for all.
const SHOWN: usize = 20;

/// What a scan says of one node: `scan --json`.
#[derive(Debug, Serialize)]
struct NodeReport<'a> {
    node: &'a str,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    kernel: Report,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    text: Option<TextReport>,
    elapsed_us: u64,
}

#[derive(Debug, Serialize)]
struct TextReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<BaselineKind>,
    sha256: Digest,
    pages: usize,
    pages_differing: usize,
    differences_total: usize,
    differences: Vec<DifferenceReport>,
}

#[derive(Debug, Serialize)]
struct DifferenceReport {
    phys: PhysAddr,
    virt: VirtAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<String>,
    length: usize,
    judgement: Judgement,
    expected: String,
    found: String,
}

/// Sweeps every node once.
pub(super) fn execute(args: ScanArgs) -> anyhow::Result<Status> {
    let config = args.memory.config()?;
    let target = Target::open(&config, &args.memory.nodes)?;
    let state = config.state_dir.clone().unwrap_or_else(|| PathBuf::from(STATE_DIR));
    let found = find(&target)?;
    let mut worst = Status::Good;
    for found in &found {
        let report = judge(&*target.memory, &state, found)?;
        worst = worse(worst, report.verdict);
        if args.memory.json {
            let mut stdout = io::stdout().lock();
            serde_json::to_writer(&mut stdout, &report)?;
            writeln!(stdout)?;
        } else {
            let shown = if args.verbose { LISTED } else { SHOWN };
            print(&mut *people(false), found, &report, shown)?;
        }
    }
    if found.is_empty() {
        anyhow::bail!("no kernel was found in {}", target.nodes.memory());
    }
    Ok(worst)
}

/// Tampering outweighs everything, indecision outweighs health.
fn worse(so_far: Status, verdict: Verdict) -> Status {
    match (so_far, verdict) {
        (Status::Tampered, _) | (_, Verdict::Tampered) => Status::Tampered,
        (so_far, Verdict::Clean) => so_far,
        (_, Verdict::Unverified | Verdict::Booting | Verdict::Lost) => Status::Undecided,
    }
}

/// Sweeps one node.
fn judge<'a>(
    memory: &dyn Memory,
    state: &Path,
    found: &'a Found,
) -> anyhow::Result<NodeReport<'a>> {
    let begun = Instant::now();
    let name = found.node.name.as_str();
    let kernel = Report::new(name, &found.finding, &[]);
    let Finding::Located(located) = &found.finding else {
        return Ok(NodeReport {
            node: name,
            verdict: if matches!(found.finding, Finding::Booting(_)) {
                Verdict::Booting
            } else {
                Verdict::Lost
            },
            reason: Some(found.finding.reason().to_owned()),
            kernel,
            text: None,
            elapsed_us: micros(begun.elapsed()),
        });
    };
    let mapping = mapping_findings(memory, located)?;
    let (verdict, text) = sweep_text(memory, state, name, located)?;
    Ok(NodeReport {
        node: name,
        verdict: if mapping.is_empty() { verdict } else { Verdict::Tampered },
        reason: (!mapping.is_empty()).then(|| mapping.join("; ")),
        kernel,
        text: Some(text),
        elapsed_us: micros(begun.elapsed()),
    })
}

/// What is wrong with how a located text is mapped; nothing on a healthy node.
pub(super) fn mapping_findings(
    memory: &dyn Memory,
    kernel: &Kernel,
) -> anyhow::Result<Vec<String>> {
    Ok(match recheck(memory, kernel)? {
        Recheck::Same { findings } => findings,
        Recheck::Gone { reason } => vec![reason],
    })
}

/// Sweeps one located text against its stored baseline, where there is one of this kernel.
fn sweep_text(
    memory: &dyn Memory,
    state: &Path,
    name: &str,
    kernel: &Kernel,
) -> anyhow::Result<(Verdict, TextReport)> {
    let stored = BaselineStore::in_state_dir(state).load(name)?;
    let Some(baseline) = stored.filter(|stored| *stored.identity() == Identity::of(kernel)) else {
        let copy = copy_text(memory, &kernel.text)?;
        let report = TextReport {
            baseline: None,
            sha256: Digest::of(copy.bytes()),
            pages: copy.pages().len(),
            pages_differing: 0,
            differences_total: 0,
            differences: Vec::new(),
        };
        return Ok((Verdict::Unverified, report));
    };
    let swept = sweep(memory, &kernel.text, &baseline)?;
    let listed = swept.differences.iter().take(LISTED);
    let report = TextReport {
        baseline: Some(baseline.kind()),
        sha256: swept.sha256,
        pages: swept.pages,
        pages_differing: swept.pages_differing,
        differences_total: swept.differences.len(),
        differences: listed.map(|difference| DifferenceReport::new(kernel, difference)).collect(),
    };
    Ok((swept.verdict, report))
}

impl DifferenceReport {
    fn new(kernel: &Kernel, difference: &Difference) -> Self {
        Self {
            phys: difference.phys,
            virt: difference.virt,
            symbol: symbol(&kernel.symbols, difference.virt),
            length: difference.found.len(),
            judgement: difference.judgement,
            expected: hex(&difference.expected),
            found: hex(&difference.found),
        }
    }
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

fn print(
    out: &mut dyn Write,
    found: &Found,
    report: &NodeReport<'_>,
    shown: usize,
) -> io::Result<()> {
    writeln!(out, "{}  {}", report.node, report.verdict)?;
    if let Finding::Located(kernel) = &found.finding {
        print_kernel(out, kernel)?;
    }
    if let Some(reason) = &report.reason {
        row(out, "reason", reason)?;
    }
    let Some(text) = &report.text else { return Ok(()) };
    row(out, "sha256", &text.sha256.to_string())?;
    match text.baseline {
        Some(BaselineKind::Learned) => row(out, "baseline", "learned (trusted on first use)")?,
        None => {
            row(out, "baseline", "none of this kernel at this place: `watchdog run` learns one")?
        }
    }
    row(out, "pages", &format!("{} in all, {} differ", text.pages, text.pages_differing))?;
    for difference in text.differences.iter().take(shown) {
        let place = difference.symbol.as_deref().unwrap_or("unknown symbol");
        row(out, "difference", &format!("{place}  physical {}", difference.phys))?;
        row(out, "  expected", &cut(&difference.expected))?;
        row(out, "  found", &cut(&difference.found))?;
    }
    let hidden = text.differences_total.saturating_sub(text.differences.len().min(shown));
    if hidden > 0 {
        row(out, "", &format!("and {hidden} more differences (--verbose, --json)"))?;
    }
    Ok(())
}

/// Hexadecimal that fits the line.
fn cut(digits: &str) -> String {
    const FITS: usize = 60;
    match digits.get(..FITS) {
        Some(head) if head.len() < digits.len() => format!("{head}…"),
        _ => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check the documented order: tampered, then undecided, then good.
    #[test]
    fn exit_status() {
        let status = |verdicts: &[Verdict]| verdicts.iter().copied().fold(Status::Good, worse);
        assert_eq!(status(&[]), Status::Good);
        assert_eq!(status(&[Verdict::Clean, Verdict::Clean]), Status::Good);
        for undecided in [Verdict::Lost, Verdict::Unverified, Verdict::Booting] {
            assert_eq!(status(&[undecided, Verdict::Clean]), Status::Undecided);
            assert_eq!(status(&[Verdict::Tampered, undecided]), Status::Tampered);
            assert_eq!(status(&[undecided, Verdict::Tampered]), Status::Tampered);
        }
    }
}
