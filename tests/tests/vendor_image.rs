//! Vendors' kernel images: the watchdog must read every kernel in the cache, and must read the same
//! as other programs.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use watchdog_core::image::{self, KernelImage, VendorImage};
use watchdog_core::verify::reference::{self, Known, KnownSymbols, Reference, Tables, Trampoline};
use watchdog_tests::{cache, kernel::Kernel, nameless::without_symbols};

/// Kernels that `cargo xtask setup` always fetches.
const KERNELS: [&str; 3] = ["6.1", "6.12", "7.2"];

/// Link address of a kernel's text (`__START_KERNEL`, arch/x86/include/asm/page_64_types.h).
const LINKED_AT: u64 = 0xffff_ffff_8100_0000;

/// Sizes from `_stext` to `_etext`, from the kallsyms of these releases.
const TEXT_SIZES: [(&str, u64); 3] = [
    ("6.1.0-56-amd64", 0xe0_1d32),
    ("6.12.118+deb13-amd64", 0x100_0000),
    ("7.2.13+deb14-amd64", 0x12c_a8e0),
];

const MIB: u64 = 1 << 20;

/// Returns every kernel in the cache: its image, and the release from its package.
fn kernels() -> Result<BTreeMap<PathBuf, String>> {
    let mut kernels = BTreeMap::new();
    for name in KERNELS {
        let kernel = Kernel::named(name)?;
        kernels.insert(fs::canonicalize(kernel.image())?, kernel.release);
    }
    for entry in fs::read_dir(cache::kernels())? {
        let directory = entry?.path();
        // A folder that `cargo xtask setup` is still filling has no release yet.
        let Ok(release) = fs::read_to_string(directory.join("release")) else { continue };
        let image = fs::canonicalize(directory.join("vmlinuz"))?;
        kernels.insert(image, release.trim().to_owned());
    }
    Ok(kernels)
}

/// Check that each kernel is the one its package names, that its text has the size from its own
/// symbols, and that reading it takes little memory.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn every_kernel_is_read() -> Result<()> {
    for (path, release) in kernels()? {
        forget_peak()?;
        let before = peak()?;
        let begun = Instant::now();
        let image = VendorImage::open(&path)?;
        let (elapsed, peak) = (begun.elapsed(), peak()?.saturating_sub(before));
        let text = image.text_size();
        println!("{release}: {text} bytes of text; {elapsed:.2?}, {} MiB at most", peak / MIB);

        ensure!(image.release() == release, "{release}: {image:?}");
        let banner = format!("Linux version {release} (");
        ensure!(image.banner().starts_with(&banner), "{release}: {image:?}");
        ensure!(image.banner().contains(") #1 SMP"), "{release}: {image:?}");
        ensure!(image.text_virt().0 == LINKED_AT, "{release}: {image:?}");
        let least = if release.contains("-own-") { MIB } else { 8 * MIB };
        ensure!((least..64 * MIB).contains(&text), "{release}: {image:?}");
        let known = TEXT_SIZES.iter().find(|(known, _)| *known == release);
        ensure!(known.is_none_or(|(_, size)| *size == text), "{release}: {image:?}");
        ensure!(peak < 256 * MIB, "{release} took {peak} bytes");
    }
    Ok(())
}

/// Check that xz, zstd and lz4 unpack the same bytes, and that readelf finds the same build id at
/// the same offset.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn other_programs_agree() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let vmlinux = directory.path().join("vmlinux");
    for (path, release) in kernels()? {
        let file = fs::read(&path)?;
        let packed = payload(&file)?;
        let stream = &packed[..packed.len() - 4];
        let (stream, program) = match &packed[..2] {
            // gzip has the size in its own last bytes.
            b"\x1f\x8b" => (packed, "gzip"),
            b"\xfd7" => (stream, "xz"),
            b"\x28\xb5" => (stream, "zstd"),
            b"\x02\x21" => (stream, "lz4"),
            other => anyhow::bail!("{release} is packed in another way now: {other:x?}"),
        };
        let unpacked = run(program, &["--decompress", "--stdout"], stream)?;
        ensure!(sha256(&unpacked) == sha256(&image::unpack(&file)?), "{release} by {program}");

        fs::write(&vmlinux, &unpacked)?;
        let image = VendorImage::open(&path)?;
        ensure!(image == VendorImage::open(&vmlinux)?, "{release}: the same of its vmlinux");
        let vmlinux = vmlinux.to_str().context("no UTF-8")?;
        let notes = String::from_utf8_lossy(&run("readelf", &["-n", vmlinux], b"")?).into_owned();
        let id: String = image.build_id().iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(notes.contains(&format!("Build ID: {id}\n")), "{release}: {id} is not in {notes}");
        let at = usize::try_from(image.build_id_note_offset())? + file_offset_of_text(vmlinux)?;
        let note = unpacked.get(at..at + image.build_id_note().len());
        ensure!(note == Some(image.build_id_note()), "{release}: its note is not at {at}");
    }
    Ok(())
}

