//! The sentences of events: what happened, where, in which node, and what was done.

mod attribution;
mod baselines;
mod kernel;
mod leases;
mod mapping;
mod nodes;
mod strays;
mod text;
mod uses;
mod watch;

pub(super) use baselines::{learned, unsaved};
pub(super) use kernel::kernel;
pub(super) use leases::{lease_begun, lease_ended};
pub(super) use mapping::{mapping, mapping_more};
pub(super) use nodes::{
    booting, found, goes_on, lost, rebooted, stands_still, unjudged, witness_changed,
};
pub(super) use strays::{crowded, stray, strays_more};
pub(super) use text::{
    clean, instrumented, instrumented_more, not_judged, tampered, tampered_more,
};
pub(super) use uses::{uses_begun, uses_ended, uses_unknown};
pub(super) use watch::{no_image, started, stopped, stopped_early};
