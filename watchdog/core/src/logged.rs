//! Collects log lines, for tests.

use std::cell::RefCell;
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};

thread_local! {
    /// The lines that this thread logged, while it collects them.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Collector;

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        LINES.with_borrow(Option::is_some)
    }

    fn log(&self, record: &Record<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(format!("{} {}", record.target(), record.args()));
            }
        });
    }

    fn flush(&self) {}
}

/// Runs `act` and returns the lines that this thread logged at debug level and above, each after
/// its target.
pub(crate) fn logged(act: impl FnOnce()) -> Vec<String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Collector).expect("the tests have no other logger");
        log::set_max_level(LevelFilter::Debug);
    });
    LINES.set(Some(Vec::new()));
    act();
    LINES.take().unwrap_or_default()
}
