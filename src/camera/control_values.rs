//! The values that the controls of a camera are set to: those of the configuration, and those that viewers set.
//!
//! They are set again whenever the camera is opened, and are stored over a restart if that is configured. Which controls there
//! are, and how one is set, belongs to the source.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use log::{debug, warn};

use super::control::ControlValue;
use crate::storage;
use crate::sync::lock;

/// The values of one camera, by the names of the controls.
#[derive(Debug)]
pub(super) struct ControlValues {
    camera: String,
    values: Mutex<BTreeMap<String, ControlValue>>,
    /// Where values that viewers set are stored over a restart; `None` if they are not.
    file: Option<PathBuf>,
}

impl ControlValues {
    /// The configured values. Stored values override them.
    pub(super) fn new(
        camera: &str,
        mut values: BTreeMap<String, ControlValue>,
        file: Option<PathBuf>,
    ) -> Self {
        values.extend(file.as_deref().and_then(|file| read(camera, file)).unwrap_or_default());
        Self { camera: camera.to_owned(), values: Mutex::new(values), file }
    }

    /// The name of the camera, for messages.
    pub(super) fn camera(&self) -> &str {
        &self.camera
    }

    /// All values.
    pub(super) fn all(&self) -> BTreeMap<String, ControlValue> {
        lock(&self.values).clone()
    }

    /// Remembers a value, and stores all if that is configured.
    pub(super) fn insert(&self, name: &str, value: ControlValue) {
        // The disk may be slow, and the capture thread takes this lock when it opens the camera.
        let values = {
            let mut values = lock(&self.values);
            values.insert(name.to_owned(), value);
            values.clone()
        };
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, &values) {
            let (camera, file) = (&self.camera, file.display());
            warn!("camera {camera}: controls not kept: {file}: {error}; check the state directory");
        }
    }
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
