//! Odd machines: node 0 with control groups of both versions, a node whose image is missing, a
//! driver that claims a part of a node's range, and a start that a signal ends.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::discovery::{SERVICE_NODES, json_lines, located_on_node0};
use super::paths::reported;
use super::stage::UNIT;
use super::{Stage, guard};
use crate::machine::{Machine, Output};
use crate::node_kernel::{NodeKernel, UNOWNED_MEMORY};

/// Mounts the version 2 control groups beside those of version 1. From version 256 on, systemd
/// needs the second word too.
const HYBRID: &str = "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1";

/// Forbids `/dev/mem` what a driver claims. The command line of every node 0 allows it before this.
pub const STRICT_IOMEM: &str = "iomem=strict";

/// What a driver claims: reserved memory that no node uses.
const CLAIMED_AT: u64 = 0x37f0_0000;
const CLAIMED: u64 = 0x10_0000;

/// The longest time from SIGTERM to the end of the service. The watchdog ends within 2 s; the rest
/// is for systemd and for emulation.
const STOPS_WITHIN: Duration = Duration::from_secs(4);

/// Checks that the watchdog works on a node 0 with hybrid control groups, although one node's image
/// is missing and a driver has claimed reserved memory. SIGTERM must end it in time, while it
/// searches and while it watches.
///
/// # Errors
/// When a check fails, or the machine does not boot.
pub fn on_an_odd_node0(kernel: &str) -> Result<()> {
    let builder = Stage::described(Machine::builder().append(0, HYBRID), kernel);
    let stage = Stage::new(builder.boot()?, kernel)?;
    stage.install()?;
    stage.shell("grep -q ' /sys/fs/cgroup/unified .* cgroup2 ' /proc/self/mountinfo")?;
    claimed_and_readable(stage.machine())?;
    stopped_while_it_searches(&stage)?;
    one_image_is_missing(&stage)?;
    stops_in_time(&stage, "while it watched")?;
    stage.machine().health().check()
}

/// Has a driver claim [`CLAIMED`] bytes, as `/proc/iomem` must then show.
fn claim(machine: &Machine) -> Result<()> {
    let output = machine.node0().shell(&format!(
        "modprobe ramoops mem_address={CLAIMED_AT:#x} mem_size={CLAIMED:#x} &&
         grep -q ' : ramoops' /proc/iomem"
    ))?;
    ensure!(output.success(), "the driver claims nothing: {output}");
    Ok(())
}

/// Ends the claim.
fn give_back(machine: &Machine) -> Result<()> {
    let output = machine.node0().shell("modprobe -r ramoops && ! grep ' : ramoops' /proc/iomem")?;
    ensure!(output.success(), "the driver stays: {output}");
    Ok(())
}

/// Check that a claim takes nothing away where the kernel lets `/dev/mem` show it, and that no
/// warning says otherwise.
fn claimed_and_readable(machine: &Machine) -> Result<()> {
    claim(machine)?;
    located_on_node0(machine, &[], &SERVICE_NODES)?;
    let output = machine.node0().run(["watchdog", "locate"])?;
    ensure!(!output.to_string().contains("ramoops"), "{output}");
    give_back(machine)
}

/// Checks that `/dev/mem` of a node 0 with [`STRICT_IOMEM`] does not show what a driver claims, and
/// that the claim takes nothing else away. Without a kernel in the rest, `locate` must end with
/// status 2. A kernel in the rest must be located. Both must name the driver and the bytes.
///
/// # Errors
/// When a check fails.
pub fn claimed_and_unreadable(machine: &Machine) -> Result<()> {
    claim(machine)?;
    let left_out = |output: &Output| {
        let said = output.to_string();
        let sentence = format!("{CLAIMED} bytes of memory in ");
        ensure!(said.contains(&sentence) && said.contains("ramoops"), "{output}");
        Ok(())
    };
    let searched = machine.node0().run(["watchdog", "locate"])?;
    ensure!(searched.status == 2, "{searched}");
    ensure!(searched.to_string().contains("no kernel was found"), "{searched}");
    left_out(&searched)?;
    // A copy of node 0's own kernel stands for a node's.
    let kernel = NodeKernel::of(machine, 0)?;
    kernel.plant_decoy(UNOWNED_MEMORY)?;
    let located = machine.node0().run(["watchdog", "locate", "--json"])?;
    left_out(&located)?;
    let [report] = &json_lines(&located.text())?[..] else { anyhow::bail!("{located}") };
    ensure!(located.success() && report["state"] == "located", "{located}");
    ensure!(report["text"]["phys"] == format!("{UNOWNED_MEMORY:#x}"), "{located}");
    kernel.clear_decoy(UNOWNED_MEMORY)?;
    give_back(machine)
}

