//! A virtual machine on a node: its kernel lives in the node's memory and is not a rival of the
//! node's own kernel.
//!
//! Two kernels run on two machines. The pages of the second are copied to pages of the first, again
//! and again, so that both kernels live in the first one's memory. As in a virtual machine, the
//! second kernel's addresses are not those of the node. They can be equal by chance.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::Value;
use watchdog_tests::cases::{json_lines, on_host};
use watchdog_tests::lone::Lone;
use watchdog_tests::machine::Ram;

/// Memory of the node, in MiB, and of the virtual machine.
const NODE: u32 = 1024;
const GUEST: u32 = 256;
/// Memory of the node that its kernel leaves to the virtual machine.
const FIRST: u64 = 512 << 20;
const END: u64 = 1024 << 20;
/// Bytes of a page of the host, large and small.
const LARGE: u64 = 2 << 20;
const SMALL: u64 = 4096;
/// `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h).
const IMAGE_MAPPING: u64 = 0xffff_ffff_8000_0000;
/// Between two copies of the virtual machine's memory.
const PAUSE: Duration = Duration::from_millis(50);

/// Returns a place in the node for each page of the virtual machine, in an order that a seed
/// decides.
fn places(page: u64) -> Vec<u64> {
    let mut places: Vec<u64> = (FIRST..END).step_by(page as usize).collect();
    places.shuffle(&mut StdRng::seed_from_u64(page));
    places.truncate(((u64::from(GUEST) << 20) / page) as usize);
    places
}

/// Copies the virtual machine's pages to their places.
fn copy(guest: &Ram, node: &Ram, places: &[u64], page: u64) -> Result<()> {
    let mut bytes = vec![0; usize::try_from(page)?];
    for (from, to) in (0..).step_by(bytes.len()).zip(places) {
        guest.read(from, &mut bytes)?;
        node.write(*to, &bytes)?;
    }
    Ok(())
}

/// Judges a node whose memory holds a living virtual machine, in pages of this size.
fn judged(node: &Lone, guest: &Lone, page: u64) -> Result<()> {
    let places = places(page);
    copy(guest.ram(), node.ram(), &places, page)?;
    let done = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        let copies = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                copy(guest.ram(), node.ram(), &places, page)?;
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        let result = with_and_without_image(node).and_then(|()| {
            let free = (FIRST..END).step_by(page as usize).find(|at| !places.contains(at));
            let free = free.context("no page of the node is free")?;
            node.ram().write(free, &note_about(node, guest)?)?;
            with_note_about(node)
        });
        done.store(true, Ordering::Relaxed);
        copies.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        result
    });
    node.ram().write(FIRST, &vec![0; (END - FIRST) as usize])?;
    result
}

/// The virtual machine's note about its kernel, as if KASLR had put that kernel at the physical
/// address of the node's own.
fn note_about(node: &Lone, guest: &Lone) -> Result<Vec<u8>> {
    const FIRST_KEY: &[u8] = b"OSRELEASE=";
    const BASE: &str = "NUMBER(phys_base)=";
    let mut page = vec![0; SMALL as usize];
    let is_found = (0..guest.ram().size())
        .step_by(page.len())
        .any(|at| guest.ram().read(at, &mut page).is_ok() && page.starts_with(FIRST_KEY));
    ensure!(is_found, "no note in the virtual machine's memory");
    let (own, other) = (node.node().truth()?, guest.node().truth()?);
    let base = own.text_phys_start.wrapping_sub(other.stext_virt - IMAGE_MAPPING).cast_signed();
    let lines = std::str::from_utf8(&page)?.trim_end_matches('\0').lines();
    let lines: Vec<String> = lines
        .map(|line| if line.starts_with(BASE) { format!("{BASE}{base}") } else { line.to_owned() })
        .collect();
    ensure!(lines.contains(&format!("{BASE}{base}")), "no {BASE} in {lines:?}");
    let mut page = (lines.join("\n") + "\n").into_bytes();
    page.resize(SMALL as usize, 0);
    Ok(page)
}

/// Checks that the node is located beside a note of another kernel about the address of its own.
fn with_note_about(node: &Lone) -> Result<()> {
    let memory = format!("raw:{}", node.ram().path().display());
    let range = format!("node=0..{:#x}", node.ram().size());
    let located = on_host(&["locate", "--json", "--memory", &memory, "--node", &range])?;
    ensure!(located.success(), "{located}");
    let reports = json_lines(&located.text())?;
    ensure!(located.text().contains("map another kernel there"), "{located}");
    ensure!(reports.len() == 1 && is_right(&reports[0], node)?, "{located}");
    Ok(())
}

/// Whether a report has the place and the size of the node's text.
fn is_right(report: &Value, node: &Lone) -> Result<bool> {
    let truth = node.node().truth()?;
    Ok(report["text"]["phys"] == format!("{:#x}", truth.text_phys_start)
        && report["text"]["size"] == truth.text_phys_end - truth.text_phys_start)
}

fn with_and_without_image(node: &Lone) -> Result<()> {
    let memory = format!("raw:{}", node.ram().path().display());
    let range = format!("node=0..{:#x}", node.ram().size());
    let image = node.image().display().to_string();
    for image in [&["--image", &image][..], &[]] {
        let common = ["--json", "--memory", &memory, "--node", &range];
        let located = on_host(&[&["locate"], &common[..], image].concat())?;
        let reports = json_lines(&located.text())?;
        ensure!(located.success() && reports.len() == 1, "{located}");
        ensure!(is_right(&reports[0], node)?, "{located}");
        let strays = reports[0]["strays"].as_array().map_or(0, Vec::len);
        ensure!(strays > 0, "the virtual machine is not seen: {located}");
        if image.is_empty() {
            continue;
        }
        let scanned = on_host(&[&["scan"], &common[..], image].concat())?;
        let reports = json_lines(&scanned.text())?;
        ensure!(scanned.success() && reports.len() == 1, "{scanned}");
        ensure!(reports[0]["verdict"] == "patched", "{scanned}");
    }
    Ok(())
}

/// Check that a node keeps its verdict beside a virtual machine of the node's own release in large
/// pages, and beside one of another release in small pages. Check that the node is located if their
/// physical addresses are equal.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn guests_are_no_rivals() -> Result<()> {
    let reserved = format!("memmap={:#x}${FIRST:#x}", END - FIRST);
    let node = Lone::of("6.12")?.memory_mib(NODE).append(&reserved).boot()?;
    for (release, page) in [("6.12", LARGE), ("7.2", SMALL)] {
        let guest = Lone::of(release)?.memory_mib(GUEST).boot()?;
        judged(&node, &guest, page)?;
    }
    Ok(())
}
