//! The control store of a camera: its controls, and the values they are set to.
//!
//! The values are set again whenever the camera is opened, because cameras forget them when they are unplugged. Setting a
//! control needs no stream: the kernel accepts it on a second descriptor, beside the one that captures. Reading and setting
//! controls of a device is in [`controls`](super::controls).
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use log::warn;

use super::controls::{read_controls, set_control};
use super::ioctl::{Capability, Device};
use super::locate::{DeviceLocator, LocatedDevice};
use super::nodes::open_node;
use crate::camera::control::{CameraControls, Control, ControlError, ControlKind, ControlValue};
use crate::camera::control_values::ControlValues;
use crate::camera::error::SourceError;
use crate::sync::lock;

/// The controls of one camera, and the values they are set to.
#[derive(Debug)]
pub(in crate::camera) struct ControlStore {
    locator: Mutex<DeviceLocator>,
    /// Values that are set whenever the camera is opened.
    values: Arc<ControlValues>,
    /// `None` when the device must be located again, and while a request uses it.
    last_read: Mutex<Option<DeviceControls>>,
}

/// The controls of a device, as they were last read.
#[derive(Debug)]
struct DeviceControls {
    path: PathBuf,
    capability: Capability,
    /// Empty if they must be read again.
    list: Vec<Control>,
}

impl DeviceControls {
    /// Opens the device, if it is still the same.
    fn reopen(&self) -> Option<File> {
        let node = open_node(&self.path).ok()?;
        let capability = Device::new(node.as_fd()).capability().ok()?;
        capability.is_same_camera(&self.capability).then_some(node)
    }

    fn read(&mut self, device: Device<'_>) -> Result<&mut Vec<Control>, ControlError> {
        self.list = read_controls(device).map_err(|error| unavailable(&self.path, &error))?;
        Ok(&mut self.list)
    }
}

impl ControlStore {
    /// A store for a V4L2 camera.
    pub(in crate::camera) fn new(configured: Option<PathBuf>, values: Arc<ControlValues>) -> Self {
        Self { locator: Mutex::new(DeviceLocator::new(configured)), values, last_read: Mutex::default() }
    }

    /// Finds the device of the camera.
    pub(in crate::camera) fn locate(&self) -> Result<LocatedDevice, SourceError> {
        lock(&self.locator).locate()
    }

    /// The camera was opened: sets all values.
    pub(in crate::camera) fn camera_opened(&self, path: &Path, device: Device<'_>, capability: Capability) {
        lock(&self.locator).camera_opened(path, capability);
        let values = self.values.all();
        if values.is_empty() {
            return;
        }
        let mut failed: Vec<_> = values.iter().map(|(name, value)| (name, value, None)).collect();
        // Twice, as a control may be inactive until another one is set.
        for _ in 0..2 {
            let mut controls = match read_controls(device) {
                Ok(controls) => controls,
                Err(error) => return warn!("camera {}: controls not set: {error}", self.values.camera()),
            };
            failed.retain_mut(|(name, value, error)| {
                *error = set_control(device, &mut controls, name, value).err();
                error.is_some()
            });
            if failed.is_empty() {
                return;
            }
        }
        for error in failed.into_iter().filter_map(|(_, _, error)| error) {
            warn!("camera {}: control not set: {error}", self.values.camera());
        }
    }

    /// The camera was unplugged.
    pub(in crate::camera) fn camera_lost(&self) {
        lock(&self.locator).camera_lost();
        *lock(&self.last_read) = None;
    }

    /// Runs `request` with the device and its controls. One request runs at a time; the caller sees to that.
    fn with_device<T>(
        &self,
        request: impl FnOnce(Device<'_>, &mut DeviceControls) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let last_read = lock(&self.last_read).take();
        let reopened = last_read.and_then(|controls| Some((controls.reopen()?, controls)));
        let (node, mut controls) = reopened.map_or_else(|| self.open(), Ok)?;
        let result = request(Device::new(node.as_fd()), &mut controls);
        *lock(&self.last_read) = Some(controls);
        result
    }

    /// Finds and opens the device.
    fn open(&self) -> Result<(File, DeviceControls), ControlError> {
        let located = self.locate().map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let path = located.path;
        let opened = open_node(&path).and_then(|node| {
            let capability = Device::new(node.as_fd()).capability()?;
            Ok((node, capability))
        });
        let (node, capability) = opened.map_err(|error| unavailable(&path, &error))?;
        Ok((node, DeviceControls { path, capability, list: Vec::new() }))
    }
}

impl CameraControls for ControlStore {
    fn list(&self) -> Result<Vec<Control>, ControlError> {
        self.with_device(|device, controls| controls.read(device).cloned())
    }

    /// Three ioctls: the list that was last read is used, and read again only if the control cannot be set by it.
    fn set(&self, name: &str, value: &ControlValue) -> Result<Control, ControlError> {
        let control = self.with_device(|device, controls| {
            let control = match set_control(device, &mut controls.list, name, value) {
                Ok(control) => control.clone(),
                Err(_) => set_control(device, controls.read(device)?, name, value)?.clone(),
            };
            if control.affects_others {
                controls.list.clear();
            }
            Ok(control)
        })?;
        // A button is an action, which must not be repeated.
        if control.kind != ControlKind::Button {
            self.values.insert(name, control.value.map_or_else(|| value.clone(), ControlValue::Number));
        }
        Ok(control)
    }
}

fn unavailable(path: &Path, error: &io::Error) -> ControlError {
    ControlError::Unavailable(format!("{}: {error}", path.display()))
}
