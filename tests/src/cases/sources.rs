//! Sources of memory beyond `/dev/mem` and the live RAM file: what each serves, and how it reports
//! what it does not serve. (The tests of the node machine cover ELF cores of the whole machine.)

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::discovery::{located_from_outside, located_on_node0, on_host};
use super::{List, Stage, Start};
use crate::layout;
use crate::machine::{Machine, Output, Ram};

pub(super) const CASES: List = &[
    ("sources: live reads RAM and reserved memory in one run", Start::Ready, both_kinds_at_once),
    ("sources: live goes on with one half and says so", Start::Ready, one_half),
    ("sources: a LiME image of both nodes' memory", Start::Ready, lime),
    ("sources: a watch over live memory is guarded", Start::Learned, guarded),
];

pub(super) const OF_THE_PROGRAM: List = &[
    (
        "sources: what each live source does not show, and which one does",
        Start::Ready,
        live_refusals,
    ),
    (
        "sources: what images lack, and other forms of dumps, are refused by name",
        Start::Ready,
        images,
    ),
];

/// Check that a LiME image of the nodes' memory shows both kernels and no other, also when `--node`
/// names a node. A range that is not in the image must be refused.
fn lime(stage: &Stage) -> Result<()> {
    let machine = stage.machine();
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("nodes.lime");
    machine.pause()?;
    let written = write_lime(machine.ram(), &path);
    machine.resume()?;
    written?;
    let memory = format!("lime:{}", path.display());
    located_from_outside(machine, &memory, &[], &[1, 2])?;
    let range = layout::main_range(1);
    let node = format!("web={:#x}..{:#x}", range.start, range.end);
    let output = on_host(&["locate", "--memory", &memory, "--node", &node])?;
    ensure!(output.success() && output.text().contains("web"), "{output}");
    let node0 = format!("{:#x}..{:#x}", range.start - 0x1000, range.end);
    refused(&on_host(&["locate", "--memory", &memory, "--node", &node0])?, "is not in the image")
}

/// Writes the main ranges of nodes 1 and 2 as a sparse LiME image.
fn write_lime(ram: &Ram, path: &Path) -> Result<()> {
    const CHUNK: u64 = 1 << 20;
    let mut file = File::create(path)?;
    let mut bytes = vec![0; usize::try_from(CHUNK)?];
    for range in [1, 2].map(layout::main_range) {
        file.write_all(b"EMiL\x01\0\0\0")?;
        for word in [range.start, range.end - 1, 0] {
            file.write_all(&word.to_le_bytes())?;
        }
        for at in (range.start..range.end).step_by(usize::try_from(CHUNK)?) {
            ram.read(at, &mut bytes)?;
            if bytes.iter().all(|byte| *byte == 0) {
                file.seek(SeekFrom::Current(i64::try_from(CHUNK)?))?;
            } else {
                file.write_all(&bytes)?;
            }
        }
    }
    let end = file.stream_position()?;
    file.set_len(end).context("the image cannot be made as long as it is")
}

