//! No circle of files: each crate's files, and the names that they use from one another.
//!
//! An arrow leads from a file to the file that defines a name it uses, through re-exports. A pure
//! re-export (`pub use`) in a `mod.rs` or `lib.rs` makes no arrow. Test modules are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// A module's path from the crate's root.
type Module = Vec<String>;

/// Maximum length of a chain of re-exports.
const LONGEST_CHAIN: usize = 16;

/// A crate's modules, each with its file and its names.
#[derive(Default)]
pub(crate) struct House {
    modules: BTreeMap<Module, Room>,
}

struct Room {
    file: PathBuf,
    /// Names in scope, and the absolute paths that they stand for.
    names: BTreeMap<String, Vec<String>>,
    /// Absolute paths that the module's code uses.
    uses: BTreeSet<Vec<String>>,
}

impl House {
    /// Reads a crate from its root file.
    pub(crate) fn read(root: &Path) -> Self {
        let mut house = Self::default();
        house.enter(root, root.parent().expect("a folder"), Vec::new());
        house
    }

    /// Reads a module's file, and the modules that it declares.
    fn enter(&mut self, file: &Path, folder: &Path, module: Module) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let tree = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut reader =
            Reader { module: module.clone(), names: BTreeMap::new(), uses: BTreeSet::new() };
        reader.visit_file(&tree);
        let mut names = BTreeSet::new();
        let mut tests = BTreeSet::new();
        for item in &tree.items {
            let syn::Item::Mod(it) = item else { continue };
            if it.content.is_some() {
                continue;
            }
            let kind = if is_for_tests(&it.attrs) { &mut tests } else { &mut names };
            kind.insert(it.ident.to_string());
        }
        // A macro may declare modules as well: every file beside a `mod.rs` is one.
        if file.ends_with("mod.rs") {
            names.extend(files_of_modules(folder).filter(|name| !tests.contains(name)));
        }
        for name in names {
            let inner = [module.clone(), vec![name.clone()]].concat();
            let one = folder.join(format!("{name}.rs"));
            let file = if one.exists() { one } else { folder.join(&name).join("mod.rs") };
            self.enter(&file, &folder.join(&name), inner);
        }
        let room = Room { file: file.to_owned(), names: reader.names, uses: reader.uses };
        self.modules.insert(module, room);
    }

    /// Returns the module that defines the name with this absolute path.
    fn home(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        for _ in 0..LONGEST_CHAIN {
            let depth =
                (0..=path.len()).rev().find(|at| self.modules.contains_key(&path[..*at]))?;
            let (module, rest) = path.split_at(depth);
            let Some((name, after)) = rest.split_first() else { return Some(module.to_vec()) };
            match self.modules[module].names.get(name) {
                Some(target) => path = [target.as_slice(), after].concat(),
                None => return Some(module.to_vec()),
            }
        }
        None
    }

    /// Returns the arrows between files, with one of the names behind each.
    pub(crate) fn arrows(&self) -> BTreeMap<PathBuf, BTreeMap<PathBuf, String>> {
        let mut arrows: BTreeMap<PathBuf, BTreeMap<PathBuf, String>> = BTreeMap::new();
        for room in self.modules.values() {
            let own = arrows.entry(room.file.clone()).or_default();
            for path in &room.uses {
                let Some(home) = self.home(path) else { continue };
                let target = &self.modules[&home].file;
                if *target != room.file {
                    own.insert(target.clone(), path.join("::"));
                }
            }
        }
        arrows
    }

    /// Returns every circle: the files that lead to one another, with the arrows among them.
    pub(crate) fn circles(&self) -> Vec<String> {
        let arrows = self.arrows();
        let reach: BTreeMap<_, _> = arrows.keys().map(|it| (it, reachable(&arrows, it))).collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for (file, reached) in &reach {
            let ring: BTreeSet<_> =
                reached.iter().filter(|it| reach[*it].contains(*file)).collect();
            if !reached.contains(*file) || seen.contains(*file) {
                continue;
            }
            let arrow = |from: &&PathBuf| {
                let to = arrows[*from].iter().filter(|(to, _)| ring.contains(to));
                to.map(|(to, name)| format!("\n  {} -> {}: {name}", from.display(), to.display()))
                    .collect::<String>()
            };
            circles.push(format!(
                "{} files{}",
                ring.len(),
                ring.iter().map(arrow).collect::<String>()
            ));
            seen.extend(ring.into_iter().cloned());
        }
        circles
    }
}

