//! The record of an armed guard, stored in the guard's own table. `watchdog guard status` prints
//! it. The next watchdog reads it, because its guard must not be weaker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use watchdog_common::{RECORD_BYTES, State};

use super::processes::Processes;
use super::{Coverage, Policies, Policy, Processors, Release, Settings, WritePath};
use watchdog_core::memory::{PhysAddr, PhysRange, RangeSet};

/// The record of a guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the watchdog that armed the guard.
    pub version: String,
    /// The watchdog's process id.
    pub pid: u32,
    /// Whether the guard is in force. This is false until the watchdog has tested it.
    pub in_force: bool,
    /// When the guard was armed.
    pub armed: Timestamp,
    /// The guarded physical memory. Each range has its first byte and the first byte after it.
    pub ranges: Vec<(u64, u64)>,
    /// The policy of each path, by name.
    pub policies: BTreeMap<String, Policy>,
    /// The rule for taking the guard down.
    pub release: Release,
    /// Files and folders that only the watchdog writes.
    pub kept: Vec<PathBuf>,
    /// Other memory that processes may write by `/dev/mem`. Each range has its first byte and the
    /// first byte after it.
    pub writable: Vec<(u64, u64)>,
    /// Processors that may be started.
    pub processors: Processors,
    /// The settings of the watch.
    pub settings: Settings,
    /// The ids of the guard's programs. The first is the canary program, which the guard lets no
    /// process open.
    pub(super) programs: Vec<u32>,
    /// Digest of the kernel's values in the programs' constants: offsets, enumerations, addresses
    /// of helpers, process 1's mount namespace, and whether LSM programs fire.
    pub kernel: String,
    /// When the self-test last ran.
    pub proven: Timestamp,
    /// The result of that self-test.
    pub coverage: Coverage,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record is empty, or not complete.
    #[error("the record was never finished")]
    Unfinished,
    /// The content is not a record that this build can read.
    #[error("this build of watchdog cannot read the record: {0}")]
    Format(#[from] serde_json::Error),
    /// The record is longer than the table.
    #[error("the record has {0} bytes, and at most {RECORD_BYTES} fit: configure fewer ranges")]
    TooLong(usize),
}

impl Record {
    /// Reads the record from a guard's state.
    pub(super) fn of(state: &State) -> Result<Self, RecordError> {
        let length = usize::try_from(state.length).unwrap_or(usize::MAX);
        match state.record.get(..length) {
            None | Some([]) => Err(RecordError::Unfinished),
            Some(bytes) => Ok(serde_json::from_slice(bytes)?),
        }
    }

    /// Writes the record to a guard's state.
    pub(super) fn write(&self, state: &mut State) -> Result<(), RecordError> {
        let bytes = serde_json::to_vec(self)?;
        let place = state.record.get_mut(..bytes.len()).ok_or(RecordError::TooLong(bytes.len()))?;
        place.copy_from_slice(&bytes);
        state.length = u32::try_from(bytes.len()).map_err(|_| RecordError::TooLong(bytes.len()))?;
        Ok(())
    }

    /// The memory that is guarded.
    #[must_use]
    pub fn memory(&self) -> RangeSet {
        set(&self.ranges)
    }

    /// Other memory that processes may write by `/dev/mem`.
    fn writable(&self) -> RangeSet {
        set(&self.writable)
    }

    /// The policies of all paths.
    #[must_use]
    pub fn policies(&self) -> Policies {
        let mut policies = Policies::default();
        for path in WritePath::ALL {
            let policy = self.policies.get(path.name()).copied().unwrap_or(Policy::Off);
            // This cannot fail: the guard was armed with this policy.
            let _ = policies.set(path, policy);
        }
        policies
    }

