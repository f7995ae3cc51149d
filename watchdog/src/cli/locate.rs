//! `watchdog locate`.

use std::io::{self, Write};

use super::Status;
use super::args::LocateArgs;
use super::kernel::{find, mapping_findings, print_kernel, print_strays};
use super::report::{json, people, row};
use crate::node::Found;
use watchdog_core::locate::{Finding, Report};
use watchdog_core::text::printable;

/// Locates every node's kernel and shows which witnesses agree.
pub(super) fn execute(args: LocateArgs) -> anyhow::Result<Status> {
    let config = args.memory.config()?;
    let target = args.memory.target(&config)?;
    let found = find(&target)?;
    if found.is_empty() {
        anyhow::bail!("no kernel was found in {}", target.nodes.memory().in_brief());
    }
    // A kernel was to be compared with such an image, and was not.
    let is_compared = target.images.unreadable().is_empty();
    let mut status = if is_compared { Status::Good } else { Status::Undecided };
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
