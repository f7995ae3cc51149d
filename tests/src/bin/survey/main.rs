//! `cargo xtask survey`: asks the watchdog what it can do about each fetched kernel, from its image
//! alone, and writes the answers to docs/kernels.md.

mod document;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use watchdog_tests::cache;

/// A kernel of the survey.
#[derive(Debug, Default)]
struct Surveyed {
    /// The release, or the package of a machine monitor.
    name: String,
    /// The suite that offers it, or `own`.
    suite: String,
    preview: Preview,
}

/// One line of `watchdog baseline preview --json`.
#[derive(Debug, Default, Deserialize)]
struct Preview {
    error: Option<String>,
    #[serde(default)]
    sites: BTreeMap<String, usize>,
    #[serde(default)]
    not_judged: Vec<NotJudged>,
    guard: Option<Guard>,
}

/// What the watchdog says that it cannot judge.
#[derive(Debug, Deserialize)]
struct NotJudged {
    mechanism: String,
    sites: Option<u64>,
}

/// The strictest guard, if this kernel were node 0's.
#[derive(Debug, Default, Deserialize)]
struct Guard {
    error: Option<String>,
    attached: Option<usize>,
    needed: Option<usize>,
    #[serde(default)]
    lacking: BTreeMap<String, String>,
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    let mut kernels = Vec::new();
    for (place, suite) in [(cache::surveyed(), None), (cache::kernels(), Some("own"))] {
        let Ok(entries) = fs::read_dir(&place) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let suite = match suite {
                Some(own) if name.starts_with(xtask::own_kernels::PREFIX) => own.to_owned(),
                Some(_) => continue,
                // A directory without it is not complete.
                None => match fs::read_to_string(path.join("suite")) {
                    Ok(suite) => suite.trim().to_owned(),
                    Err(_) => continue,
                },
            };
            eprintln!("{name}");
            let preview = preview(&path.join("vmlinuz").display().to_string())?;
            kernels.push(Surveyed { name, suite, preview });
        }
    }
    ensure!(!kernels.is_empty(), "no kernel was fetched: run `cargo xtask survey` online");
    kernels.sort_by_cached_key(|kernel| {
        let numbers = kernel.name.split(|it: char| !it.is_ascii_digit());
        let numbers: Vec<u32> = numbers.filter_map(|it| it.parse().ok()).collect();
        (kernel.suite == "own", numbers, kernel.name.clone())
    });
    let tables = table::all(&kernels);
    print!("{tables}");
    document::write(&tables)
}

/// Runs the watchdog on one image. An image that it refuses is an answer as well.
fn preview(image: &str) -> Result<Preview> {
    let watchdog = cache::require(
        cache::guest_programs().join("watchdog"),
        "the watchdog",
        "cargo xtask build",
    )?;
    let output = Command::new(watchdog)
        .args(["baseline", "preview", "--json", "--image", image])
        .output()
        .context("the watchdog cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let mut preview: Preview = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{image}: {}: {said}", output.status))?;
    // The place of the file says nothing in a document.
    preview.error = preview.error.map(|error| error.replace(image, "the image"));
    Ok(preview)
}
