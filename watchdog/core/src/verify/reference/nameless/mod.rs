//! What an image without any symbols says of its kernel (`CONFIG_KALLSYMS=n`, and no symbols of a
//! `vmlinux`). Its sections are the kernel's tables, and its bytes decide some names.
//!
//! A rule that goes by a name judges nothing here unless one thing alone in the image can have that
//! name. The image is the vendor's, so its bytes are no node's to choose. What is not decided is
//! not judged, and [`super::Reference::not_judged`] lists it.
//!
//! Functions have no names at all. Their starts are those of which the image says so
//! ([`functions`]). A start that this module misses costs a judgement. A false one would let a
//! static call of a node lead into the middle of a function, so none is guessed.

mod calls;
mod counting;
mod functions;
#[cfg(test)]
mod made_up;
#[cfg(test)]
mod tests;
mod text;
mod thunks;
mod tracing;
mod uses;

use super::derived::with_derived;
use super::{ImageSymbols, PatchTable, ReferenceError};
use crate::image::KernelImage;
use text::Text;

/// The first version whose forms the rules know without names. Before, ftrace and alternatives had
/// NOPs of the processor's vendor, and paravirt calls became other code by the function's name.
const OLDEST: (u32, u32) = (5, 13);

/// Most functions of an image. Distribution kernels have 60,000.
const MAX_FUNCTIONS: usize = 1 << 20;

/// The symbols of an image without any.
///
/// # Errors
/// [`ReferenceError`] for a kernel that is too old to be judged without names.
pub(super) fn symbols(image: &KernelImage) -> Result<ImageSymbols, ReferenceError> {
    let release = image.vendor.release();
    if version(release).is_none_or(|version| version < OLDEST) {
        return Err(ReferenceError(format!(
            "has no symbols (CONFIG_KALLSYMS), and before Linux {}.{} a kernel's text cannot be \
             judged without them. Give the vmlinux of the same build, not stripped",
            OLDEST.0, OLDEST.1
        )));
    }
    let mut text = Text::of(image);
    text.return_thunk = thunks::return_thunk(&text);
    text.fentry = tracing::fentry(&text);
    let mut code = thunks::names(&text);
    code.extend(calls::trampolines(&text));
    code.extend(tracing::names(&text));
    code.extend(uses::bug(&text).map(|at| ("BUG_func".to_owned(), at)));
    code.extend(counting::return_thunk(&text).map(|at| (counting::RETURN_THUNK.to_owned(), at)));
    let symbols = ImageSymbols::default().with(sections(image)).with(functions_named(code));
    let symbols = with_derived(image, &symbols).with(counting::template(&text));
    let starts = functions::starts(&text, &symbols);
    log::debug!("the image has no symbols: {} functions by its bytes", starts.len());
    let starts = starts.into_iter().take(MAX_FUNCTIONS);
    let unnamed = starts.filter(|at| symbols.at(*at).is_none());
    let unnamed: Vec<_> = unnamed.map(|at| (b't', String::new(), at)).collect();
    Ok(symbols.with(unnamed))
}

/// A part of what is judged only by names of data.
pub(super) const CALLS_AND_GATES: &str = "system-call tables and interrupt gates";

/// What is not judged in an image without symbols, and why.
pub(super) const NOT_JUDGED: [(&str, &str); 2] = [
    (
        "read-only data in `.rodata`",
        "the image has no symbols that parse (CONFIG_KALLSYMS), so what the kernel writes there at \
         boot cannot be told apart. A vmlinux of the same build, not stripped, tells it",
    ),
    (
        CALLS_AND_GATES,
        "the image has no symbols that parse (CONFIG_KALLSYMS). A vmlinux of the same build, not \
         stripped, names them",
    ),
];

/// Offset and size of the read-only data of an image without symbols: from `.rodata` to the type
/// information, or to the notes, which come before it (`RO_DATA`,
/// include/asm-generic/vmlinux.lds.h, 5.5 to 7.2).
pub(super) fn rodata(image: &KernelImage, symbols: &ImageSymbols) -> Option<(u32, u32)> {
    let start = image.section(".rodata").filter(|_| symbols.is_nameless())?.offset;
    let notes = image.section(".notes").map(|notes| notes.offset.saturating_add(notes.size));
    let types = image.section(".BTF").map(|types| types.offset);
    let end = types.or(notes)?;
    Some((start, end.checked_sub(start)?))
}

/// The sites of patch tables whose rule needs a name that the image does not decide: branches to
/// no known thunk, and returns whose thunk or its variable is not known.
pub(super) fn unresolved(image: &KernelImage, symbols: &ImageSymbols) -> Vec<PatchTable> {
    if !symbols.is_nameless() {
        return Vec::new();
    }
    let text = Text::of(image);
    let is_thunk = |target: u32| {
        symbols.at(target).is_some_and(|name| name.starts_with("__x86_indirect_thunk_"))
    };
    let has_thunk = |at: &u32| text.branch(*at).is_some_and(is_thunk);
    let has_choice = ["__x86_return_thunk", "x86_return_thunk"]
        .iter()
        .all(|name| symbols.address(name).is_some());
    let retpolines = text.places(".retpoline_sites").filter(|at| !has_thunk(at)).collect();
    let returns = text.places(".return_sites").filter(|_| !has_choice).collect();
    let table = |(name, mut places): (&str, Vec<u32>)| {
        places.retain(|at| *at < text.size);
        places.sort_unstable();
        (!places.is_empty()).then(|| PatchTable { name: name.to_owned(), known: None, places })
    };
    [(".retpoline_sites", retpolines), (".return_sites", returns)]
        .into_iter()
        .filter_map(table)
        .collect()
}

fn functions_named(names: Vec<(String, u32)>) -> Vec<(u8, String, u32)> {
    names.into_iter().map(|(name, at)| (b'T', name, at)).collect()
}

/// The sections behind the text, as symbols of their own.
fn sections(image: &KernelImage) -> Vec<(u8, String, u32)> {
    let behind = image.sections().iter().filter(|section| section.offset > 0);
    let symbol = |section: &crate::image::ImageSection| {
        (ImageSymbols::SECTION, section.name.clone(), section.offset)
    };
    behind.map(symbol).collect()
}

/// Major and minor number of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}
