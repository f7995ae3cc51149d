//! What a kernel says traces it, and whether a branch out of its text leads there.
//!
//! A site of ftrace, a probe or a BPF trampoline may lead anywhere; so each is held against the
//! kernel's own book of who registered what, and the code it leads to against the kernel's own
//! template. What is in no book is no tracer.

mod book;
mod bpf;
mod cause;
mod follow;
mod ftrace;
mod kprobes;
mod lists;
mod livepatch;
mod modules;
mod ops;
mod probe;
mod programs;
mod static_call;

pub(super) use book::Tracing;
pub use cause::Cause;
pub(super) use kprobes::{Armed, Probes};