    /// Whether the watchdog of this guard still runs.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        let processes = Processes::open();
        processes.is_ok_and(|it| it.execute_the_same(&self.pid.to_string(), "self"))
    }

    /// Whether a guard with this record may be replaced by one with the record `new`. If not, the
    /// error says why.
    pub(super) fn yields_to(&self, new: &Self) -> Result<(), String> {
        let memory = new.memory();
        if let Some(range) = self.memory().ranges().iter().find(|range| !memory.covers(range)) {
            return Err(format!("the guard in force protects {range}; the new one would not"));
        }
        for path in WritePath::ALL {
            let policy = |record: &Self| record.policies.get(path.name()).copied();
            let (old, now) = (policy(self), policy(new));
            if now < old {
                let word = |policy: Option<Policy>| policy.unwrap_or(Policy::Off);
                return Err(format!(
                    "the policy of `{path}` is `{}`; the new policy would be `{}`",
                    word(old),
                    word(now)
                ));
            }
        }
        let writable = self.writable();
        if let Some(range) = new.writable().ranges().iter().find(|range| !writable.covers(range)) {
            return Err(format!(
                "the guard in force lets no process write to {range}; the new one would"
            ));
        }
        if let Some(number) = new.processors.iter().find(|it| !self.processors.contains(*it)) {
            return Err(format!(
                "the guard in force lets no process start processor {number}; the new one would"
            ));
        }
        self.settings.yields_to(&new.settings)?;
        if !self.release.yields_to(&new.release) {
            return Err(format!(
                "the guard in force can be taken down {}; the new one could be taken down {}",
                self.release, new.release
            ));
        }
        if self.kernel != new.kernel {
            return Err("this kernel's types or function addresses differ from those when the \
                guard in force was armed. Check that kernel.kptr_restrict has the same value as \
                then"
                .to_owned());
        }
        Ok(())
    }
}

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    let range = |&(start, end): &(u64, u64)| PhysRange::new(PhysAddr(start), PhysAddr(end));
    ranges.iter().filter_map(range).collect()
}

/// Policies by the paths' names, as in a record.
pub(super) fn by_name(policies: &Policies) -> BTreeMap<String, Policy> {
    WritePath::ALL.map(|path| (path.name().to_owned(), policies.get(path))).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    fn record(preset: Preset, ranges: &[(u64, u64)]) -> Record {
        Record {
            version: "1".to_owned(),
            pid: 1,
            in_force: true,
            armed: Timestamp::UNIX_EPOCH,
            ranges: ranges.to_vec(),
            policies: by_name(&Policies::of(preset)),
            release: Release::Console,
            kept: Vec::new(),
            writable: Vec::new(),
            processors: Processors::default(),
            settings: Settings::default(),
            programs: vec![7],
            kernel: "k".to_owned(),
            proven: Timestamp::UNIX_EPOCH,
            coverage: Coverage::default(),
        }
    }

    fn state() -> State {
        State { released: 0, registering: 0, length: 0, opens: 0, record: [0; RECORD_BYTES] }
    }

    /// Check that a record is read back as it was written. Check that an empty state, a length
    /// beyond the table and other bytes are refused.
    #[test]
    fn written_and_read() {
        let mut state = state();
        assert!(matches!(Record::of(&state), Err(RecordError::Unfinished)));
        let written = record(Preset::Strict, &[(0x1000, 0x2000)]);
        written.write(&mut state).unwrap();
        assert_eq!(Record::of(&state).unwrap(), written);
        state.record[0] = b'x';
        assert!(matches!(Record::of(&state), Err(RecordError::Format(_))));
        state.length = u32::MAX;
        assert!(matches!(Record::of(&state), Err(RecordError::Unfinished)));
        let many: Vec<_> = (0..4000).map(|n| (n * 0x2000, n * 0x2000 + 0x1000)).collect();
        let long = record(Preset::Strict, &many);
        assert!(matches!(long.write(&mut state), Err(RecordError::TooLong(_))));
    }

    /// Check that a guard yields to one that is as strict or stricter. Check that it does not yield
    /// to one that is weaker in memory, in a policy, or in the rule for taking it down.
    #[test]
    fn never_weaker() {
        let now = record(Preset::Standard, &[(0x1000, 0x3000)]);
        assert_eq!(now.yields_to(&now), Ok(()));
        assert_eq!(
            now.yields_to(&record(Preset::Strict, &[(0, 0x3000), (0x5000, 0x6000)])),
            Ok(())
        );
        let refused = |new: &Record| now.yields_to(new).unwrap_err();
        assert!(refused(&record(Preset::Standard, &[(0x1000, 0x2fff)])).contains("0x1000..0x3000"));
        assert!(
            refused(&record(Preset::Observe, &[(0x1000, 0x3000)])).contains("`write` is `deny`")
        );
        let looser = Record { writable: vec![(0x8000, 0x9000)], ..now.clone() };
        assert!(refused(&looser).contains("0x8000..0x9000"));
        assert_eq!(looser.yields_to(&now), Ok(()));
        let more = Record { processors: "2".parse().unwrap(), ..now.clone() };
        assert!(refused(&more).contains("processor 2"));
        let open = Record { release: Release::Root, ..now.clone() };
        assert!(refused(&open).contains("by root"));
        assert_eq!(now.yields_to(&Record { release: Release::Sealed, ..now.clone() }), Ok(()));
        assert!(refused(&Record { kernel: "other".to_owned(), ..now.clone() }).contains("types"));
    }
}