/// Returns the names of the modules that have a file in a folder, without the folder's own module.
fn files_of_modules(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned())).filter(|it| it != "mod")
}

/// Returns all files that can be reached from a file by arrows.
fn reachable(
    arrows: &BTreeMap<PathBuf, BTreeMap<PathBuf, String>>,
    from: &PathBuf,
) -> BTreeSet<PathBuf> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        next.extend(arrows[file].keys().filter(|to| reached.insert((*to).clone())));
    }
    reached
}

/// Returns whether an item is compiled only for tests.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|it| {
        it.path().is_ident("cfg") && it.parse_args::<syn::Ident>().is_ok_and(|it| it == "test")
    })
}

/// Collects the names in scope of a module, and the paths that it uses.
struct Reader {
    module: Module,
    names: BTreeMap<String, Vec<String>>,
    uses: BTreeSet<Vec<String>>,
}

impl Reader {
    /// Returns the path from the crate's root for a path as written; `None` if it leads to another
    /// crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([self.module.as_slice(), rest].concat()),
            "super" => {
                let above = self.module.split_last().map(|(_, above)| above.to_vec())?;
                let (above, rest) = rest.iter().fold((above, rest), |(above, rest), word| {
                    match above.split_last() {
                        Some((_, higher)) if word == "super" => (higher.to_vec(), &rest[1..]),
                        _ => (above, rest),
                    }
                });
                Some([above.as_slice(), rest].concat())
            }
            name => {
                let known = self.names.get(name).map(|it| [it.as_slice(), rest].concat());
                // A child module, or a name of another crate, which no module of this crate has.
                known.or_else(|| Some([self.module.as_slice(), path].concat()))
            }
        }
    }

    /// Collects the leaves of a `use`.
    fn leaves(&mut self, tree: &syn::UseTree, before: &[String], is_handed_on: bool) {
        match tree {
            syn::UseTree::Path(it) => {
                self.leaves(&it.tree, &[before, &[it.ident.to_string()]].concat(), is_handed_on);
            }
            syn::UseTree::Group(it) => {
                it.items.iter().for_each(|tree| self.leaves(tree, before, is_handed_on));
            }
            syn::UseTree::Name(it) => self.leaf(before, &it.ident, &it.ident, is_handed_on),
            syn::UseTree::Rename(it) => self.leaf(before, &it.ident, &it.rename, is_handed_on),
            syn::UseTree::Glob(_) => {
                let path = self.absolute(before);
                self.uses.extend(path.filter(|_| !is_handed_on));
            }
        }
    }

    fn leaf(
        &mut self,
        before: &[String],
        name: &syn::Ident,
        known: &syn::Ident,
        is_handed_on: bool,
    ) {
        let path = match name.to_string().as_str() {
            "self" => before.to_vec(),
            name => [before, &[name.to_owned()]].concat(),
        };
        let known = if name == "self" { before.last().cloned() } else { Some(known.to_string()) };
        let (Some(path), Some(known)) = (self.absolute(&path), known) else { return };
        if !is_handed_on {
            self.uses.insert(path.clone());
        }
        self.names.insert(known, path);
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item_mod(&mut self, it: &'a syn::ItemMod) {
        if !is_for_tests(&it.attrs) {
            visit::visit_item_mod(self, it);
        }
    }

    fn visit_item_use(&mut self, it: &'a syn::ItemUse) {
        // Whether the module re-exports the names.
        let is_handed_on =
            matches!(it.vis, syn::Visibility::Public(_) | syn::Visibility::Restricted(_));
        self.leaves(&it.tree, &[], is_handed_on);
    }

    fn visit_path(&mut self, it: &'a syn::Path) {
        let words: Vec<_> = it.segments.iter().map(|it| it.ident.to_string()).collect();
        if words.len() > 1 {
            self.uses.extend(self.absolute(&words));
        }
        visit::visit_path(self, it);
    }
}
