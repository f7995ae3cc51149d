//! How `locate` and `scan` find and print the nodes' kernels.

use std::io::{self, Write};

use super::progress::Progress;
use super::report::{row, size};
use crate::node::{Found, Target, describe_stray};
use watchdog_core::locate::{Finding, Kernel, Recheck, Stop, recheck};
use watchdog_core::memory::Memory;
use watchdog_core::text::printable;

/// Finds the nodes' kernels. A long search shows a progress bar. Images that cannot be used are
/// warned of.
pub(super) fn find(target: &Target) -> anyhow::Result<Vec<Found>> {
    target.images.unreadable().iter().for_each(|image| log::warn!("{}", image.why));
    let mut progress = Progress::new();
    Ok(target.find(&Stop::default(), &mut |done, total| progress.update(done, total))?)
}

/// Findings about how a located text is mapped. A healthy node has none.
pub(super) fn mapping_findings(
    memory: &dyn Memory,
    kernel: &Kernel,
) -> anyhow::Result<Vec<String>> {
    Ok(match recheck(memory, kernel)? {
        Recheck::Same { findings } => findings,
        Recheck::Gone { reason } => vec![reason],
    })
}

/// Prints the rows about strays in a node's memory.
pub(super) fn print_strays(out: &mut dyn Write, strays: &[Finding]) -> io::Result<()> {
    strays.iter().try_for_each(|stray| row(out, "stray", &describe_stray(stray)))
}

/// Prints the rows about a located kernel.
pub(super) fn print_kernel(out: &mut dyn Write, kernel: &Kernel) -> io::Result<()> {
    let text = &kernel.text;
    let end = text.phys.checked_add(text.size).unwrap_or(text.phys);
    row(out, "kernel", &printable(kernel.release.as_bytes(), 64))?;
    row(
        out,
        "text, physical",
        &format!("{}..{end}  {} ({} bytes)", text.phys, size(text.size), text.size),
    )?;
    row(out, "text, virtual", &format!("{}  KASLR offset {:#x}", text.virt, kernel.kaslr_offset))?;
    row(
        out,
        "page tables",
        &format!("{}  {} levels", kernel.page_table_root, kernel.paging_levels),
    )?;
    if let Some(build_id) = &kernel.build_id {
        row(out, "build id", build_id)?;
    }
    let agreeing: Vec<_> = kernel.witnesses.iter().filter(|w| w.agrees).map(|w| w.name).collect();
    row(out, "witnesses", &format!("{} agree", agreeing.join(", ")))?;
    if !kernel.pulse.is_known() {
        row(out, "clocks", "none is known: it is unknown whether the kernel runs")?;
    }
    Ok(())
}
