//! The node machine itself: kernels of every version boot beside each other, each one keeps to its
//! own memory, and errors are reported.

use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use watchdog_tests::{
    cases::{
        SERVICE_NODES, STRICT_IOMEM, Stage, Start, WITHOUT_LSM, claimed_and_unreadable,
        denied_at_the_door, json_lines, located_from_outside, located_on_node0, locked_down,
        on_an_odd_node0, on_host, strict_from_boot,
    },
    kernel::Kernel,
    layout,
    machine::Machine,
    service::{Reply, Request},
};
use xtask::kernels::STABLE;

/// The kernels of nodes 0, 1 and 2: each version in each place.
const ASSIGNMENTS: [[&str; 3]; 3] =
    [["6.1", "6.12", "7.2"], ["6.12", "7.2", "6.1"], ["7.2", "6.1", "6.12"]];

/// Link address of a kernel's text (`__START_KERNEL`, arch/x86/include/asm/page_64_types.h).
const LINKED_AT: u64 = 0xffff_ffff_8100_0000;

/// Check that one machine can serve tests on several threads.
#[test]
fn machine_is_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Machine>();
}

/// Check that every kernel boots in every place with KASLR on. Here node 0 has the oldest kernel.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn every_kernel_in_its_first_place() -> Result<()> {
    boots(ASSIGNMENTS[0], true)
}

/// The same, with the middle kernel on node 0.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn every_kernel_in_its_second_place() -> Result<()> {
    boots(ASSIGNMENTS[1], true)
}

/// The same, with the newest kernel on node 0.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn every_kernel_in_its_third_place() -> Result<()> {
    boots(ASSIGNMENTS[2], true)
}

/// Check that every kernel boots with KASLR off and four paging levels, and is then at its link
/// address. Its place on the machine only adds a relocation, which the case above covers.
#[test]
#[ignore = "boots machines: cargo xtask test"]
fn every_kernel_without_kaslr() -> Result<()> {
    boots(ASSIGNMENTS[0], false)
}

fn boots(kernels: [&str; 3], kaslr: bool) -> Result<()> {
    let mut builder = Machine::builder();
    for (node, kernel) in (0..).zip(kernels) {
        builder = builder.service_kernel(node, kernel).kaslr(node, kaslr);
        // Half of the boots use the paging of older processors.
        builder = if kaslr { builder } else { builder.append(node, "no5lvl") };
    }
    let machine = builder
        .boot_with(None, |reached| println!("{reached}"))
        .with_context(|| format!("kernels {kernels:?}, KASLR {kaslr}"))?;
    let modules = machine.node0().read("/sys/kernel/security/lsm")?;
    let is_active = modules.split(|byte| *byte == b',').any(|name| name == b"bpf");
    ensure!(is_active, "BPF is not an active LSM");
    for (node, kernel) in (0..).zip(kernels) {
        let truth = machine.truth(node)?;
        println!("node {node}: {:#x?}", truth);
        ensure!(truth.release == Kernel::named(kernel)?.release, "node {node}: {truth:?}");
        let size = truth.etext_virt - truth.stext_virt;
        ensure!(size == truth.text_phys_end - truth.text_phys_start, "node {node}: {truth:?}");
        ensure!(kaslr || truth.stext_virt == LINKED_AT, "node {node}: {truth:?}");
        if node > 0 {
            let main = layout::main_range(node);
            ensure!(
                main.start <= truth.text_phys_start && truth.text_phys_end <= main.end,
                "node {node} left its memory: {truth:?}"
            );
            machine.node(node)?.wait_for_ticks()?;
        }
    }
    // Whatever the place, the version and the neighbours, each kernel is located where it reports
    // its text. This holds in every form in which the host has the machine's memory, and on node 0.
    let all = [0, 1, 2];
    let live = format!("raw:{}", machine.ram().path().display());
    located_from_outside(&machine, &live, &[], &all)?;
    vendors_images_are_witnesses(&machine, &live, kernels)?;
    let output = on_host(&["locate", "--json", "--memory", &live])?;
    let levels = if kaslr { 5 } else { 4 };
    for report in json_lines(&output.text())? {
        ensure!(report["paging_levels"] == levels, "not {levels} levels: {report}");
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("memory");
    machine.save_ram(&path)?;
    located_from_outside(&machine, &format!("raw:{}", path.display()), &[], &all)?;
    machine.dump_core(&path)?;
    located_from_outside(&machine, &format!("elf:{}", path.display()), &[], &all)?;
    located_on_node0(&machine, &["--memory", "live"], &SERVICE_NODES)?;
    located_on_node0(&machine, &["--memory", "kcore"], &[("node-0", 0)])
}

/// Checks that the image that a node boots is an additional witness. A kernel that matches none of
/// the given images is lost, and the reason has both build ids.
fn vendors_images_are_witnesses(machine: &Machine, memory: &str, kernels: [&str; 3]) -> Result<()> {
    let files = kernels.map(|kernel| Kernel::named(kernel).map(|kernel| kernel.image()));
    let files: Vec<String> =
        files.into_iter().map(|file| Ok(file?.display().to_string())).collect::<Result<_>>()?;
    let images: Vec<&str> = files.iter().flat_map(|file| ["--image", file]).collect();
    located_from_outside(machine, memory, &images, &[0, 1, 2])?;
    let output = on_host(&[&["locate", "--json", "--memory", memory], &images[..2]].concat())?;
    ensure!(output.status == 2, "{output}");
    let mut lost = 0;
    for report in json_lines(&output.text())? {
        let agrees = |witness: &Value| witness["name"] == "image" && witness["agrees"] == true;
        let by_image = report["witnesses"].as_array().is_some_and(|all| all.iter().any(agrees));
        let reason = report["reason"].as_str().unwrap_or_default();
        let is_other = reason.contains("is not the kernel's (vmcoreinfo says build id");
        ensure!(by_image || is_other, "{report}");
        lost += usize::from(is_other);
    }
    ensure!(lost == 2, "{output}");
    Ok(())
}

/// Check that nodes carry out requests, and that a node that fills its memory, as a login on it
/// would, does not harm the others. That was the crash of 2016.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn nodes_answer_requests_and_keep_to_themselves() -> Result<()> {
    let stage = Stage::set("6.1", Start::Ready)?;
    let machine = stage.machine();
    let (first, second) = (machine.node(1)?, machine.node(2)?);

    second.request(&Request::Allocate { mebibytes: 220 })?;
    ensure!(machine.node0().run(["true"])?.success());
    first.wait_for_ticks()?;
    second.request(&Request::Free)?;

    let parameters = "max_loop=3".to_owned();
    first.request(&Request::LoadModule { name: "loop".into(), parameters })?;
    ensure!(first.read("/sys/module/loop/parameters/max_loop")? == b"3\n");
    first.request(&Request::UnloadModule { name: "loop".into() })?;
    ensure!(first.read("/sys/module/loop/parameters/max_loop").is_err());

    first.write("/proc/sys/kernel/panic", "7")?;
    ensure!(first.read("/proc/sys/kernel/panic")? == b"7\n");
    ensure!(second.read("/proc/sys/kernel/panic")? == b"0\n", "the sysctl of another node");
    ensure!(matches!(first.request(&Request::Free)?, Reply::Done));
    Ok(())
}

