//! `locate --json`: the shape of the documentation.

use serde::Serialize;

use super::{Finding, Kernel, Witness};
use crate::alert::printable;
use crate::memory::{PhysAddr, VirtAddr};

/// Longest banner and release that are shown.
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
    /// The report of a node's finding; `findings` is what is wrong with how its text is mapped.
    #[must_use]
    pub fn new(node: &str, finding: &Finding, findings: &[String]) -> Self {
        let kernel = match finding {
            Finding::Located(kernel) => Some(KernelReport::new(kernel)),
            Finding::Booting(_) | Finding::Lost(_) => None,
        };
        let witness = |witness: &Witness| WitnessReport {
            name: witness.name,
            agrees: witness.agrees,
            says: witness.says.clone(),
        };
        Self {
            node: node.to_owned(),
            state: finding.state(),
            reason: kernel.is_none().then(|| finding.reason().to_owned()),
            kernel,
            witnesses: finding.witnesses().iter().map(witness).collect(),
            findings: findings.to_vec(),
        }
    }
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
            // Plain hexadecimal numbers, not addresses: the wrappers only give them their form.
            kaslr_offset: VirtAddr(kernel.kaslr_offset),
            phys_base: PhysAddr(kernel.phys_base),
        }
    }
}
