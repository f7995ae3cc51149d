//! Adds the receipts of reported attempts to the counts of the guard.

use std::future::pending;

use crate::alert::{Receipt, Receipts};
use watchdog_guard::ReportedCounts;

/// Receives the receipts of reported attempts, and adds them to the counts of the guard. The next
/// watchdog reports the attempts that are not in these counts. Delivery is at-least-once: after a
/// crash, an attempt can be reported twice.
pub struct ReportedAttempts {
    receipts: Receipts,
    count: Option<Box<dyn FnMut(Receipt)>>,
}

impl ReportedAttempts {
    /// Until [`Self::count_into`], the receipts wait.
    #[must_use]
    pub fn new(receipts: Receipts) -> Self {
        Self { receipts, count: None }
    }

    /// From now on, receipts are added to `counts`. This includes those that already wait.
    pub(super) fn count_into(&mut self, mut counts: ReportedCounts) {
        self.count = Some(Box::new(move |Receipt { path, attempts }| {
            if let Err(error) = counts.add(path, attempts) {
                log::warn!("{attempts} reported attempts could not be counted: {error}");
            }
        }));
    }

    /// Waits for the next receipt and counts it. Waits for ever if there are no counts, or if the
    /// outlet is closed. Cancel safe.
    pub(super) async fn count_next(&mut self) {
        let Some(count) = &mut self.count else { return pending().await };
        match self.receipts.recv().await {
            Some(receipt) => count(receipt),
            None => pending().await,
        }
    }

    /// Counts the receipts that have arrived. The last ones arrive while the outlet closes.
    pub fn count_rest(&mut self) {
        let Some(count) = &mut self.count else { return };
        while let Ok(receipt) = self.receipts.try_recv() {
            count(receipt);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::time::timeout;

    use super::*;

    /// Check that receipts wait until there are counts, and that each is then counted once. Check
    /// that the rest is counted after the outlet closed.
    #[test]
    fn counted_once() {
        let (sender, receipts) = unbounded_channel();
        let mut reported = ReportedAttempts::new(receipts);
        let receipt = |attempts| Receipt { path: 3, attempts };
        (1..=4).for_each(|attempts| sender.send(receipt(attempts)).unwrap());
        drop(sender);
        let counted = Rc::new(RefCell::new(Vec::new()));
        reported.count_rest();
        let log = Rc::clone(&counted);
        reported.count = Some(Box::new(move |receipt| log.borrow_mut().push(receipt.attempts)));
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            reported.count_next().await;
            reported.count_next().await;
        });
        assert_eq!(*counted.borrow(), [1, 2]);
        reported.count_rest();
        assert_eq!(*counted.borrow(), [1, 2, 3, 4]);
        let next = async { timeout(Duration::from_millis(20), reported.count_next()).await };
        assert!(runtime.block_on(next).is_err());
    }
}
