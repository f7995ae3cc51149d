//! Where functions may begin, in an image without symbols.

use std::collections::BTreeSet;

use super::Expected;
use crate::verify::instruction::{Before, before};

/// Most bytes before a place that are decoded to see whether a function may begin there. The node
/// chooses the place, once for each site.
const MAX_BEFORE: u32 = 16 << 10;

impl Expected {
    /// Whether a function may begin at this image offset, in an image without symbols that does not
    /// say so. It cannot if an instruction contains the place, or if code runs into it.
    pub(super) fn may_be_function(&self, offset: u32) -> bool {
        let symbols = &self.reference.symbols;
        let start = symbols.start_before(offset).filter(|start| *start < offset).unwrap_or(0);
        if !symbols.is_nameless()
            || offset >= self.text_size()
            || offset.abs_diff(start) > MAX_BEFORE
        {
            return false;
        }
        match before(&self.text, start, offset) {
            Before::End => true,
            Before::Call(target) => self.dead_ends().contains(&target),
            Before::Code => false,
        }
    }

    /// The functions that never return. A call of such a function is the last instruction before
    /// another function.
    fn dead_ends(&self) -> &BTreeSet<u32> {
        self.dead_ends.get_or_init(|| {
            let starts: Vec<u32> = self.reference.symbols.functions(self.text_size()).collect();
            let called = |pair: &[u32]| match *pair {
                [start, next] if next.abs_diff(start) <= MAX_BEFORE => {
                    match before(&self.text, start, next) {
                        Before::Call(target) => Some(target),
                        Before::End | Before::Code => None,
                    }
                }
                _ => None,
            };
            starts.windows(2).filter_map(called).collect()
        })
    }
}
