//! Measures the speed of a sweep, relative to SHA-256:
//! `cargo bench --package watchdog-core --bench sweep`.
//!
//! `WATCHDOG_IMAGE` names a raw image of a machine, in which `watchdog locate --memory raw:FILE`
//! finds a kernel. `WATCHDOG_VENDOR_IMAGE` names the vmlinuz of the kernel to sweep; without it,
//! the first kernel in the image is swept. All jobs run alternately in one process, which prints
//! their medians.

use std::env;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use watchdog_core::locate::{Finding, Kernel, Search, locate};
use watchdog_core::memory::{DevMem, Memory, PhysAddr, RawImage};
use watchdog_core::verify::{Baseline, Verdict, Verifier, copy_text};

mod measure;
use measure::{medians, show};

fn main() {
    let path = env::var_os("WATCHDOG_IMAGE").map(PathBuf::from);
    let Some(path) = path else {
        println!("set WATCHDOG_IMAGE to a raw image of a machine: `cargo bench` needs a kernel");
        return;
    };
    let vendor = env::var_os("WATCHDOG_VENDOR_IMAGE").map(PathBuf::from);
    let read = RawImage::open(&path, PhysAddr(0)).expect("the image opens");
    let baseline = vendor.map(|file| Baseline::of_image(&file).expect("it is a kernel image"));
    let kernel = kernel(&read, baseline.as_ref());
    println!("{} bytes of text of Linux {}", kernel.text.size, kernel.release);
    compare_sweep(&path, &read, &kernel, baseline);
}

/// The first kernel in the image, or the one that fits the baseline.
fn kernel(memory: &RawImage, baseline: Option<&Baseline>) -> Box<Kernel> {
    let found = locate(memory, memory.ranges(), &Search::default(), &mut |_, _| ())
        .expect("the image is readable");
    let kernel = found.into_iter().find_map(|finding| match finding {
        Finding::Located(kernel) => {
            baseline.is_none_or(|baseline| baseline.fits(&kernel)).then_some(kernel)
        }
        Finding::Booting(_) | Finding::Lost(_) => None,
    });
    kernel.expect("a kernel of that image is in the memory")
}

/// Compares sweeps with SHA-256 of the same bytes: with a learned baseline and with the vendor's,
/// by read and by mmap. Also measures the first judgement of a new text.
fn compare_sweep(path: &Path, read: &RawImage, kernel: &Kernel, vendor: Option<Baseline>) {
    let size = kernel.text.size;
    let bytes = copy_text(read, &kernel.text).expect("the text is readable").bytes().to_vec();
    let mapped = DevMem::open_file(path, read.ranges().clone()).expect("the image maps");
    let learned = Baseline::learn(read, kernel).expect("the text is readable");
    let baselines = [("learned", Some(learned)), ("the vendor's image", vendor)];
    for (name, baseline) in baselines.into_iter().filter_map(|(n, b)| Some((n, b?))) {
        println!("\nbaseline: {name}");
        let mut known = Verifier::new(baseline.clone(), kernel);
        let first = known.sweep(read, kernel, 0).expect("the text is readable");
        println!("first judgement: {} after {:.1?}", first.verdict, first.elapsed);
        assert_ne!(first.verdict, Verdict::Tampered);
        let mut again = known.clone();
        let swept = |verifier: &mut Verifier, memory: &dyn Memory| {
            let swept = verifier.sweep(memory, kernel, 0).expect("the text is readable");
            assert_eq!(swept.verdict, first.verdict);
        };
        let [plain, by_read, by_mmap, fresh] = medians([
            &mut || {
                black_box(ring::digest::digest(&ring::digest::SHA256, black_box(&bytes)));
            },
            &mut || swept(&mut known, read),
            &mut || swept(&mut again, &mapped),
            &mut || swept(&mut Verifier::new(baseline.clone(), kernel), &mapped),
        ]);
        show("SHA-256 of the text, ring (OpenSSL's assembly)", plain, plain, size);
        show("sweep, source by read(2)", by_read, plain, size);
        show("sweep, source by mmap(2)", by_mmap, plain, size);
        show("first judgement of a text, by mmap(2)", fresh, plain, size);
    }
}
