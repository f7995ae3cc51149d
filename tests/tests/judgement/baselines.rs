//! Baselines on disk, with the command line: importing them, using them, and refusing them if
//! anything is wrong with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use minisign::KeyPair;
use serde_json::Value;
use tempfile::TempDir;
use watchdog_tests::cache;
use watchdog_tests::kernel::Kernel as Packaged;

use crate::specimen::Specimen;

/// The node that runs 6.12, and its memory.
const NODE: &str = "service-1";
const RANGES: &str = "service-1=0x38000000..0x50000000";

/// A state folder with a configuration, and the command that uses it.
struct Desk {
    folder: TempDir,
    memory: String,
}

/// Output of a command.
struct Said {
    status: Option<i32>,
    reports: Vec<Value>,
    errors: String,
}

impl Desk {
    fn new() -> Result<Self> {
        let desk = Self { folder: tempfile::tempdir()?, memory: Specimen::memory_path()? };
        desk.configure("")?;
        Ok(desk)
    }

    fn configure(&self, lines: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join("watchdog.toml"), lines)?)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("baselines").join(format!("{NODE}.baseline"))
    }

    fn run(&self, arguments: &[&str]) -> Result<Said> {
        let output = Command::new(cache::guest_programs().join("watchdog"))
            .args(arguments)
            .arg("--json")
            .arg("--config")
            .arg(self.folder.path().join("watchdog.toml"))
            .arg("--state-dir")
            .arg(self.folder.path())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let reports = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Said { status: output.status.code(), reports, errors })
    }

    fn import(&self, kernel: &str) -> Result<Said> {
        let image = Packaged::named(kernel)?.image();
        let image = image.to_str().context("a path that is not text")?;
        self.run(&["baseline", "import", "--node", NODE, "--image", image])
    }

    fn scan(&self, more: &[&str]) -> Result<Said> {
        let memory = format!("raw:{}", self.memory);
        self.run(&[&["scan", "--memory", &memory, "--node", RANGES], more].concat())
    }

    /// Checks that both commands that use the baseline refuse it with these words.
    fn is_refused(&self, words: &str) -> Result<()> {
        let checked = self.run(&["baseline", "check"])?;
        let said = checked.reports.first().map_or(String::new(), ToString::to_string);
        ensure!(checked.status == Some(2) && said.contains(words), "{said}");
        let scanned = self.scan(&[])?;
        ensure!(scanned.status == Some(2) && scanned.errors.contains(words), "{}", scanned.errors);
        ensure!(scanned.reports.is_empty(), "{:?}", scanned.reports);
        Ok(())
    }
}

/// Check that an imported baseline verifies the kernel at any address, without an image, and that a
/// truncated or altered baseline is refused with a reason.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn imported_and_damaged() -> Result<()> {
    let desk = Desk::new()?;
    let scanned = desk.scan(&[])?;
    ensure!(scanned.status == Some(2) && scanned.reports[0]["verdict"] == "unverified");
    ensure!(desk.import("6.12")?.status == Some(0));
    ensure!(desk.run(&["baseline", "check"])?.status == Some(0));
    let scanned = desk.scan(&[])?;
    let report = &scanned.reports[0];
    ensure!(scanned.status == Some(0), "{}", scanned.errors);
    ensure!(report["verdict"] == "patched" && report["baseline"] == "image", "{report}");
    ensure!(report["differences_total"] == 0, "{report}");
    let sound = fs::read(desk.file())?;
    for length in [0, 10, 300, sound.len() / 2, sound.len() - 1] {
        fs::write(desk.file(), &sound[..length])?;
        desk.is_refused("not a valid baseline")?;
    }
    for at in [3, 25, sound.len() / 3, sound.len() - 1] {
        let mut altered = sound.clone();
        altered[at] ^= 4;
        fs::write(desk.file(), altered)?;
        desk.is_refused("not a valid baseline")?;
    }
    fs::write(desk.file(), &sound)?;
    ensure!(desk.scan(&[])?.status == Some(0));
    Ok(())
}

/// Check that another kernel's image, given or imported, is refused with both build ids, and that
/// the lack of any image is an error with an explanation.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn image_of_another_kernel() -> Result<()> {
    let desk = Desk::new()?;
    ensure!(desk.import("7.2")?.status == Some(0));
    let scanned = desk.scan(&[])?;
    let report = &scanned.reports[0];
    ensure!(scanned.status == Some(2) && report["verdict"] == "unverified", "{report}");
    let reason = report["reason"].as_str().unwrap_or_default();
    let build_id = report["kernel"]["build_id"].as_str().context("no build id")?;
    ensure!(
        reason.contains(build_id) && reason.contains("its baseline is of Linux 7.2"),
        "{reason}"
    );
    let other = Packaged::named("6.1")?.image();
    let other = other.to_str().context("a path that is not text")?;
    let scanned = desk.scan(&["--image", other])?;
    ensure!(scanned.status == Some(2), "{:?}", scanned.reports);
    let nothing = desk.file();
    let nothing = nothing.to_str().context("a path that is not text")?;
    let imported = desk.run(&["baseline", "import", "--node", NODE, "--image", nothing])?;
    ensure!(imported.status == Some(2) && imported.errors.contains("cannot use the kernel image"));
    Ok(())
}

/// Check that, if a key is configured, only its signature counts. A missing signature, one by
/// another key, and one over other bytes are refused.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn signatures() -> Result<()> {
    let desk = Desk::new()?;
    let (right, wrong) =
        (KeyPair::generate_unencrypted_keypair()?, KeyPair::generate_unencrypted_keypair()?);
    let configuration = format!("baseline_key = \"{}\"\n", right.pk.to_base64());
    desk.configure(&configuration)?;
    let scanned = desk.scan(&[])?;
    ensure!(scanned.status == Some(2) && scanned.errors.contains("has no baseline"));
    ensure!(desk.import("6.12")?.status == Some(0));
    desk.is_refused("not signed by the configured key")?;
    sign(&desk.file(), &wrong)?;
    desk.is_refused("not signed by the configured key")?;
    sign(&desk.file(), &right)?;
    let checked = desk.run(&["baseline", "check"])?;
    ensure!(checked.status == Some(0) && checked.reports[0]["signed"] == true);
    ensure!(desk.scan(&[])?.status == Some(0));
    let mut altered = fs::read(desk.file())?;
    let last = altered.len() - 1;
    altered[last] ^= 1;
    fs::write(desk.file(), altered)?;
    desk.is_refused("not signed by the configured key")?;
    desk.configure("baseline_key = \"nonsense\"\n")?;
    let refused = desk.run(&["baseline", "check"])?;
    ensure!(refused.status == Some(2) && refused.errors.contains("not a minisign public key"));
    Ok(())
}

/// Signs a file as `minisign -S` does.
fn sign(file: &Path, pair: &KeyPair) -> Result<()> {
    let signature = minisign::sign(Some(&pair.pk), &pair.sk, fs::File::open(file)?, None, None)?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".minisig");
    Ok(fs::write(PathBuf::from(beside), signature.into_string())?)
}
