//! The results of a run, as lines and tables.

use std::collections::BTreeMap;
use std::time::Duration;

use super::job::Outcome;

/// The number of slowest tests that are listed.
const SLOWEST: usize = 20;

/// Prints the result of one test with its notes, while other tests still run.
pub(super) fn line(outcome: &Outcome, n: usize, all: usize) {
    let Outcome { name, took, failure, notes, .. } = outcome;
    let what = if failure.is_some() { "FAILED" } else { "ok" };
    let mut text = format!("{n:>4}/{all}  {what:<7}{:>6.1} s  {name}", took.as_secs_f32());
    for note in notes {
        text += &format!("\n{:<26}{note}", "");
    }
    if let Some(why) = failure {
        text += &format!("\n{why}\n");
    }
    println!("{text}");
}

/// Prints where the time went, and what failed.
pub(super) fn print(outcomes: &[Outcome], elapsed: Duration) {
    let mut by_time: Vec<&Outcome> = outcomes.iter().collect();
    by_time.sort_by_key(|it| std::cmp::Reverse(it.took));
    println!("\nslowest tests{:>9}", "seconds");
    for outcome in by_time.iter().take(SLOWEST) {
        println!("{:>22.1}  {}", outcome.took.as_secs_f32(), outcome.name);
    }
    let mut groups: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for outcome in outcomes {
        let group = groups.entry(&outcome.group).or_default();
        *group = (group.0 + outcome.passed, group.1 + outcome.took);
    }
    println!("\n{:<20}{:>8}{:>10}", "group", "passed", "seconds");
    for (group, (passed, took)) in groups {
        println!("{group:<20}{passed:>8}{:>10.1}", took.as_secs_f32());
    }
    let passed: usize = outcomes.iter().map(|it| it.passed).sum();
    let failed: Vec<_> = outcomes.iter().filter(|it| it.failure.is_some()).collect();
    println!("\nall tests together, {elapsed:.0?}:");
    for outcome in &failed {
        let why = outcome.failure.as_deref().unwrap_or_default();
        println!("FAILED  {}\n{why}\n", outcome.name);
    }
    println!("{passed} passed, {} failed", failed.len());
}
