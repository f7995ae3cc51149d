//! The tables of the survey, as Markdown of at most 80 columns where the kernels allow it.

use std::fmt::Write;

use crate::{Guard, Surveyed};

/// Mechanisms with a table of sites in an image, and the heads of their columns.
const MECHANISMS: [(&str, &str); 11] = [
    ("alternative", "alt"),
    ("paravirt", "para"),
    ("smp-lock", "lock"),
    ("retpoline", "retp"),
    ("return", "return"),
    ("call-site", "call"),
    ("ibt-seal", "seal"),
    ("jump-label", "jump"),
    ("static-call", "static"),
    ("fentry", "fentry"),
    ("runtime-constant", "const"),
];

/// All tables, and below the first one what needs a sentence.
pub(crate) fn all(kernels: &[Surveyed]) -> String {
    [overview(kernels), notes(kernels), sites(kernels), seen()].join("\n")
}

/// Where mechanisms were seen at work, as the tests' table says.
fn seen() -> String {
    const SEEN: &str = include_str!("../../../seen-at-work.tsv");
    let mut table = String::from("| seen at work | form | kernels | test |\n|---|---|---|---|\n");
    for row in SEEN.lines().filter(|line| !line.starts_with('#')) {
        let _infallible = writeln!(table, "| {} |", row.replace('\t', " | "));
    }
    table
}

/// One row for each kernel: imported or not, what is not judged, the guard.
fn overview(kernels: &[Surveyed]) -> String {
    let mut table = String::from(
        "| kernel | suite | baseline | sites | not judged | guard |\n|---|---|---|--:|---|---|\n",
    );
    for Surveyed { name, suite, preview } in kernels {
        let is_good = preview.error.is_none();
        let sites: usize = preview.sites.values().sum();
        let not_judged: Vec<_> = preview
            .not_judged
            .iter()
            .map(|it| match it.sites {
                Some(sites) => format!("{} {sites}", it.mechanism),
                None => it.mechanism.clone(),
            })
            .collect();
        let _infallible = writeln!(
            table,
            "| {name} | {suite} | {} | {} | {} | {} |",
            if is_good { "yes" } else { "NO" },
            if is_good { sites.to_string() } else { String::new() },
            if is_good && not_judged.is_empty() { "-".to_owned() } else { not_judged.join(", ") },
            guard(preview.guard.as_ref()),
        );
    }
    table
}

/// Programs that attach, of those that the strict preset needs on some kernel.
fn guard(guard: Option<&Guard>) -> String {
    match guard {
        Some(Guard { attached: Some(attached), needed: Some(needed), lacking, .. }) => {
            let lacking: Vec<_> = lacking.keys().map(String::as_str).collect();
            let without =
                if lacking.is_empty() { "" } else { &format!(", no {}", lacking.join(", no ")) };
            format!("{attached}/{needed}{without}")
        }
        Some(_) => "NO".to_owned(),
        None => String::new(),
    }
}

/// The number of sites of each mechanism.
fn sites(kernels: &[Surveyed]) -> String {
    let heads = MECHANISMS.map(|(_, head)| head).join("|");
    let mut table = format!("|sites|{heads}|\n|---|{}\n", "--:|".repeat(MECHANISMS.len()));
    for Surveyed { name, preview, .. } in kernels.iter().filter(|it| it.preview.error.is_none()) {
        let count = |name: &str| preview.sites.get(name).map(usize::to_string);
        let counts = MECHANISMS.map(|(name, _)| count(name).unwrap_or_default()).join("|");
        let _infallible = writeln!(table, "|{}|{counts}|", name.trim_end_matches("-amd64"));
    }
    table
}

/// Why images are refused, and why the guard does not fit or has no hook: each reason once.
fn notes(kernels: &[Surveyed]) -> String {
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    for Surveyed { name, preview, .. } in kernels {
        let mut add = |why: String| match notes.iter_mut().find(|it| it.0 == why) {
            Some((_, names)) => names.push(name),
            None => notes.push((why, vec![name])),
        };
        if let Some(error) = &preview.error {
            add(format!("no baseline: {error}"));
        }
        let Some(guard) = &preview.guard else { continue };
        if let Some(error) = &guard.error {
            add(format!("no guard: {error}"));
        }
        for (path, why) in &guard.lacking {
            add(format!("guard without `{path}`: {why}"));
        }
    }
    let mut text = String::new();
    for (why, names) in notes {
        let _infallible = writeln!(text, "{}", wrapped(&format!("- {why}: {}", names.join(", "))));
    }
    text
}

/// Breaks a list's entry into lines of at most 100 columns.
fn wrapped(entry: &str) -> String {
    const WIDTH: usize = 100;
    let mut text = String::new();
    let mut column = 0;
    for word in entry.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            text.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text
}
