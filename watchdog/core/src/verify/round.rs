//! Everything in its turn, in an order that cannot be predicted.

use super::measure::unpredictable_order;

/// Numbers below a count, each once a round; every round has a new order.
#[derive(Clone, Debug, Default)]
pub(super) struct Round(Vec<usize>);

impl Round {
    /// The next numbers below `count`: one in `share` of them, so that a round takes `share` calls.
    pub(super) fn next(&mut self, count: usize, share: usize) -> Vec<usize> {
        if self.0.is_empty() {
            self.0 = unpredictable_order(count);
        }
        let portion = count.div_ceil(share.max(1));
        self.0.split_off(self.0.len().saturating_sub(portion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a round takes as many calls as it should and leaves nothing out.
    #[test]
    fn nothing_is_left_out() {
        let mut round = Round::default();
        for _ in 0..2 {
            let mut seen: Vec<usize> = (0..8).flat_map(|_| round.next(61, 8)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..61).collect::<Vec<_>>());
        }
    }
}
