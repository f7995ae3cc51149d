//! Modules packed into the initramfs: `/modules/SET/NN-NAME.ko`, in the order
//! in which they must be loaded, dependencies first.

use std::{ffi::CString, fs, fs::File, path::Path};

use anyhow::{Context, Result};
use rustix::{
    io::Errno,
    system::{delete_module, finit_module},
};

/// Loads a set of modules. The parameters go to its last module, after which the set is named. A
/// dependency that is already loaded is not an error.
pub(crate) fn load(set: &str, parameters: &str) -> Result<()> {
    let directory = Path::new("/modules").join(set);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .with_context(|| format!("the initramfs holds no modules for `{set}`"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let Some((last, dependencies)) = files.split_last() else { return Ok(()) };
    for file in dependencies {
        match insert(file, "") {
            Err(error) if error.downcast_ref() == Some(&Errno::EXIST) => {}
            outcome => outcome?,
        }
    }
    insert(last, parameters)
}

/// Unloads a module.
pub(crate) fn unload(name: &str) -> Result<()> {
    delete_module(CString::new(name)?.as_c_str(), libc::O_NONBLOCK)
        .with_context(|| format!("cannot unload module {name}"))
}

fn insert(file: &Path, parameters: &str) -> Result<()> {
    let module = File::open(file)?;
    finit_module(&module, CString::new(parameters)?.as_c_str(), 0)
        .with_context(|| format!("cannot load module {}", file.display()))
}
