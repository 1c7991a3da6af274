//! The video nodes of the machine, and what each reports about itself.
//!
//! A node of another camera may hang in any call. [`look_at`] asks each on a thread of its own and waits for a limited time.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::ioctl::{BufferType, Capability, Device, NodeKind};
use crate::camera::error::SourceError;
use crate::frame::PixelFormat;
use crate::sync::lock;

/// A node that has not answered after this time hangs, until it answers. A USB camera that wakes up takes 0.3 s. With a longer
/// time, a node that hangs delays the search for another camera, once.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// `V4L2_PIX_FMT_H264`: Annex B, one access unit a buffer.
pub(super) const H264_FOURCC: [u8; 4] = *b"H264";
/// The formats in which an encoder is given pictures, the better one first: planes as they are, or with chroma in pairs.
pub(super) const RAW_FOURCCS: [[u8; 4]; 2] = [*b"YU12", *b"NV12"];

/// What a node reports.
#[derive(Clone, Debug)]
pub(super) struct NodeReport {
    pub(super) path: PathBuf,
    pub(super) capability: Capability,
    /// It delivers pictures in a supported format.
    pub(super) is_camera: bool,
    /// It delivers H.264.
    gives_h264: bool,
    /// It delivers pictures in no other format.
    pub(super) is_video_only: bool,
    /// It encodes H.264.
    pub(super) is_encoder: bool,
}

/// A look at a node that has not returned.
struct PendingLook {
    since: Instant,
    askers: Vec<Sender<NodeReport>>,
}

/// All looks that have not returned: at most one for each node, so nodes that hang hold at most one thread each. The lock is
/// never held over a call to a driver.
static PENDING_LOOKS: Mutex<BTreeMap<PathBuf, PendingLook>> = Mutex::new(BTreeMap::new());

/// All video nodes, ordered by number.
pub(super) fn video_nodes() -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let mut nodes: Vec<(u32, PathBuf)> = entries(Path::new("/dev"))
        .filter(|path| fs::metadata(path).is_ok_and(|meta| meta.file_type().is_char_device()))
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

/// Asks `nodes` and does not wait. The reports of those that answer arrive in the receiver. A node that is known to hang is
/// not asked.
pub(super) fn ask(nodes: &[PathBuf]) -> Receiver<NodeReport> {
    let (asker, reports) = channel();
    let mut pending = lock(&PENDING_LOOKS);
    for path in nodes {
        match pending.get_mut(path) {
            Some(look) if look.since.elapsed() < LOOK_TIMEOUT => look.askers.push(asker.clone()),
            Some(_) => {}
            None => {
                let node = path.clone();
                if thread::Builder::new().name("look".into()).spawn(move || look(node)).is_ok() {
                    let look = PendingLook { since: Instant::now(), askers: vec![asker.clone()] };
                    pending.insert(path.clone(), look);
                }
            }
        }
    }
    reports
}

/// Asks `nodes` and waits for at most [`LOOK_TIMEOUT`]. Returns the reports in the order of `nodes`.
pub(super) fn look_at(nodes: &[PathBuf]) -> Vec<NodeReport> {
    let (answers, until) = (ask(nodes), Instant::now() + LOOK_TIMEOUT);
    let mut reports = Vec::new();
    while let Ok(report) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        reports.push(report);
    }
    reports.sort_by_key(|report: &NodeReport| nodes.iter().position(|node| *node == report.path));
    reports
}

/// The thread of one look.
fn look(path: PathBuf) {
    let report = open_node(&path).and_then(|node| {
        let device = Device::new(node.as_fd());
        let capability = device.capability()?;
        let is_capture = capability.kind() == NodeKind::Capture && !capability.is_image_processor();
        let codes = device.fourccs(capability.buffer_type()).take_while(|_| is_capture);
        let formats: Vec<PixelFormat> = codes.filter_map(PixelFormat::from_fourcc).collect();
        let is_camera = !formats.is_empty();
        let gives_h264 = formats.contains(&PixelFormat::H264);
        let is_video_only = is_camera && formats.iter().all(|format| format.is_video());
        let is_encoder = encodes_h264(device, &capability);
        Ok(NodeReport { path: path.clone(), capability, is_camera, gives_h264, is_video_only, is_encoder })
    });
    let look = lock(&PENDING_LOOKS).remove(&path);
    let askers = look.map(|look| look.askers).unwrap_or_default();
    if let Ok(report) = report {
        // An asker that has stopped waiting has dropped its receiver.
        askers.iter().for_each(|asker| drop(asker.send(report.clone())));
    }
}

/// The node of the device of `path` that gives H.264. Some USB cameras have a node for it beside the one for pictures.
pub(in crate::camera) fn h264_node_beside(path: &Path, capability: &Capability) -> Option<PathBuf> {
    let own = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut nodes = video_nodes();
    nodes.retain(|node| *node != own);
    let is_it = |report: &NodeReport| report.gives_h264 && report.capability.is_same_device(capability);
    look_at(&nodes).into_iter().find(is_it).map(|report| report.path)
}

/// Whether a device makes H.264 of pictures that it is given. A decoder has the two the other way round.
pub(super) fn encodes_h264(device: Device<'_>, capability: &Capability) -> bool {
    let takes = |code: [u8; 4]| RAW_FOURCCS.contains(&code);
    capability.converts_planes()
        && device.fourccs(BufferType::CaptureMplane).any(|code| code == H264_FOURCC)
        && device.fourccs(BufferType::OutputMplane).any(takes)
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
    let beside = look_at(&video_nodes()).into_iter().find(|other| {
        other.path != path
            && other.capability.kind() == NodeKind::Capture
            && other.capability.is_same_device(capability)
    });
    let remedy = match beside {
        Some(other) => format!("use {} instead", other.path.display()),
        None => "`porthole cameras` lists the cameras".into(),
    };
    Err(SourceError::NotACamera { path: path.display().to_string(), what: kind.description(), remedy })
}

/// The entries of `folder`; none if it does not exist.
pub(super) fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Opens the node at `path` for queries and controls.
pub(super) fn open_node(path: &Path) -> io::Result<File> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}
