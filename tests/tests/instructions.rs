//! The overhead of the guard in instructions: equal to the record, on every host.

use anyhow::{Result, ensure};
use watchdog_tests::instructions::{Counts, State, compare, count, on_record};

/// Check that calls and work without protected memory take the recorded number of instructions:
/// without the guard, with it, and with an audit rule instead.
///
/// Also check that the guard adds less to opening, mapping and protecting than the audit rule does.
fn as_on_record(kernel: &str) -> Result<()> {
    let (release, counts) = count(kernel)?;
    for ((what, state), instructions) in &counts {
        if *state == State::Guard {
            let added = |state| added(&counts, what, state);
            let (guard, audit) = (added(State::Guard), added(State::Audit));
            println!("note: {what:<32}{instructions:>12.0}, guard +{guard:.0}, audit +{audit:.0}");
        }
    }
    for call in ["open+close", "mmap+munmap, a page of a file", "mprotect, a page of a file"] {
        let (guard, audit) =
            (added(&counts, call, State::Guard), added(&counts, call, State::Audit));
        ensure!(guard < audit, "{call}: the guard adds {guard:.0}, the audit rule {audit:.0}");
    }
    match on_record(&release)? {
        Some(record) => compare(&counts, &record),
        None => {
            println!(
                "note: {release} is not on record; `cargo xtask bench --instructions` has its \
                 figures"
            );
            Ok(())
        }
    }
}

fn added(counts: &Counts, what: &str, state: State) -> f64 {
    let of = |state| counts.get(&(what.to_owned(), state)).copied().unwrap_or(f64::NAN);
    of(state) - of(State::Off)
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn of_6_1() -> Result<()> {
    as_on_record("6.1")
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn of_6_12() -> Result<()> {
    as_on_record("6.12")
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn of_7_2() -> Result<()> {
    as_on_record("7.2")
}
