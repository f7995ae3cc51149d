//! What the candidates for the layout of a list's entries are examined by.

use super::super::super::State;
use super::super::lists::{End, circular};
use crate::verify::reference::Unfit;

/// Entries of each list that are examined: as many as one page shows. An entry behind them is read
/// by the layout that these have.
pub(super) const EXAMINED: usize = 64;

/// The layout that fits a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fit<T> {
    /// The list has no entries, so that no layout is needed.
    Empty,
    /// This one alone.
    One(T),
    /// Unknown.
    Unfit(Unfit),
}

/// The only one of the candidates that fit.
pub(in super::super) fn only<T>(mut fitting: impl Iterator<Item = T>) -> Fit<T> {
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Fit::One(one),
        (Some(_), Some(_)) => Fit::Unfit(Unfit::Several),
        (None, _) => Fit::Unfit(Unfit::None),
    }
}

/// The first entries of the circular list at `head`, by the address of their links. `None` if a
/// link does not lead back to the one before it.
pub(super) fn linked(state: &State<'_>, head: u64) -> Option<Vec<u64>> {
    let (links, end) = circular(state, head, EXAMINED);
    let is_sound = matches!(end, End::Whole | End::Cut);
    let before = [head].into_iter().chain(links.iter().copied());
    let leads_back = |(before, link): (u64, &u64)| {
        link.checked_add(8).and_then(|at| state.word_at(at)) == Some(before)
    };
    (is_sound && before.zip(&links).all(leads_back)).then_some(links)
}

/// Whether an address is in executable memory.
pub(super) fn is_code(state: &State<'_>, virt: u64) -> bool {
    state.at(virt, 1).is_some_and(|code| code.executable)
}

/// Whether bytes begin with a name that can be printed, up to a NUL.
pub(super) fn is_name(bytes: &[u8]) -> bool {
    let name = bytes.iter().position(|byte| *byte == 0).and_then(|end| bytes.get(..end));
    name.is_some_and(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic))
}
