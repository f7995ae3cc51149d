//! The output of `locate --json`, in its documented form.

use serde::Serialize;

use super::{Finding, Kernel, Witness};
use crate::memory::{PhysAddr, VirtAddr};
use crate::text::printable;

/// Most bytes of a banner or release that are shown.
const SHOWN: usize = 256;

/// One node's finding, as JSON shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    node: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    kernel: Option<KernelReport>,
    witnesses: Vec<WitnessReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    strays: Vec<StrayReport>,
}

/// A kernel, or a part of one, that is not the node's.
#[derive(Clone, Debug, Serialize)]
struct StrayReport {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phys: Option<PhysAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    witnesses: Vec<WitnessReport>,
}

#[derive(Clone, Debug, Serialize)]
struct KernelReport {
    release: String,
    banner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    text: TextReport,
    page_table_root: PhysAddr,
    paging_levels: u8,
    kaslr_offset: VirtAddr,
    phys_base: PhysAddr,
}

#[derive(Clone, Debug, Serialize)]
struct TextReport {
    phys: PhysAddr,
    virt: VirtAddr,
    size: u64,
}

#[derive(Clone, Debug, Serialize)]
struct WitnessReport {
    name: &'static str,
    agrees: bool,
    says: String,
}

impl Report {
    /// The report of a node's finding. `mapping` lists what is wrong with the mapping of its text,
    /// `strays` what else was found in its memory.
    #[must_use]
    pub fn new(node: &str, finding: &Finding, mapping: &[String], strays: &[Finding]) -> Self {
        let kernel = match finding {
            Finding::Located(kernel) => Some(KernelReport::new(kernel)),
            Finding::Booting(_) | Finding::Lost(_) => None,
        };
        Self {
            node: node.to_owned(),
            state: finding.state(),
            reason: reason(finding),
            kernel,
            witnesses: witnesses(finding),
            findings: mapping.to_vec(),
            strays: strays.iter().map(StrayReport::new).collect(),
        }
    }
}

impl StrayReport {
    fn new(finding: &Finding) -> Self {
        let release = match finding {
            Finding::Located(kernel) => Some(printable(kernel.release.as_bytes(), SHOWN)),
            Finding::Booting(_) | Finding::Lost(_) => None,
        };
        Self {
            state: finding.state(),
            phys: finding.text_address(),
            release,
            reason: reason(finding),
            witnesses: witnesses(finding),
        }
    }
}

fn reason(finding: &Finding) -> Option<String> {
    let reason = finding.reason();
    (!reason.is_empty()).then(|| reason.to_owned())
}

fn witnesses(finding: &Finding) -> Vec<WitnessReport> {
    let report = |witness: &Witness| WitnessReport {
        name: witness.name,
        agrees: witness.agrees,
        says: witness.says.clone(),
    };
    finding.witnesses().iter().map(report).collect()
}

impl KernelReport {
    fn new(kernel: &Kernel) -> Self {
        let text = &kernel.text;
        Self {
            release: printable(kernel.release.as_bytes(), SHOWN),
            banner: printable(kernel.banner.as_bytes(), SHOWN),
            build_id: kernel.build_id.clone(),
            text: TextReport { phys: text.phys, virt: text.virt, size: text.size },
            page_table_root: kernel.page_table_root,
            paging_levels: kernel.paging_levels,
            // Plain numbers, not addresses: the wrappers only format them in hexadecimal.
            kaslr_offset: VirtAddr(kernel.kaslr_offset),
            phys_base: PhysAddr(kernel.phys_base),
        }
    }
}
