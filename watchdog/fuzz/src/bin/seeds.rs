//! Makes seeds, and checks that they are what their names say.
//!
//! `cargo fuzz build` builds it with the targets, and `cargo xtask fuzz --seeds IMAGE` runs it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use watchdog_core::image::KernelImage;
use watchdog_core::locate::{Finding, Search, locate};
use watchdog_core::memory::{Memory, PhysAddr, RawImage};
use watchdog_core::verify::reference::Reference;
use watchdog_fuzz::suspect::SUSPECT;
use watchdog_fuzz::{
    Input, check, cut, debug_info, dump, image, made_up, search, stored, traced, types,
};

/// Seeds of the fuzz targets.
#[derive(Parser)]
enum Command {
    /// Write the seeds of made-up kernels and dumps.
    MadeUp {
        /// Directory with one of each target.
        directory: PathBuf,
    },
    /// Cut the kernels in a raw image of a machine's memory down to seeds.
    Cut {
        /// The image; offset is physical address.
        image: PathBuf,
        /// Directory to write to.
        directory: PathBuf,
    },
    /// Check that what is found in every seed of `locate` named `located-…`, `booting-…` or
    /// `lost-…` is that, and nothing else; that every seed of `judge` gets the verdict that it is
    /// named after; and that a kernel can be judged by every seed of `image` named `kernel-…`.
    Check {
        /// Directory with one of each target.
        directory: PathBuf,
    },
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::MadeUp { directory } => {
            for (target, name, seed) in made_up_seeds() {
                write(&directory.join(target), &name, &seed)?;
            }
            Ok(())
        }
        Command::Cut { image, directory } => cut_all(&image, &directory),
        Command::Check { directory } => {
            check_located(&directory.join("locate"))?;
            check_judged(&directory.join("judge"))?;
            check_images(&directory.join("image"))
        }
    }
}

/// The seeds that need no image, each with its target and name. The target of a witness gets the
/// seeds in which that witness makes a difference.
fn made_up_seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, seed) in made_up::seeds() {
        for (target, parts) in WITNESSES {
            if parts.iter().any(|part| name.contains(part)) {
                seeds.push((target, name.clone(), seed.clone()));
            }
        }
        seeds.push(("locate", name, seed));
    }
    let of = |target| move |(name, seed)| (target, name, seed);
    seeds.extend(dump::elf_seeds().into_iter().map(of("elf_core")));
    seeds.extend(dump::lime_seeds().into_iter().map(of("lime")));
    seeds.extend(traced::seeds().into_iter().map(of("judge")));
    seeds.extend(stored::seeds().into_iter().map(of("baseline")));
    seeds.extend(types::seeds().into_iter().map(of("types")));
    seeds.extend(image::seeds().into_iter().map(of("image")));
    seeds.extend(debug_info::seeds().into_iter().map(of("debug_info")));
    seeds.extend(made_up::learned_seeds().into_iter().map(of("learned")));
    seeds
}

/// Targets that share seeds with `locate`, and parts of the names of these seeds.
const WITNESSES: [(&str, &[&str]); 3] = [
    ("kallsyms", &["-5-levels", "markers", "indexes"]),
    ("page_tables", &["from-6.4", "tables", "root", "level", "alias", "text"]),
    ("witnesses", &["from-6.4-5", "note", "resource"]),
];

fn cut_all(image: &Path, directory: &Path) -> Result<()> {
    let memory = RawImage::open(image, PhysAddr(0))
        .with_context(|| format!("cannot open {}", image.display()))?;
    for finding in locate(&memory, memory.ranges(), &Search::default(), &mut |_, _| ())? {
        let Finding::Located(kernel) = &finding else {
            println!("not cut, {}: {}", finding.state(), finding.reason());
            continue;
        };
        let seed = cut::cut(&memory, kernel)?;
        match found(&seed)?.as_slice() {
            [Finding::Located(found)] if found.text == kernel.text => {}
            other => bail!("whole it is {:?}, cut it is {other:?}", kernel.text),
        }
        write(directory, &format!("located-{}", kernel.release), &seed)?;
    }
    Ok(())
}

fn check_located(directory: &Path) -> Result<()> {
    let checked = check_each(directory, &["located", "booting", "lost"], |name, state, seed| {
        let found = found(seed)?;
        let sound = !found.is_empty() && found.iter().all(|found| found.state() == state);
        ensure!(sound, "{name} is something else: {found:?}");
        Ok(())
    })?;
    println!("{checked} seeds are what they are called");
    Ok(())
}

fn check_judged(directory: &Path) -> Result<()> {
    let verdicts = ["clean", "patched", "instrumented", "tampered"];
    let checked = check_each(directory, &verdicts, |name, verdict, seed| {
        let input = SUSPECT.with(seed);
        let swept = check::judged(&input).with_context(|| format!("{name} cannot be read"))?;
        let reported = &swept.unexplained;
        ensure!(swept.verdict.to_string() == verdict, "{name} is {}: {reported:x?}", swept.verdict);
        Ok(())
    })?;
    println!("{checked} seeds are judged as they are called");
    Ok(())
}

fn check_images(directory: &Path) -> Result<()> {
    let checked = check_each(directory, &["kernel"], |name, _, seed| {
        let image = KernelImage::lay_out(seed)?;
        Reference::of_image(&image).with_context(|| format!("{name} is no kernel's image"))?;
        Ok(())
    })?;
    println!("{checked} seeds are images of kernels");
    Ok(())
}

/// Calls `check` with the name, the kind and the bytes of each seed whose name begins with one of
/// these kinds and a dash. Returns how many seeds there are.
fn check_each(
    directory: &Path,
    kinds: &[&str],
    check: impl Fn(&str, &str, &[u8]) -> Result<()>,
) -> Result<usize> {
    let mut checked = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let kind = name.split('-').next().unwrap_or_default();
        if kinds.contains(&kind) {
            check(&name, kind, &fs::read(&path)?)?;
            checked += 1;
        }
    }
    ensure!(checked > 0, "{} has no seed of the kinds {}", directory.display(), kinds.join(", "));
    Ok(checked)
}

/// Searches an input's memory for kernels.
fn found(seed: &[u8]) -> Result<Vec<Finding>> {
    let input = Input::decode(seed);
    let found = locate(&input.memory, &input.within, &search(), &mut |_, _| ())?;
    check::findings(&input, &found);
    Ok(found)
}

fn write(directory: &Path, name: &str, seed: &[u8]) -> Result<()> {
    fs::create_dir_all(directory)?;
    let path = directory.join(name);
    fs::write(&path, seed).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{} ({} bytes)", path.display(), seed.len());
    Ok(())
}
