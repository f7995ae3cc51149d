//! Tests of a node's steps.

mod bench;

use std::sync::Arc;
use std::time::Duration;

use super::{Input, WatchedNode};
use crate::alert::EventKind::{
    BaselineLearned, GuardDegraded, NodeFound, NodeLost, NodeRebooted, StrayKernel, TextClean,
    TextTampered,
};
use crate::node::Images;
use crate::watch::strays::MOST_STRAYS;
use bench::{BOOT_LIMIT, Bench};
use ram::{FIRST, LARGE, RW, RX, SECOND};
use watchdog_core::locate::{Finding, Lost};
use watchdog_core::memory::PhysAddr;
use watchdog_core::verify::BaselineKind;

#[path = "../../../core/src/locate/tests/ram.rs"]
#[expect(dead_code, reason = "the tests of `locate` make up more than these")]
mod ram;

fn booting() -> Finding {
    Finding::Booting(Lost::because("its text is writable".to_owned()))
}

fn lost() -> Finding {
    Finding::Lost(Lost::because("made up".to_owned()))
}

/// Check that a boot is reported once, and that a second event reports a boot that takes too long.
/// Check that the kernel is reported when it is located.
#[test]
fn boots_and_is_found() {
    let mut bench = Bench::new();
    assert_eq!(bench.found(booting()), [NodeFound]);
    bench.pass(BOOT_LIMIT);
    assert_eq!(bench.found(booting()), [], "as long as it may");
    bench.pass(1);
    assert_eq!(bench.found(booting()), [NodeLost]);
    assert_eq!(bench.found(booting()), []);
    assert_eq!(bench.found(bench.kernel(FIRST)), [NodeFound, BaselineLearned]);
    assert_eq!(bench.sweep(), []);
}

/// Check that a boot that ends without a kernel is over, and that the next boot is reported again.
#[test]
fn boots_again() {
    let mut bench = Bench::new();
    assert_eq!(bench.found(lost()), [NodeLost]);
    assert_eq!(bench.found(booting()), [NodeFound]);
    bench.pass(BOOT_LIMIT + 1);
    assert_eq!(bench.found(lost()), [], "the same loss");
    assert_eq!(bench.found(booting()), [NodeFound]);
    assert_eq!(bench.found(booting()), [], "it begins now");
}

/// Check that a kernel that is gone is searched for, and that the loss is reported once. Check that
/// a kernel elsewhere becomes the node's next one.
#[test]
fn gone_and_found_elsewhere() {
    let mut bench = Bench::watching();
    bench.unmap();
    assert_eq!(bench.sweep_and_search(), []);
    assert_eq!(bench.watched.text(), None);
    assert_eq!(bench.found(lost()), [NodeLost]);
    assert_eq!(bench.sweep_and_search(), []);
    assert_eq!(bench.found(lost()), [], "reported already");
    assert_eq!(bench.found(booting()), [NodeRebooted]);
    assert_eq!(bench.found(bench.kernel(SECOND)), [NodeRebooted, BaselineLearned]);
    assert_eq!(bench.watched.text(), Some(PhysAddr(SECOND.text)));
    assert_eq!(bench.sweep(), []);
}

/// Check that a kernel that still runs but is mapped elsewhere is tampered with, not gone.
#[test]
fn mapped_elsewhere_while_it_runs() {
    let mut bench = Bench::watching();
    bench.unmap();
    bench.tick(1);
    assert_eq!(bench.sweep(), [TextTampered]);
    bench.tick(2);
    assert_eq!(bench.sweep(), [], "reported already");
}

/// Check that a changed place is reported once while the change stays the same, and that the end of
/// all changes is reported.
#[test]
fn tampered_and_clean_again() {
    let mut bench = Bench::watching();
    let place = FIRST.text + 0x1234;
    bench.write(place, &[0xcc]);
    assert_eq!(bench.sweep(), [TextTampered]);
    assert_eq!(bench.sweep(), [], "the same bytes");
    bench.write(place, &[0xf4]);
    assert_eq!(bench.sweep(), [TextTampered], "other bytes");
    bench.write(place + 0x5000, &[0xf4]);
    assert_eq!(bench.sweep(), [TextTampered], "another place");
    bench.write(place, &[0]);
    assert_eq!(bench.sweep(), []);
    bench.write(place + 0x5000, &[0]);
    assert_eq!(bench.sweep(), [TextClean]);
    assert_eq!(bench.sweep(), []);
    bench.write(place, &[0xcc]);
    assert_eq!(bench.sweep(), [TextTampered], "a new alarm");
}

