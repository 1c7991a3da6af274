//! How this machine proves to another one that it may have its pictures, and how it recognizes the other. How credentials
//! are sent is the matter of each protocol.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::error::RemoteFault;
use super::url::RemoteUrl;
use crate::client::{CertificateFingerprint, RemoteSecret, first_line};

/// What the configuration has beside the URL of a camera on another machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteSettings {
    /// A token that is sent as `Bearer`.
    pub token: Option<RemoteSecret>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The only certificate that is accepted; `None` leaves the choice to the authorities of the system.
    pub fingerprint: Option<CertificateFingerprint>,
}

/// The credentials for one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SourceCredentials {
    /// Nothing.
    Absent,
    /// A token, sent as `Bearer`.
    Token(RemoteSecret),
    /// A user and a password, sent as the server asks for it.
    Password { user: String, password: RemoteSecret },
}

impl SourceCredentials {
    /// The credentials for `url`. Reads the file with the password, so that a new password is used without a restart.
    pub(super) fn read(url: &RemoteUrl, settings: &RemoteSettings) -> Result<Self, RemoteFault> {
        if let Some(token) = &settings.token {
            return Ok(Self::Token(token.clone()));
        }
        let password = match &settings.password_file {
            Some(path) => Some(first_line(path)?),
            None => url.password().cloned(),
        };
        let user = url.user().unwrap_or_default().to_owned();
        Ok(match (password, url.user()) {
            (Some(password), _) => Self::Password { user, password },
            (None, Some(_)) => Self::Password { user, password: RemoteSecret::new("") },
            (None, None) => Self::Absent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let path = std::env::temp_dir().join(format!("porthole-password-{}", std::process::id()));
        let settings = RemoteSettings { password_file: Some(path.clone()), ..RemoteSettings::default() };
        let url: RemoteUrl = "http://admin@cam/".parse().unwrap();
        std::fs::write(&path, "secret word \r\nnote\n").unwrap();
        let credentials = SourceCredentials::read(&url, &settings).unwrap();
        let expected =
            SourceCredentials::Password { user: "admin".into(), password: RemoteSecret::new("secret word") };
        assert_eq!(credentials, expected);
        assert!(!format!("{credentials:?}").contains("secret"));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(SourceCredentials::read(&url, &settings), Err(RemoteFault::NoPassword { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(SourceCredentials::read(&url, &settings), Err(RemoteFault::PasswordFile { .. })));
    }
}