/// Check that holes, truncated cores and dumps of other formats are refused, with what to do about
/// them.
fn images(_: &Stage) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let image = |name: &str, bytes: &[u8]| -> Result<String> {
        let path = directory.path().join(name);
        File::create(&path)?.write_all(bytes)?;
        Ok(path.display().to_string())
    };
    let core = core(&[(0x1000, 0x1000), (0x4000, 0x1000)]);
    let whole = image("whole", &core)?;
    let cut = image("cut", &core[..core.len() - 0x800])?;
    let headers = image("headers", &core[..100])?;
    let kdump = image("kdump", b"KDUMP   \x06\0\0\0")?;
    let flat = image("flat", b"makedumpfile\0\0\0\0")?;
    let avml = image("avml", &[b"AVML\x02\0\0\0".as_slice(), &[0; 24]].concat())?;
    let cases: &[(&str, &str, &str)] = &[
        ("elf", &whole, "no kernel was found in 0x1000..0x2000,0x4000..0x5000"),
        ("elf", &cut, "was cut short: 2048 bytes"),
        ("elf", &headers, "ends within its headers"),
        ("elf", &kdump, "makedumpfile -E"),
        ("elf", &flat, "makedumpfile -R"),
        ("lime", &avml, "avml-convert"),
        ("lime", &whole, "--memory elf:FILE"),
        ("elf", "/nonexistent", "/nonexistent as an ELF core"),
    ];
    for (form, path, sentence) in cases {
        refused(&on_host(&["locate", "--memory", &format!("{form}:{path}")])?, sentence)?;
    }
    let elf = format!("elf:{whole}");
    let nodes = [
        ("0x2000..0x3000", "0x2000..0x3000 of node `node-1` is a hole in the image"),
        ("0x0..0x2000", "0x0..0x1000 of node `node-1` is not in the image"),
        ("0x1000..0x5000", "8192 bytes of memory in 1 parts are not searched"),
    ];
    for (node, sentence) in nodes {
        refused(&on_host(&["locate", "--memory", &elf, "--node", node])?, sentence)?;
    }
    let cut = format!("elf:{cut}");
    let missing = on_host(&["locate", "--memory", &cut, "--node", "0x4000..0x5000"])?;
    refused(&missing, "0x4800..0x5000 of node `node-1` is missing from the image")
}