/// Check that the kernel is the same with each compression that kernels use.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn every_packing_is_read() -> Result<()> {
    let path = Kernel::named("6.1")?.image();
    let (file, image) = (fs::read(&path)?, VendorImage::open(&path)?);
    let vmlinux = image::unpack(&file)?;
    let size = u32::try_from(vmlinux.len())?.to_le_bytes();
    // As in scripts/Makefile.lib and scripts/xz_wrap.sh, but with faster levels.
    for (program, arguments) in [
        ("gzip", "-n -f -1"),
        ("bzip2", "-1"),
        ("xz", "--format=lzma -0"),
        ("xz", "--check=crc32 --x86 --lzma2=preset=0,dict=128MiB"),
        ("lz4", "-l -1 -q - -"),
        ("zstd", "-1 --long=27"),
    ] {
        let arguments: Vec<_> = arguments.split(' ').collect();
        let mut packed = run(program, &arguments, &vmlinux)?;
        if program != "gzip" {
            packed.extend(size);
        }
        let repacked = with_payload(&file, &packed)?;
        let begun = Instant::now();
        let found = VendorImage::parse(repacked).with_context(|| format!("{program} packed it"))?;
        println!("{program} {}: {:.2?}", arguments.join(" "), begun.elapsed());
        ensure!(found == image, "packed by {program}: {found:?}");
    }
    Ok(())
}

/// Check that what the image of a kernel without CONFIG_KALLSYMS_ALL does not name is found by its
/// form: the tables are the same as those of the whole image.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn tables_are_found_by_their_form() -> Result<()> {
    for name in KERNELS {
        let path = Kernel::named(name)?.image();
        let (_, unpacked) = image::open_unpacked(&path)?;
        let whole = Reference::of_image(&KernelImage::lay_out(&unpacked)?)?;
        let mut image = KernelImage::lay_out(&without_symbols(&path)?)?;
        let symbols = whole.symbols.iter().map(|(name, kind, at)| (kind, name.to_owned(), at));
        image.symbols = symbols.filter(|(kind, ..)| b"tTwW".contains(kind)).collect();
        let found = Reference::of_image(&image)?;
        let is_said = found.not_judged.iter().any(|it| it.why.contains("CONFIG_KALLSYMS_ALL"));
        ensure!(is_said, "{name}: {:?}", found.not_judged);
        let (found, whole) = (found.tables, whole.tables);
        ensure!(found.jump_labels == whole.jump_labels, "{name}: jump labels");
        ensure!(found.static_calls == whole.static_calls, "{name}: static calls");
        ensure!(found.fentry == whole.fentry, "{name}: function entries");
        // Since 6.8, no rule needs the place of `pv_ops`: there are no paravirt sites.
        let needed = |tables: &Tables| {
            let pv_ops = tables.known_symbols.pv_ops.filter(|_| !tables.paravirt.is_empty());
            KnownSymbols { pv_ops, ..tables.known_symbols }
        };
        ensure!(needed(&found) == needed(&whole), "{name}: {:?}", found.known_symbols);
        let places = |of: &[Trampoline]| of.iter().map(|it| it.at).collect::<Vec<_>>();
        ensure!(places(&found.trampolines) == places(&whole.trampolines), "{name}: trampolines");
        let known = |it: &&Trampoline| it.key != Trampoline::UNKNOWN_KEY;
        let known: Vec<_> = found.trampolines.iter().filter(known).collect();
        ensure!(known.iter().all(|it| whole.trampolines.contains(it)), "{name}: keys");
        println!("{name}: {} of {} keys", known.len(), whole.trampolines.len());
    }
    Ok(())
}

/// Check that a bomb is refused once it has unpacked to its declared size, and that it takes no
/// memory beyond that.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn bombs_take_no_memory() -> Result<()> {
    let file = fs::read(Kernel::named("6.1")?.image())?;
    let zeros = vec![0; 768 << 20];
    for (program, arguments) in [("gzip", &["-1"][..]), ("zstd", &["-1"]), ("lz4", &["-l", "-q"])] {
        let mut packed = run(program, arguments, &zeros)?;
        if program == "gzip" {
            packed.truncate(packed.len() - 4);
        }
        packed.extend(u32::try_from(MIB)?.to_le_bytes());
        let bomb = with_payload(&file, &packed)?;
        forget_peak()?;
        let before = peak()?;
        let error = VendorImage::parse(bomb).err().context("a bomb was read")?.to_string();
        let peak = peak()?.saturating_sub(before);
        println!("{program}: {} MiB at most: {error}", peak / MIB);
        ensure!(error.contains("said to be 1048576 bytes long unpacked, but is more"), "{error}");
        ensure!(peak < 32 * MIB, "{program}: {peak} bytes were taken");
    }
    Ok(())
}

