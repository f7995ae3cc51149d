//! Freshly booted kernels, kept unchanged: one paused machine with one of each kernel.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, anyhow, ensure};
use watchdog_core::locate::{Finding, Kernel, Search, locate};
use watchdog_core::memory::{Memory, PhysAddr, RawImage};
use watchdog_core::verify::reference::{JumpLabel, Reference};
use watchdog_core::verify::{Baseline, Verifier};

use watchdog_tests::kernel::Kernel as Packaged;
use watchdog_tests::machine::Machine;
use xtask::kernels::VERSIONS;

use watchdog_tests::overlay::Patch;

/// A kernel, and the baseline from its vendor's image.
pub(crate) struct Specimen {
    pub(crate) memory: RawImage,
    pub(crate) kernel: Box<Kernel>,
    pub(crate) baseline: Baseline,
    verifier: Verifier,
}

/// The paused machine.
static MACHINE: LazyLock<Result<Machine, String>> =
    LazyLock::new(|| Machine::one_of_each().map_err(|error| format!("{error:#}")));
static SPECIMENS: LazyLock<Result<Vec<Specimen>, String>> = LazyLock::new(|| {
    let memory = memory().map_err(|error| format!("{error:#}"))?;
    VERSIONS
        .iter()
        .map(|name| Specimen::take(&memory, name))
        .collect::<Result<_>>()
        .map_err(|error| format!("{error:#}"))
});

/// Returns the path of the machine's memory, which other programs can open while this one runs.
fn memory() -> Result<PathBuf> {
    let machine = MACHINE.as_ref().map_err(|error| anyhow!("{error}"))?;
    Ok(machine.ram().path())
}

impl Specimen {
    /// Returns one of each kernel. The machine is booted once for all tests.
    pub(crate) fn all() -> Result<&'static [Self]> {
        SPECIMENS.as_deref().map_err(|error| anyhow!("{error}"))
    }

    fn take(memory: &Path, name: &str) -> Result<Self> {
        let memory = RawImage::open(memory, PhysAddr(0))?;
        let baseline = Baseline::of_image(&Packaged::named(name)?.image())?;
        let found = locate(&memory, memory.ranges(), &Search::default(), &mut |_, _| ())?;
        let kernel = found.into_iter().find_map(|finding| match finding {
            Finding::Located(kernel) => baseline.fits(&kernel).then_some(kernel),
            _ => None,
        });
        let kernel = kernel.with_context(|| format!("no kernel that fits the image of {name}"))?;
        let mut verifier = Verifier::new(baseline.clone(), &kernel);
        verifier.sweep(&memory, &kernel, 0)?;
        Ok(Self { memory, kernel, baseline, verifier })
    }

    /// Returns the path of the machine's memory, which other programs can open while this one runs.
    pub(crate) fn memory_path() -> Result<String> {
        Ok(memory()?.display().to_string())
    }

    /// Returns a verifier that has not swept the kernel yet.
    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(self.baseline.clone(), &self.kernel)
    }

    /// Returns a verifier that has swept the unchanged kernel.
    pub(crate) fn experienced(&self) -> Verifier {
        self.verifier.clone()
    }

    pub(crate) fn reference(&self) -> &Arc<Reference> {
        &self.baseline.reference
    }

    /// Returns the current bytes of the image.
    pub(crate) fn live(&self, at: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let phys = self.kernel.text.phys.0 + u64::from(at);
        self.memory.read(PhysAddr(phys), &mut bytes).expect("the image is in memory");
        bytes
    }

    /// Returns a pointer in the image, as an image offset.
    pub(crate) fn pointer(&self, at: u32) -> Option<u32> {
        let bytes = self.live(at, 8).try_into().expect("eight bytes");
        let offset = u64::from_le_bytes(bytes).checked_sub(self.kernel.text.virt.0)?;
        u32::try_from(offset).ok().filter(|offset| u64::from(*offset) < self.kernel.text.size)
    }

    /// Returns the image offset of a symbol.
    pub(crate) fn symbol(&self, name: &str) -> Result<u32> {
        self.reference().symbols.address(name).with_context(|| format!("no symbol {name}"))
    }

    /// Returns a static key that is off, with all its sites in the text.
    pub(crate) fn switchable_key(&self) -> Result<(u32, Vec<JumpLabel>)> {
        let labels = &self.reference().tables.jump_labels;
        let text = u32::try_from(self.kernel.text.size)?;
        let key = self.symbol("sched_schedstats")?;
        let sites: Vec<_> =
            labels.iter().filter(|it| it.key == key && it.at < text).copied().collect();
        ensure!(!sites.is_empty() && self.live(key, 4) == [0; 4], "no key that is off");
        Ok((key, sites))
    }

    /// Returns the patch that switches a jump label to its other form.
    pub(crate) fn toggled(&self, label: &JumpLabel) -> Patch {
        let (at, distance) = (label.at, i64::from(label.target) - i64::from(label.at));
        let form = match self.live(at, 5).as_slice() {
            [0x66, 0x90, ..] => vec![0xeb, i8::try_from(distance - 2).expect("short") as u8],
            [0x0f, 0x1f, 0x44, 0, 0] => jump(0xe9, at, label.target),
            [0xeb, ..] => vec![0x66, 0x90],
            _ => vec![0x0f, 0x1f, 0x44, 0, 0],
        };
        (at, form)
    }

    /// Returns the bytes of a key that is switched to its other state.
    pub(crate) fn toggled_key(&self, key: u32) -> Result<Vec<u8>> {
        let count = i32::from_le_bytes(self.live(key, 4).as_slice().try_into()?);
        Ok(i32::from(count == 0).to_le_bytes().to_vec())
    }
}

/// Returns a branch of five bytes from one image offset to another.
pub(crate) fn jump(opcode: u8, from: u32, to: u32) -> Vec<u8> {
    let distance = i64::from(to) - i64::from(from) - 5;
    let distance = i32::try_from(distance).expect("within the image");
    [&[opcode][..], &distance.to_le_bytes()].concat()
}
