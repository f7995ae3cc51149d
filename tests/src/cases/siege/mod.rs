//! Root on node 0 against the guard, with the guard's own means: eBPF programs. Also attacks on
//! everything around the guard's files, its watchdog and its nodes.

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
