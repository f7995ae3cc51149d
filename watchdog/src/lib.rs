//! Integrity watchdog for machines on which several Linux kernels run side by
//! side without a hypervisor.
//!
//! What finds and judges kernels is the crate `watchdog_core`. Here is what goes by it: [`node`]s, the
//! [`guard`], the [`watch`], [`alert`]s, and [`cli`] in front of them.

pub mod alert;
pub mod cli;
pub mod config;
pub mod guard;
pub mod node;
pub mod role;
pub mod signals;
pub mod watch;
