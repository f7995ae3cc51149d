use super::super::made_up::{MadeUp, content};
use super::*;

fn all(sections: &Sections<'_>) -> Fields {
    Fields::of(sections, |_| true)
}

/// Check that fields are found in both versions: behind typedefs, in anonymous members, in the
/// first element of an array. A declaration, a similar name and a bit field must not count.
#[test]
fn fields_of_structures() {
    for version in [4, 5] {
        let content = content(version);
        let fields = all(&content.sections());
        let offset = |structure, path, size| fields.offset(structure, path, size);
        assert_eq!(offset("kprobe", "hlist", ANY_SIZE), Some(0));
        assert_eq!(offset("kprobe", "hlist", 8), None);
        assert_eq!(offset("kprobe", "addr", 8), Some(40));
        assert_eq!(offset("kprobe", "opcode", 1), Some(80));
        assert_eq!(offset("module", "name", ANY_SIZE), Some(24));
        assert_eq!(offset("module", "mem.base", 8), Some(320));
        assert_eq!(offset("module", "mem.size", 4), Some(328));
        assert_eq!(offset("module", "mem.size", 8), None);
        assert_eq!(offset("module", "kallsyms", ANY_SIZE), None);
        assert_eq!(offset("ftrace_ops", "func", 8), None);
        let others = Fields::of(&content.sections(), |name| name != "module");
        assert_eq!(others.offset("module", "name", ANY_SIZE), None);
        assert_eq!(others.offset("kprobe", "addr", 8), Some(40));
    }
}

/// Check that the search goes on behind a unit that cannot be read, and ends at damaged headers.
#[test]
fn damaged_units() {
    let good = content(5);
    let mut damaged = good.info.clone();
    // The first entry's abbreviation does not exist.
    damaged[12] = 0x7f;
    let both = [damaged, good.info.clone()].concat();
    let of = |info: &[u8]| all(&Sections { info, ..good.sections() });
    assert_eq!(of(&both), all(&good.sections()));
    assert_ne!(of(&both), Fields::default());
    let cut = &both[..both.len() - 1];
    assert_eq!(of(cut), Fields::default());
}

/// Check that any damage of one byte, and any cut, ends the search without a panic.
#[test]
fn any_damage() {
    let content = content(5);
    for at in 0..content.info.len() {
        let cut = Sections { info: &content.info[..at], ..content.sections() };
        let _ = all(&cut);
        for value in [0, 1, 0x7f, 0xff] {
            let mut info = content.info.clone();
            info[at] = value;
            let _ = all(&Sections { info: &info, ..content.sections() });
        }
    }
    for at in 0..content.abbreviations.len() {
        let mut abbreviations = content.abbreviations.clone();
        abbreviations[at] ^= 0xff;
        let _ = all(&Sections { abbreviations: &abbreviations, ..content.sections() });
    }
}

/// Check that a structure that contains itself, without a name, is not searched endlessly.
#[test]
fn endless_structures() {
    let mut made = MadeUp::new(5);
    let word = made.number(8);
    let inner = made.structure("", &[]);
    let twice = [("", 0, inner), ("", 8, inner)];
    let outer = made.structure("", &twice);
    for member in twice {
        // Each level has both members of the level below.
        made.add_member(inner, "", member.1, outer);
    }
    made.structure("kprobe", &[("", 0, outer), ("addr", 40, word)]);
    let content = made.write();
    assert_eq!(all(&content.sections()).offset("kprobe", "addr", 8), None);
}

/// Check that the search stops once all structures are found: what follows is not read.
#[test]
fn ends_when_all_is_found() {
    let good = content(5);
    let info = [&good.info[..], &[0xff; 64]].concat();
    let sections = Sections { info: &info, ..good.sections() };
    let mut search =
        Search { left: vec![("kprobe", &["addr"])], work: MAX_WORK, found: Vec::new() };
    let units = DebugInfo::new(sections.info, LittleEndian).units();
    search.all_units(&sections, units);
    assert_eq!((search.found.len(), search.left.len()), (1, 0));
    // The budget is for the units that are read.
    let work = good.info.len() + good.abbreviations.len();
    for (work, found) in [(work, 1), (work - 1, 0)] {
        let mut search = Search { left: vec![("kprobe", &["addr"])], work, found: Vec::new() };
        let units = DebugInfo::new(&good.info, LittleEndian).units();
        search.all_units(&good.sections(), units);
        assert_eq!(search.found.len(), found);
    }
}

/// Check that names by number are found, as clang writes them in version 5.
#[test]
fn names_by_number() {
    let abbreviations = [
        // A unit with the base of its names; a structure; a member; a number.
        &[1, 0x11, 1, 0x72, 0x17, 0, 0, 2, 0x13, 1, 3, 0x25, 0, 0][..],
        &[3, 0x0d, 0, 3, 0x25, 0x49, 0x13, 0x38, 0x0b, 0, 0, 4, 0x24, 0, 0x0b, 0x0b, 0, 0, 0],
    ];
    let info = [
        // The length, version 5, a unit of code, addresses of eight bytes.
        &[26, 0, 0, 0, 5, 0, 1, 8, 0, 0, 0, 0][..],
        // The unit; a number of eight bytes, at 17; the structure; its member at 40.
        &[1, 12, 0, 0, 0, 4, 8, 2, 0, 3, 1, 17, 0, 0, 0, 40, 0, 0],
    ];
    let (info, abbreviations) = (info.concat(), abbreviations.concat());
    let offsets = [16, 0x5_0000, 99, 0, 7].map(u32::to_le_bytes).concat();
    let sections = Sections {
        info: &info,
        abbreviations: &abbreviations,
        strings: b"kprobe\0addr\0",
        string_offsets: &offsets,
        ..Sections::default()
    };
    assert_eq!(all(&sections).offset("kprobe", "addr", 8), Some(40));
    let other = Sections { string_offsets: &offsets[..16], ..sections };
    assert_eq!(all(&other).offset("kprobe", "addr", 8), None);
}
