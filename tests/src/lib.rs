//! The node machine: several unmodified Linux kernels side by side on one QEMU machine, without a
//! hypervisor between them, and the programs that run on it.
//!
//! Node 0 is an ordinary Debian with systemd. `node-loader` runs on node 0 and starts each other
//! node on its own core and in its own memory. The modules here define what the host and the guests
//! must agree on. [`machine`] has what only the host needs.
//!
//! | module | content |
//! |---|---|
//! | [`layout`] | the physical memory of each node |
//! | [`mailbox`] | the channel between the host and a service node: a page range that both map |
//! | [`service`] | the requests to a service node |
//! | [`agent`] | the requests to node 0 |
//! | [`truth`] | a kernel's report about its own text |
//! | [`kernel`], [`initramfs`], [`cache`] | what the machine boots, and where it is kept |
//! | [`machine`] | the machine itself |
//! | [`lone`] | one kernel alone on a machine, without node 0 |
//! | [`system_map`] | all symbols of a kernel of one's own configuration |
//! | [`node_kernel`] | a node's kernel, read and changed from the host |
//! | [`damage`], [`flips`], [`overlay`] | a kernel's memory as an attacker would leave it |
//! | [`toggles`], [`livepatch`] | features that make a kernel rewrite its own text |
//! | [`attack_module`] | a module of node 0 that writes as drivers do |
//! | [`errno`] | results of system calls, for the attack programs |
//! | [`host_watch`] | the watchdog on the host, over the machine's memory |
//! | [`nameless`] | images whose symbols are taken away |
//! | [`cases`] | what the watchdog must do on the machine |

pub mod agent;
pub mod attack_module;
pub mod bpf_object;
pub use watchdog_core::btf;
pub use xtask::cache;
pub mod cases;
pub mod damage;
mod disk;
pub mod errno;
pub mod flips;
pub mod host_watch;
pub mod initramfs;
pub mod instructions;
pub mod kernel;
pub mod layout;
pub mod livepatch;
pub mod lone;
pub mod machine;
pub mod mailbox;
mod module;
pub mod nameless;
pub mod node_kernel;
pub mod overlay;
pub mod service;
pub mod starved;
pub mod system_map;
pub mod toggles;
pub mod truth;
