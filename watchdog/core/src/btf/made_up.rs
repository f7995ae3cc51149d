//! Type information for tests, encoded from the format's documentation: sound, and hostile. The
//! seeds of the fuzz targets use this file by its path.

use std::collections::BTreeMap;

/// The `BTF_KIND_*` that are made here.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const CONST: u32 = 10;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
}

/// A builder of BTF, which follows the format's documentation.
#[derive(Default)]
pub(crate) struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    pub(crate) fn string(&mut self, text: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.bytes());
        self.strings.push(0);
        at
    }

    pub(crate) fn add(
        &mut self,
        name: &str,
        kind: u32,
        size: u32,
        count: u32,
        body: &[u32],
    ) -> u32 {
        let name = self.string(name);
        self.named(name, kind, size, count, body)
    }

    /// Adds a type, by the offset of its name in the strings.
    pub(crate) fn named(
        &mut self,
        name: u32,
        kind: u32,
        size: u32,
        count: u32,
        body: &[u32],
    ) -> u32 {
        for word in [name, kind << 24 | count, size].iter().chain(body) {
            self.types.extend(word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn structure(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) -> u32 {
        let body: Vec<u32> = members
            .iter()
            .flat_map(|&(name, of, bytes)| [self.string(name), of, bytes * 8])
            .collect();
        self.add(name, kind, 64, members.len() as u32, &body)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend(u32::to_le_bytes(word));
        }
        [bytes, self.types, self.strings].concat()
    }

    /// The same, with the sizes of each kind (`struct btf_layout`, since 7.3).
    #[cfg(test)]
    pub(crate) fn finish_with(self, layouts: &[[u8; 4]]) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let layouts = layouts.concat();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [32, 0, types, types, strings, types + strings, layouts.len() as u32] {
            bytes.extend(u32::to_le_bytes(word));
        }
        [bytes, self.types, self.strings, layouts].concat()
    }
}

/// A few types of each kind that lookups find.
pub(crate) fn example() -> Vec<u8> {
    let mut btf = Builder::default();
    let long = btf.add("long", kind::INT, 8, 0, &[64]);
    let pointer = btf.add("", kind::PTR, long, 0, &[]);
    let path = btf.structure("path", kind::STRUCT, &[("mnt", pointer, 0), ("dentry", pointer, 8)]);
    let constant = btf.add("", kind::CONST, path, 0, &[]);
    let union = btf.structure("", kind::UNION, &[("f_path", constant, 0), ("raw", long, 0)]);
    btf.structure("file", kind::STRUCT, &[("f_inode", pointer, 32), ("", union, 40)]);
    btf.structure("twice", kind::STRUCT, &[("x", long, 0)]);
    btf.structure("twice", kind::STRUCT, &[("x", long, 8)]);
    let prototype = btf.add("", kind::FUNC_PROTO, long, 2, &[0, long, 0, pointer]);
    btf.add("rw_verify_area", kind::FUNC, prototype, 0, &[]);
    let names = ["NONE", "KEXEC", "BELOW"].map(|name| btf.string(name));
    let [none, kexec, below] = names;
    btf.add("reason", kind::ENUM, 4, 3, &[none, 0, kexec, 4, below, u32::MAX]);
    btf.finish()
}

type Make = fn(&mut Builder);

/// Hostile type information; each name says what is wrong.
pub(crate) fn hostile() -> BTreeMap<&'static str, Vec<u8>> {
    let made: [(&str, Make); 4] = [
        // Each level has 64 unnamed members of the level below: 64^16 paths.
        ("anonymous-in-anonymous", |btf| {
            let mut below = btf.add("int", kind::INT, 4, 0, &[32]);
            for level in 0..16 {
                let name = if level == 15 { "module" } else { "" };
                below = btf.structure(name, kind::STRUCT, &[("", below, 0); 64]);
            }
        }),
        // One string without an end. The name of each type begins a byte later in it.
        ("names-without-end", |btf| {
            btf.strings = [vec![0], vec![b'm'; 71_000]].concat();
            for name in 1..5_900_u32 {
                btf.named(name, kind::STRUCT, 64, 0, &[]);
            }
        }),
        ("types-of-themselves", |btf| {
            // Type 1 is a type definition of itself, type 2 an array of itself.
            btf.add("loop", kind::TYPEDEF, 1, 0, &[]);
            btf.add("", kind::ARRAY, 0, 0, &[2, 2, u32::MAX]);
            let members = [("name", 1, 0), ("name", 2, 0), ("", 3, 0)];
            btf.structure("module", kind::STRUCT, &members);
            btf.add("module", kind::FUNC, 4, 0, &[]);
        }),
        ("types-that-are-not-there", |btf| {
            let members = [("name", 1_000, 0), ("", u32::MAX, 8)];
            btf.structure("module", kind::STRUCT, &members);
            btf.add("module", kind::FUNC, u32::MAX, 0, &[]);
            btf.named(u32::MAX, kind::STRUCT, u32::MAX, 0, &[]);
        }),
    ];
    let finished = made.into_iter().map(|(name, make)| {
        let mut btf = Builder::default();
        make(&mut btf);
        (name, btf.finish())
    });
    finished.collect()
}