/// Check that switching the tracer on rewrites thousands of places in the text of that node only,
/// and that switching it off restores every byte.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn tracing_rewrites_text_and_restores_it() -> Result<()> {
    let stage = Stage::set("6.1", Start::Ready)?;
    let machine = stage.machine();
    let text = |node: u8| -> Result<Vec<u8>> {
        let truth = machine.truth(node)?;
        let size = usize::try_from(truth.text_phys_end - truth.text_phys_start)?;
        let mut bytes = vec![0; size];
        machine.ram().read(truth.text_phys_start, &mut bytes)?;
        Ok(bytes)
    };
    let pages =
        |a: &[u8], b: &[u8]| a.chunks(4096).zip(b.chunks(4096)).filter(|(a, b)| a != b).count();

    let (before, other_before) = (text(1)?, text(2)?);
    machine.node(1)?.tracing(true)?;
    let traced = pages(&before, &text(1)?);
    ensure!(traced > 1000, "only {traced} pages of text changed");
    ensure!(other_before == text(2)?, "the text of node 2 changed");
    machine.node(1)?.tracing(false)?;
    let left = pages(&before, &text(1)?);
    ensure!(left == 0, "{left} pages are still different");
    Ok(())
}

/// Check that a saved image equals the memory at that time and is sparse, and that the machine
/// continues to run afterwards.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn memory_is_saved_as_it_stands() -> Result<()> {
    let stage = Stage::set("6.1", Start::Ready)?;
    let machine = stage.machine();
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("ram");
    machine.save_ram(&path)?;
    machine.node(1)?.wait_for_ticks()?;

    let image = File::open(&path)?;
    let metadata = image.metadata()?;
    ensure!(metadata.len() == machine.ram().size());
    ensure!(metadata.blocks() * 512 < metadata.len(), "the image has no holes");
    let truth = machine.truth(1)?;
    let mut saved = vec![0; usize::try_from(truth.text_phys_end - truth.text_phys_start)?];
    let mut live = saved.clone();
    image.read_exact_at(&mut saved, truth.text_phys_start)?;
    machine.ram().read(truth.text_phys_start, &mut live)?;
    ensure!(saved == live, "the image is not the memory");
    Ok(())
}

