//! Checks a located kernel again: whether its text is still mapped as it was.

use super::Kernel;
use super::explain::LOGGED;
use super::page_tables::{IMAGE_MAPPING, NEAR_MODULES, Run, aliases, executable, image_runs};
use crate::memory::{Memory, PAGE_SIZE, PhysRange, ReadError, VirtAddr};

/// Most executable stretches outside the text that are listed one by one. The image mapping has
/// room for 262,144 of them.
const LISTED: usize = 64;

/// Bytes of a large page.
const LARGE_PAGE: u64 = 2 << 20;

/// The finding about a text that had no write protection when it was located.
const WRITABLE: &str = "the text is writable: the kernel was started with rodata=off, or its write \
                        protection was removed";

/// The result of a second walk of the page tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recheck {
    /// The text is where it was.
    Same {
        /// Properties of the mapping that are alarms by themselves, as sentences without full stop.
        findings: Vec<String>,
    },
    /// The virtual addresses of the text no longer lead to the located frames.
    Gone {
        /// Why, as a sentence without its full stop.
        reason: String,
    },
}

/// Translates the addresses of a located text again, from the pinned root.
///
/// # Errors
/// When the root cannot be read.
pub fn recheck(memory: &dyn Memory, kernel: &Kernel) -> Result<Recheck, ReadError> {
    memory.read(kernel.page_table_root, &mut [0; 8])?;
    let gone = |reason: String| {
        log::debug!("text at {}: {reason}", kernel.text.phys);
        Ok(Recheck::Gone { reason })
    };
    let Some(runs) = image_runs(memory, &kernel.tables()) else {
        return gone(format!(
            "the page tables at {} no longer map a kernel image",
            kernel.page_table_root
        ));
    };
    let text = &kernel.text;
    let size = text.size.checked_next_multiple_of(PAGE_SIZE).unwrap_or(text.size);
    let covers = |run: &&Run| {
        let offset = text.virt.checked_sub(run.virt);
        offset.is_some_and(|offset| {
            offset.checked_add(size).is_some_and(|end| end <= run.size)
                && run.phys.checked_add(offset) == Some(text.phys)
        })
    };
    let stretches = executable(&runs);
    let Some(mapped) = stretches.iter().find(covers) else {
        return gone(format!(
            "virtual {} no longer leads to the text at physical {}",
            text.virt, text.phys
        ));
    };
    let is_writable = kernel.is_writable && mapped.writable;
    let mut findings = Vec::new();
    if is_writable {
        findings.push(WRITABLE.to_owned());
    }
    findings.extend(open_mappings(memory, kernel, size, is_writable));
    // Modules are not part of the image, and are not judged.
    let modules = VirtAddr(IMAGE_MAPPING.saturating_add(NEAR_MODULES));
    let is_module = |run: &Run| kernel.has_near_modules && run.virt >= modules;
    let is_expected = |run: &Run| is_module(run) || is_writable && is_of_image(kernel, run);
    let mut beyond = stretches.iter().filter(|run| *run != mapped && !is_expected(run));
    findings.extend(beyond.by_ref().take(LISTED).map(|run| {
        format!("{} bytes at virtual {} outside the text are executable", run.size, run.virt)
    }));
    let rest = beyond.count();
    if rest > 0 {
        findings.push(format!("{rest} more stretches outside the text are executable"));
    }
    if !is_writable && (mapped.virt != text.virt || mapped.size != size) {
        findings.push(format!(
            "the executable mapping is {} bytes from {}, larger than the text",
            mapped.size, mapped.virt
        ));
    }
    for finding in findings.iter().take(LOGGED) {
        log::debug!("text at {}: {finding}", text.phys);
    }
    Ok(Recheck::Same { findings })
}

/// Whether a run maps a part of the image at its own address. Without write protection, the kernel
/// leaves all of its image executable as well, in large pages.
fn is_of_image(kernel: &Kernel, run: &Run) -> bool {
    let apart = |virt: u64, phys: u64| virt.wrapping_sub(phys);
    let end = kernel.image.end().0.checked_next_multiple_of(LARGE_PAGE);
    let run_end = run.phys.checked_add(run.size).map(|end| end.0);
    apart(run.virt.0, run.phys.0) == apart(kernel.text.virt.0, kernel.text.phys.0)
        && run.phys >= kernel.image.start()
        && run_end.zip(end).is_some_and(|(run_end, end)| run_end <= end)
}

/// Mappings of the text's frames, at any address, that are writable or open to user mode. If the
/// text `is_writable` at its own address, other writable mappings say nothing more.
fn open_mappings(
    memory: &dyn Memory,
    kernel: &Kernel,
    size: u64,
    is_writable: bool,
) -> Vec<String> {
    let Some(frames) = PhysRange::with_size(kernel.text.phys, size) else { return Vec::new() };
    let root = kernel.page_table_root;
    let found = aliases(memory, &kernel.tables(), frames, memory.ranges().size());
    let mut findings = Vec::new();
    for run in &found.runs {
        let Some(part) = run.frames() else { continue };
        if run.writable && !is_writable {
            findings.push(format!("frames {part} of the text are mapped writable at {}", run.virt));
        }
        if run.user {
            findings
                .push(format!("frames {part} of the text are open to user mode at {}", run.virt));
        }
    }
    if !found.complete {
        findings.push(format!(
            "the page tables at {root} are larger than this memory needs; not all were walked"
        ));
    }
    findings
}
