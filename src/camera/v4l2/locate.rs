//! Finds the device of a configured camera.
//!
//! A camera that is plugged in again while its old node is still open gets another number. So a camera that was opened
//! before is found by what it reports about itself.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::capture_device::is_camera;
use super::ioctl::{Capability, NodeKind};
use super::nodes::{capabilities, capture_node_beside, video_nodes};
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
    /// The devices at the last search.
    devices: Devices,
    /// The nodes at the last search without success.
    searched_nodes: Vec<PathBuf>,
    /// When that search was.
    searched_at: Timestamp,
}

/// Video nodes with their capabilities.
type Devices = Vec<(PathBuf, Capability)>;

/// A camera that was opened before.
#[derive(Debug)]
struct KnownCamera {
    capability: Capability,
    /// Ports of other cameras of the same model: those that were there together with it, or right after it was lost. A camera
    /// of the same model in any other port is this camera, moved to that port.
    other_ports: Vec<String>,
}

impl KnownCamera {
    /// Remembers the cameras of the same model in `devices` as other cameras.
    fn add_others(&mut self, devices: &[(PathBuf, Capability)]) {
        for (_, found) in devices {
            if self.capability.is_same_model(found)
                && !self.capability.is_same_camera(found)
                && !self.other_ports.contains(&found.bus)
            {
                self.other_ports.push(found.bus.clone());
            }
        }
    }

    /// The node of this camera among `devices`.
    fn find<'a>(&self, devices: &'a [(PathBuf, Capability)]) -> Option<&'a Path> {
        let same_port = devices.iter().find(|(_, caps)| self.capability.is_same_camera(caps));
        let mut moved = devices
            .iter()
            .filter(|(_, caps)| self.capability.is_same_model(caps) && !self.other_ports.contains(&caps.bus));
        // Of two new cameras of the same model, either may be it.
        let moved = moved.next().filter(|_| moved.next().is_none());
        same_port.or(moved).map(|(path, _)| path.as_path())
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
            devices: Vec::new(),
            searched_nodes: Vec::new(),
            searched_at: Timestamp::default(),
        }
    }

    /// The located device was opened and has this capability.
    pub(super) fn camera_opened(&mut self, capability: Capability) {
        let mut known = KnownCamera { capability, other_ports: Vec::new() };
        known.add_others(&self.devices);
        self.known = Some(known);
        self.searched_nodes.clear();
    }

    /// The camera was unplugged, so the devices that are there now are other cameras.
    pub(super) fn camera_lost(&mut self) {
        if let Some(known) = &mut self.known {
            known.add_others(&capabilities(&video_nodes()));
        }
    }

    /// Finds the device.
    ///
    /// Cheap while nothing is plugged in or out: devices are queried when the set of nodes changes, and every
    /// [`SEARCH_INTERVAL`].
    pub(super) fn locate(&mut self) -> Result<LocatedDevice, SourceError> {
        let nodes = video_nodes();
        let is_recent = Timestamp::now().since(self.searched_at) < SEARCH_INTERVAL;
        let is_configured_there = self.configured.as_ref().is_some_and(|path| path.exists());
        if is_recent && self.searched_nodes == nodes && !is_configured_there {
            return Err(self.absent(&nodes));
        }
        self.devices = capabilities(&nodes);
        if let Some(path) = self.known.as_ref().and_then(|known| known.find(&self.devices)) {
            return Ok(LocatedDevice { path: path.to_owned(), reason: None });
        }
        match &self.configured {
            Some(path) if path.exists() => Ok(LocatedDevice { path: path.clone(), reason: None }),
            Some(_) => {
                (self.searched_nodes, self.searched_at) = (nodes, Timestamp::now());
                Err(self.absent(&[]))
            }
            None => self.first_camera(nodes),
        }
    }

    fn first_camera(&mut self, nodes: Vec<PathBuf>) -> Result<LocatedDevice, SourceError> {
        let mut skipped = Vec::new();
        for (path, capability) in &self.devices {
            let kind = capability.kind();
            if kind == NodeKind::Capture && is_camera(path) {
                let over = skipped.join(", ");
                let over = if over.is_empty() { over } else { format!(", passing over {over}") };
                let reason = format!("{} ({}) is the first camera{over}", path.display(), capability.card);
                return Ok(LocatedDevice { path: path.clone(), reason: Some(reason) });
            }
            skipped.push(format!("{} ({})", path.display(), kind.description()));
        }
        for silent in nodes.iter().filter(|node| self.devices.iter().all(|(path, _)| path != *node)) {
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

/// Fails unless the node at `path` is a capture node.
pub(in crate::camera) fn require_capture_node(
    path: &Path,
    capability: &Capability,
) -> Result<(), SourceError> {
    let kind = capability.kind();
    if kind == NodeKind::Capture {
        return Ok(());
    }
    let remedy = match capture_node_beside(path, capability) {
        Some(node) => format!("use {} instead", node.display()),
        None => "`porthole cameras` lists the cameras".into(),
    };
    Err(SourceError::NotACamera { path: path.display().to_string(), what: kind.description(), remedy })
}
