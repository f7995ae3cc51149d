//! `watchdog locate`.

use std::io::{self, Write};

use super::Status;
use super::args::LocateArgs;
use super::progress::Progress;
use super::report::{json, people, row, size};
use super::scan::mapping_findings;
use crate::node::{Found, Target, describe};
use watchdog_core::locate::{Finding, Kernel, Report};
use watchdog_core::text::printable;

/// Locates every node's kernel and says who says so.
pub(super) fn execute(args: LocateArgs) -> anyhow::Result<Status> {
    let config = args.memory.config()?;
    let target = args.memory.target(&config)?;
    let found = find(&target)?;
    if found.is_empty() {
        anyhow::bail!("no kernel was found in {}", target.nodes.memory().in_brief());
    }
    let mut status = Status::Good;
    for found in &found {
        let mapping = match &found.finding {
            Finding::Located(kernel) => mapping_findings(&*target.memory, kernel)?,
            Finding::Booting(_) | Finding::Lost(_) => Vec::new(),
        };
        status = match &found.finding {
            _ if status == Status::Tampered || !mapping.is_empty() => Status::Tampered,
            Finding::Located(_) => status,
            Finding::Booting(_) | Finding::Lost(_) => Status::Undecided,
        };
        if args.memory.place.json {
            let name = found.node.name.as_str();
            json(&Report::new(name, &found.finding, &mapping, &found.strays))?;
        } else {
            print(&mut people(), found, &mapping)?;
        }
    }
    Ok(status)
}

/// Finds the nodes' kernels, with a progress bar where it takes long.
pub(super) fn find(target: &Target) -> anyhow::Result<Vec<Found>> {
    let mut progress = Progress::new();
    Ok(target.find(&mut |done, total| progress.update(done, total))?)
}

fn print(
    out: &mut dyn Write,
    Found { node, finding, strays }: &Found,
    mapping: &[String],
) -> io::Result<()> {
    match finding {
        Finding::Located(kernel) => {
            writeln!(out, "{}  located", node.name)?;
            print_kernel(out, kernel)?;
            mapping.iter().try_for_each(|finding| row(out, "FINDING", finding))?;
        }
        other => {
            writeln!(out, "{}  {}", node.name, other.state())?;
            row(out, "reason", other.reason())?;
            for witness in other.witnesses() {
                row(out, &format!("  {}", witness.name), &printable(witness.says.as_bytes(), 400))?;
            }
        }
    }
    print_strays(out, strays)
}

/// The rows about what else is in a node's memory.
pub(super) fn print_strays(out: &mut dyn Write, strays: &[Finding]) -> io::Result<()> {
    let describe = |stray| format!("{}: shows no sign of life", describe(stray));
    strays.iter().try_for_each(|stray| row(out, "stray", &describe(stray)))
}

/// The rows about a located kernel.
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
    Ok(())
}
