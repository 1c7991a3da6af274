//! The control store of a camera: the values that controls are set to.
//!
//! The values are set again whenever the camera is opened, because cameras forget them when they are unplugged, and are
//! stored over a restart if that is configured. Setting a control needs no stream: the kernel accepts it on a second
//! descriptor, beside the one that captures. Reading and setting controls of a device is in [`controls`](super::controls).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use log::{debug, warn};

use super::controls::{read_controls, set_control};
use super::ioctl::{Capability, Device};
use super::locate::{DeviceLocator, LocatedDevice};
use super::nodes::open_node;
use crate::camera::control::{Control, ControlError, ControlKind, ControlValue};
use crate::camera::error::SourceError;
use crate::storage;
use crate::sync::lock;

/// The controls of one camera, and the values they are set to.
#[derive(Debug)]
pub(in crate::camera) struct ControlStore {
    camera: String,
    locator: Mutex<DeviceLocator>,
    /// Values that are set whenever the camera is opened.
    values: Mutex<BTreeMap<String, ControlValue>>,
    /// Where values that viewers set are stored over a restart; `None` if they are not.
    file: Option<PathBuf>,
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
    /// A store for a V4L2 camera. Stored values in `file` override the configured `values`.
    pub(in crate::camera) fn new(
        camera: &str,
        configured: Option<PathBuf>,
        mut values: BTreeMap<String, ControlValue>,
        file: Option<PathBuf>,
    ) -> Self {
        if let Some(stored) = file.as_deref().and_then(|file| read(camera, file)) {
            values.extend(stored);
        }
        Self {
            camera: camera.to_owned(),
            locator: Mutex::new(DeviceLocator::new(configured)),
            values: Mutex::new(values),
            file,
            last_read: Mutex::default(),
        }
    }

    /// Finds the device of the camera.
    pub(in crate::camera) fn locate(&self) -> Result<LocatedDevice, SourceError> {
        lock(&self.locator).locate()
    }

    /// The camera was opened: sets all values.
    pub(in crate::camera) fn camera_opened(&self, path: &Path, device: Device<'_>, capability: Capability) {
        lock(&self.locator).camera_opened(path, capability);
        let values = lock(&self.values).clone();
        if values.is_empty() {
            return;
        }
        let mut failed: Vec<_> = values.iter().map(|(name, value)| (name, value, None)).collect();
        // Twice, as a control may be inactive until another one is set.
        for _ in 0..2 {
            let mut controls = match read_controls(device) {
                Ok(controls) => controls,
                Err(error) => return warn!("camera {}: controls not set: {error}", self.camera),
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
            warn!("camera {}: control not set: {error}", self.camera);
        }
    }

    /// The camera was unplugged.
    pub(in crate::camera) fn camera_lost(&self) {
        lock(&self.locator).camera_lost();
        *lock(&self.last_read) = None;
    }

    /// All controls of the camera, whether or not it is open.
    pub(in crate::camera) fn list(&self) -> Result<Vec<Control>, ControlError> {
        self.with_device(|device, controls| controls.read(device).cloned())
    }

    /// Sets a control now, and whenever the camera is opened. Returns the control with its new value.
    ///
    /// Three ioctls: the list that was last read is used, and read again only if the control cannot be set by it.
    pub(in crate::camera) fn set(&self, name: &str, value: &ControlValue) -> Result<Control, ControlError> {
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
            // The disk may be slow, and the capture thread takes this lock when it opens the camera.
            let values = {
                let mut values = lock(&self.values);
                let value = control.value.map_or_else(|| value.clone(), ControlValue::Number);
                values.insert(name.to_owned(), value);
                values.clone()
            };
            self.store(&values);
        }
        Ok(control)
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

    fn store(&self, values: &BTreeMap<String, ControlValue>) {
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, values) {
            warn!(
                "camera {}: controls not kept: {}: {error}; check the state directory",
                self.camera,
                file.display()
            );
        }
    }
}

fn unavailable(path: &Path, error: &io::Error) -> ControlError {
    ControlError::Unavailable(format!("{}: {error}", path.display()))
}

fn read(camera: &str, file: &Path) -> Option<BTreeMap<String, ControlValue>> {
    let text = fs::read_to_string(file).ok()?;
    let values = serde_json::from_str(&text);
    values.map_err(|error| warn!("camera {camera}: {} is damaged and ignored: {error}", file.display())).ok()
}

/// Stores the values for the next start.
fn write(file: &Path, values: &BTreeMap<String, ControlValue>) -> io::Result<()> {
    storage::replace(file, 0o600, &serde_json::to_vec_pretty(values).map_err(io::Error::other)?)?;
    debug!("controls stored in {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_values_are_read_again() {
        let file = std::env::temp_dir().join(format!("porthole-controls-{}/x.json", std::process::id()));
        let wanted = BTreeMap::from([
            ("a".to_owned(), ControlValue::Number(-3)),
            ("b".to_owned(), ControlValue::Switch(true)),
            ("c".to_owned(), ControlValue::Item("x".into())),
        ]);
        write(&file, &wanted).unwrap();
        assert_eq!(read("test", &file), Some(wanted));
        fs::write(&file, "{").unwrap();
        assert_eq!(read("test", &file), None);
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
}
