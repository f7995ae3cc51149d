//! Tests of decoders against independent oracles: random page tables against a processor's
//! translation of one address, random symbols against a list of them.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::page_tables::{Tables, aliases, image_runs};
use super::made_up::*;
use crate::locate::kallsyms;
use crate::memory::{Memory, PhysAddr, PhysRange, VirtAddr};

/// Translates one address as the processor does (Intel SDM volume 3, 5.5.4). Returns the physical
/// address, writable, executable, user.
fn translate(machine: &Machine, kernel: MadeUp, virt: u64) -> Option<(u64, bool, bool, bool)> {
    let mut table = kernel.root();
    let (mut write, mut execute, mut user) = (true, true, true);
    for level in (0..kernel.levels).rev() {
        let shift = 12 + 9 * u32::from(level);
        let mut bytes = [0; 8];
        machine.read(PhysAddr(table + ((virt >> shift) & 511) * 8), &mut bytes).ok()?;
        let entry = u64::from_le_bytes(bytes);
        if entry & 1 == 0 || (level > 2 && entry & LARGE != 0) {
            return None;
        }
        write &= entry & 2 != 0;
        execute &= entry & NX == 0;
        user &= entry & USER != 0;
        let frame = entry & 0x000f_ffff_ffff_f000;
        if level == 0 || entry & LARGE != 0 {
            let mask = (1_u64 << shift) - 1;
            return Some(((frame & !mask) + (virt & mask), write, execute, user));
        }
        table = frame;
    }
    None
}

fn tables(kernel: MadeUp) -> Tables {
    Tables { root: PhysAddr(kernel.root()), levels: kernel.levels, encryption: 0 }
}

/// A kernel with random entries in the tables of its image mapping and its direct map: pages of
/// every size, all rights, and tables that lead anywhere.
fn scrambled(random: &mut StdRng) -> (Machine, MadeUp) {
    let kernel = MadeUp { levels: random.random_range(4..=5), ..FIRST };
    let machine = Machine::with(kernel);
    let tables = [kernel.level2(), kernel.level1(), kernel.direct2(), kernel.direct3()];
    for _ in 0..random.random_range(0..200) {
        let table = tables[random.random_range(0..tables.len())];
        let rights = random.random::<u64>() & (NX | 0x7) | u64::from(random.random_bool(0.8));
        let large = if random.random_bool(0.5) { LARGE } else { 0 };
        let lead = match random.random_range(0..3) {
            0 => tables[random.random_range(0..tables.len())],
            1 => kernel.text + random.random_range(0..512) * 4096,
            _ => random.random_range(0..RAM as u64) & !0xfff,
        };
        machine.entry(table, random.random_range(0..512), lead | rights | large);
    }
    (machine, kernel)
}

/// Check that the walk of the image mapping agrees with the processor about random addresses.
#[test]
fn image_walk_agrees_with_the_processor() {
    let mut random = StdRng::seed_from_u64(3);
    for round in 0..60 {
        let (machine, kernel) = scrambled(&mut random);
        let runs = image_runs(&machine, &tables(kernel)).unwrap();
        let near = kernel.virt & !0x3fff_ffff | 0x8000_0000;
        for _ in 0..3000 {
            let around = kernel.virt.wrapping_add(random.random_range(0..0x100_0000));
            let anywhere = near + random.random_range(0..0x4000_0000);
            let virt = if random.random_bool(0.5) { around } else { anywhere };
            let run = runs.iter().find(|run| virt >= run.virt.0 && virt < run.virt.0 + run.size);
            let walked = run.map(|run| {
                let phys = run.phys.0 + (virt - run.virt.0);
                (phys, run.writable, run.executable, run.user)
            });
            // The walk skips tables that memory does not hold, as `translate` does.
            assert_eq!(walked, translate(&machine, kernel, virt), "round {round}, {virt:#x}");
        }
    }
}

/// Check that each writable or user mapping of the text that the alias walk lists is one for the
/// processor. Check that the walk lists at least one if any exists.
#[test]
fn alias_walk_agrees_with_the_processor() {
    let mut random = StdRng::seed_from_u64(4);
    for round in 0..60 {
        let (machine, kernel) = scrambled(&mut random);
        let frames =
            PhysRange::with_size(PhysAddr(kernel.text), TEXT_SIZE.next_multiple_of(4096)).unwrap();
        let found = aliases(&machine, &tables(kernel), frames, RAM as u64);
        assert!(found.complete, "{round}");
        for run in &found.runs {
            for virt in (run.virt.0..run.virt.0 + run.size).step_by(4096) {
                let (phys, write, _, user) = translate(&machine, kernel, virt).unwrap();
                assert!(frames.contains(PhysAddr(phys)), "{round}: {run:?}");
                assert_eq!((write, user), (run.writable, run.user), "{round}: {run:?}");
            }
        }
        let direct = if kernel.levels == 5 { 0xff11_0880_0000_0000 } else { 0xffff_8880_0000_0000 };
        let pages = (0..4_u64 << 18).step_by(64).map(|page| direct + page * 4096);
        let open = pages
            .filter_map(|virt| translate(&machine, kernel, virt))
            .any(|(phys, write, _, user)| frames.contains(PhysAddr(phys)) && (write || user));
        assert!(!open || !found.runs.is_empty(), "{round}: an open mapping was not seen");
    }
}

/// Check that every symbol of random tables, in every layout, is found by name and by address.
#[test]
fn symbols_agree_with_their_list() {
    let mut random = StdRng::seed_from_u64(5);
    for round in 0..12 {
        let kernel = MadeUp { layout: LAYOUTS[round % LAYOUTS.len()], ..FIRST };
        let mut list = BTreeMap::new();
        while list.len() < 3000 {
            let length = random.random_range(1..300);
            let name: String = (0..length).map(|_| random.random_range('a'..='z')).collect();
            list.insert(kernel.virt + random.random_range(0x1000..0x1f_0000), name);
        }
        let machine = Machine::with(kernel);
        machine.symbols(kernel, list.iter().map(|(at, name)| (format!("t{name}"), *at)));
        let symbols = machine.kernel().symbols;
        for (at, name) in &list {
            assert_eq!(symbols.lookup(VirtAddr(*at)), Some((name.clone(), 0)), "{round}");
        }
        let (at, name) = list.iter().nth(random.random_range(0..3000)).unwrap();
        assert_eq!(symbols.address(name), Some(VirtAddr(*at)));
    }
}

/// Check that random bytes give no claim, at random addresses.
#[test]
fn no_claim_from_noise() {
    let mut random = StdRng::seed_from_u64(6);
    let machine = Machine::empty();
    let mut noise = vec![0; 1 << 20];
    noise.fill_with(|| random.random());
    machine.write(0x40_0000, &noise);
    let mut budget = crate::locate::Budget::for_memory(RAM as u64);
    for _ in 0..2000 {
        let at = PhysAddr(random.random_range(0x3f_0000..0x51_0000) & !3);
        assert!(kallsyms::claim(&machine, at, &mut budget).is_none());
    }
}
