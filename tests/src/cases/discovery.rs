//! Finding kernels: on node 0 without configuration, and from the host.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{List, Stage, Start};
use crate::cache;
use crate::layout;
use crate::machine::{Machine, Output};
use crate::truth::Truth;

pub(super) const CASES: List = &[
    (
        "locate: node 0 finds both kernels by itself, equal to the truth",
        Start::Ready,
        node0_finds_both,
    ),
    (
        "locate: every kernel found in the machine's memory from outside",
        Start::Ready,
        host_finds_all,
    ),
    (
        "scan: without a baseline unverified, with the digest of the bytes",
        Start::Ready,
        scan_without_baseline,
    ),
];

/// Check that `watchdog locate` on node 0, without arguments, reports what the nodes say of
/// themselves.
fn node0_finds_both(stage: &Stage) -> Result<()> {
    located_on_node0(stage.machine(), &[], &SERVICE_NODES)
}

/// Check that the host finds the kernels of all nodes in the machine's live RAM file.
fn host_finds_all(stage: &Stage) -> Result<()> {
    let memory = format!("raw:{}", stage.machine().ram().path().display());
    located_from_outside(stage.machine(), &memory, &[], &[0, 1, 2])
}

/// Check that `watchdog scan` without a baseline judges nothing and exits with 2. It must report
/// the SHA-256 that another program computes from the same bytes.
fn scan_without_baseline(stage: &Stage) -> Result<()> {
    let node0 = stage.machine().node0();
    let output = node0.run(["watchdog", "scan", "--json", "--state-dir", "/tmp/none"])?;
    ensure!(output.status == 2, "{output}");
    for (node, report) in (1..).zip(json_lines(&output.text())?) {
        ensure!(report["verdict"] == "unverified", "{report}");
        let truth = stage.machine().truth(node)?;
        let (start, size) = (truth.text_phys_start, truth.text_phys_end - truth.text_phys_start);
        // Another program computes it, through another reader.
        let image = stage.machine().ram().path();
        let script =
            format!("tail -c +{} {} | head -c {size} | sha256sum", start + 1, image.display());
        let sum = Command::new("sh").arg("-c").arg(&script).output()?;
        let sum = String::from_utf8(sum.stdout)?;
        let expected = sum.split(' ').next().unwrap_or_default();
        ensure!(report["sha256"] == expected, "{report} but {expected}");
    }
    Ok(())
}

/// Runs the watchdog on the host.
///
/// # Errors
/// When it cannot be started.
pub fn on_host(arguments: &[&str]) -> Result<Output> {
    let program = cache::guest_programs().join("watchdog");
    let output =
        Command::new(program).args(arguments).output().context("the watchdog was not started")?;
    let status = output.status.code().context("a signal ended the watchdog")?;
    Ok(Output { status, stdout: output.stdout, stderr: output.stderr })
}

/// Runs `watchdog locate` on the host over this `--memory`, with more arguments. The result must be
/// what these nodes say of themselves: every one of them, and nothing else.
///
/// # Errors
/// When anything differs.
pub fn located_from_outside(
    machine: &Machine,
    memory: &str,
    more: &[&str],
    nodes: &[u8],
) -> Result<()> {
    let output = on_host(&[&["locate", "--json", "--memory", memory], more].concat())?;
    ensure!(output.success(), "{memory}: {output}");
    let found = json_lines(&output.text())?;
    ensure!(found.len() == nodes.len(), "{memory}: not {} kernels: {output}", nodes.len());
    for &node in nodes {
        let truth = machine.truth(node)?;
        let start = format!("{:#x}", truth.text_phys_start);
        let report = found.iter().find(|report| report["text"]["phys"] == start);
        let report = report.with_context(|| format!("node {node} at {start} is not in {output}"));
        agrees(report?, &truth).with_context(|| memory.to_owned())?;
        if node > 0 {
            let main = layout::main_range(node);
            ensure!(main.contains(&truth.text_phys_start), "node {node}: {truth:?}");
        }
    }
    Ok(())
}

/// The default names of both service nodes.
pub const SERVICE_NODES: [(&str, u8); 2] = [("service-1", 1), ("service-2", 2)];

/// Runs `watchdog locate` on node 0 with these arguments. The result must be what these nodes say
/// of themselves: with these names, in this order, and nothing else.
///
/// # Errors
/// When anything differs.
pub fn located_on_node0(
    machine: &Machine,
    arguments: &[&str],
    expected: &[(&str, u8)],
) -> Result<()> {
    let command = [&["watchdog", "locate", "--json"], arguments].concat();
    let output = machine.node0().run(&command)?;
    ensure!(output.success(), "{arguments:?}: {output}");
    let found = json_lines(&output.text())?;
    ensure!(found.len() == expected.len(), "{arguments:?}: {output}");
    for ((name, node), report) in expected.iter().zip(&found) {
        ensure!(report["node"] == *name, "{arguments:?}: not {name}: {report}");
        agrees(report, &machine.truth(*node)?).with_context(|| format!("{arguments:?}"))?;
    }
    Ok(())
}

/// Checks a report of `locate --json` against what the kernel says of itself.
fn agrees(report: &Value, truth: &Truth) -> Result<()> {
    let text = &report["text"];
    let size = truth.text_phys_end - truth.text_phys_start;
    let witnesses = report["witnesses"].as_array().context("no witnesses")?;
    ensure!(
        report["state"] == "located"
            && report["release"] == truth.release.as_str()
            && report["banner"] == truth.banner.as_str()
            && text["phys"] == format!("{:#x}", truth.text_phys_start)
            && text["virt"] == format!("{:#x}", truth.stext_virt)
            && text["size"] == size
            && size == truth.etext_virt - truth.stext_virt
            && witnesses.len() >= 4
            && witnesses.iter().all(|witness| witness["agrees"] == true),
        "{report}\nbut the node says {truth:#x?}"
    );
    Ok(())
}

/// The objects of `--json`, one a line.
///
/// # Errors
/// When a line is not JSON.
pub fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
