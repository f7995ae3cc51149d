//! Integrity watchdog for machines on which several Linux kernels run side by side without a
//! hypervisor.
//!
//! The crate `watchdog_core` finds and judges kernels. The crate `watchdog_guard` denies writes by
//! node 0. This crate combines both: [`node`]s, the [`watch`], [`alert`]s, and the [`cli`].

pub mod alert;
pub mod cli;
pub mod config;
#[cfg(test)]
mod doc_table;
pub mod node;
pub mod signals;
pub mod watch;
