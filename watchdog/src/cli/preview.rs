//! `watchdog baseline preview`: what the watchdog can do about a kernel, from its image alone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::Status;
use super::args::PreviewArgs;
use super::not_judged;
use super::report::{json, people, row, size};
use super::undescribed;
use watchdog_core::btf::Btf;
use watchdog_core::image::{self, KernelImage};
use watchdog_core::text::{chain, printable};
use watchdog_core::verify::judge::{Expected, Mechanism};
use watchdog_core::verify::reference::Reference;
use watchdog_guard::{Fit, Preset};

/// One image, as `baseline preview --json` prints it.
#[derive(Debug, Serialize)]
struct Preview {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    kernel: Option<KernelPreview>,
}

/// What an image says of its kernel.
#[derive(Debug, Serialize)]
struct KernelPreview {
    release: String,
    build_id: String,
    text_size: u64,
    /// Places that the kernel may rewrite, by mechanism.
    sites: BTreeMap<&'static str, usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_judged: Vec<not_judged::Entry>,
    /// Structures whose layout is the one that fits the kernel's lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    undescribed: Vec<&'static str>,
    guard: GuardPreview,
}

/// What the guard would be if this kernel were node 0's.
#[derive(Debug, Serialize)]
struct GuardPreview {
    /// Why it would not load.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Programs of the preset `strict` that attach, of all that it needs on some kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<usize>,
    /// Paths without a hook, each with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lacking: BTreeMap<String, String>,
}

pub(super) fn execute(args: &PreviewArgs) -> anyhow::Result<Status> {
    let mut status = Status::Good;
    for file in &args.images {
        let (kernel, error) = match preview(file) {
            Ok(kernel) => (Some(kernel), None),
            Err(error) => (None, Some(chain(error.as_ref()))),
        };
        if error.is_some() {
            status = Status::Undecided;
        }
        let image = printable(file.display().to_string().as_bytes(), 256);
        print(args, &Preview { image, error, kernel })?;
    }
    Ok(status)
}

fn preview(file: &Path) -> anyhow::Result<KernelPreview> {
    let (_digest, unpacked) = image::open_unpacked(file)?;
    let image = KernelImage::lay_out(&unpacked)?;
    drop(unpacked);
    let reference = Reference::of_image(&image).context("the image cannot be a baseline")?;
    let guard = guard(&image);
    drop(image);
    let text = |text: &str| printable(text.as_bytes(), 256);
    let (release, build_id) = (text(&reference.release), text(&reference.build_id));
    let text_size = reference.text.bytes.len() as u64;
    let not_judged = not_judged::fit_to_print(&reference.not_judged);
    let undescribed = reference.undescribed();
    let sites = Expected::of(reference, 0).sites_by_mechanism();
    let sites = sites.iter().map(|(mechanism, count)| (Mechanism::name(*mechanism), *count));
    let sites = sites.collect();
    Ok(KernelPreview { release, build_id, text_size, sites, not_judged, undescribed, guard })
}

/// Plans the strictest guard for the kernel.
fn guard(image: &KernelImage) -> GuardPreview {
    let fit = || -> anyhow::Result<Fit> {
        let types = image.section(".BTF").context(
            "the image has no type information: the guard needs a kernel built with \
             CONFIG_DEBUG_INFO_BTF=y",
        )?;
        Ok(Fit::of(&Btf::parse(image.content(types).to_vec())?, Preset::Strict)?)
    };
    match fit() {
        Ok(fit) => GuardPreview {
            error: None,
            attached: Some(fit.attached.len()),
            needed: Some(fit.needed),
            lacking: fit.lacking.into_iter().map(|(path, why)| (path.to_string(), why)).collect(),
        },
        Err(error) => GuardPreview {
            // Its source says the same.
            error: Some(error.to_string()),
            attached: None,
            needed: None,
            lacking: BTreeMap::new(),
        },
    }
}

fn print(args: &PreviewArgs, preview: &Preview) -> io::Result<()> {
    if args.json {
        return json(preview);
    }
    let out = &mut people();
    let good = if preview.error.is_none() { "can be a baseline" } else { "cannot be a baseline" };
    writeln!(out, "{}  {good}", preview.image)?;
    if let Some(error) = &preview.error {
        row(out, "reason", error)?;
    }
    let Some(kernel) = &preview.kernel else { return Ok(()) };
    row(out, "kernel", &kernel.release)?;
    row(out, "build id", &kernel.build_id)?;
    row(out, "text", &format!("{} ({} bytes)", size(kernel.text_size), kernel.text_size))?;
    let sites = kernel.sites.iter().map(|(mechanism, count)| format!("{mechanism} {count}"));
    row(out, "sites", &sites.collect::<Vec<_>>().join(", "))?;
    not_judged::print(out, &kernel.not_judged)?;
    undescribed::print(out, &kernel.undescribed)?;
    let guard = &kernel.guard;
    if let Some(error) = &guard.error {
        return row(out, "guard", error);
    }
    let count = |count: Option<usize>| count.unwrap_or_default();
    let (attached, needed) = (count(guard.attached), count(guard.needed));
    row(out, "guard", &format!("{attached} programs attach, of {needed} for all kernels"))?;
    for (path, why) in &guard.lacking {
        row(out, "uncovered", &format!("{path}: {why}"))?;
    }
    Ok(())
}
