//! A toggle: a feature that can be switched on and off on a node.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::livepatch;
use crate::machine::ServiceNode;
use crate::service::{Hook, Request};

/// Where tracefs is mounted.
pub(super) const TRACING: &str = "/sys/kernel/tracing";
/// The group of the toggles' probes.
const PROBES: &str = "toggles";
const LIVEPATCHES: &str = "/sys/kernel/livepatch";

/// Offsets for a probe in the middle of a function, past any prologue that ftrace uses.
const MIDDLE: std::ops::Range<u32> = 9..64;

/// Switching a livepatch must wait until every task has left the old function. The kernel checks
/// that once a second (`klp_try_complete_transition`, kernel/livepatch/transition.c).
const TRANSITION: Duration = Duration::from_secs(300);

/// The mechanism by which a kernel rewrites its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// A static key: a NOP becomes a jump, or the reverse.
    JumpLabel,
    /// A static call: another target, a NOP, or the form that returns 0.
    StaticCall,
    /// A tracepoint: its static key, and its static call to the attached functions.
    Tracepoint,
    /// The call at a function's entry.
    Ftrace,
    /// A breakpoint or a jump at an instruction, or ftrace at a function's entry.
    Kprobe,
    /// A BPF trampoline, or a program attached by one of the other mechanisms.
    Bpf,
    /// A livepatch, which uses ftrace.
    Livepatch,
    /// A module is loaded or unloaded. It may use a static key or a static call.
    Module,
}

/// The place of a probe in a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At its entry.
    Entry,
    /// At its return. The probe intercepts the entry for this.
    Return,
    /// At the first instruction past the entry on which the kernel accepts a probe.
    Middle,
}

/// What the file of a setting shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// The current value.
    Value,
    /// All values, with the current one in parentheses.
    Choice,
    /// The current words, among others.
    Words,
    /// Nothing that shows the current value.
    Other,
}