/// Check that a finding about the mapping is an alarm once, and again if it returns.
#[test]
fn mapped_writable() {
    let mut bench = Bench::watching();
    let entry = FIRST.first_entry() + 9;
    for _ in 0..2 {
        bench.entry(FIRST.level2(), entry, FIRST.text | RW | LARGE);
        assert_eq!(bench.sweep(), [TextTampered]);
        assert_eq!(bench.sweep(), []);
        bench.entry(FIRST.level2(), entry, 0);
        assert_eq!(bench.sweep(), []);
    }
}

/// Check that a search follows when clocks stand still, and that the kernel stays watched. Check
/// that a kernel that boots beside it is reported once, and that one that runs beside it replaces
/// it.
#[test]
fn stands_still_and_is_replaced() {
    let mut bench = Bench::watching();
    bench.pass(2);
    assert_eq!(bench.sweep_and_search(), []);
    assert_eq!(bench.found(lost()), []);
    assert_eq!(bench.found(booting()), [NodeRebooted]);
    assert_eq!(bench.found(booting()), []);
    assert_eq!(bench.watched.text(), Some(PhysAddr(FIRST.text)));
    assert_eq!(bench.found(bench.kernel(SECOND)), [NodeRebooted, BaselineLearned]);
    assert_eq!(bench.watched.text(), Some(PhysAddr(SECOND.text)));
}

/// Check that clocks that stand still for too long are reported once, and reported once when they
/// advance again. Check that the text is still judged in that time.
#[test]
fn stands_still_and_goes_on() {
    let mut bench = Bench::watching();
    bench.write(FIRST.text + 0x1234, &[0xcc]);
    assert_eq!(bench.sweep(), [TextTampered]);
    // This kernel has no known timer, so it may rest for a minute.
    bench.pass(61);
    assert_eq!(bench.sweep_and_search(), [NodeLost]);
    assert_eq!(bench.sweep_and_search(), []);
    bench.tick(1);
    bench.write(FIRST.text + 0x1234, &[0]);
    assert_eq!(bench.sweep(), [NodeFound, TextClean]);
}

/// Check that a long rest follows a long search in every state of the kernel.
#[test]
fn searches_are_rare() {
    let mut bench = Bench::watching();
    bench.unmap();
    assert_eq!(bench.sweep_and_search(), []);
    let took = Duration::from_secs(10);
    assert_eq!(bench.step(Input::Searched(lost(), took)), (vec![NodeLost], false));
    bench.pass(19);
    assert_eq!(bench.sweep(), []);
    bench.pass(1);
    assert_eq!(bench.sweep_and_search(), []);
    let kernel = bench.kernel(SECOND);
    let (events, _) = bench.step(Input::Searched(kernel, took));
    assert_eq!(events, [NodeRebooted, BaselineLearned]);
    bench.pass(2);
    assert_eq!(bench.sweep(), [], "it stands still, and no search is due");
    bench.pass(18);
    assert_eq!(bench.sweep_and_search(), []);
}

/// Check that a kernel without a baseline is reported once, and is watched once it has a baseline.
#[test]
fn refused_until_there_is_a_baseline() {
    let mut bench = Bench::new();
    let file = bench.store.path("a");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "no baseline").unwrap();
    assert!(file.starts_with(bench.folder.path()));
    assert_eq!(bench.found(bench.kernel(FIRST)), [NodeFound, NodeLost]);
    assert_eq!(bench.found(bench.kernel(FIRST)), [], "the same kernel");
    assert_eq!(bench.found(bench.kernel(SECOND)), [NodeRebooted, NodeLost]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(bench.found(bench.kernel(SECOND)), [BaselineLearned, NodeFound]);
    assert_eq!(bench.sweep(), []);
}

/// An image whose file does not exist.
fn missing_image() -> Images {
    Images::open(vec!["a=/nonexistent/vmlinuz".parse().unwrap()])
}

