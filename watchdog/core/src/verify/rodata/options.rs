//! Strings in read-only data that the kernel cuts into words at boot: `strsep()` writes a NUL over
//! each separator.

use memchr::memmem;

/// Options of resctrl. A kernel cuts them on Skylake servers (`__check_quirks_intel()` and
/// `set_rdt_options()`, arch/x86/kernel/cpu/resctrl/core.c, 4.14 to 7.2).
const RESCTRL: &[u8] = b"!cmt,!mbmtotal,!mbmlocal,!l3cat\0";
const SEPARATOR: u8 = b',';

/// Restores each such string that is cut at all separators to its linked form. Any other change
/// stays.
pub(super) fn restore(linked: &[u8], live: &mut [u8]) {
    let cut = cut(RESCTRL);
    for start in memmem::find_iter(linked, RESCTRL) {
        let place = start..start.saturating_add(RESCTRL.len());
        if let Some(found) = live.get_mut(place).filter(|found| **found == *cut) {
            found.copy_from_slice(RESCTRL);
        }
    }
}

fn cut(options: &[u8]) -> Vec<u8> {
    options.iter().map(|byte| if *byte == SEPARATOR { 0 } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that options that are cut at all separators are restored, and that options that are
    /// cut at one, or changed otherwise, are not.
    #[test]
    fn options_are_restored() {
        let linked = [b"before\0", RESCTRL, b"behind\0"].concat();
        let first = linked.iter().position(|byte| *byte == SEPARATOR).unwrap();
        let restored = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut live = linked.clone();
            change(&mut live);
            restore(&linked, &mut live);
            live == linked
        };
        assert!(restored(&|_| ()));
        assert!(restored(&|live| *live = cut(live)));
        assert!(!restored(&|live| live[first] = 0));
        assert!(!restored(&|live| {
            *live = cut(live);
            live[first + 1] = b'?';
        }));
    }
}
