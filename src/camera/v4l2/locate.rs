//! Finds the device of a configured camera.
//!
//! A camera that is plugged in again while its old node is still open gets another number. So a camera that was opened
//! before is found by what it reports about itself. Its own node is looked at first, and others only when it is not there.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::ioctl::Capability;
use super::nodes::{NodeReport, ask, look_at, video_nodes};
use crate::camera::error::SourceError;
use crate::frame::Timestamp;

/// After a search without success, the same set of nodes is searched again after this time. A node may not have answered yet,
/// or udev may not have set its permissions yet. Shorter costs an open of every node per attempt.
const SEARCH_INTERVAL: Duration = Duration::from_secs(2);

/// Finds the device of one camera, again and again.
#[derive(Debug)]
pub(super) struct DeviceLocator {
    /// `None` for the first camera.
    configured: Option<PathBuf>,
    /// The camera that was opened before.
    known: Option<KnownCamera>,
    /// Reports of the nodes that were there when the camera was opened or lost: other cameras.
    neighbours: Option<Receiver<NodeReport>>,
    /// The nodes that were asked for these reports.
    asked_nodes: Vec<PathBuf>,
    /// The nodes at the last search without success.
    searched_nodes: Vec<PathBuf>,
    /// When that search was.
    searched_at: Timestamp,
}

/// A camera that was opened before.
#[derive(Debug)]
struct KnownCamera {
    /// Its node, when it was opened.
    path: PathBuf,
    capability: Capability,
    /// Ports of other cameras of the same model: those that were there together with it, or right after it was lost. A camera
    /// of the same model in any other port is this camera, moved to that port.
    other_ports: Vec<String>,
}

impl KnownCamera {
    /// Remembers cameras of the same model as other cameras.
    fn add_others(&mut self, others: impl Iterator<Item = NodeReport>) {
        for NodeReport { capability: found, .. } in others {
            if self.capability.is_same_model(&found)
                && !self.capability.is_same_camera(&found)
                && !self.other_ports.contains(&found.bus)
            {
                self.other_ports.push(found.bus);
            }
        }
    }

    fn is_at_its_node(&self) -> bool {
        let reports = if self.path.exists() { look_at(std::slice::from_ref(&self.path)) } else { Vec::new() };
        reports.iter().any(|report| self.capability.is_same_camera(&report.capability))
    }

    /// The node of this camera among `nodes`.
    fn find<'a>(&self, nodes: &'a [NodeReport]) -> Option<&'a Path> {
        // A device may have a node for H.264 beside the one for pictures, in any order.
        let best = |is_it: &dyn Fn(&&NodeReport) -> bool| {
            nodes.iter().filter(is_it).min_by_key(|node| (!node.is_camera, node.is_video_only))
        };
        let moved = |node: &&NodeReport| {
            let found = &node.capability;
            self.capability.is_same_model(found) && !self.other_ports.contains(&found.bus)
        };
        let same_port = best(&|node| self.capability.is_same_camera(&node.capability));
        // Of two new cameras of the same model, either may be it.
        let is_one = |node: &&NodeReport| {
            nodes.iter().filter(moved).all(|other| other.capability.bus == node.capability.bus)
        };
        same_port.or_else(|| best(&moved).filter(is_one)).map(|node| node.path.as_path())
    }
}

/// The node of a camera.
#[derive(Debug)]
pub(in crate::camera) struct LocatedDevice {
    pub(in crate::camera) path: PathBuf,
    /// Why this node was chosen; `None` if it was configured or known.
    pub(in crate::camera) reason: Option<String>,
}

impl DeviceLocator {
    pub(super) fn new(configured: Option<PathBuf>) -> Self {
        Self {
            configured,
            known: None,
            neighbours: None,
            asked_nodes: Vec::new(),
            searched_nodes: Vec::new(),
            searched_at: Timestamp::default(),
        }
    }