/// The configuration: the image of node 1 is missing, and that of node 2 is there.
fn configuration() -> String {
    let names_of_images = ["/nonexistent/vmlinuz", "/host/node2.vmlinuz"];
    let text = guard::configuration("");
    let mut sections = text.split("[[node]]\n");
    let mut text = sections.next().unwrap_or_default().to_owned();
    for (section, image) in sections.zip(names_of_images) {
        text += &format!("[[node]]\nimage = \"{image}\"\n{section}");
    }
    text
}

/// Check that a missing image is reported, that the guard denies writes to every node, and that the
/// other node is judged by its image. The node without its image must be located and not judged.
fn one_image_is_missing(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    stage.configured(&configuration(), || {
        let missing = stage.wait_for(mark, "the missing image", |entry| {
            entry.is("guard-degraded") && entry.field("MESSAGE").contains("/nonexistent/vmlinuz")
        })?;
        ensure!(missing.field("WATCHDOG_NODE") == "service-1", "{missing:?}");
        let entries = stage.alerts(mark)?;
        let count = |kind: &str| entries.iter().filter(|entry| entry.is(kind)).count();
        ensure!(count("guard-armed") == 1 && count("node-found") == 2, "{entries:#?}");
        for node in [1, 2] {
            let (mark, at) = (stage.mark()?, stage.machine().truth(node)?.text_phys_start + 0x1000);
            let value = format!("{:#x}", stage.byte(at)? ^ 0xff);
            let attack = stage.attack_unchanged("write", at, &["--value", &value])?;
            ensure!(attack.result == "EPERM", "node {node}: {}", attack.result);
            let denied = reported(stage, mark, "write", "denied")?;
            ensure!(denied.field("WATCHDOG_NODE") == format!("service-{node}"), "{denied:?}");
        }
        let scanned = stage.machine().node0().run(["watchdog", "scan", "--json"])?;
        ensure!(scanned.status == 2, "{scanned}");
        let [first, second] = &json_lines(&scanned.text())?[..] else {
            anyhow::bail!("not two nodes: {scanned}");
        };
        ensure!(first["verdict"] == "unverified", "{first}");
        ensure!(first["kernel"]["state"] == "located", "{first}");
        ensure!(second["verdict"] == "patched" && second["baseline"] == "image", "{second}");
        let (mark, at) = (stage.mark()?, stage.machine().truth(2)?.text_phys_start + 0x12_3456);
        let before = stage.byte(at)?;
        stage.poke(at, before ^ 1)?;
        let tampered = stage.wait_for(mark, "text-tampered", |it| it.is("text-tampered"))?;
        ensure!(tampered.field("WATCHDOG_NODE") == "service-2", "{tampered:?}");
        stage.poke(at, before)?;
        stage.wait_for(mark, "text-clean", |entry| entry.is("text-clean")).map(drop)
    })
}

/// Check that SIGTERM ends a start that searches memory. The next start comes at once, while the
/// kernel still releases the programs of this one.
fn stopped_while_it_searches(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    // The service's status says which step of the start runs.
    stage.shell(&format!(
        "systemctl start --no-block {UNIT}
         while :; do
             status=$(systemctl show -p ActiveState -p StatusText {UNIT})
             case $status in
                 *'searching memory'*) exit 0;;
                 *ActiveState=active* | *ActiveState=failed*) echo $status >&2; exit 1;;
             esac
             sleep 0.02
         done"
    ))?;
    stops_in_time(stage, "while it searched")?;
    let ended = stage.wait_for(mark, "the end", |entry| entry.is("stopped"))?;
    ensure!(ended.field("MESSAGE").contains("stopped during its start"), "{ended:?}");
    let entries = stage.entries(mark)?;
    ensure!(entries.iter().all(|entry| !entry.is("node-found")), "{entries:#?}");
    Ok(())
}

/// Has systemd stop the service by SIGTERM. It must end in time and without an error.
fn stops_in_time(stage: &Stage, when: &str) -> Result<()> {
    let (begun, starved) = (stage.uptime()?, stage.machine().starved()?);
    stage.halt()?;
    let took = stage.uptime()?.saturating_sub(begun);
    let took = took.saturating_sub(stage.machine().starved()?.saturating_sub(starved));
    stage.note(&format!("SIGTERM {when} ended the watchdog within {took:.1?}"));
    ensure!(took <= STOPS_WITHIN, "SIGTERM {when}: it took {took:?}");
    Ok(())
}
