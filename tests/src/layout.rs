//! Which physical memory belongs to which node.
//!
//! The main ranges are those of Mint's study of 2016: node N owns
//! `0x20000000 + N * 0x18000000` and the next 0x18000000 bytes. Each service
//! node also needs memory below 1 MiB, for the real-mode trampoline Linux
//! insists on, and gets 2 MiB of low memory as on Mint.

use std::ops::Range;

/// The most service nodes the layout has room for below 2 GiB.
pub const MAX_SERVICE_NODES: u8 = 2;

/// Bytes of each node's main range.
pub const NODE_SIZE: u64 = 0x1800_0000;

/// Bytes of a node's mailbox.
pub const MAILBOX_SIZE: u64 = 0x1_0000;

/// Where the mailbox lies in the node's main range: after the 64 KiB that the
/// loader fills with boot parameters, page tables and ACPI tables.
pub const MAILBOX_OFFSET: u64 = 0x1_0000;

/// The page where a starting processor begins to execute (real mode, below
/// 1 MiB); shared by all nodes, so they are started one after another.
pub const TRAMPOLINE: u64 = 0x9_0000;

/// What node 0 must not treat as usable RAM, as `(start, size)`: every node's
/// main range, and their parts of low memory.
///
/// Three entries leave one to spare: with more than four `memmap=` entries
/// Linux switches node 0's KASLR off (arch/x86/boot/compressed/kaslr.c,
/// `MAX_MEMMAP_REGIONS`, 6.1).
pub const RESERVED_ON_NODE0: [(u64, u64); 3] =
    [(0x2000_0000, 0x4800_0000), (0x2_0000, 0x8_0000), (0x20_0000, 0x40_0000)];

/// The main range of node `node`, physical.
#[must_use]
pub fn main_range(node: u8) -> Range<u64> {
    let start = 0x2000_0000 + u64::from(node) * NODE_SIZE;
    start..start + NODE_SIZE
}

/// The part of the first mebibyte that service node `node` gets, physical.
#[must_use]
pub fn real_mode_range(node: u8) -> Range<u64> {
    let start = 0x1_0000 + 0x2_0000 * u64::from(node);
    start..start + 0x2_0000
}

/// The 2 MiB of low memory of service node `node`, physical.
#[must_use]
pub fn low_range(node: u8) -> Range<u64> {
    let start = 0x20_0000 * u64::from(node);
    start..start + 0x20_0000
}

/// Where service node `node` and the host talk, physical.
#[must_use]
pub fn mailbox_range(node: u8) -> Range<u64> {
    let start = main_range(node).start + MAILBOX_OFFSET;
    start..start + MAILBOX_SIZE
}

/// The I/O port of the UART that service node `node` prints to.
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

    /// Check that everything a service node owns is reserved on node 0, so
    /// that node 0's allocator can never hand it out.
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

    /// Check that no two nodes share a byte, nor any node the trampoline.
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
