//! The physical memory of each node.
//!
//! The main ranges are those of Mint's study of 2016: node N has 0x18000000 bytes from
//! `0x20000000 + N * 0x18000000` on. Each service node also needs memory below 1 MiB, for Linux's
//! real-mode trampoline, and gets 2 MiB of low memory as on Mint.

use std::ops::Range;

/// Maximum number of service nodes below 2 GiB.
pub const MAX_SERVICE_NODES: u8 = 2;

/// Bytes of each node's main range.
pub const NODE_SIZE: u64 = 0x1800_0000;

/// Bytes of a node's mailbox.
pub const MAILBOX_SIZE: u64 = 0x1_0000;

/// Offset of the mailbox in the node's main range: after the 64 KiB that the loader fills with boot
/// parameters, page tables and ACPI tables.
pub const MAILBOX_OFFSET: u64 = 0x1_0000;

/// The page at which a starting processor begins to execute (real mode, below 1 MiB). All nodes
/// share it, so they are started one after another.
pub const TRAMPOLINE: u64 = 0x9_0000;

/// Memory that node 0 must not use as RAM, as `(start, size)`: every node's main range, and the
/// nodes' parts of low memory.
///
/// One more entry would be possible: with more than four `memmap=` entries Linux switches node 0's
/// KASLR off (arch/x86/boot/compressed/kaslr.c, `MAX_MEMMAP_REGIONS`, 6.1).
pub const RESERVED_ON_NODE0: [(u64, u64); 3] =
    [(0x2000_0000, 0x4800_0000), (0x2_0000, 0x8_0000), (0x20_0000, 0x40_0000)];

/// Returns the main range of node `node`, physical.
#[must_use]
pub fn main_range(node: u8) -> Range<u64> {
    let start = 0x2000_0000 + u64::from(node) * NODE_SIZE;
    start..start + NODE_SIZE
}

/// Returns service node `node`'s part of the first mebibyte, physical.
#[must_use]
pub fn real_mode_range(node: u8) -> Range<u64> {
    let start = 0x1_0000 + 0x2_0000 * u64::from(node);
    start..start + 0x2_0000
}

/// Returns the 2 MiB of low memory of service node `node`, physical.
#[must_use]
pub fn low_range(node: u8) -> Range<u64> {
    let start = 0x20_0000 * u64::from(node);
    start..start + 0x20_0000
}

/// Returns the mailbox between service node `node` and the host, physical.
#[must_use]
pub fn mailbox_range(node: u8) -> Range<u64> {
    let start = main_range(node).start + MAILBOX_OFFSET;
    start..start + MAILBOX_SIZE
}

/// Returns the I/O port of the UART to which service node `node` prints.
#[must_use]
pub fn uart_port(node: u8) -> u16 {
    match node {
        0 => 0x3f8,
        1 => 0x2f8,
        _ => 0x3e8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that all memory of the service nodes is reserved on node 0, so that node 0's allocator
    /// can never use it.
    #[test]
    fn nodes_lie_in_reserved_memory() {
        let reserved = |range: Range<u64>| {
            RESERVED_ON_NODE0
                .iter()
                .any(|&(start, size)| start <= range.start && range.end <= start + size)
        };
        for node in 1..=MAX_SERVICE_NODES {
            assert!(reserved(main_range(node)), "main range of node {node}");
            assert!(reserved(real_mode_range(node)), "real-mode range of node {node}");
            assert!(reserved(low_range(node)), "low range of node {node}");
        }
        assert!(reserved(TRAMPOLINE..TRAMPOLINE + 0x1000), "trampoline");
    }

    /// Check that no two nodes share a byte, and that no node contains the trampoline.
    #[test]
    fn nodes_do_not_overlap() {
        let trampoline = TRAMPOLINE..TRAMPOLINE + 0x1000;
        let mut all = Vec::from([trampoline]);
        for node in 1..=MAX_SERVICE_NODES {
            all.extend([main_range(node), real_mode_range(node), low_range(node)]);
        }
        all.sort_by_key(|range| range.start);
        for pair in all.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{:x?} overlaps {:x?}", pair[0], pair[1]);
        }
    }
}
