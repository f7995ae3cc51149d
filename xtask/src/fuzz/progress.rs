//! Reads the output of libFuzzer.

/// The output of one process so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Inputs run.
    pub(super) runs: u64,
    /// Edges of the program that were reached.
    pub(super) coverage: u64,
    /// Features: edges with their counts, and comparisons with their progress.
    pub(super) features: u64,
    /// Inputs in the corpus, each with a feature that no other has.
    pub(super) corpus: u64,
    /// The output about a failure, and the path of the failed input.
    pub(super) failure: Vec<String>,
    /// The file that the process is replaying.
    replaying: Option<String>,
    /// Whether lines of a panic's message still follow.
    panicking: bool,
}

impl Progress {
    /// Reads one line.
    pub(super) fn hear(&mut self, line: &str) {
        let starts = |start: &str| line.starts_with(start);
        if starts("#") {
            self.status(line);
        } else if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().unwrap_or(self.runs);
        } else if let Some(file) = line.strip_prefix("Running: ") {
            self.replaying = Some(file.to_owned());
        } else if starts("thread ") && line.contains(" panicked at ") {
            self.panicking = true;
            self.fail(line);
        } else if starts("stack backtrace:") || starts("note: run with") || starts("==") {
            self.panicking = false;
            if line.contains(" ERROR: ") {
                self.fail(line);
            }
        } else if self.panicking || line.contains("Test unit written to ") {
            self.fail(line);
        }
    }

    fn fail(&mut self, line: &str) {
        if let Some(file) = self.replaying.take() {
            self.failure.push(format!("replaying {file}:"));
        }
        self.failure.push(line.to_owned());
    }

    /// `#4096  pulse  cov: 1416 ft: 3869 corp: 141/98Kb lim: 4096 exec/s: 409 rss: 98Mb`.
    fn status(&mut self, line: &str) {
        let mut words = line.trim_start_matches('#').split_whitespace();
        let number = |word: Option<&str>| word?.split('/').next()?.parse().ok();
        self.runs = number(words.next()).unwrap_or(self.runs);
        while let Some(word) = words.next() {
            let field = match word {
                "cov:" => &mut self.coverage,
                "ft:" => &mut self.features,
                "corp:" => &mut self.corpus,
                _ => continue,
            };
            *field = number(words.next()).unwrap_or(*field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Progress {
        let mut progress = Progress::default();
        lines.iter().for_each(|line| progress.hear(line));
        progress
    }

    /// Check that the figures of status lines and of the final count of runs are read.
    #[test]
    fn figures() {
        let progress = heard(&[
            "INFO: Seed: 1",
            "#12\tINITED cov: 9 ft: 10 corp: 2/2b exec/s: 0 rss: 51Mb",
            "#4096\tpulse  cov: 1416 ft: 3869 corp: 141/98Kb lim: 4096 exec/s: 409 rss: 98Mb",
            "stat::number_of_executed_units: 5000",
        ]);
        let figures = (progress.runs, progress.coverage, progress.features, progress.corpus);
        assert_eq!(figures, (5000, 1416, 3869, 141));
        assert_eq!(progress.failure, [""; 0]);
    }

    /// Check that the replayed file, the message and the path of the input are stored for a
    /// failure, and that traces are dropped.
    #[test]
    fn failures() {
        let progress = heard(&[
            "Running: seeds/locate/good",
            "Running: seeds/locate/bad",
            "thread '<unnamed>' (7) panicked at src/check.rs:32:5:",
            "the text is elsewhere",
            "stack backtrace:",
            "   0: rust_begin_unwind",
            "==7== ERROR: libFuzzer: deadly signal",
            "    #0 0x5585d3945bc1 in __sanitizer_print_stack_trace",
            "artifact_prefix='artifacts/'; Test unit written to artifacts/crash-1",
        ]);
        let expected = [
            "replaying seeds/locate/bad:",
            "thread '<unnamed>' (7) panicked at src/check.rs:32:5:",
            "the text is elsewhere",
            "==7== ERROR: libFuzzer: deadly signal",
            "artifact_prefix='artifacts/'; Test unit written to artifacts/crash-1",
        ];
        assert_eq!(progress.failure, expected);
    }
}
