//! Root on node 0 against the guard with what the guard itself is made of: eBPF programs of his
//! own, and with all that is around its files, its watchdog and its nodes.

pub(super) mod debian;
pub(super) mod holders;
pub(super) mod memory;
pub(super) mod mounts;
pub(super) mod processors;
pub(super) mod programs;
pub(super) mod service;
pub(super) mod starving;
#[cfg(test)]
mod table;
pub(super) mod trusted;
