//! One rule per mechanism: the forms that a site may have, and the kernel state that must match.

mod alternatives;
mod call_sites;
mod cfi;
mod constants;
mod context;
mod dispatch;
mod fentry;
mod ibt_seals;
mod jump_labels;
mod locks;
mod paravirt;
mod retpolines;
mod returns;
mod static_calls;

pub(super) use context::{Rules, SiteState};
pub(super) use dispatch::judge;
