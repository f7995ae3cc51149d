//! Static calls to functions outside the kernel.

use super::super::Mechanism;
use super::cause::Cause;
use super::lists::MAX_SHOWN;
use super::registry::Tracing;
use crate::text::shortened;

/// The cause of a static call at image offset `at` to a function of a module: both their names.
pub(super) fn function(tracing: &Tracing<'_>, at: u32, virt: u64) -> Option<Cause> {
    let function = tracing.modules.symbol(tracing.state, virt)?;
    let name = match tracing.expected.static_call_name(at) {
        Some(call) => format!("{function} for {}", shortened(call.to_owned(), MAX_SHOWN)),
        None => function,
    };
    Some(Cause::new(Mechanism::StaticCall, name))
}
