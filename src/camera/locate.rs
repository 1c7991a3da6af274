//! Where a configured camera is now. Device numbers change when a camera is plugged in again while somebody still holds
//! its old node, so one that was opened before is looked for by what it says it is.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::devices::{capabilities, nodes};
use super::error::SourceError;
use super::kernel::{Capability, NodeKind};

/// Finds one camera, again and again.
#[derive(Debug)]
pub(super) struct Locator {
    /// `None` for the first camera there is.
    configured: Option<PathBuf>,
    /// What was opened before.
    known: Option<Capability>,
    /// The nodes there were when it was last looked for in vain.
    barren: Vec<PathBuf>,
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
        Self { configured, known: None, barren: Vec::new() }
    }

    /// The camera at `path` was opened and says it is this.
    pub(super) fn found(&mut self, capability: Capability) {
        self.known = Some(capability);
        self.barren.clear();
    }

    /// Where it is. `is_usable` tells whether a capture node offers anything that can be shown.
    ///
    /// Cheap while nothing is plugged in or out: devices are asked only when there is another set of them.
    pub(super) fn locate(&mut self, is_usable: impl Fn(&Path) -> bool) -> Result<Located, SourceError> {
        let nodes = nodes();
        if self.barren == nodes && !self.configured.as_ref().is_some_and(|path| path.exists()) {
            return Err(self.absent(&nodes));
        }
        let devices = capabilities(&nodes);
        let same = |exact: bool| {
            let known = self.known.as_ref()?;
            let mut found = devices.iter().filter(|(_, caps)| known.is_same(caps, exact));
            // On another port it is only known by its name, which must then be the only one.
            found.next().filter(|_| exact || found.next().is_none()).map(|(path, _)| path.clone())
        };
        if let Some(path) = same(true).or_else(|| same(false)) {
            return Ok(Located { path, why: None });
        }
        match &self.configured {
            Some(path) if path.exists() => Ok(Located { path: path.clone(), why: None }),
            Some(_) => {
                self.barren = nodes;
                Err(self.absent(&[]))
            }
            None => self.first(&devices, nodes, is_usable),
        }
    }

    fn first(
        &mut self,
        devices: &[(PathBuf, Capability)],
        nodes: Vec<PathBuf>,
        is_usable: impl Fn(&Path) -> bool,
    ) -> Result<Located, SourceError> {
        let mut passed_over = Vec::new();
        for (path, capability) in devices {
            let kind = capability.kind();
            if kind == NodeKind::Capture && is_usable(path) {
                let over = passed_over.join(", ");
                let over = if over.is_empty() { over } else { format!(", passing over {over}") };
                let why = format!("{} ({}) is the first camera{over}", path.display(), capability.card);
                return Ok(Located { path: path.clone(), why: Some(why) });
            }
            passed_over.push(format!("{} ({})", path.display(), kind.in_words()));
        }
        self.barren = nodes;
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
