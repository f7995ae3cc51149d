//! Static calls to functions outside the kernel.

use super::super::Mechanism;
use super::cause::Cause;
use super::registry::Tracing;

/// The cause of a static call to a function of a module.
pub(super) fn function(tracing: &Tracing<'_>, virt: u64) -> Result<Cause, &'static str> {
    let name = tracing.modules.symbol(tracing.state, virt);
    let name =
        name.ok_or("a call to something that is not a function of the kernel or a module")?;
    Ok(Cause::new(Mechanism::StaticCall, name))
}
