//! `watchdog baseline`.

use std::io::{self, Write};

use serde::Serialize;

use super::Status;
use super::args::{BaselineCommand, CheckArgs, ImportArgs};
use super::memory_args::PlaceArgs;
use super::not_judged;
use super::preview;
use super::report::{json, people, row, size};
use super::state::store;
use super::undescribed;
use watchdog_core::digest::Digest;
use watchdog_core::text::{chain, printable};
use watchdog_core::verify::{Baseline, BaselineKind, BaselineStore, StoreError};

/// One baseline, as `baseline … --json` prints it.
#[derive(Debug, Serialize)]
struct BaselineReport<'a> {
    node: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<BaselineKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_sha256: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_judged: Vec<not_judged::Entry>,
    /// Structures whose layout is the one that fits the kernel's lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    undescribed: Vec<&'static str>,
    signed: bool,
    file: String,
}

pub(super) fn execute(command: BaselineCommand) -> anyhow::Result<Status> {
    match command {
        BaselineCommand::Import(args) => import(&args),
        BaselineCommand::Check(args) => check(&args),
        BaselineCommand::Preview(args) => preview::execute(&args),
    }
}

fn open(place: &PlaceArgs) -> anyhow::Result<BaselineStore> {
    Ok(store(&place.config()?))
}

/// Makes baselines from an image. A node's old baseline stays until the new one is whole.
fn import(args: &ImportArgs) -> anyhow::Result<Status> {
    let store = open(&args.place)?;
    let baseline = Baseline::import(&args.image)?;
    for node in &args.nodes {
        store.save(node.as_str(), &baseline).map_err(|error| explained(error, &store))?;
    }
    // Printing comes after all baselines are stored: the reader of this output may close the pipe
    // early.
    for node in &args.nodes {
        print(&args.place, &report(&store, node.as_str(), Ok(&baseline)))?;
    }
    Ok(Status::Good)
}

/// Explains why a baseline could not be stored. A guard in force denies writes to its baselines,
/// also to root. This command has given up the role that the guard trusts (see
/// [`watchdog_guard::role`]).
fn explained(error: StoreError, store: &BaselineStore) -> anyhow::Error {
    let is_refused = matches!(&error, StoreError::Io { error, .. } if is_eperm(error));
    let error = anyhow::Error::new(error);
    if !is_refused {
        return error;
    }
    error.context(format!(
        "a guard in force protects the baselines in {}, unless the file system itself refuses the \
         write: take the guard down first (watchdog guard disarm)",
        store.directory().display()
    ))
}

/// The guard denies with EPERM. Permissions deny with EACCES, and hardly ever apply to root.
fn is_eperm(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

/// Loads baselines, which checks them, and prints the source of each.
fn check(args: &CheckArgs) -> anyhow::Result<Status> {
    let store = open(&args.place)?;
    let nodes: Vec<String> = if args.nodes.is_empty() {
        store.nodes()?
    } else {
        args.nodes.iter().map(ToString::to_string).collect()
    };
    if nodes.is_empty() {
        anyhow::bail!(
            "there is no baseline: make one with `watchdog baseline import`, or let `watchdog \
             run` learn one"
        );
    }
    let mut status = Status::Good;
    for node in nodes {
        let loaded = store.load(&node);
        let loaded = match &loaded {
            Ok(Some(baseline)) => Ok(baseline),
            Ok(None) => Err("it has no baseline".to_owned()),
            Err(error) => Err(chain(error)),
        };
        if loaded.is_err() {
            status = Status::Undecided;
        }
        print(&args.place, &report(&store, &node, loaded))?;
    }
    Ok(status)
}

fn report<'a>(
    store: &BaselineStore,
    node: &'a str,
    loaded: Result<&Baseline, String>,
) -> BaselineReport<'a> {
    let (baseline, error) = match loaded {
        Ok(baseline) => (Some(baseline), None),
        Err(error) => (None, Some(error)),
    };
    let text = |text: &str| printable(text.as_bytes(), 256);
    BaselineReport {
        node,
        error,
        kind: baseline.map(|baseline| baseline.kind),
        release: baseline.map(|baseline| text(&baseline.identity.release)),
        build_id: baseline.and_then(|baseline| baseline.identity.build_id.as_deref().map(text)),
        text_size: baseline.map(|baseline| baseline.identity.size),
        source: baseline.map(|baseline| text(&baseline.origin.source)),
        source_sha256: baseline.map(|baseline| baseline.origin.sha256),
        made: baseline.map(|baseline| baseline.origin.made.to_string()),
        not_judged: baseline.map_or_else(Vec::new, |baseline| {
            not_judged::fit_to_print(&baseline.reference.not_judged)
        }),
        undescribed: baseline.map_or_else(Vec::new, |baseline| baseline.reference.undescribed()),
        signed: baseline.is_some() && store.wants_signatures(),
        file: store.path(node).display().to_string(),
    }
}

fn print(place: &PlaceArgs, report: &BaselineReport<'_>) -> io::Result<()> {
    if place.json {
        return json(report);
    }
    let out = &mut people();
    let state = match (&report.error, report.kind) {
        (Some(_), _) => "unusable",
        (None, Some(BaselineKind::Learned)) => "learned (trusted on first use)",
        (None, _) => "the vendor's image",
    };
    writeln!(out, "{}  {state}", report.node)?;
    if let Some(error) = &report.error {
        row(out, "reason", error)?;
    }
    if let Some(release) = &report.release {
        row(out, "kernel", release)?;
    }
    if let Some(build_id) = &report.build_id {
        row(out, "build id", build_id)?;
    }
    if let Some(bytes) = report.text_size {
        row(out, "text", &format!("{} ({bytes} bytes)", size(bytes)))?;
    }
    if let (Some(source), Some(digest), Some(made)) =
        (&report.source, report.source_sha256, &report.made)
    {
        row(out, "made from", source)?;
        row(out, "  sha256", &digest.to_string())?;
        row(out, "  on", made)?;
    }
    not_judged::print(out, &report.not_judged)?;
    undescribed::print(out, &report.undescribed)?;
    if report.signed {
        row(out, "signature", "good")?;
    }
    row(out, "file", &report.file)
}
