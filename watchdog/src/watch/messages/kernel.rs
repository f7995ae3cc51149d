//! How sentences and fields describe a kernel.

use crate::alert::Event;
use crate::node::NodeName;
use watchdog_core::locate::Kernel;
use watchdog_core::text::printable;

/// A kernel in a few words.
pub(in crate::watch) fn kernel(kernel: &Kernel) -> String {
    let release = printable(kernel.release.as_bytes(), 64);
    let Kernel { text, .. } = kernel;
    format!("Linux {release} with {} bytes of text at physical {}", text.size, text.phys)
}

/// Fills in the address of the text.
pub(super) fn of_text(event: &mut Event, node: &NodeName, kernel: &Kernel) {
    event.node = Some(node.to_string());
    event.phys = Some(kernel.text.phys);
    event.virt = Some(kernel.text.virt);
    event.length = Some(kernel.text.size);
}