/// Check that every table of a Debian kernel whose entries lead into its text is known, and that
/// all tables that rules judge would be noticed if they were unknown.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn every_patch_table_is_known() -> Result<()> {
    const ALWAYS: [&str; 6] = [
        ".altinstructions",
        ".retpoline_sites",
        ".return_sites",
        "__jump_table",
        "static_call_sites",
        "mcount_loc",
    ];
    for name in KERNELS {
        let kernel = Kernel::named(name)?;
        let release = &kernel.release;
        let (_, unpacked) = image::open_unpacked(&kernel.image())?;
        let tables = reference::patch_tables(&KernelImage::lay_out(&unpacked)?)?;
        let by_rules: Vec<&str> = tables
            .iter()
            .filter(|table| table.known == Some(Known::Rule))
            .map(|table| &*table.name)
            .collect();
        println!("{release}: {}", by_rules.join(", "));
        let unknown: Vec<_> = tables.iter().filter(|table| table.known.is_none()).collect();
        ensure!(unknown.is_empty(), "{release}: {unknown:?}");
        for table in ALWAYS {
            ensure!(by_rules.contains(&table), "{release}: {table} would not be noticed");
        }
    }
    Ok(())
}

/// Check that a preview of each kernel counts sites of every mechanism that the kernel has, and
/// that every path of the strictest guard has a hook on it.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn kernels_are_previewed() -> Result<()> {
    let watchdog = cache::guest_programs().join("watchdog");
    for name in KERNELS {
        let image = Kernel::named(name)?.image();
        let output = Command::new(&watchdog)
            .args(["baseline", "preview", "--json", "--image"])
            .arg(&image)
            .output()?;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let preview: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let sites = |mechanism: &str| preview["sites"][mechanism].as_u64().unwrap_or_default();
        for mechanism in ["alternative", "return", "jump-label", "static-call", "fentry"] {
            ensure!(sites(mechanism) > 500, "{name}: {mechanism}: {preview}");
        }
        ensure!((sites("paravirt") > 500) == (name == "6.1"), "{name}: {preview}");
        ensure!((sites("ibt-seal") > 500) != (name == "6.1"), "{name}: {preview}");
        let guard = &preview["guard"];
        ensure!(guard["attached"].as_u64() > Some(50), "{name}: {guard}");
        ensure!(guard.get("error").or(guard.get("lacking")).is_none(), "{name}: {guard}");
    }
    Ok(())
}

/// Returns the payload as defined by Documentation/arch/x86/boot.rst.
fn payload(file: &[u8]) -> Result<&[u8]> {
    let word = |at: usize| -> Result<usize> {
        Ok(u32::from_le_bytes(file[at..at + 4].try_into()?).try_into()?)
    };
    let start = (usize::from(file[0x1f1]) + 1) * 512 + word(0x248)?;
    Ok(&file[start..start + word(0x24c)?])
}

/// Returns a bzImage with another payload at its end.
fn with_payload(file: &[u8], payload: &[u8]) -> Result<Vec<u8>> {
    let sectors = (usize::from(file[0x1f1]) + 1) * 512;
    let mut changed = file[..sectors].to_vec();
    changed[0x248..0x24c].copy_from_slice(&0_u32.to_le_bytes());
    changed[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len())?.to_le_bytes());
    changed.extend(payload);
    Ok(changed)
}

/// Returns the file offset of an ELF file's `.text`, from `readelf -SW`.
fn file_offset_of_text(vmlinux: &str) -> Result<usize> {
    let sections = run("readelf", &["-SW", vmlinux], b"")?;
    let sections = String::from_utf8_lossy(&sections);
    let line = sections.lines().find(|line| line.contains(" .text ")).context("no .text")?;
    let after = line.split_once(" .text ").context("no .text")?.1;
    let offset = after.split_whitespace().nth(2).context("no offset")?;
    Ok(usize::from_str_radix(offset, 16)?)
}

/// Runs a program on an input and returns its output.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}: run `cargo xtask setup`"))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut output = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(move || stdin.map_or(Ok(()), |mut pipe| pipe.write_all(input)));
        stdout.context("no output")?.read_to_end(&mut output)?;
        writer.join().ok().context("the writer panicked")??;
        Ok(())
    })?;
    ensure!(child.wait()?.success(), "{program} {arguments:?} failed");
    Ok(output)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Returns the peak memory of this process since [`forget_peak`] (`VmHWM`, proc(5)).
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

fn forget_peak() -> Result<()> {
    fs::write(Path::new("/proc/self/clear_refs"), "5").context("cannot reset VmHWM")
}
