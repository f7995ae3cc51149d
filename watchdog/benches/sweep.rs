//! How fast a sweep is, beside things whose speed is known: `cargo bench --package watchdog`.
//!
//! With `WATCHDOG_IMAGE` naming a raw image of a machine (a file in which
//! `watchdog locate --memory raw:FILE` finds a kernel), the first kernel's text is swept; else
//! 16 MiB of made-up text. Everything runs alternately in one process; medians are printed.

use std::env;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use watchdog::locate::{Finding, Text, locate};
use watchdog::memory::{DevMem, Memory, PhysAddr, RawImage, VirtAddr};
use watchdog::verify::{Baseline, Identity, Verdict, copy_text, sweep};

const ROUNDS: usize = 21;

fn main() {
    let made_up = tempfile::NamedTempFile::new().expect("a temporary file");
    let image = env::var_os("WATCHDOG_IMAGE").map(PathBuf::from);
    let path = match &image {
        Some(path) => path.clone(),
        None => {
            let bytes: Vec<u8> =
                (0..16_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            std::fs::write(made_up.path(), bytes).expect("the temporary file is writable");
            made_up.path().to_owned()
        }
    };
    let read = RawImage::open(&path, PhysAddr(0)).expect("the image opens");
    let text = text(&read, image.is_some());
    println!(
        "{} bytes of text from {}",
        text.size,
        if image.is_some() { "the image" } else { "a made-up file" }
    );
    compare_sweep(&path, &read, &text);
    if image.is_some() {
        compare_locate(&read);
    }
}

/// The first kernel's text, or all of a made-up one.
fn text(memory: &RawImage, is_real: bool) -> Text {
    if !is_real {
        let size = memory.ranges().size();
        return Text { phys: PhysAddr(0), virt: VirtAddr(0xffff_ffff_8100_0000), size };
    }
    let found = locate(memory, memory.ranges(), &mut |_, _| ()).expect("the image is readable");
    let kernel = found.into_iter().find_map(|finding| match finding {
        Finding::Located(kernel) => Some(kernel),
        Finding::Booting(_) | Finding::Lost(_) => None,
    });
    kernel.expect("a kernel is in the image").text
}

/// A sweep with a learned baseline, by read and by mmap, against SHA-256 of the same bytes.
fn compare_sweep(path: &Path, read: &RawImage, text: &Text) {
    let copy = copy_text(read, text).expect("the text is readable");
    let bytes = copy.bytes().to_vec();
    let identity = Identity {
        release: "bench".to_owned(),
        build_id: None,
        phys: text.phys.0,
        virt: text.virt.0,
        size: text.size,
    };
    let baseline = Baseline::learn(identity, copy);
    let mapped = DevMem::open(path, read.ranges().clone()).expect("the image maps");
    let swept = |memory: &dyn Memory| {
        let swept = sweep(memory, text, &baseline).expect("the text is readable");
        assert_eq!(swept.verdict, Verdict::Clean);
    };
    let [plain, by_read, by_mmap] = medians([
        &mut || {
            black_box(ring::digest::digest(&ring::digest::SHA256, black_box(&bytes)));
        },
        &mut || swept(read),
        &mut || swept(&mapped),
    ]);
    show("SHA-256 of the text, ring (OpenSSL's assembly)", plain, plain, text.size);
    show("sweep, source by read(2)", by_read, plain, text.size);
    show("sweep, source by mmap(2)", by_mmap, plain, text.size);
}

/// Locating every kernel in the image against reading the same bytes.
fn compare_locate(read: &RawImage) {
    let size = read.ranges().size();
    let mut buffer = vec![0; 1 << 20];
    let [plain, located] = medians([
        &mut || {
            for at in (0..size).step_by(buffer.len()) {
                let length = buffer.len().min((size - at) as usize);
                read.read(PhysAddr(at), &mut buffer[..length]).expect("the image is readable");
            }
        },
        &mut || {
            black_box(locate(read, read.ranges(), &mut |_, _| ()).expect("readable"));
        },
    ]);
    show("reading the image", plain, plain, size);
    show("locating every kernel in it", located, plain, size);
}

/// The median time of each job, taken in turn.
fn medians<const N: usize>(mut jobs: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (job, times) in jobs.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            job();
            times.push(begun.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    })
}

fn show(what: &str, took: Duration, known: Duration, bytes: u64) {
    let rate = bytes as f64 / took.as_secs_f64() / 1e9;
    let ratio = took.as_secs_f64() / known.as_secs_f64();
    println!("{what:<48} {took:>9.2?}  {rate:6.2} GB/s  ratio {ratio:.2}");
}