/// Check that a node can be restarted, as by a reboot, while the others run.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn node_starts_again() -> Result<()> {
    let stage = Stage::set("6.1", Start::Ready)?;
    let machine = stage.machine();
    let marker = "/proc/sys/kernel/panic";
    machine.node(1)?.write(marker, "9")?;
    machine.start_node(1)?;
    ensure!(machine.node(1)?.read(marker)? == b"0\n", "the old kernel still answers");
    machine.node(2)?.wait_for_ticks()
}

/// Check that a panic ends the wait for a node immediately, with the message from the node's
/// console.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn panic_is_reported() -> Result<()> {
    let stage = Stage::set("6.1", Start::Ready)?;
    let machine = stage.machine();
    let crash = machine.node(1)?.write("/proc/sysrq-trigger", "c");
    let error = crash.err().context("a crashed node answered")?;
    let report = format!("{error:#}");
    ensure!(report.contains("node 1 died"), "{report}");
    ensure!(report.contains("sysrq triggered crash"), "{report}");
    Ok(())
}

/// Check that `watchdog run` refuses to start if BPF is not an active LSM, because its programs
/// would attach and never run. The error must say what to add to the kernel command line.
///
/// Also check that a driver's claim takes away nothing but the memory that it claims, and that
/// lockdown refuses `/dev/mem` and then `/proc/kcore`, each by name.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn refused_without_bpf_lsm_and_under_lockdown() -> Result<()> {
    let machine = Machine::builder().service_nodes(0).append(0, "lsm=lockdown,capability,yama");
    let machine = machine.append(0, STRICT_IOMEM).booted_as("without-bpf-lsm")?;
    let refused = machine.node0().run(["watchdog", "run"])?;
    ensure!(refused.status == 2, "{refused}");
    let sentence = "yama,bpf to the kernel command line";
    ensure!(String::from_utf8_lossy(&refused.stderr).contains(sentence), "{refused}");
    claimed_and_unreadable(&machine)?;
    locked_down(&machine)
}

/// Check that programs on node 0 can be started, given input, watched and killed, and that their
/// end is reported.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn node0_runs_programs() -> Result<()> {
    let stage = Stage::set("6.1", Start::Ready)?;
    let machine = stage.machine();
    let node0 = machine.node0();
    ensure!(
        node0.shell("echo out; echo err >&2; exit 3")?.to_string()
            == "status 3, output `out`, errors `err`"
    );

    let limit = std::time::Duration::from_secs(30);
    let fed = node0.spawn_with_input(["cat"], b"fed".to_vec())?.wait(limit)?;
    ensure!(fed.stdout == b"fed");

    let mut ticking = node0.spawn(["sh", "-c", "while echo tick; do sleep 0.1; done"])?;
    ticking.wait_for(limit, |output| output.text().contains("tick\ntick\n").then_some(()))?;
    ensure!(node0.run(["true"])?.success(), "one program at a time only");
    ticking.signal(15)?;
    ensure!(ticking.wait(limit)?.status == 128 + 15);

    node0.write("/tmp/file", 0o600, b"\0content\n")?;
    ensure!(node0.read("/tmp/file")? == b"\0content\n");
    ensure!(node0.read("/tmp/none").is_err());
    ensure!(node0.run(["no-such-program"]).is_err());
    // What other tests need: the journal, the BPF file system, and the kernel's own modules.
    ensure!(node0.run(["journalctl", "--no-pager", "-n", "1"])?.success());
    ensure!(node0.shell("mountpoint -q /sys/fs/bpf")?.success());
    ensure!(node0.shell("modprobe loop && test -d /sys/module/loop")?.success());
    Ok(())
}

/// Check that node 0 boots, logs, installs packages and accepts logins under the strict guard, and
/// starts the other nodes under it.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn the_oldest_boots_under_the_strict_guard() -> Result<()> {
    strict_from_boot("6.1")
}

/// The same with the newest kernel.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn the_newest_boots_under_the_strict_guard() -> Result<()> {
    strict_from_boot("7.2")
}

/// Check what the guard still denies if `bpf` is not an active LSM, and that persistent memory is
/// not part of any node.
#[test]
#[ignore = "boots machines: cargo xtask test"]
fn without_bpf_as_lsm() -> Result<()> {
    let machine = Machine::builder().append(0, WITHOUT_LSM);
    denied_at_the_door(&Stage::on(machine, "6.1", "degraded", "true")?)
}

/// Check that the watchdog serves a node 0 with control groups of both versions although one node's
/// image is missing, and that SIGTERM ends it in time.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn odd_node0() -> Result<()> {
    on_an_odd_node0(STABLE)
}
