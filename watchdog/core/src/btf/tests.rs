//! Type information that is encoded from the format's documentation.

use super::*;

/// BTF in the making, encoded from the format's documentation.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    fn string(&mut self, text: &str) -> u32 {
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

    fn add(&mut self, name: &str, kind: u32, size: u32, count: u32, body: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, kind << 24 | count, size].iter().chain(body) {
            self.types.extend(word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    fn structure(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) -> u32 {
        let body: Vec<u32> = members
            .iter()
            .flat_map(|&(name, of, bytes)| [self.string(name), of, bytes * 8])
            .collect();
        self.add(name, kind, 64, members.len() as u32, &body)
    }

    fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend(u32::to_le_bytes(word));
        }
        [bytes, self.types, self.strings].concat()
    }
}

fn example() -> Vec<u8> {
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

/// Check that fields are found through qualifiers, anonymous unions and nested structures.
#[test]
fn fields() {
    let btf = Btf::parse(example()).unwrap();
    assert_eq!(btf.offset("file", "f_inode", 8), Ok(32));
    assert_eq!(btf.offset("file", "f_path.dentry", 8), Ok(48));
}

/// Check that a field that is missing, ambiguous or of another size is refused by name.
#[test]
fn refusals() {
    let btf = Btf::parse(example()).unwrap();
    let error = |name: &str, field: &str, size| btf.offset(name, field, size).unwrap_err();
    assert!(matches!(error("inode", "i_rdev", 4), BtfError::NoStruct(_)));
    assert!(matches!(error("file", "f_mode", 4), BtfError::NoField(..)));
    assert!(matches!(error("file", "f_inode", 4), BtfError::Size(_, _, 8, 4)));
    assert!(matches!(error("twice", "x", 8), BtfError::Ambiguous(..)));
}

/// Check that a structure's size is held against every one of its name.
#[test]
fn sizes() {
    let mut btf = Builder::default();
    btf.add("page", kind::STRUCT, 64, 0, &[]);
    btf.add("twice", kind::STRUCT, 64, 0, &[]);
    btf.add("twice", kind::STRUCT, 80, 0, &[]);
    let btf = Btf::parse(btf.finish()).unwrap();
    assert_eq!(btf.check_size("page", 64), Ok(()));
    assert!(matches!(btf.check_size("page", 56), Err(BtfError::Whole(_, 64, 56))));
    assert!(matches!(btf.check_size("twice", 64), Err(BtfError::Whole(_, 80, 64))));
    assert!(matches!(btf.check_size("folio", 64), Err(BtfError::NoStruct(_))));
}

/// Check that a function's existence and the number of its parameters are seen.
#[test]
fn functions() {
    let btf = Btf::parse(example()).unwrap();
    assert_eq!(btf.check_function("rw_verify_area", 2), Ok(()));
    assert!(matches!(btf.check_function("rw_verify_area", 4), Err(BtfError::Parameters(_, 2, 4))));
    assert!(matches!(btf.check_function("mmap_mem", 2), Err(BtfError::NoFunction(_))));
}

/// Check that values of an enumeration are found by name, signed ones as well, and that others are
/// refused.
#[test]
fn enumerators() {
    let btf = Btf::parse(example()).unwrap();
    assert_eq!(btf.enumerator("reason", "KEXEC"), Ok(4));
    assert_eq!(btf.enumerator("reason", "BELOW"), Ok(-1));
    for (name, member) in [("reason", "MSR"), ("other", "KEXEC"), ("file", "KEXEC")] {
        assert_eq!(btf.enumerator(name, member), Err(BtfError::Enumerator(name, member)));
    }
}

/// Check that BTF cut off anywhere, or with any byte changed, never panics.
#[test]
fn damage() {
    let sound = example();
    for cut in 0..sound.len() {
        let _ = Btf::parse(sound[..cut].to_vec()).map(|btf| btf.offset("file", "raw", 8));
    }
    for at in 0..sound.len() {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(btf) = Btf::parse(bytes) {
                let _ = btf.offset("file", "f_path.dentry", 8);
                let _ = btf.check_function("rw_verify_area", 2);
                let _ = btf.enumerator("reason", "KEXEC");
            }
        }
    }
}
