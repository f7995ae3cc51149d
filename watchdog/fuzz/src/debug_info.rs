//! Debug information: seeds, and how an input holds it.

use watchdog_core::dwarf::Sections;

mod sections {
    pub(crate) use watchdog_core::dwarf::Sections;
}

#[path = "../../core/src/dwarf/made_up.rs"]
pub(crate) mod made_up;

/// Sections of debug information in an input. Each but the last begins with its size.
const SECTIONS: usize = 5;

/// Debug information, each with its name.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    [4, 5]
        .map(|version| {
            let content = made_up::content(version);
            (format!("sound-{version}"), joined(&content.sections()))
        })
        .into()
}

fn joined(sections: &Sections<'_>) -> Vec<u8> {
    let Sections { info, abbreviations, strings, line_strings, string_offsets } = *sections;
    let mut input = Vec::new();
    for part in [abbreviations, strings, line_strings, string_offsets] {
        input.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        input.extend(part);
    }
    [&input, info].concat()
}

/// The sections in an input. A size that is too large takes all that is left.
#[must_use]
pub fn sections(mut input: &[u8]) -> Sections<'_> {
    let mut part = || {
        let (size, rest) = input.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
        let (part, rest) = rest.split_at(size.min(rest.len()));
        input = rest;
        part
    };
    let [abbreviations, strings, line_strings, string_offsets] =
        [(); SECTIONS - 1].map(|()| part());
    Sections { info: input, abbreviations, strings, line_strings, string_offsets }
}
