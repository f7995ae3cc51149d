//! Kernels of one's own configuration, which `cargo xtask kernels` builds from Debian's sources.

/// The start of their names in the cache.
pub const PREFIX: &str = "own-";

/// A kernel of one's own configuration.
#[derive(Clone, Copy, Debug)]
pub struct OwnKernel {
    /// The name in the cache: [`PREFIX`], the version, and the sort.
    pub name: &'static str,
    /// The suite whose source package it is built from.
    pub suite: &'static str,
    /// The version in the name of that package.
    pub version: &'static str,
    /// Whether clang builds it. Debian's compiler builds the others.
    pub clang: bool,
    /// What all kernels of this version have, on top of [`COMMON`]: options change their names.
    pub series: &'static str,
    /// What this one has on top, in an otherwise empty configuration.
    pub fragment: &'static str,
}

/// What all of them have.
const COMMON: &str = include_str!("../own-kernels/common.config");
/// What those of 6.12 have.
const SERIES_6_12: &str = include_str!("../own-kernels/6.12.config");

/// All of them.
pub const OWN_KERNELS: [OwnKernel; 4] = [
    OwnKernel {
        name: "own-5.10-long",
        suite: "bullseye",
        version: "5.10",
        clang: false,
        series: include_str!("../own-kernels/5.10.config"),
        fragment: include_str!("../own-kernels/5.10-long.config"),
    },
    OwnKernel {
        name: "own-6.12-noall",
        suite: "bookworm",
        version: "6.12",
        clang: false,
        series: SERIES_6_12,
        fragment: include_str!("../own-kernels/6.12-noall.config"),
    },
    OwnKernel {
        name: "own-6.12-nosyms",
        suite: "bookworm",
        version: "6.12",
        clang: false,
        series: SERIES_6_12,
        fragment: include_str!("../own-kernels/6.12-nosyms.config"),
    },
    OwnKernel {
        name: "own-6.12-cfi",
        suite: "bookworm",
        version: "6.12",
        clang: true,
        series: SERIES_6_12,
        fragment: include_str!("../own-kernels/6.12-cfi.config"),
    },
];

impl OwnKernel {
    /// The whole fragment of a configuration. The release ends with the kernel's sort.
    #[must_use]
    pub fn configuration(&self) -> String {
        let sort = self.name.rsplit('-').next().unwrap_or(self.name);
        let Self { series, fragment, .. } = self;
        format!("{COMMON}{series}{fragment}CONFIG_LOCALVERSION=\"-{PREFIX}{sort}\"\n")
    }
}

/// The kernels of these names, or all where there are none.
///
/// # Errors
/// A sentence with the names that exist.
pub fn named(names: &[String]) -> Result<Vec<OwnKernel>, String> {
    if names.is_empty() {
        return Ok(OWN_KERNELS.to_vec());
    }
    let find = |name: &String| {
        let is_it = |it: &&OwnKernel| it.name == name || it.name == format!("{PREFIX}{name}");
        OWN_KERNELS.iter().find(is_it).copied().ok_or_else(|| {
            let all = OWN_KERNELS.map(|it| it.name).join(", ");
            format!("there is no own configuration `{name}`; there are {all}")
        })
    };
    names.iter().map(find).collect()
}

/// The lines of a fragment that a configuration does not fulfil. A `=n` is fulfilled by silence.
#[must_use]
pub fn unfulfilled<'a>(fragment: &'a str, configuration: &str) -> Vec<&'a str> {
    let has = |line: &str| configuration.lines().any(|it| it == line);
    let is_set = |option: &str| {
        let set = format!("{option}=");
        configuration.lines().any(|line| line.starts_with(&set))
    };
    let asked = fragment.lines().filter(|line| line.starts_with("CONFIG_"));
    asked
        .filter(|line| match line.strip_suffix("=n") {
            Some(option) => is_set(option),
            None => !has(line),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that names follow the version and the sort, and that no option is set twice.
    #[test]
    fn names_and_fragments() {
        for kernel in OWN_KERNELS {
            assert!(kernel.name.starts_with(&format!("{PREFIX}{}-", kernel.version)), "{kernel:?}");
            let configuration = kernel.configuration();
            let mut options: Vec<_> = configuration.lines().filter_map(option).collect();
            let all = options.len();
            options.sort_unstable();
            options.dedup();
            assert_eq!(options.len(), all, "{}", kernel.name);
        }
        assert_eq!(named(&["6.12-cfi".to_owned()]).map(|it| it[0].clang), Ok(true));
        assert!(named(&["6.12".to_owned()]).is_err_and(|why| why.contains("own-6.12-noall")));
        assert_eq!(named(&[]).map(|all| all.len()), Ok(OWN_KERNELS.len()));
    }

    fn option(line: &str) -> Option<&str> {
        line.split_once('=').map(|(option, _)| option).filter(|it| it.starts_with("CONFIG_"))
    }

    /// Check that an option that a dependency switched off or on is found.
    #[test]
    fn dependencies_speak() {
        let fragment = "# text\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_C=n\nCONFIG_D=\"x\"\n";
        let made = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D=\"y\"\n";
        assert_eq!(unfulfilled(fragment, made), ["CONFIG_C=n", "CONFIG_D=\"x\""]);
    }
}
