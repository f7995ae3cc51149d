//! The write paths. Each has a file with one constant: everything that the guard knows about it.
//!
//! The list in `watchdog-common` declares the modules. A path that is not in the list, or that has
//! no file, does not compile.

mod attempt_detail;
mod calls;
#[cfg(test)]
mod documents;
mod guard_path;
mod test_context;
mod write_path;

pub(super) use attempt_detail::AttemptDetail;
pub(super) use guard_path::WithoutLsm;
pub(super) use test_context::TestContext;
pub use write_path::WritePath;

macro_rules! modules {
    ($($(#[$doc:meta])* $module:ident $number:ident $variant:ident = $value:literal,)+) => {
        $(mod $module;)+
    };
}
watchdog_common::paths!(modules);
