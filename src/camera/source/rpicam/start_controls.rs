//! The controls that the program takes at its start, as options.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use log::warn;

use crate::camera::control::{CameraControls, Control, ControlError, ControlKind, ControlValue, MenuItem};
use crate::camera::control_values::ControlValues;
use crate::camera::wake::Waker;

/// How the value of a control becomes that of an option.
#[derive(Clone, Copy)]
enum OptionForm {
    /// In hundredths: least, most, default.
    Hundredths(i64, i64, i64),
    /// As it is: least, most, default.
    Whole(i64, i64, i64),
    /// Off unless it is given.
    Switch,
    /// One of these words. The first is the default.
    Word(&'static [&'static str]),
}

/// Set where the autofocus is off, and inactive elsewhere.
const LENS_POSITION: &str = "lens_position";
const AUTOFOCUS_MODE: &str = "autofocus_mode";

/// A control and its option, which has the same name with dashes.
struct StartControl {
    name: &'static str,
    label: &'static str,
    form: OptionForm,
}

/// The ranges are those that the program clamps to, or that its sensors have.
const CONTROLS: [StartControl; 14] = {
    use OptionForm::{Hundredths, Switch, Whole, Word};
    const fn of(name: &'static str, label: &'static str, form: OptionForm) -> StartControl {
        StartControl { name, label, form }
    }
    [
        of("brightness", "Brightness (hundredths)", Hundredths(-100, 100, 0)),
        of("contrast", "Contrast (hundredths)", Hundredths(0, 1599, 100)),
        of("saturation", "Saturation (hundredths)", Hundredths(0, 1599, 100)),
        of("sharpness", "Sharpness (hundredths)", Hundredths(0, 1599, 100)),
        of("exposure", "Exposure Mode", Word(&["normal", "sport"])),
        of("ev", "Exposure Compensation (hundredths of EV)", Hundredths(-800, 800, 0)),
        of("shutter", "Shutter (microseconds, 0 is automatic)", Whole(0, 1_000_000, 0)),
        of("gain", "Gain (hundredths, 0 is automatic)", Hundredths(0, 6400, 0)),
        of(
            "awb",
            "White Balance",
            Word(&["auto", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy"]),
        ),
        of("metering", "Exposure Metering", Word(&["centre", "spot", "average"])),
        of(AUTOFOCUS_MODE, "Autofocus", Word(&["default", "manual", "auto", "continuous"])),
        of(LENS_POSITION, "Lens Position (hundredths of a dioptre)", Hundredths(0, 3200, 100)),
        of("hflip", "Horizontal Flip", Switch),
        of("vflip", "Vertical Flip", Switch),
    ]
};

impl StartControl {
    fn option(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// The control at its default.
    fn control(&self, id: u32) -> Control {
        let (kind, [minimum, maximum, default]) = match self.form {
            OptionForm::Hundredths(least, most, default) | OptionForm::Whole(least, most, default) => {
                (ControlKind::Integer, [least, most, default])
            }
            OptionForm::Switch => (ControlKind::Boolean, [0, 1, 0]),
            OptionForm::Word(words) => (ControlKind::Menu, [0, words.len() as i64 - 1, 0]),
        };
        let menu = match self.form {
            OptionForm::Word(words) => {
                (0..).zip(words).map(|(value, word)| MenuItem { value, label: (*word).into() }).collect()
            }
            _ => Vec::new(),
        };
        Control {
            id,
            name: self.name.into(),
            label: self.label.into(),
            kind,
            minimum,
            maximum,
            step: 1,
            default,
            value: Some(default),
            menu,
            read_only: false,
            inactive: false,
            affects_others: self.name == AUTOFOCUS_MODE,
        }
    }

    /// The option for `value`.
    fn argument(&self, value: i64) -> String {
        let option = self.option();
        match self.form {
            OptionForm::Hundredths(..) => format!("{option}={}", value as f64 / 100.0),
            OptionForm::Whole(..) => format!("{option}={value}"),
            OptionForm::Switch => option,
            OptionForm::Word(words) => {
                format!("{option}={}", words.get(value as usize).copied().unwrap_or_default())
            }
        }
    }
}

/// All controls at their defaults.
pub(super) fn default_controls() -> Vec<Control> {
    (1..).zip(&CONTROLS).map(|(id, control)| control.control(id)).collect()
}

/// The controls of a Raspberry Pi's camera. They need no camera: the program is started with their values.
#[derive(Debug)]
pub(in crate::camera::source) struct StartControls {
    values: Arc<ControlValues>,
    /// `rpicam_options`. A control whose option is among them is set there.
    options: Vec<String>,
    /// Counts the changes.
    changes: AtomicU64,
    /// Wakes the capture thread, which starts the program again.
    waker: Arc<Waker>,
}

impl StartControls {
    pub(in crate::camera::source) fn new(
        values: Arc<ControlValues>,
        options: Vec<String>,
        waker: Arc<Waker>,
    ) -> Self {
        Self { values, options, changes: AtomicU64::new(0), waker }
    }

    /// A number that is another one after each change.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// The options for the program.
    pub(super) fn arguments(&self) -> Vec<String> {
        let values = self.values.all();
        let controls = self.with_values(&values);
        for (name, value) in &values {
            let set = find(&controls, name).and_then(|control| control.number_for(value));
            if let Err(error) = set {
                warn!("camera {}: control not set: {error}", self.values.camera());
            }
        }
        let given = controls.iter().filter(|control| !control.inactive).filter_map(|control| {
            let value = control.value?;
            // The program has no default for the lens: it leaves it where it is.
            let is_default = value == control.default && control.name != LENS_POSITION;
            let start = CONTROLS.iter().find(|start| start.name == control.name)?;
            (!is_default).then(|| start.argument(value))
        });
        given.collect()
    }

    /// The controls at these values. A value that is not allowed is left out.
    fn with_values(&self, values: &BTreeMap<String, ControlValue>) -> Vec<Control> {
        let mut controls = default_controls();
        controls.retain(|control| {
            let option = format!("--{}", control.name.replace('_', "-"));
            !self.options.iter().any(|given| given.split('=').next() == Some(&option))
        });
        for control in &mut controls {
            if let Some(number) = values.get(&control.name).and_then(|value| control.number_for(value).ok()) {
                control.value = Some(number);
            }
        }
        let focuses_by_hand = controls.iter().any(|c| c.name == AUTOFOCUS_MODE && c.value == Some(1));
        for control in controls.iter_mut().filter(|control| control.name == LENS_POSITION) {
            control.inactive = !focuses_by_hand;
        }
        controls
    }
}

fn find<'a>(controls: &'a [Control], name: &str) -> Result<&'a Control, ControlError> {
    let names = || controls.iter().map(|control| control.name.as_str()).collect::<Vec<_>>().join(", ");
    let unknown = || ControlError::Unknown { name: name.to_owned(), known: names() };
    controls.iter().find(|control| control.name == name).ok_or_else(unknown)
}

impl CameraControls for StartControls {
    fn list(&self) -> Result<Vec<Control>, ControlError> {
        Ok(self.with_values(&self.values.all()))
    }

    fn set(&self, name: &str, value: &ControlValue) -> Result<Control, ControlError> {
        let controls = self.with_values(&self.values.all());
        let control = find(&controls, name)?;
        let number = control.number_for(value)?;
        if control.inactive {
            return Err(ControlError::Inactive { name: name.to_owned() });
        }
        if control.value != Some(number) {
            self.values.insert(name, ControlValue::Number(number));
            self.changes.fetch_add(1, Relaxed);
            self.waker.wake();
        }
        Ok(Control { value: Some(number), ..control.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controls(values: &[(&str, ControlValue)], options: &[&str]) -> StartControls {
        let values = values.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let options = options.iter().map(|option| (*option).into()).collect();
        let values = Arc::new(ControlValues::new("test", values, None));
        StartControls::new(values, options, Arc::new(Waker::new().unwrap()))
    }

    #[test]
    fn values_become_options_and_defaults_none() {
        use ControlValue::{Item, Number, Switch};
        let set = controls(
            &[
                ("brightness", Number(-25)),
                ("contrast", Number(100)),
                ("shutter", Number(20000)),
                ("awb", Item("Daylight".into())),
                ("hflip", Switch(true)),
                ("vflip", Switch(false)),
                ("gain", Number(7_000_000)),
                ("no_such_control", Number(1)),
            ],
            &[],
        );
        assert_eq!(set.arguments(), ["--brightness=-0.25", "--shutter=20000", "--awb=daylight", "--hflip"]);
        assert_eq!(controls(&[], &[]).arguments(), [""; 0]);
    }

    #[test]
    fn the_lens_is_set_where_focus_is_manual() {
        let set = controls(&[("lens_position", ControlValue::Number(250))], &[]);
        assert_eq!(set.arguments(), [""; 0]);
        let lens = |value| set.set("lens_position", &ControlValue::Number(value));
        assert!(matches!(lens(300), Err(ControlError::Inactive { .. })));
        set.set("autofocus_mode", &ControlValue::Item("manual".into())).unwrap();
        assert_eq!(lens(300).unwrap().value, Some(300));
        assert_eq!(set.arguments(), ["--autofocus-mode=manual", "--lens-position=3"]);
        assert_eq!(set.changes(), 2);
        lens(300).unwrap();
        assert_eq!(set.changes(), 2, "nothing changed");
    }

    #[test]
    fn an_option_of_the_configuration_replaces_its_control() {
        let set = controls(&[("awb", ControlValue::Number(1))], &["--awb=cloudy", "--ev", "0.5", "--hflip"]);
        let names: Vec<String> = set.list().unwrap().into_iter().map(|control| control.name).collect();
        assert!(!names.iter().any(|name| ["awb", "ev", "hflip"].contains(&name.as_str())), "{names:?}");
        assert!(names.contains(&"vflip".into()));
        assert_eq!(set.arguments(), [""; 0]);
        assert!(set.set("awb", &ControlValue::Number(1)).unwrap_err().to_string().contains("vflip"));
    }
}
