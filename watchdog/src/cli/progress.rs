//! Progress on a terminal; silence elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shorter work shows no bar.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// A bar for the search through memory. It appears when the search takes long.
pub(super) struct Progress {
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar that is not shown yet.
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), bar: None }
    }

    /// Updates the bar: `done` of `total` bytes are searched.
    pub(super) fn update(&mut self, done: u64, total: u64) {
        if self.begun.elapsed() < SHOW_AFTER || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("searching memory  {bar:30}  {bytes}/{total_bytes}");
            let bar = ProgressBar::new(total);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