/// Check that a node whose image cannot be read is neither judged by a learned baseline nor learned
/// again. Check that this is reported once, and that the node is watched once there is a baseline.
#[test]
fn nothing_replaces_an_image() {
    let mut bench = Bench::new();
    bench.images = missing_image();
    let [unreadable] = bench.images.unreadable() else { panic!("{:?}", bench.images) };
    assert!(unreadable.why.contains("/nonexistent/vmlinuz"), "{unreadable:?}");
    assert_eq!(bench.found(bench.kernel(FIRST)), [NodeFound, GuardDegraded]);
    assert_eq!(bench.found(bench.kernel(FIRST)), [], "reported once");
    assert!(!bench.store.path("a").exists(), "nothing is learned");
    assert_eq!(bench.found(lost()), [NodeLost], "it was found before");
    bench.images = Images::default();
    assert_eq!(bench.found(bench.kernel(FIRST)), [BaselineLearned, NodeFound]);
    assert_eq!(bench.sweep(), []);
    bench.images = missing_image();
    bench.watched = WatchedNode::new(bench.watched.node.clone());
    assert_eq!(bench.found(bench.kernel(FIRST)), [NodeFound, GuardDegraded], "a learned one");
}

/// Check that an imported baseline of the node's kernel replaces an image that cannot be read.
#[test]
fn imported_baseline_replaces_an_image() {
    let mut bench = Bench::watching();
    let Finding::Located(kernel) = bench.kernel(FIRST) else { panic!("not located") };
    let mut baseline = bench.store.load("a").unwrap().unwrap();
    let reference = Arc::get_mut(&mut baseline.reference).unwrap();
    reference.build_id = kernel.build_id.clone().unwrap();
    reference.banner.clone_from(&kernel.banner);
    reference.link_address = kernel.text.virt.0;
    baseline.kind = BaselineKind::Image;
    bench.store.save("a", &baseline).unwrap();
    bench.images = missing_image();
    bench.watched = WatchedNode::new(bench.watched.node.clone());
    assert_eq!(bench.found(bench.kernel(FIRST)), [NodeFound]);
}

/// Check that a node is not judged while it is leased. Check that it is located and verified again
/// afterwards, with new alarms.
#[test]
fn leased_and_judged_again() {
    let mut bench = Bench::watching();
    bench.write(FIRST.text + 0x1234, &[0xcc]);
    assert_eq!(bench.sweep(), [TextTampered]);
    let took = Duration::from_secs(1000);
    assert_eq!(bench.step(Input::Searched(lost(), took)), (vec![], false));
    bench.leased.begin(bench.machine.ranges.clone());
    bench.unmap();
    assert_eq!(bench.sweep(), []);
    bench.entry(FIRST.level1(), 7, (FIRST.text + 7 * 0x1000) | RX);
    bench.leased.end();
    assert_eq!(bench.sweep_and_search(), [], "at once, however long the last search took");
    assert_eq!(bench.found(bench.kernel(FIRST)), [NodeFound]);
    assert_eq!(bench.sweep(), [TextTampered]);
}

/// Check that nothing is reported about memory if its lease begins during a sweep.
#[test]
fn leased_in_the_middle() {
    let mut bench = Bench::watching();
    bench.write(FIRST.text + 0x1234, &[0xcc]);
    let (leased, memory) = (bench.leased.clone(), bench.machine.ranges.clone());
    bench.at_each_look = Box::new(move || leased.begin(memory.clone()));
    assert_eq!(bench.sweep(), []);
}

/// Check that each stray is reported once, also when the kernel changes, and that one event reports
/// a flood.
#[test]
fn strays_are_reported_once() {
    let mut bench = Bench::watching();
    let stray = |n| Finding::Lost(Lost { text: Some(PhysAddr(n)), ..Lost::because(String::new()) });
    let report = |bench: &mut Bench, n| bench.watched.stray(&stray(n)).map(|event| event.kind);
    assert_eq!(report(&mut bench, 0), Some(StrayKernel));
    assert_eq!(report(&mut bench, 0), None);
    bench.unmap();
    assert_eq!(bench.sweep_and_search(), []);
    assert_eq!(report(&mut bench, 0), None);
    let flood = (0..1000).filter(|n| report(&mut bench, *n).is_some()).count();
    assert_eq!(
        flood, MOST_STRAYS,
        "one was reported before, and one event says that there are more"
    );
}
