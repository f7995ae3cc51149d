//! A livepatch module, made for one kernel, since no distribution ships one to load.
//!
//! It replaces [`FUNCTION`] with one that returns 0. Of the kernel's structures it needs only the
//! first fields, which have not changed since 4.0 (include/linux/livepatch.h). The fields after
//! them are zero, as in a patch that sets nothing else.

use anyhow::Result;

use crate::kernel::Kernel;
use crate::module::{Code, Module};

/// The module's name.
pub const NAME: &str = "watchdog_livepatch";
/// The replaced function. It prints `/proc/cmdline`, which is empty while the livepatch is on.
pub const FUNCTION: &str = "cmdline_proc_show";

/// More bytes than the structures have. Arrays end at an element of zeros, whatever its size.
const ROOM: [u8; 0x1000] = [0; 0x1000];

/// Makes the module for this kernel.
///
/// # Errors
/// If the kernel has no module to copy from, or one in an unknown format.
pub fn module(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut module = Module::new(kernel, NAME, &["livepatch=Y"])?;
    let this = module.this();
    let enable = module.import("klp_enable_patch");
    let replacement = module.function("replacement", &Code::entry().return_zero())?;
    let patch = module.data("patch", &ROOM);
    let objects = module.data("objects", &ROOM);
    let functions = module.data("functions", &ROOM);
    let name = module.data("function_name", format!("{FUNCTION}\0").as_bytes());
    // `struct klp_patch`: mod, objs. `struct klp_object`: name (NULL for the kernel itself), funcs.
    // `struct klp_func`: old_name, new_func.
    module.point(patch, 0, this)?;
    module.point(patch, 8, objects)?;
    module.point(objects, 8, functions)?;
    module.point(functions, 0, name)?;
    module.point(functions, 8, replacement)?;
    let init = Code::entry().first_argument(patch).tail_call(enable);
    module.finish(&init, &Code::entry().bytes(b"\xc3"))
}
