//! Kernel images with and without symbols: seeds.

use self::made_up::TEXT;
use crate::debug_info;

#[expect(dead_code, reason = "the tests of images use the rest")]
#[path = "../../core/src/image/made_up/elf.rs"]
pub(crate) mod made_up;

#[path = "../../core/src/verify/reference/nameless/made_up.rs"]
mod nameless;

/// Images, each with its name.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let replacements = vec![0x90; 16];
    let nameless = || {
        nameless::kernel().with_section(
            ".altinstr_replacement",
            1,
            6,
            TEXT + 0x6000,
            replacements.clone(),
        )
    };
    let place = |at: u32| TEXT + u64::from(at);
    let named = [
        ("_stext", 0),
        ("__fentry__", nameless::FENTRY),
        ("ftrace_stub", nameless::STUB),
        ("ftrace_caller", nameless::CALLER),
        ("__x86_return_thunk", nameless::RETURN),
        ("__SCT__call", nameless::TRAMPOLINE),
        ("_etext", 0x2345),
    ];
    let symbols = named.map(|(name, at)| (name, place(at)));
    let mut described = nameless();
    for (name, bytes) in debug_info::made_up::content(5).named() {
        described = described.with_section(name, 1, 0, 0, bytes.to_vec());
    }
    [
        ("kernel-nameless", nameless()),
        ("kernel-named", nameless().with_symbols(&symbols)),
        ("kernel-described", described),
    ]
    .map(|(name, elf)| (name.to_owned(), elf.build()))
    .into()
}
