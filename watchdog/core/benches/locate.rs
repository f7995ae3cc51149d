//! Measures the speed of locating kernels, relative to a plain read of the same bytes, and the
//! memory it needs:
//! `WATCHDOG_IMAGE=node.raw[@PHYS] cargo bench --package watchdog-core --bench locate`.
//!
//! The image holds the memory of a whole machine, or of one node from physical address PHYS on.

use std::env;
use std::fs;
use std::hint::black_box;

use watchdog_core::locate::{Finding, Search, locate};
use watchdog_core::memory::{Memory, MemorySource, PhysAddr, RawImage};

mod measure;
use measure::{medians, show};

fn main() {
    let Some(image) = env::var_os("WATCHDOG_IMAGE").and_then(|image| image.into_string().ok())
    else {
        println!("WATCHDOG_IMAGE names no image: there is nothing to locate");
        return;
    };
    let source: MemorySource = format!("raw:{image}").parse().expect("FILE[@PHYS]");
    let MemorySource::Raw { path, base } = source else { unreachable!("it says raw:") };
    let memory = RawImage::open(&path, base).expect("the image opens");
    let before = peak_memory();
    let find = |gentle| {
        let search = Search { gentle, ..Search::default() };
        locate(&memory, memory.ranges(), &search, &mut |_, _| ()).expect("the image is readable")
    };
    for finding in find(false) {
        let Finding::Located(kernel) = finding else { panic!("not located: {}", finding.reason()) };
        println!("{} at {}, {} bytes", kernel.release, kernel.text.phys, kernel.text.size);
    }
    let needed = peak_memory().saturating_sub(before);
    let (start, size) = (memory.ranges().ranges()[0].start().0, memory.ranges().size());
    let mut buffer = vec![0; 1 << 20];
    let [plain, one, all] = medians([
        &mut || {
            for at in (0..size).step_by(buffer.len()) {
                let length = buffer.len().min((size - at) as usize);
                memory.read(PhysAddr(start + at), &mut buffer[..length]).expect("readable");
            }
        },
        &mut || drop(black_box(find(true))),
        &mut || drop(black_box(find(false))),
    ]);
    println!("{} MiB, peak memory {} KiB more than before", size >> 20, needed);
    show("reading the image, one thread", plain, plain, size);
    show("locating every kernel in it, one thread", one, plain, size);
    show("locating every kernel in it, every core", all, plain, size);
}

/// The peak memory of this process so far, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
