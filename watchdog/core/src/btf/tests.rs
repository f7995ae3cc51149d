//! Tests of type information that is encoded from the format's documentation.

use super::made_up::{Builder, example, hostile};
use super::*;

/// Check that fields are found through qualifiers, anonymous unions and nested structures.
#[test]
fn fields() {
    let btf = Btf::parse(example()).unwrap();
    assert_eq!(btf.offset("file", "f_inode", 8), Ok(32));
    assert_eq!(btf.offset("file", "f_path.dentry", 8), Ok(48));
}

/// Check that a missing or ambiguous field, and one of another size, has its own error.
#[test]
fn refusals() {
    let btf = Btf::parse(example()).unwrap();
    let error = |name: &str, field: &str, size| btf.offset(name, field, size).unwrap_err();
    assert!(matches!(error("inode", "i_rdev", 4), BtfError::NoStruct(_)));
    assert!(matches!(error("file", "f_mode", 4), BtfError::NoField(..)));
    assert!(matches!(error("file", "f_inode", 4), BtfError::Size(_, _, 8, 4)));
    assert!(matches!(error("twice", "x", 8), BtfError::Ambiguous(..)));
}

/// Check that a size is compared with every structure of a name.
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

/// Check that a type of an unknown kind is skipped if its size is stated. Otherwise the types
/// before it are known, and those behind it are missing.
#[test]
fn unknown_kinds() {
    let made = || {
        let mut btf = Builder::default();
        let long = btf.add("long", kind::INT, 8, 0, &[64]);
        btf.structure("before", kind::STRUCT, &[("x", long, 8)]);
        btf.add("new", 20, 0, 2, &[1, 2, 3]);
        btf.structure("behind", kind::STRUCT, &[("x", long, 16)]);
        btf
    };
    let stops = Btf::parse(made().finish()).unwrap();
    assert_eq!(stops.offset("before", "x", 8), Ok(8));
    assert!(matches!(stops.offset("behind", "x", 8), Err(BtfError::NoStruct(_))));
    let mut layouts = [[0; 4]; 21];
    layouts[20] = [4, 4, 0, 0];
    let skips = Btf::parse(made().finish_with(&layouts)).unwrap();
    assert_eq!(skips.offset("before", "x", 8), Ok(8));
    assert_eq!(skips.offset("behind", "x", 8), Ok(16));
    // The size that is stated may be wrong.
    layouts[20] = [255, 255, 0, 0];
    assert!(matches!(Btf::parse(made().finish_with(&layouts)), Err(BtfError::Damaged)));
}

/// Check that a missing function and a wrong number of parameters are detected.
#[test]
fn functions() {
    let btf = Btf::parse(example()).unwrap();
    assert_eq!(btf.check_function("rw_verify_area", 2), Ok(()));
    assert!(matches!(btf.check_function("rw_verify_area", 4), Err(BtfError::Parameters(_, 2, 4))));
    assert!(matches!(btf.check_function("mmap_mem", 2), Err(BtfError::NoFunction(_))));
}

/// Check that values of an enumeration are found by name, including signed ones, and that other
/// names are refused.
#[test]
fn enumerators() {
    let btf = Btf::parse(example()).unwrap();
    assert_eq!(btf.enumerator("reason", "KEXEC"), Ok(4));
    assert_eq!(btf.enumerator("reason", "BELOW"), Ok(-1));
    for (name, member) in [("reason", "MSR"), ("other", "KEXEC"), ("file", "KEXEC")] {
        assert_eq!(btf.enumerator(name, member), Err(BtfError::Enumerator(name, member)));
    }
}

/// Check that BTF that is cut off anywhere, or has any bit changed, never causes a panic.
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

/// Check that type information that would take unlimited time or memory is refused, or searched
/// quickly.
#[test]
fn hostile_information() {
    for (name, bytes) in hostile() {
        let Ok(btf) = Btf::parse(bytes) else { continue };
        assert!(btf.offset("module", "name", ANY_SIZE).is_err(), "{name}");
        assert!(btf.check_function("module", 1).is_err(), "{name}");
    }
    let too_deep = |bytes| Btf::parse(bytes).unwrap().offset("module", "name", ANY_SIZE);
    let mut many = Builder::default();
    let name = many.string("module");
    for _ in 0..70_000 {
        many.named(name, kind::STRUCT, 64, 0, &[]);
    }
    for bytes in [many.finish(), hostile().remove("anonymous-in-anonymous").unwrap()] {
        assert_eq!(too_deep(bytes), Err(BtfError::TooDeep("module".to_owned())));
    }
    assert!(matches!(Btf::parse(vec![0; MAX_BYTES + 1]), Err(BtfError::TooLarge)));
}
