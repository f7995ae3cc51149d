//! Rounds through all pages, in an unpredictable order.

use super::measure::unpredictable_order;

/// Yields the numbers below a count, each once a round. Every round has a new random order.
#[derive(Clone, Debug, Default)]
pub(super) struct Round(Vec<usize>);

impl Round {
    /// Takes the next numbers below `count`: one in `share` of them, so that a round takes `share`
    /// calls.
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

    /// Check that a round takes the right number of calls and yields every number.
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
