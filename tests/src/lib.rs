//! The node machine: several unmodified Linux kernels side by side on one
//! QEMU machine, without a hypervisor between them, and the programs that run
//! inside it.
//!
//! Node 0 is an ordinary Debian with systemd. `node-loader`, run on node 0,
//! starts every other node on a core of its own, in memory of its own. What
//! the host and the guests must agree on is in the modules here; what only
//! the host needs is in [`machine`].
//!
//! | module | what it settles |
//! |---|---|
//! | [`layout`] | which physical memory belongs to which node |
//! | [`mailbox`] | how the host talks to a service node: a page range both see |
//! | [`service`] | what a service node can be asked to do |
//! | [`agent`] | what node 0 can be asked to do |
//! | [`truth`] | what a kernel says about its own text |
//! | [`kernel`], [`initramfs`], [`cache`] | what the machine boots, and where it is kept |
//! | [`machine`] | the machine itself |
//! | [`node_kernel`] | a node's kernel, seen and changed from the host |
//! | [`toggles`], [`livepatch`] | what makes a kernel rewrite its own text |
//! | [`attack_module`] | a module of node 0 that writes as drivers do |
//! | [`errno`] | what system calls say, for the programs that attack |
//! | [`host_watch`] | the watchdog on the host, over the machine's memory |
//! | [`cases`] | what the watchdog must do on it |

pub mod agent;
pub mod attack_module;
mod bpf_object;
pub use watchdog_core::btf;
pub use xtask::cache;
pub mod cases;
mod disk;
pub mod errno;
pub mod host_watch;
pub mod initramfs;
pub mod instructions;
pub mod kernel;
pub mod layout;
pub mod livepatch;
pub mod machine;
pub mod mailbox;
mod module;
pub mod node_kernel;
pub mod service;
pub mod starved;
pub mod toggles;
pub mod truth;
