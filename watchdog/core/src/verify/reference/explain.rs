//! What a reference has and lacks, for the log.

use log::Level;

use super::Reference;
use crate::text::{list, printable};

/// Longest release and build id that are logged.
const MAX_SHOWN: usize = 64;

impl Reference {
    /// Logs what there is to judge by.
    pub(super) fn log(&self) {
        if !log::log_enabled!(Level::Debug) {
            return;
        }
        let shown = |text: &str| printable(text.as_bytes(), MAX_SHOWN);
        log::debug!(
            "reference: Linux {}, build id {}: {} bytes of text linked at {:#x}, {} symbols",
            shown(&self.release),
            shown(&self.build_id),
            self.text.bytes.len(),
            self.link_address,
            self.symbols.iter().count()
        );
        log::debug!(
            "reference: {} bytes of read-only data at image offset {:#x}, {} interrupt gates",
            self.rodata.bytes.len(),
            self.rodata.offset,
            self.gates.len()
        );
        let tables = self.counts();
        let count = |(name, count): &(&str, usize)| format!("{count} {name}");
        let some = tables.iter().filter(|(_, count)| *count > 0).map(count);
        log::debug!("reference: entries of tables: {}", list(some));
        let none = tables.iter().filter(|(_, count)| *count == 0);
        log::debug!("reference: tables without entries: {}", list(none.map(|(name, _)| *name)));
        log::debug!(
            "reference: the structures of tracers are {}",
            if self.layouts.is_some() { "known" } else { "unknown: no tracer can be explained" }
        );
    }

    /// How many entries each table has.
    fn counts(&self) -> [(&'static str, usize); 12] {
        let tables = &self.tables;
        [
            ("alternatives", tables.alternatives.len()),
            ("paravirt", tables.paravirt.len()),
            ("smp-locks", tables.smp_locks.len()),
            ("retpolines", tables.retpolines.len()),
            ("returns", tables.returns.len()),
            ("call-sites", tables.calls.len()),
            ("ibt-seals", tables.ibt_seals.len()),
            ("jump-labels", tables.jump_labels.len()),
            ("static-calls", tables.static_calls.len()),
            ("static-call trampolines", tables.trampolines.len()),
            ("fentry", tables.fentry.len()),
            ("runtime-constants", tables.runtime_constants.len()),
        ]
    }
}
