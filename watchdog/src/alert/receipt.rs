//! Receipts for attempts that have been reported.

use tokio::sync::mpsc::UnboundedReceiver;

/// The attempts that an event accounts for. The outlet returns it once a destination has confirmed
/// the event: delivery is at-least-once, and an attempt without a receipt is reported again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The write path's number in the guard's tables.
    pub path: u32,
    /// How many attempts.
    pub attempts: u64,
}

/// The receipts of confirmed events, in the order of the confirmations. The channel needs no bound:
/// an event returns one receipt at most, and the task that sends such events also receives the
/// receipts.
pub type Receipts = UnboundedReceiver<Receipt>;
