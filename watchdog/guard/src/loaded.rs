//! A guard whose programs the kernel has verified. Its tables are pinned, and no program is
//! attached.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use aya::{Btf, Ebpf, EbpfLoader, Endianness, include_bytes_aligned};

use super::attach;
use super::canary::Canary;
use super::error::GuardError;
use super::facts::KernelFacts;
use super::in_force::InForce;
use super::pinned::Pinned;
use super::pins::{Generation, RELEASE_TIMEOUT};
use super::plan::Plan;
use super::preflight::PreflightError;
use super::reports::EbpfLog;
use super::self_protection::pin_tables;
use watchdog_core::locate::Stop;

/// How long a load that is denied waits before it tries again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/watchdog-ebpf"));

/// A guard whose programs are loaded. Dropping it removes it from the kernel.
pub(super) struct Loaded {
    /// Holds the programs' descriptors.
    pub(super) programs: Ebpf,
    pub(super) pinned: Pinned,
    /// The ids of the tables, each with one of [`watchdog_common::object_kind`].
    pub(super) tables: Vec<(u32, u32)>,
    pub(super) log: EbpfLog,
    pub(super) canary: Canary,
    pub(super) facts: KernelFacts,
    pub(super) plan: Plan,
    /// Guards that this one will replace.
    pub(super) earlier: Vec<InForce>,
}

impl Loaded {
    /// Loads the programs of a plan that replaces the `earlier` guards.
    ///
    /// # Errors
    /// [`GuardError`]: the kernel's refusals, and a canary page that cannot be opened.
    pub(super) fn new(
        facts: KernelFacts,
        plan: Plan,
        mut earlier: Vec<InForce>,
        stop: &Stop,
    ) -> Result<Self, GuardError> {
        let Begun { canary, mut pinned, mut programs, tables } =
            Begun::once_released(&facts, &plan, &mut earlier, stop)?;
        let state = programs.take_map("STATE").ok_or(GuardError::Missing("STATE"))?;
        // From here on, every watchdog can read which process arms this guard, and that it is not
        // in force.
        pinned.begin(state, &plan.record)?;
        let log = EbpfLog::init(&mut programs);
        let btf = Btf::parse(facts.kernel.btf.bytes(), Endianness::default())
            .map_err(|error| PreflightError::NoBtf(io::Error::other(error)))?;
        for attachment in &plan.attachments {
            // The kernel's verifier takes long for some programs.
            stop.check().map_err(|_| GuardError::Stopped)?;
            attach::load(&mut programs, attachment, &btf, &pinned.generation)?;
        }
        Ok(Self { programs, pinned, tables, log, canary, facts, plan, earlier })
    }
}

/// The first steps of a load, which another guard would deny.
struct Begun {
    canary: Canary,
    pinned: Pinned,
    programs: Ebpf,
    tables: Vec<(u32, u32)>,
}

impl Begun {
    /// Takes the first steps. A start that was stopped removes the pins of its guard and ends. The
    /// kernel then releases one program after the other, which can take seconds, and until then
    /// they deny. If no guard is pinned, a denied step is therefore tried again for a while.
    ///
    /// # Errors
    /// The last error.
    fn once_released(
        facts: &KernelFacts,
        plan: &Plan,
        earlier: &mut [InForce],
        stop: &Stop,
    ) -> Result<Self, GuardError> {
        let begun = Instant::now();
        loop {
            match Self::new(facts, plan, earlier) {
                Err(error)
                    if earlier.is_empty()
                        && error.is_denied()
                        && begun.elapsed() < RELEASE_TIMEOUT =>
                {
                    log::debug!("waiting for programs of an earlier start: {error}");
                    stop.check().map_err(|_| GuardError::Stopped)?;
                    thread::sleep(RETRY_INTERVAL);
                }
                result => return result,
            }
        }
    }

    fn new(facts: &KernelFacts, plan: &Plan, earlier: &mut [InForce]) -> Result<Self, GuardError> {
        // Opened before arming: if policy denies `open`, it cannot be opened later.
        let canary = open_canary(earlier, facts.has_lsm())?;
        let pinned = Pinned::new(Generation::create()?);
        let programs = load_object(facts, plan)?;
        let tables = pin_tables(&programs, &pinned.generation)?;
        Ok(Self { canary, pinned, programs, tables })
    }
}

/// Makes the kernel create the tables. The tables with constants are frozen.
fn load_object(facts: &KernelFacts, plan: &Plan) -> Result<Ebpf, GuardError> {
    let page_tables = facts.page_tables.as_ref().copied().unwrap_or_default();
    Ok(EbpfLoader::new()
        .override_global("OFFSETS", &facts.kernel.offsets, true)
        .override_global("RULES", &plan.rules, true)
        .override_global("DMA_DEVICES", &facts.dma_devices, true)
        .override_global("PAGE_TABLES", &page_tables, true)
        .load(OBJECT)?)
}

/// Opens the canary page. Guards in force may deny that to every process; they allow it to this
/// process for a moment. It is opened for reading if programs cannot judge a write.
fn open_canary(earlier: &mut [InForce], has_lsm: bool) -> Result<Canary, GuardError> {
    if !has_lsm {
        return Ok(Canary::open_for_reading()?);
    }
    earlier.iter_mut().try_for_each(|guard| guard.let_open(true))?;
    let opened = Canary::open();
    earlier.iter_mut().try_for_each(|guard| guard.let_open(false))?;
    Ok(opened?)
}
