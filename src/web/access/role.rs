//! The two roles of users.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserRole {
    /// Watch.
    Viewer,
    /// Watch, and change the camera's controls.
    Admin,
}

impl UserRole {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Viewer, Self::Admin];

    /// Its name on the command line and in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// The key of its password hash in the configuration and in the passwords file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Viewer => "viewer_password",
            Self::Admin => "admin_password",
        }
    }
}

impl fmt::Display for UserRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for UserRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.name() == text);
        role.ok_or_else(|| "must be viewer or admin".to_owned())
    }
}