    /// The device at `path` was opened and has this capability.
    ///
    /// Asks the other nodes when the set of nodes has changed, and does not wait: one of them may hang.
    pub(super) fn camera_opened(&mut self, path: &Path, capability: Capability) {
        let (nodes, path) = (video_nodes(), path.to_owned());
        let known = self.known.take().filter(|known| known.capability.is_same_camera(&capability));
        let other_ports = match known {
            Some(known) if nodes == self.asked_nodes => known.other_ports,
            _ => {
                let own = path.canonicalize().unwrap_or_else(|_| path.clone());
                let others: Vec<PathBuf> = nodes.iter().filter(|node| **node != own).cloned().collect();
                self.neighbours = Some(ask(&others));
                self.asked_nodes = nodes;
                Vec::new()
            }
        };
        self.known = Some(KnownCamera { path, capability, other_ports });
        self.searched_nodes.clear();
    }

    /// The camera was unplugged, so the devices that are there now are other cameras.
    pub(super) fn camera_lost(&mut self) {
        self.add_neighbours();
        (self.neighbours, self.asked_nodes) = (Some(ask(&video_nodes())), Vec::new());
    }

    /// Takes the reports of other cameras that have arrived.
    fn add_neighbours(&mut self) {
        if let (Some(known), Some(neighbours)) = (&mut self.known, &self.neighbours) {
            known.add_others(neighbours.try_iter());
        }
    }

    /// Finds the device.
    ///
    /// Cheap while nothing is plugged in or out: other nodes are looked at when the set of nodes changes, and every
    /// [`SEARCH_INTERVAL`].
    pub(super) fn locate(&mut self) -> Result<LocatedDevice, SourceError> {
        let found = |path: &Path| Ok(LocatedDevice { path: path.to_owned(), reason: None });
        let configured = self.configured.as_deref().filter(|path| path.exists());
        match (&self.known, configured) {
            (None, Some(path)) => return found(path),
            (Some(known), _) if known.is_at_its_node() => return found(&known.path),
            _ => {}
        }
        let nodes = video_nodes();
        let is_recent = Timestamp::now().since(self.searched_at) < SEARCH_INTERVAL;
        if is_recent && self.searched_nodes == nodes && configured.is_none() {
            return Err(self.absent(&nodes));
        }
        let reports = look_at(&nodes);
        // After the look: a report that took long was asked for before it, and arrives before.
        self.add_neighbours();
        if let Some(path) = self.known.as_ref().and_then(|known| known.find(&reports)) {
            return found(path);
        }
        match self.configured.as_deref() {
            Some(path) if path.exists() => found(path),
            Some(_) => {
                (self.searched_nodes, self.searched_at) = (nodes, Timestamp::now());
                Err(self.absent(&[]))
            }
            None => self.first_camera(nodes, &reports),
        }
    }

    fn first_camera(
        &mut self,
        nodes: Vec<PathBuf>,
        reports: &[NodeReport],
    ) -> Result<LocatedDevice, SourceError> {
        let mut skipped = Vec::new();
        let mut reports: Vec<&NodeReport> = reports.iter().collect();
        // A node behind sensors and image processors delivers nothing until another program has set those up. A node with H.264
        // alone may be the second one of a camera.
        reports.sort_by_key(|report| (report.capability.needs_pipeline(), report.is_video_only));
        for NodeReport { path, capability, is_camera, .. } in &reports {
            if *is_camera {
                let over = skipped.join(", ");
                let over = if over.is_empty() { over } else { format!(", passing over {over}") };
                let reason = format!("{} ({}) is the first camera{over}", path.display(), capability.card);
                return Ok(LocatedDevice { path: path.clone(), reason: Some(reason) });
            }
            skipped.push(format!("{} ({})", path.display(), capability.kind().description()));
        }
        for silent in nodes.iter().filter(|node| reports.iter().all(|report| report.path != **node)) {
            let path = silent.display();
            skipped.push(format!("{path} (does not answer, or may not be opened by this user)"));
        }
        (self.searched_nodes, self.searched_at) = (nodes, Timestamp::now());
        let looked = if skipped.is_empty() { "there is no /dev/video*".into() } else { skipped.join(", ") };
        Err(SourceError::NoCamera { looked })
    }

    fn absent(&self, nodes: &[PathBuf]) -> SourceError {
        match &self.configured {
            Some(path) => SourceError::Absent { path: path.display().to_string() },
            None if nodes.is_empty() => SourceError::NoCamera { looked: "there is no /dev/video*".into() },
            None => SourceError::NoCamera {
                looked: format!("{} video nodes, none of them a camera", nodes.len()),
            },
        }
    }
}
