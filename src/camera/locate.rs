//! Where a configured camera is now. Device numbers change when a camera is plugged in again while somebody still holds
//! its old node, so one that was opened before is looked for by what it says it is.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::devices::{capabilities, nodes};
use super::error::SourceError;
use super::kernel::{Capability, NodeKind};
use crate::frame::Timestamp;

/// Devices among which the camera was not are asked again after so long: one may not have answered yet, or its node may
/// not have been this user's yet, as udev sees to that only after the node is there.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Finds one camera, again and again.
#[derive(Debug)]
pub(super) struct Locator {
    /// `None` for the first camera there is.
    configured: Option<PathBuf>,
    /// What was opened before, to know it again under another number or in another port.
    known: Option<Known>,
    /// What there was when it was last looked for and found.
    beside: Devices,
    /// The nodes there were when it was last looked for in vain.
    barren: Vec<PathBuf>,
    /// When it was.
    barren_at: Timestamp,
}

/// Video nodes with what they say they are.
type Devices = Vec<(PathBuf, Capability)>;

/// A camera that was opened before.
#[derive(Debug)]
struct Known {
    capability: Capability,
    /// Where cameras are that say the same of themselves and are not it: they were there beside it, or still there
    /// when it had just been lost. One in any other place is the same camera, put into another port.
    others: Vec<String>,
}

impl Known {
    /// Takes note of the cameras of the same kind in `devices`, which must not be it.
    fn is_none_of(&mut self, devices: &[(PathBuf, Capability)]) {
        for (_, found) in devices {
            if self.capability.is_same(found, false)
                && !self.capability.is_same(found, true)
                && !self.others.contains(&found.bus)
            {
                self.others.push(found.bus.clone());
            }
        }
    }

    /// Which of `devices` it is now.
    fn find<'a>(&self, devices: &'a [(PathBuf, Capability)]) -> Option<&'a Path> {
        let exactly = devices.iter().find(|(_, caps)| self.capability.is_same(caps, true));
        let mut moved = devices
            .iter()
            .filter(|(_, caps)| self.capability.is_same(caps, false) && !self.others.contains(&caps.bus));
        // Of two that came while it was away nobody can tell which is it.
        let moved = moved.next().filter(|_| moved.next().is_none());
        exactly.or(moved).map(|(path, _)| path.as_path())
    }
}

/// A camera's node.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) path: PathBuf,
    /// How it came to be this one, if nobody named it.
    pub(super) why: Option<String>,
}

impl Locator {
    pub(super) fn new(configured: Option<PathBuf>) -> Self {
        Self {
            configured,
            known: None,
            beside: Vec::new(),
            barren: Vec::new(),
            barren_at: Timestamp::default(),
        }
    }

    /// The camera that was located was opened and says it is this.
    pub(super) fn found(&mut self, capability: Capability) {
        let mut known = Known { capability, others: Vec::new() };
        known.is_none_of(&self.beside);
        self.known = Some(known);
        self.barren.clear();
    }

    /// The camera that was found is there no more, so what is there now is not it.
    pub(super) fn lost(&mut self) {
        if let Some(known) = &mut self.known {
            known.is_none_of(&capabilities(&nodes()));
        }
    }

    /// Where it is. `is_usable` tells whether a capture node offers anything that can be shown.
    ///
    /// Cheap while nothing is plugged in or out: devices are asked when there is another set of them, and now and then.
    pub(super) fn locate(&mut self, is_usable: impl Fn(&Path) -> bool) -> Result<Located, SourceError> {
        let nodes = nodes();
        let is_recent = Timestamp::now().since(self.barren_at) < ASK_AGAIN;
        if is_recent && self.barren == nodes && !self.configured.as_ref().is_some_and(|path| path.exists()) {
            return Err(self.absent(&nodes));
        }
        self.beside = capabilities(&nodes);
        if let Some(path) = self.known.as_ref().and_then(|known| known.find(&self.beside)) {
            return Ok(Located { path: path.to_owned(), why: None });
        }
        match &self.configured {
            Some(path) if path.exists() => Ok(Located { path: path.clone(), why: None }),
            Some(_) => {
                (self.barren, self.barren_at) = (nodes, Timestamp::now());
                Err(self.absent(&[]))
            }
            None => self.first(nodes, is_usable),
        }
    }

    fn first(
        &mut self,
        nodes: Vec<PathBuf>,
        is_usable: impl Fn(&Path) -> bool,
    ) -> Result<Located, SourceError> {
        let mut passed_over = Vec::new();
        for (path, capability) in &self.beside {
            let kind = capability.kind();
            if kind == NodeKind::Capture && is_usable(path) {
                let over = passed_over.join(", ");
                let over = if over.is_empty() { over } else { format!(", passing over {over}") };
                let why = format!("{} ({}) is the first camera{over}", path.display(), capability.card);
                return Ok(Located { path: path.clone(), why: Some(why) });
            }
            passed_over.push(format!("{} ({})", path.display(), kind.in_words()));
        }
        for silent in nodes.iter().filter(|node| self.beside.iter().all(|(path, _)| path != *node)) {
            let path = silent.display();
            passed_over.push(format!("{path} (does not answer, or may not be opened by this user)"));
        }
        (self.barren, self.barren_at) = (nodes, Timestamp::now());
        let looked =
            if passed_over.is_empty() { "there is no /dev/video*".into() } else { passed_over.join(", ") };
        Err(SourceError::NoCamera { looked })
    }

    fn absent(&self, nodes: &[PathBuf]) -> SourceError {
        match &self.configured {
            Some(path) => SourceError::Absent { path: path.display().to_string() },
            None if nodes.is_empty() => SourceError::NoCamera { looked: "there is no /dev/video*".into() },
            None => {
                SourceError::NoCamera { looked: format!("{} video nodes, none of them one", nodes.len()) }
            }
        }
    }
}
