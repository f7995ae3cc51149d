//! Facts about an invented kernel, and a configuration for it.

#[path = "../../../core/src/btf/made_up.rs"]
#[expect(dead_code, reason = "the tests of type information use the rest")]
mod types;

use std::path::PathBuf;

use watchdog_common::{ENUM_VALUES, Offsets, SCHEDULERS};

use super::*;
use crate::programs::attach_order;
use crate::{GuardConfig, Policies, Release, Settings};
use watchdog_core::btf::Btf;
use watchdog_core::memory::RangeSet;

/// `BTF_KIND_*`.
const STRUCT: u32 = 4;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;

/// A kernel that fires LSM programs. It has the first function of each program, except those in
/// `without`.
pub(crate) fn facts(without: &[&str]) -> KernelFacts {
    let none = [0; ENUM_VALUES];
    KernelFacts {
        kernel: Running { btf: types_without(without), offsets: Offsets::default(), no_lsm: None },
        enums: KernelEnums {
            lockdown: none,
            read_file: none,
            load_data: none,
            program_types: none,
            attach_types: none,
            schedulers: [0; SCHEDULERS],
        },
        online: "0-3".parse().expect("processors"),
        init_mnt_ns: 0xf000_0000,
        helpers: None,
        dma_devices: DmaDevices::default(),
        page_tables: Err("unknown".to_owned()),
        pid: 7,
        now: Timestamp::UNIX_EPOCH,
    }
}

fn types_without(without: &[&str]) -> Btf {
    let mut types = types::Builder::default();
    types.structure("page", STRUCT, &[]);
    let mut known = without.to_vec();
    for (name, parameters) in attach_order().iter().filter_map(|it| it.program.functions.first()) {
        if known.contains(name) {
            continue;
        }
        known.push(name);
        let body = vec![0; 2 * parameters];
        let prototype = types.add("", FUNC_PROTO, 0, *parameters as u32, &body);
        types.add(name, FUNC, prototype, 0, &[]);
    }
    Btf::parse(types.finish()).expect("type information")
}

/// A configuration that guards `ranges` and has defaults for everything else.
pub(crate) fn config(ranges: RangeSet) -> GuardConfig {
    GuardConfig {
        ranges,
        writable: RangeSet::default(),
        processors: Processors::default(),
        policies: Policies::default(),
        release: Release::Console,
        protected_files: Vec::new(),
        baselines: PathBuf::new(),
        settings: Settings::default(),
        without_lsm: false,
    }
}
