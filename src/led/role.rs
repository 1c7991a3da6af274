//! What an LED is for.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// What an LED is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LedRole {
    /// The service runs.
    Power,
    /// A camera delivers frames.
    Camera,
    /// The privacy LED: a camera is open.
    OnAir,
    /// There is a fault; the LED flashes its number.
    Fault,
}

impl LedRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Power, Self::Camera, Self::OnAir, Self::Fault];

    /// The name in the configuration and in `/state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Camera => "camera",
            Self::OnAir => "on-air",
            Self::Fault => "fault",
        }
    }
}

impl FromStr for LedRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("must be one of {names}"))
    }
}

impl fmt::Display for LedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
