//! How much of the nodes' memory a source serves.

use std::fmt;

use super::{Nodes, TargetError};
use watchdog_core::memory::{Memory, PhysRange, RangeSet, Reason, Refusal};

/// The nodes with the memory that the source serves. Other memory is left out with a warning if the
/// reason is `tolerated`.
///
/// # Errors
/// [`TargetError`] for any other reason, and if nothing of a node is left.
pub(super) fn within_reach(
    nodes: Nodes,
    memory: &dyn Memory,
    tolerated: fn(&Reason) -> bool,
) -> Result<Nodes, TargetError> {
    match nodes {
        Nodes::Configured(nodes) => {
            let mut reached = Vec::new();
            for (node, ranges) in nodes {
                let (served, shortfall) = match reach(memory, &ranges, tolerated) {
                    Ok(reached) => reached,
                    Err(refusal) => return Err(TargetError::Refused { node, refusal }),
                };
                warn(shortfall.map(|left_out| format!("node {node}: {left_out}")));
                reached.push((node, served));
            }
            Ok(Nodes::Configured(reached))
        }
        Nodes::Discovered { prefix, within } => {
            let (within, shortfall) =
                reach(memory, &within, tolerated).map_err(TargetError::Unsearchable)?;
            warn(shortfall.map(|left_out| left_out.to_string()));
            Ok(Nodes::Discovered { prefix, within })
        }
    }
}

/// Logs a warning before the work begins.
pub(super) fn warn(remark: Option<String>) {
    if let Some(remark) = remark {
        log::warn!("{remark}");
    }
}

/// Memory that is left out because the source does not serve it.
#[derive(Clone, Debug)]
struct Shortfall {
    first: Refusal,
    parts: usize,
    bytes: u64,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, parts, bytes } = self;
        write!(f, "{bytes} bytes of memory in {parts} parts are not searched. The first: {first}")
    }
}

/// The part of `ranges` that the source serves, and the parts left out for `tolerated` reasons.
///
/// # Errors
/// The first refusal for another reason, or the first of all if nothing is left.
fn reach(
    memory: &dyn Memory,
    ranges: &RangeSet,
    tolerated: fn(&Reason) -> bool,
) -> Result<(RangeSet, Option<Shortfall>), Refusal> {
    let served = ranges.intersection(memory.ranges());
    let mut shortfall: Option<Shortfall> = None;
    for missing in ranges.difference(&served).ranges() {
        let mut rest = Some(*missing);
        while let Some(refusal) = rest.and_then(|rest| memory.refusal(&rest)) {
            if served.is_empty() || !tolerated(&refusal.reason) {
                return Err(refusal);
            }
            rest = PhysRange::new(refusal.range.end(), missing.end());
            let bytes = refusal.range.size();
            let so_far = shortfall.get_or_insert(Shortfall { first: refusal, parts: 0, bytes: 0 });
            so_far.parts += 1;
            so_far.bytes += bytes;
        }
    }
    Ok((served, shortfall))
}