/// An ELF core of these ranges of memory, all zero (include/uapi/linux/elf.h).
fn core(stretches: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    for word in [0_u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [64, 56, stretches.len() as u16, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    let mut offset = 64 + 56 * stretches.len() as u64;
    for &(at, size) in stretches {
        bytes.extend([1_u32.to_le_bytes(), 7_u32.to_le_bytes()].concat());
        for word in [offset, 0, at, size, size, 4096] {
            bytes.extend(word.to_le_bytes());
        }
        offset += size;
    }
    bytes.resize(usize::try_from(offset).unwrap_or_default(), 0);
    bytes
}

/// Check that node 0 reports which part of a node's memory a source does not show, and which source
/// shows it. A process that may not read memory must learn which privilege it needs.
fn live_refusals(stage: &Stage) -> Result<()> {
    let reserved = "0x38000000..0x50000000";
    let device = "0xfee00000..0xfee01000";
    for (command, sentence) in [
        ("locate --node 0x68000000..0x68200000".to_owned(), "use --memory live"),
        (format!("locate --memory kcore --node {reserved}"), "Use --memory live"),
        (format!("locate --memory kcore --node {device}"), "a device's"),
        (format!("locate --memory live --node {device}"), "a device's"),
    ] {
        refused(&stage.machine().node0().shell(&format!("watchdog {command}"))?, sentence)?;
    }
    for source in ["kcore", "live"] {
        let user =
            format!("setpriv --reuid 65534 --clear-groups watchdog locate --memory {source}");
        refused(&stage.machine().node0().shell(&user)?, "run it with sudo")?;
    }
    // Root that sees the memory map but may not read memory.
    let root = "setpriv --bounding-set=-sys_rawio watchdog locate --memory kcore";
    refused(&stage.machine().node0().shell(root)?, "CAP_SYS_RAWIO")
}

/// Check that one run over live memory finds two kernels. Node 0's own is in its RAM, which
/// `/dev/mem` does not show. Node 1's is in reserved memory, which `/proc/kcore` does not show.
fn both_kinds_at_once(stage: &Stage) -> Result<()> {
    let own = format!("own={}", own_ram(stage.machine())?);
    let range = layout::main_range(1);
    let other = format!("other={:#x}..{:#x}", range.start, range.end);
    let arguments = ["--memory", "live", "--node", &own, "--node", &other];
    located_on_node0(stage.machine(), &arguments, &[("own", 0), ("other", 1)])
}

/// Check that `live` works with one of its halves: without `/proc/kcore` it finds the service
/// nodes, without `/dev/mem` node 0. Each run must report what is missing. A hidden `/proc/kcore`
/// must be reported as hidden.
fn one_half(stage: &Stage) -> Result<()> {
    let without = |mount: &str, command: &str| {
        let script = format!("mount {mount} && exec watchdog locate {command}");
        stage.machine().node0().run(["unshare", "-m", "sh", "-c", &script])
    };
    let (no_kcore, no_device) = ("--bind /dev/null /proc/kcore", "-t tmpfs none /dev");
    refused(&without(no_kcore, "--memory kcore")?, "a container hides it")?;
    let nodes = without(no_kcore, "--memory live")?;
    ensure!(nodes.success() && nodes.text().contains("service-2"), "{nodes}");
    ensure!(said(&nodes).contains("System RAM of this kernel cannot be read"), "{nodes}");

    refused(&without(no_device, "--memory live")?, "no CONFIG_DEVMEM")?;
    let own = format!("--memory live --node own={}", own_ram(stage.machine())?);
    let node0 = without(no_device, &own)?;
    ensure!(node0.success() && node0.text().contains("own  located"), "{node0}");
    ensure!(said(&node0).contains("not System RAM of this kernel cannot be read"), "{node0}");
    Ok(())
}

/// Check that the service watches both nodes over live memory and denies writes to them.
fn guarded(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    stage.configured("memory = \"live\"\n", || {
        let target = stage.machine().truth(2)?.text_phys_start + 0x1000;
        let attack = stage.attack_unchanged("write", target, &["--value", "0x5a"])?;
        ensure!(attack.result == "EPERM", "{}", attack.result);
        stage.wait_for(mark, "the denial", |entry| entry.is("write-denied"))?;
        let found = stage.entries(mark)?.iter().filter(|entry| entry.is("node-found")).count();
        ensure!(found == 2, "{found} nodes were taken up");
        Ok(())
    })
}

/// Node 0's System RAM, as an argument of `--node`.
fn own_ram(machine: &Machine) -> Result<String> {
    let iomem = String::from_utf8(machine.node0().read("/proc/iomem")?)?;
    let ram = iomem.lines().filter_map(|line| line.strip_suffix(" : System RAM")).map(|range| {
        let (start, last) = range.split_once('-').context("no range")?;
        Ok(format!("0x{start}..{:#x}", u64::from_str_radix(last, 16)? + 1))
    });
    Ok(ram.collect::<Result<Vec<_>>>()?.join(","))
}

/// Raises lockdown on a machine step by step. Each step must refuse the sources that it locks, with
/// the reason, and leave the others. Lockdown cannot be lowered: discard the machine afterwards.
///
/// # Errors
/// When a step does something else.
pub fn locked_down(machine: &Machine) -> Result<()> {
    let own = own_ram(machine)?;
    let raise = |level: &str| -> Result<()> {
        let raised =
            machine.node0().shell(&format!("echo {level} > /sys/kernel/security/lockdown"))?;
        ensure!(raised.success(), "{level}: {raised}");
        Ok(())
    };
    let locate = |arguments: &str| machine.node0().shell(&format!("watchdog locate {arguments}"));
    raise("integrity")?;
    refused(&locate("")?, "the kernel is locked down")?;
    refused(&locate("--memory live")?, "cannot be read: the kernel is locked down")?;
    located_on_node0(machine, &["--memory", "kcore"], &[("node-0", 0)])?;
    let live = ["--memory", "live", "--node", &format!("own={own}")];
    located_on_node0(machine, &live, &[("own", 0)])?;
    raise("confidentiality")?;
    refused(&locate("--memory kcore")?, "locked down for confidentiality")?;
    refused(&locate("--memory live")?, "neither /dev/mem nor /proc/kcore can be used")
}

/// Checks that a command ended with status 2 and this message.
fn refused(output: &Output, sentence: &str) -> Result<()> {
    let said = said(output);
    ensure!(output.status == 2 && said.contains(sentence), "not `{sentence}` with 2: {output}");
    ensure!(!said.contains("panicked"), "{output}");
    Ok(())
}

/// The standard error of a command, without line breaks.
fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    errors.split_whitespace().collect::<Vec<_>>().join(" ")
}
