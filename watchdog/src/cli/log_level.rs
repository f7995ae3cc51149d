//! The log on standard error.

/// The variable of the environment that sets the log's level. It overrides `-v`.
pub const LOG_VARIABLE: &str = "WATCHDOG_LOG";

/// The log's level without the variable. With `-v`, the log also has each decision of the
/// watchdog's own crates, whose names all begin with `watchdog`.
#[must_use]
pub const fn usual_log(is_debug: bool) -> &'static str {
    if is_debug { "warn,watchdog=debug" } else { "warn" }
}