/// How a toggle is switched.
#[derive(Debug, Clone)]
pub(super) enum How {
    /// A file that takes one content for on and another one for off.
    Setting { path: String, on: &'static str, off: &'static str, shows: Shows },
    /// A tracer in a tracefs instance, for functions whose names match.
    Tracer { instance: String, functions: &'static str },
    /// A tracefs kprobe, enabled in an instance.
    Probe { instance: String, function: &'static str, place: Place },
    /// A BPF program.
    Program(Hook),
    /// A module.
    Module(&'static str),
    /// The livepatch.
    Livepatch,
}

/// A feature that can be switched on and off.
#[derive(Debug, Clone)]
pub struct Toggle {
    /// Its name.
    pub name: String,
    /// The mechanism by which it changes text, if it does.
    pub mechanism: Mechanism,
    /// Does it slow the node down so much that it must be switched off soon?
    pub heavy: bool,
    pub(super) how: How,
}

impl fmt::Display for Toggle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Toggle {
    /// Does this node's kernel have the feature, and is it off?
    pub(super) fn exists(&self, node: &ServiceNode) -> Result<bool> {
        match &self.how {
            How::Setting { path, on, off, shows } => {
                let Ok(content) = node.read(path) else { return Ok(false) };
                let content = String::from_utf8_lossy(&content).into_owned();
                let shown = |word: &str| content.split_whitespace().any(|shown| shown == word);
                Ok(match shows {
                    Shows::Value => content.trim() == *off,
                    Shows::Choice => shown(on) && shown(&format!("({off})")),
                    Shows::Words => shown(off),
                    Shows::Other => true,
                })
            }
            How::Module(name) => Ok(node.list("/modules")?.iter().any(|module| module == name)),
            How::Livepatch => {
                Ok(node.list("/modules")?.iter().any(|module| module == livepatch::NAME))
            }
            How::Tracer { .. } | How::Probe { .. } | How::Program(_) => Ok(true),
        }
    }

    /// Returns the function whose text changes, if it is a single one.
    #[must_use]
    pub fn function(&self) -> Option<String> {
        match &self.how {
            How::Probe { function, .. } => Some((*function).to_owned()),
            How::Program(
                Hook::Fentry { function } | Hook::Fexit { function } | Hook::Kprobe { function },
            ) => Some(function.clone()),
            How::Program(Hook::Lsm { hook }) => Some(format!("bpf_lsm_{hook}")),
            How::Livepatch => Some(livepatch::FUNCTION.to_owned()),
            _ => None,
        }
    }

    /// Switches it on.
    ///
    /// # Errors
    /// If the node's kernel refuses.
    pub fn on(&self, node: &ServiceNode) -> Result<()> {
        match &self.how {
            How::Setting { path, on, .. } => node.write(path, on),
            How::Tracer { instance, functions } => {
                node.write(&format!("{instance}/set_ftrace_filter"), functions)?;
                node.write(&format!("{instance}/current_tracer"), "function")
            }
            How::Probe { instance, function, place } => {
                self.define_probe(node, function, *place)?;
                node.write(&self.probe_file(instance), "1")
            }
            How::Program(hook) => node.request(&Request::Attach { hook: hook.clone() }).map(drop),
            How::Module(name) => load(node, name),
            How::Livepatch => {
                load(node, livepatch::NAME)?;
                let transition = format!("{LIVEPATCHES}/{}/transition", livepatch::NAME);
                wait(|| Ok(node.read(&transition)? == b"0\n"))
            }
        }
        .with_context(|| format!("cannot switch on {self}"))
    }

    /// Switches it off.
    ///
    /// # Errors
    /// If the node's kernel refuses.
    pub fn off(&self, node: &ServiceNode) -> Result<()> {
        match &self.how {
            How::Setting { path, off, .. } => node.write(path, off),
            How::Tracer { instance, .. } => {
                node.write(&format!("{instance}/current_tracer"), "nop")
            }
            How::Probe { instance, .. } => {
                // Enabling all events together enables it outside the instance too.
                for instance in [instance, TRACING] {
                    node.write(&self.probe_file(instance), "0")?;
                }
                node.write(&format!("{TRACING}/kprobe_events"), &format!("-:{}", self.event()))
            }
            How::Program(hook) => node.request(&Request::Detach { hook: hook.clone() }).map(drop),
            How::Module(name) => unload(node, name),
            How::Livepatch => {
                node.write(&format!("{LIVEPATCHES}/{}/enabled", livepatch::NAME), "0")?;
                let is_gone =
                    || Ok(!node.list(LIVEPATCHES)?.iter().any(|patch| patch == livepatch::NAME));
                wait(is_gone)?;
                unload(node, livepatch::NAME)
            }
        }
        .with_context(|| format!("cannot switch off {self}"))
    }

    /// Defines a probe in the kernel. The kernel refuses an offset inside an instruction
    /// (`can_probe`, arch/x86/kernel/kprobes/core.c); then the next one is tried.
    fn define_probe(&self, node: &ServiceNode, function: &str, place: Place) -> Result<()> {
        let (events, event) = (format!("{TRACING}/kprobe_events"), self.event());
        match place {
            Place::Entry => node.write(&events, &format!("p:{event} {function}")),
            Place::Return => node.write(&events, &format!("r:{event} {function}")),
            Place::Middle => {
                let mut refusal = None;
                for offset in MIDDLE {
                    match node.write(&events, &format!("p:{event} {function}+{offset}")) {
                        Ok(()) => return Ok(()),
                        Err(error) => refusal = Some(error),
                    }
                }
                Err(refusal.context("no offsets")?).context("no place takes a probe")
            }
        }
    }

    /// Returns a probe's name in tracefs: `toggles/kprobe_vfs_read`.
    fn event(&self) -> String {
        format!("{PROBES}/{}", self.name.replace([' ', '-'], "_"))
    }

    fn probe_file(&self, instance: &str) -> String {
        format!("{instance}/events/{}/enable", self.event())
    }
}

fn load(node: &ServiceNode, name: &str) -> Result<()> {
    let (name, parameters) = (name.to_owned(), String::new());
    node.request(&Request::LoadModule { name, parameters }).map(drop)
}

fn unload(node: &ServiceNode, name: &str) -> Result<()> {
    node.request(&Request::UnloadModule { name: name.to_owned() }).map(drop)
}

fn wait(mut is_done: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_done()? {
        ensure!(begun.elapsed() < TRANSITION, "the livepatch's transition does not end");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
