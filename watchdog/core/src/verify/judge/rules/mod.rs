//! One rule a mechanism: which forms a site may have, and what the kernel's own state must say.

mod alternatives;
mod call_sites;
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
