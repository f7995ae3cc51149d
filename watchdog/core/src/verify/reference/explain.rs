//! Log lines about what a reference contains and lacks.

use log::Level;

use super::Reference;
use crate::text::{list, printable};

/// Longest release and build id in a log line.
const MAX_SHOWN: usize = 64;

impl Reference {
    /// Logs the data that the reference has for judging.
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
        for (mechanism, why) in self.unnamed_lists() {
            log::debug!("reference: {mechanism}: {why}");
        }
        log::debug!(
            "reference: structures whose layout is the one that fits the kernel's lists: {}",
            list(self.undescribed().into_iter())
        );
    }

    /// Number of entries in each table.
    fn counts(&self) -> [(&'static str, usize); 13] {
        let tables = &self.tables;
        [
            ("alternatives", tables.alternatives.len()),
            ("paravirt", tables.paravirt.len()),
            ("smp-locks", tables.smp_locks.len()),
            ("retpolines", tables.retpolines.len()),
            ("returns", tables.returns.len()),
            ("call-sites", tables.calls.len()),
            ("ibt-seals", tables.ibt_seals.len()),
            ("cfi", tables.cfi.len()),
            ("jump-labels", tables.jump_labels.len()),
            ("static-calls", tables.static_calls.len()),
            ("static-call trampolines", tables.trampolines.len()),
            ("fentry", tables.fentry.len()),
            ("runtime-constants", tables.runtime_constants.len()),
        ]
    }
}
