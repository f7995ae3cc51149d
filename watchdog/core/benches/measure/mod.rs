//! Runs jobs in turn, and prints their median times and ratios to a reference.

use std::time::{Duration, Instant};

const ROUNDS: usize = 21;

/// The median time of each job. The jobs run in turn.
pub(crate) fn medians<const N: usize>(mut jobs: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (job, times) in jobs.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            job();
            times.push(begun.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    })
}

/// Prints one line: the time, the rate, and the ratio to the reference.
pub(crate) fn show(what: &str, took: Duration, known: Duration, bytes: u64) {
    let rate = bytes as f64 / took.as_secs_f64() / 1e9;
    let ratio = took.as_secs_f64() / known.as_secs_f64();
    println!("{what:<48} {took:>9.2?}  {rate:6.2} GB/s  ratio {ratio:.2}");
}
