//! A kernel's type information: sound and hostile seeds.

#[path = "../../core/src/btf/made_up.rs"]
mod made_up;

/// The seeds, each with its name.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let hostile = made_up::hostile().into_iter();
    hostile.chain([("sound", made_up::example())]).map(|(name, it)| (name.to_owned(), it)).collect()
}

/// Sound type information.
pub(crate) fn example() -> Vec<u8> {
    made_up::example()
}
