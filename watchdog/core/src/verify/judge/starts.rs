//! Where functions may begin, in an image without symbols.

use std::collections::BTreeSet;

use super::Expected;
use crate::verify::instruction::{Before, walk};

impl Expected {
    /// Whether a function may begin at this image offset, in an image without symbols that does not
    /// say so. It cannot if an instruction contains the place, or if code runs into it.
    ///
    /// The first call decodes the whole text. A node can cause no more than that.
    pub(super) fn may_be_function(&self, offset: u32) -> bool {
        self.reference.symbols.is_nameless()
            && self.may_begin.get_or_init(|| self.behind_ends()).binary_search(&offset).is_ok()
    }

    /// The places behind the end of other code, ascending.
    ///
    /// Code also ends with the call of a function that never returns. A function never returns if a
    /// call of it is the last instruction before another function.
    fn behind_ends(&self) -> Vec<u32> {
        let end = self.text_size();
        let starts: Vec<u32> =
            [0].into_iter().chain(self.reference.symbols.functions(end)).collect();
        let nexts = starts.iter().skip(1).chain([&end]);
        let mut behind = Vec::new();
        let mut behind_calls = Vec::new();
        let mut dead_ends = BTreeSet::new();
        for (start, next) in starts.iter().zip(nexts) {
            let last = walk(&self.text, *start, *next, &mut |at, before| match before {
                Before::End => behind.push(at),
                Before::Call(target) => behind_calls.push((at, target)),
                Before::Code => {}
            });
            if let Before::Call(target) = last {
                dead_ends.insert(target);
            }
        }
        let dead = behind_calls.into_iter().filter(|(_, target)| dead_ends.contains(target));
        behind.extend(dead.map(|(at, _)| at));
        behind.sort_unstable();
        behind
    }
}
