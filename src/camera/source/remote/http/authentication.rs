//! The `Authorization` header of requests: Basic (RFC 7617), Digest (RFC 7616) and Bearer (RFC 6750).
//!
//! The first request has no password. The answer to a challenge is used for later requests too, so that most need no
//! further challenge.
#![forbid(unsafe_code)]

use std::fmt;

use http_auth::{PasswordClient, PasswordParams};

use crate::camera::source::remote::credentials::SourceCredentials;

/// Most bytes of challenges that are read: far more than a server sends.
const MAX_CHALLENGE_BYTES: usize = 8 * 1024;

/// Makes the `Authorization` header of requests.
pub(super) struct Authentication {
    credentials: SourceCredentials,
    /// What the server's last challenge asks for.
    client: Option<PasswordClient>,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A challenge is no secret, and the answers to it cannot be told from one.
        f.debug_struct("Authentication").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// Why a server's challenge cannot be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChallengeError {
    /// There are no credentials.
    NoCredentials,
    /// The credentials are of another kind than the server asks for.
    OtherKind(&'static str),
    /// The challenge is of no known kind, or makes no sense.
    Unknown(String),
}

impl Authentication {
    pub(super) fn new(credentials: SourceCredentials) -> Self {
        Self { credentials, client: None }
    }

    /// The header for a request; `None` if it needs none, as far as is known.
    pub(super) fn header(&mut self, method: &str, path_and_query: &str) -> Option<String> {
        match &self.credentials {
            SourceCredentials::Absent => None,
            SourceCredentials::Token(token) => Some(format!("Bearer {}", token.reveal())),
            SourceCredentials::Password { user, password } => {
                let (client, password) = (self.client.as_mut()?, password.reveal());
                // Without a body it is not `auth-int`, which many servers offer and few understand.
                [None, Some(&[][..])].into_iter().find_map(|body| {
                    let uri = path_and_query;
                    respond(client, &PasswordParams { username: user, password, uri, method, body }).ok()
                })
            }
        }
    }

    /// Reads the challenges of a server that refused a request: the values of `WWW-Authenticate`.
    pub(super) fn challenged<'a>(
        &mut self,
        challenges: impl Iterator<Item = &'a str>,
    ) -> Result<(), ChallengeError> {
        match &self.credentials {
            SourceCredentials::Absent => return Err(ChallengeError::NoCredentials),
            SourceCredentials::Token(_) => return Err(ChallengeError::OtherKind("the token was refused")),
            SourceCredentials::Password { .. } => {}
        }
        let client = challenge_client(challenges).map_err(ChallengeError::Unknown)?;
        self.client = Some(client);
        Ok(())
    }

    /// Forgets the last challenge.
    pub(super) fn forget(&mut self) {
        self.client = None;
    }
}

/// The best answer to these challenges: Digest if it is offered, else Basic.
fn challenge_client<'a>(challenges: impl Iterator<Item = &'a str>) -> Result<PasswordClient, String> {
    let mut left = MAX_CHALLENGE_BYTES;
    let mut builder = PasswordClient::builder();
    for challenge in challenges {
        left = left.checked_sub(challenge.len()).ok_or("too many challenges")?;
        builder = builder.challenges(challenge);
    }
    builder.build()
}

fn respond(client: &mut PasswordClient, parameters: &PasswordParams<'_>) -> Result<String, String> {
    let response = client.respond(parameters)?;
    // It is the value of a header line, and parts of it are the server's words.
    if response.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        Ok(response)
    } else {
        Err("holds control characters".into())
    }
}

/// The answer to a challenge, for tests: to `GET /` by user `user` with password `password`.
pub fn answer_to_challenge(challenge: &str) -> Result<String, String> {
    let mut client = challenge_client(std::iter::once(challenge))?;
    let body: Option<&[u8]> = Some(&[]);
    respond(
        &mut client,
        &PasswordParams { username: "user", password: "password", uri: "/", method: "GET", body },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::source::remote::secret::SourceSecret;

    fn with_password() -> Authentication {
        let password = SourceSecret::new("secret");
        Authentication::new(SourceCredentials::Password { user: "me".into(), password })
    }

    #[test]
    fn a_token_is_sent_at_once_and_a_password_when_it_is_asked_for() {
        let mut token = Authentication::new(SourceCredentials::Token(SourceSecret::new("abc")));
        assert_eq!(token.header("GET", "/").as_deref(), Some("Bearer abc"));
        assert!(matches!(token.challenged(["Bearer"].into_iter()), Err(ChallengeError::OtherKind(_))));
        let mut password = with_password();
        assert_eq!(password.header("GET", "/"), None);
        password.challenged(["Basic realm=\"x\""].into_iter()).unwrap();
        assert_eq!(password.header("GET", "/").as_deref(), Some("Basic bWU6c2VjcmV0"));
        assert!(!format!("{password:?}").contains("secret"));
    }

    #[test]
    fn digest_is_preferred_and_counts_its_requests() {
        let mut password = with_password();
        let challenges = [
            "Basic realm=\"x\"",
            "Digest realm=\"x\", qop=\"auth\", algorithm=SHA-256, nonce=\"n\", opaque=\"o\"",
        ];
        password.challenged(challenges.into_iter()).unwrap();
        for count in 1..3 {
            let header = password.header("GET", "/a?b").unwrap();
            assert!(
                header.starts_with("Digest username=\"me\"") && header.contains("uri=\"/a?b\""),
                "{header}"
            );
            assert!(header.contains(&format!("nc={count:08}")) && header.contains("SHA-256"), "{header}");
        }
    }

    #[test]
    fn a_challenge_that_cannot_be_answered_is_named() {
        let mut absent = Authentication::new(SourceCredentials::Absent);
        assert_eq!(absent.challenged(["Basic realm=\"x\""].into_iter()), Err(ChallengeError::NoCredentials));
        for challenge in
            ["", "Negotiate", "Digest", "Digest realm=\"x\", nonce=\"n\", algorithm=MD4", "\u{1}"]
        {
            let mut password = with_password();
            let error = password.challenged([challenge].into_iter()).unwrap_err();
            assert!(matches!(error, ChallengeError::Unknown(_)), "{challenge}");
            assert_eq!(password.header("GET", "/"), None);
        }
    }
}
