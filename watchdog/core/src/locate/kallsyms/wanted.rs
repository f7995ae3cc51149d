//! The names that bound the image and its text, and lead to the banner, the clocks and the signs of
//! a finished boot.

use super::super::budget::Budget;
use super::super::pulse::Pulse;
use super::names::Names;
use crate::memory::{PhysAddr, PhysRange};

/// Largest kernel image that is believed.
pub(super) const MAX_IMAGE: u64 = 1 << 30;
/// Cost of comparing one name with all wanted ones, in bytes examined.
pub(super) const COMPARE_COST: usize = 64;

const CLOCKS: usize = Pulse::SYMBOLS.len();

/// The numbers of the wanted names.
pub(super) struct Wanted {
    stext: usize,
    etext: usize,
    text: Option<usize>,
    end: Option<usize>,
    banner: Option<usize>,
    state: Option<usize>,
    init: [Option<usize>; 2],
    clocks: [Option<usize>; CLOCKS],
}

impl Wanted {
    /// Compares each name with every wanted one. `None` if the text has no bounds among them.
    pub(super) fn among(names: &Names, budget: &mut Budget) -> Option<Self> {
        budget.spend(names.count().checked_mul(COMPARE_COST)?)?;
        let [jiffies, timekeeper, ticking, detector, threshold] = Pulse::SYMBOLS;
        let [stext, etext, text, end, banner, state, start, stop, clocks @ ..] = names.places([
            "_stext",
            "_etext",
            "_text",
            "_end",
            "linux_banner",
            "system_state",
            "_sinittext",
            "_einittext",
            jiffies,
            timekeeper,
            ticking,
            detector,
            threshold,
        ]);
        let (stext, etext, init) = (stext?, etext?, [start, stop]);
        Some(Self { stext, etext, text, end, banner, state, init, clocks })
    }

    /// The distances from `_stext`. `None` if the addresses are not those of an image.
    pub(super) fn distances(&self, addresses: &[u64]) -> Option<Distances> {
        let stext = *addresses.get(self.stext)?;
        let behind = |place: usize| addresses.get(place)?.checked_sub(stext);
        // A name that is there must be in the image.
        let within = |place: Option<usize>, most: u64| match place.map(behind) {
            None => Some(None),
            Some(distance) => distance.filter(|distance| *distance <= most).map(Some),
        };
        let size = behind(self.etext).filter(|size| (1..=MAX_IMAGE).contains(size))?;
        let end = within(self.end, MAX_IMAGE)?;
        let most = end.unwrap_or(MAX_IMAGE);
        let before = match self.text {
            Some(text) => Some(stext.checked_sub(*addresses.get(text)?)?),
            None => None,
        };
        if size > most || before.is_some_and(|before| before > MAX_IMAGE) {
            return None;
        }
        let in_image = |place: Option<usize>| behind(place?).filter(|distance| *distance < most);
        Some(Distances {
            stext,
            size,
            before,
            end,
            banner: within(self.banner, most)?,
            state: in_image(self.state),
            init: in_image(self.init[0]).zip(in_image(self.init[1])),
            clocks: self.clocks.map(in_image),
        })
    }
}

/// Where a table says that things are: bytes from `_stext`.
#[derive(Clone, Copy, Debug)]
pub(in crate::locate) struct Distances {
    /// The address of `_stext` in the table.
    pub(super) stext: u64,
    /// `_etext`.
    pub(super) size: u64,
    /// Bytes from `_text` to `_stext`.
    pub(super) before: Option<u64>,
    /// `_end`.
    pub(super) end: Option<u64>,
    /// `linux_banner`.
    pub(super) banner: Option<u64>,
    /// `system_state`.
    state: Option<u64>,
    /// `_sinittext` and `_einittext`.
    init: Option<(u64, u64)>,
    clocks: [Option<u64>; CLOCKS],
}

impl Distances {
    /// The memory of the image of a text at physical `text`, if the table names `_end`.
    pub(super) fn image(&self, text: PhysAddr) -> Option<PhysRange> {
        let start = text.0.checked_sub(self.before.unwrap_or_default())?;
        PhysRange::new(PhysAddr(start), text.checked_add(self.end?)?)
    }

    /// The clocks of a text at physical `text`.
    pub(in crate::locate) fn pulse(&self, text: PhysAddr) -> Pulse {
        Pulse::new(self.clocks.map(|clock| text.checked_add(clock?)))
    }

    /// The place of `jiffies_64`.
    pub(in crate::locate) fn ticks(&self, text: PhysAddr) -> Option<PhysAddr> {
        text.checked_add(self.clocks[0]?)
    }

    /// The place of `system_state`.
    pub(in crate::locate) fn state(&self, text: PhysAddr) -> Option<PhysAddr> {
        text.checked_add(self.state?)
    }

    /// The text that the kernel frees at the end of its boot.
    pub(in crate::locate) fn init_text(&self, text: PhysAddr) -> Option<PhysRange> {
        let (start, end) = self.init?;
        let at = |distance| text.checked_add(distance);
        PhysRange::new(at(start)?, at(end)?)
    }
}
