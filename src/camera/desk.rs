//! The desk a camera's knobs are turned at, by the configuration and by viewers.
//!
//! A [`Desk`] belongs to one camera. What is set on it is set again whenever the camera is opened, as cameras forget
//! when they are unplugged, and kept over a restart where that is wanted. Turning a knob needs no stream: the kernel
//! takes it on a descriptor of its own, beside the one that captures. What knobs there are is in
//! [`controls`](super::controls).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use log::{debug, warn};

use super::controls::{Control, ControlError, Kind, Setting, controls, set};
use super::devices::ask;
use super::error::SourceError;
use super::kernel::{Capability, Device};
use super::locate::{Located, Locator};

/// The controls of one camera, and what they have been set to.
#[derive(Debug)]
pub(super) struct Desk {
    camera: String,
    locator: Mutex<Locator>,
    /// What is set whenever the camera is opened.
    wanted: Mutex<BTreeMap<String, Setting>>,
    /// Where what viewers set is kept over a restart, if it is.
    file: Option<PathBuf>,
    /// Held by the one request that talks to the camera.
    turn: Mutex<()>,
}

impl Desk {
    /// A desk for a V4L2 camera. What was kept in `file` counts more than what the configuration says.
    pub(super) fn new(
        camera: &str,
        configured: Option<PathBuf>,
        mut wanted: BTreeMap<String, Setting>,
        file: Option<PathBuf>,
    ) -> Self {
        if let Some(kept) = file.as_deref().and_then(|file| read(camera, file)) {
            wanted.extend(kept);
        }
        Self {
            camera: camera.to_owned(),
            locator: Mutex::new(Locator::new(configured)),
            wanted: Mutex::new(wanted),
            file,
            turn: Mutex::default(),
        }
    }

    pub(super) fn locate(&self, is_usable: impl Fn(&Path) -> bool) -> Result<Located, SourceError> {
        lock(&self.locator).locate(is_usable)
    }

    /// The camera was opened: sets all that shall be set.
    pub(super) fn opened(&self, device: Device<'_>, capability: Capability) {
        lock(&self.locator).found(capability);
        let wanted = lock(&self.wanted).clone();
        let mut failed: Vec<_> = wanted.iter().map(|(name, setting)| (name, setting, None)).collect();
        // Twice, as one may have no effect before another has been switched off.
        for _ in 0..2 {
            failed.retain_mut(|(name, setting, error)| {
                *error = set(device, name, setting).err();
                error.is_some()
            });
        }
        for error in failed.into_iter().filter_map(|(_, _, error)| error) {
            warn!("camera {}: control not set: {error}", self.camera);
        }
    }

    /// The camera is gone: what is there now is not it.
    pub(super) fn lost(&self) {
        lock(&self.locator).lost();
    }

    /// All controls of the camera, open or not.
    pub(super) fn list(&self, is_usable: impl Fn(&Path) -> bool) -> Result<Vec<Control>, ControlError> {
        self.with_device(is_usable, |path| {
            ask(path, controls)
                .map_err(|error| ControlError::Unavailable(format!("{}: {error}", path.display())))
        })
    }

    /// Sets one, and sets it again whenever the camera is opened from now on. Returns where it stands.
    pub(super) fn set(
        &self,
        name: &str,
        setting: &Setting,
        is_usable: impl Fn(&Path) -> bool,
    ) -> Result<Control, ControlError> {
        let control = self.with_device(is_usable, |path| {
            let asked = ask(path, |device| {
                Ok(set(device, name, setting).and_then(|()| {
                    let all = controls(device).unwrap_or_default();
                    let control = all.into_iter().find(|control| control.name == name);
                    control.ok_or_else(|| ControlError::Unavailable("the camera is gone".into()))
                }))
            });
            asked.unwrap_or_else(|error| {
                Err(ControlError::Unavailable(format!("{}: {error}", path.display())))
            })
        })?;
        // Pressing a button is nothing to be repeated.
        if control.kind != Kind::Button {
            let mut wanted = lock(&self.wanted);
            wanted.insert(name.to_owned(), control.value.map_or_else(|| setting.clone(), Setting::Number));
            self.keep(&wanted);
        }
        Ok(control)
    }

    fn with_device<T>(
        &self,
        is_usable: impl Fn(&Path) -> bool,
        work: impl FnOnce(&Path) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        // A driver that hangs keeps one request, and the others are told so.
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(ControlError::Busy),
        };
        let located = self.locate(is_usable).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        work(&located.path)
    }

    fn keep(&self, wanted: &BTreeMap<String, Setting>) {
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, wanted) {
            warn!("camera {}: controls not kept: {}: {error}", self.camera, file.display());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(camera: &str, file: &Path) -> Option<BTreeMap<String, Setting>> {
    let text = fs::read_to_string(file).ok()?;
    let kept = serde_json::from_str(&text);
    kept.map_err(|error| warn!("camera {camera}: {} is damaged and passed over: {error}", file.display()))
        .ok()
}

/// Written aside and moved, so that a power cut leaves the old or the new.
fn write(file: &Path, wanted: &BTreeMap<String, Setting>) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let aside = file.with_extension("new");
    fs::write(&aside, serde_json::to_vec_pretty(wanted).map_err(io::Error::other)?)?;
    fs::File::open(&aside)?.sync_all()?;
    fs::rename(&aside, file)?;
    debug!("controls kept in {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_kept_and_read_again() {
        let file = std::env::temp_dir().join(format!("porthole-controls-{}/x.json", std::process::id()));
        let wanted = BTreeMap::from([
            ("a".to_owned(), Setting::Number(-3)),
            ("b".to_owned(), Setting::Switch(true)),
            ("c".to_owned(), Setting::Item("x".into())),
        ]);
        write(&file, &wanted).unwrap();
        assert_eq!(read("test", &file), Some(wanted));
        fs::write(&file, "{").unwrap();
        assert_eq!(read("test", &file), None);
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
}
