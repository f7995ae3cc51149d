//! What a witness knows of a kernel text, and whether witnesses contradict one another.

use std::fmt::Display;

use super::claims::Claims;
use crate::memory::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::text::printable;

/// The facts that one claim states. All claims of a text agree on its physical start, because that
/// is what groups them.
#[derive(Clone, Copy, Debug, Default)]
struct Facts<'a> {
    /// The witness with its verb, for a sentence.
    says: &'static str,
    virt: Option<VirtAddr>,
    /// Bytes of text.
    size: Option<u64>,
    /// Bytes of text, rounded up to a page.
    pages: Option<u64>,
    root: Option<PhysAddr>,
    encryption: Option<u64>,
    release: Option<&'a str>,
    build_id: Option<&'a str>,
}

/// The first contradiction between claims about one text. `banner` is the kernel's, wherever it was
/// found.
pub(super) fn contradiction(claims: &Claims, banner: &str) -> Option<String> {
    let facts = all(claims, banner);
    differ(&facts, "the text has", |facts| facts.size.map(Bytes))
        .or_else(|| page_differs(&facts))
        .or_else(|| differ(&facts, "the text is at", |facts| facts.virt))
        .or_else(|| differ(&facts, "the root of the page tables is", |facts| facts.root))
        .or_else(|| {
            differ(&facts, "the encryption bit of page tables is", |facts| {
                facts.encryption.map(Mask)
            })
        })
        .or_else(|| differ(&facts, "the kernel is", |facts| facts.release.map(Printed)))
        .or_else(|| differ(&facts, "the build id is", |facts| facts.build_id.map(Printed)))
}

fn all<'a>(claims: &'a Claims, banner: &'a str) -> Vec<Facts<'a>> {
    let none = Facts::default();
    let notes = claims.notes.iter().map(|note| Facts {
        says: "vmcoreinfo says",
        virt: Some(note.virt),
        root: note.root,
        encryption: note.encryption,
        release: Some(&note.release),
        build_id: note.build_id.as_deref(),
        ..none
    });
    let tables = claims.tables.iter().map(|table| Facts {
        says: "kallsyms says",
        virt: table.virt,
        size: Some(table.size),
        ..none
    });
    let resources = claims.resources.iter().map(|resource| Facts {
        says: "iomem says",
        virt: Some(resource.virt),
        size: Some(resource.size),
        ..none
    });
    let vendors = claims.vendors.iter().map(|vendor| Facts {
        says: "the vendor's image says",
        size: Some(vendor.size),
        release: Some(&vendor.release),
        build_id: Some(&vendor.build_id),
        ..none
    });
    let mappings = claims.mappings.iter().map(|mapping| Facts {
        says: "page tables say",
        virt: Some(mapping.text.virt),
        // Without write protection, the whole image may be one executable mapping.
        pages: (!mapping.text.writable).then_some(mapping.text.size),
        root: Some(mapping.tables.root),
        encryption: Some(mapping.tables.encryption),
        ..none
    });
    let banner = Facts {
        says: "the banner says",
        release: Some(release_of(banner).unwrap_or_default()),
        ..none
    };
    notes.chain(tables).chain(resources).chain(vendors).chain(mappings).chain([banner]).collect()
}

/// The first two witnesses that state different values of one fact.
fn differ<'a, T: PartialEq + Display>(
    facts: &[Facts<'a>],
    what: &str,
    get: impl Fn(&Facts<'a>) -> Option<T>,
) -> Option<String> {
    let mut known = facts.iter().filter_map(|facts| Some((facts.says, get(facts)?)));
    let (first, value) = known.next()?;
    let (second, other) = known.find(|(_, other)| *other != value)?;
    Some(format!("{first} {what} {value}, {second} {other}"))
}

/// A size to the byte that does not fit the mapping.
fn page_differs(facts: &[Facts<'_>]) -> Option<String> {
    let (exact, size) = facts.iter().find_map(|facts| Some((facts.says, facts.size?)))?;
    let (mapping, pages) = facts.iter().find_map(|facts| Some((facts.says, facts.pages?)))?;
    (size.checked_next_multiple_of(PAGE_SIZE) != Some(pages))
        .then(|| format!("{exact} the text has {size} bytes, {mapping} {pages} (to a page)"))
}

/// `6.1.0-56-amd64`, from `Linux version 6.1.0-56-amd64 (…`.
pub(super) fn release_of(banner: &str) -> Option<&str> {
    banner.split(' ').nth(2).filter(|release| !release.is_empty())
}

#[derive(PartialEq)]
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

#[derive(PartialEq)]
struct Mask(u64);

impl Display for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Foreign text.
#[derive(PartialEq)]
struct Printed<'a>(&'a str);

impl Display for Printed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&printable(self.0.as_bytes(), 64))
    }
}
