//! Integrity watchdog for machines on which several Linux kernels run side by
//! side without a hypervisor.
//!
//! The modules are the pipeline, in the order a byte takes:
//! [`memory`] → [`locate`] → [`verify`] → [`watch`] → [`alert`], with the
//! [`guard`] beside it and [`cli`] in front of it.

pub mod alert;
mod btf;
pub mod cli;
pub mod config;
mod files;
pub mod guard;
pub mod image;
pub mod locate;
pub mod memory;
pub mod node;
pub mod role;
pub mod signals;
pub mod verify;
pub mod watch;
