//! Names of addresses, from the kernel's own symbol table.

use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};

/// Returns the functions that contain these addresses, each as `name+0x12`. An address below all
/// symbols gets `?`.
pub(crate) fn of(addresses: &[u64]) -> Result<Vec<String>> {
    let table = File::open("/proc/kallsyms").context("cannot open /proc/kallsyms")?;
    let mut nearest = vec![(0, String::from("?")); addresses.len()];
    for line in BufReader::new(table).lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (Some(at), Some("t" | "T" | "w" | "W"), Some(name)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let at = u64::from_str_radix(at, 16).context("/proc/kallsyms has no address")?;
        for (address, best) in addresses.iter().zip(&mut nearest) {
            if at <= *address && at > best.0 {
                *best = (at, name.to_owned());
            }
        }
    }
    let named = addresses.iter().zip(nearest);
    Ok(named.map(|(address, (at, name))| format!("{name}+{:#x}", address - at)).collect())
}
