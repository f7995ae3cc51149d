//! Functions that consist of almost nothing, in an image without symbols.
//!
//! A kernel writes the code of some functions in place of a call to them, and knows them by their
//! name. Without names, their code decides: in place of a call to a function that does one thing
//! and returns, this one thing has the same effect, whatever the function is. A node gains nothing
//! by it.

use super::Expected;
use super::branch::{self, JMP};
use super::cfi::ENDBR64;

impl Expected {
    /// Whether a function consists of exactly this code and its return, in an image without
    /// symbols. Before the code, there may be a landing pad and what ftrace rewrites.
    pub(super) fn consists_of(&self, function: u32, code: &[u8]) -> bool {
        if !self.reference.symbols.is_nameless() || function >= self.text_size() {
            return false;
        }
        let mut at = function;
        if self.linked(at, ENDBR64.len()) == ENDBR64 {
            at = at.saturating_add(4);
        }
        if self.reference.tables.fentry.binary_search(&at).is_ok() {
            at = at.saturating_add(5);
        }
        let end = at.saturating_add(u32::try_from(code.len()).unwrap_or(u32::MAX));
        self.linked(at, code.len()) == code && self.is_linked_return(end)
    }

    /// Whether a return is linked at an image offset.
    fn is_linked_return(&self, at: u32) -> bool {
        let default = self.reference.tables.known_symbols.default_thunk;
        let jumps = default.is_some_and(|thunk| branch::is(self.linked(at, 5), at, JMP, thunk));
        jumps || branch::is_plain_return(self.linked(at, 2))
    }
}
