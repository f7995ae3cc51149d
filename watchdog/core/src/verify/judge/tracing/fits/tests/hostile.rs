//! Lists of arbitrary content.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::verify::judge::tests::opinion_by;
use crate::verify::made_up::{FUNCTION, MODULES, PROBES, PROGRAMS, TRACERS, branch, reference};
use crate::verify::reference::{Layouts, Reference};

const CALL: u8 = 0xe8;
const INT3: u8 = 0xcc;

/// Check that no content of the lists explains a branch to code that is a trampoline of nothing,
/// that every such branch is judged or said to be not judged, and that nothing panics. The lists
/// hold words that lead to one another.
#[test]
fn arbitrary_lists() {
    let (mut wrong, mut not_judged) = (0, 0);
    for seed in 0..100 {
        let mut random = SmallRng::seed_from_u64(seed);
        let suspect = Suspect::new();
        let mut word = |at: u64| -> u64 {
            let head = [TRACERS, TRACERS + 8, PROGRAMS, MODULES, PROBES][random.random_range(0..5)];
            let entry = ENTRIES + random.random_range(0..16_u64) * 0x100;
            match random.random_range(0..8) {
                0 => 0,
                1 => image(&suspect, head),
                2 => entry + 8 * random.random_range(0..32_u64),
                3 => at,
                4 => CODE + random.random_range(0..4_u64) * 0x1000,
                5 => image(&suspect, FUNCTION * random.random_range(0..8)),
                6 => u64::from_le_bytes(*b"bpf_prog"),
                _ => 1 << random.random_range(0..63),
            }
        };
        let words: Vec<u64> = (0..0x200).map(|n| word(ENTRIES + n * 8)).collect();
        suspect.own(ENTRIES, &words);
        for list in [TRACERS, PROGRAMS, MODULES, PROBES] {
            let first = word(ENTRIES);
            suspect.image(list, &first.to_le_bytes());
        }
        suspect.image(TRACERS + 96, &(image(&suspect, TRACERS + 8) + 40).to_le_bytes());
        suspect.branch(0, CALL, CODE);
        suspect.image(FUNCTION, &branch(CALL, FUNCTION.into(), CODE + 0x1000));
        suspect.image(8, &[INT3]);
        let opinion =
            opinion_by(Reference { layouts: Layouts::default(), ..reference() }, &suspect);
        let places = |at: u32| {
            opinion.wrong.iter().any(|wrong| wrong.at == at)
                || opinion.not_judged_places.iter().any(|(place, ..)| *place == at)
        };
        assert!(places(0), "{seed}: {opinion:?}");
        wrong += opinion.wrong.len();
        not_judged += opinion.not_judged_places.len();
    }
    assert!(wrong > 5 && not_judged > 100, "{wrong}, {not_judged}");
}
