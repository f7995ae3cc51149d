//! The configuration file, `/etc/watchdog/watchdog.toml`.

mod allow;
#[cfg(test)]
mod documented;
mod file;
mod guard;
#[cfg(test)]
mod keys;
mod nodes;
mod period;
mod replaced;

pub use allow::AllowedCause;
pub use file::{Config, ConfigError, DEFAULT_PATH};
pub use guard::GuardSection;
pub use nodes::NodeSection;
pub use period::parse_period;
