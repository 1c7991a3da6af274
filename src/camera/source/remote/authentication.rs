//! The `Authorization` header of requests: Basic (RFC 7617), Digest (RFC 7616) and Bearer (RFC 6750).
//!
//! The first request has no password, so that a server that takes Digest never gets it in the clear. The answer to a
//! challenge is used for later requests too, so that most need no further challenge.
#![forbid(unsafe_code)]

use std::fmt;

use http_auth::{PasswordClient, PasswordParams};
use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

use super::credentials::SourceCredentials;
use super::error::RemoteFault;

/// Most bytes of challenges that are read: far more than a server sends.
const MAX_CHALLENGE_BYTES: usize = 8 * 1024;

/// Most challenges in a row that are answered: a server may call each answer too old.
const MAX_ANSWERS: u32 = 3;
/// A challenge that servers are taken to mean if they ask for a Bearer token and get a password: Porthole names Bearer alone, so
/// that browsers show no dialog, and takes a password too.
const BASIC: &str = "Basic realm=\"\"";

/// Makes the `Authorization` header of requests.
pub(super) struct Authentication {
    credentials: SourceCredentials,
    /// What the server's last challenge asks for.
    client: Option<PasswordClient>,
    /// Challenges that were answered since the server accepted a request.
    answered: u32,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A challenge is no secret, and the answers to it cannot be told from one.
        f.debug_struct("Authentication").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// Why a server's challenge cannot be answered.
#[derive(Debug, PartialEq, Eq)]
enum ChallengeError {
    /// There are no credentials.
    NoCredentials,
    /// The credentials are of another kind than the server asks for.
    OtherKind(&'static str),
    /// The challenge is of no known kind, or makes no sense.
    Unknown(String),
}

impl Authentication {
    pub(super) fn new(credentials: SourceCredentials) -> Self {
        Self { credentials, client: None, answered: 0 }
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

    /// Reads the challenges of a server that answered 401 with these headers. The request is then sent again.
    ///
    /// # Errors
    /// When the challenge cannot be answered, and when the answer to the last one was refused.
    pub(super) fn refused(&mut self, headers: &HeaderMap) -> Result<(), RemoteFault> {
        if self.answered > 0 && (self.answered == MAX_ANSWERS || !is_stale(headers)) {
            *self = Self::new(std::mem::replace(&mut self.credentials, SourceCredentials::Absent));
            return Err(RemoteFault::PasswordRefused { asks_for: kinds(headers) });
        }
        self.challenged(&challenges(headers).collect::<Vec<_>>()).map_err(|error| match error {
            ChallengeError::NoCredentials => RemoteFault::NeedsCredentials { asks_for: kinds(headers) },
            ChallengeError::OtherKind(what) => RemoteFault::TokenRefused { what, asks_for: kinds(headers) },
            ChallengeError::Unknown(why) => RemoteFault::UnknownChallenge { why: printable(&why) },
        })?;
        self.answered += 1;
        Ok(())
    }

    /// The server accepted the last request.
    pub(super) fn accepted(&mut self) {
        self.answered = 0;
    }

    fn challenged(&mut self, challenges: &[&str]) -> Result<(), ChallengeError> {
        match &self.credentials {
            SourceCredentials::Absent => return Err(ChallengeError::NoCredentials),
            SourceCredentials::Token(_) => return Err(ChallengeError::OtherKind("the token was refused")),
            SourceCredentials::Password { .. } => {}
        }
        let asks_for_token = |challenge: &&str| scheme(challenge).eq_ignore_ascii_case("bearer");
        let client = challenge_client(challenges).or_else(|why| {
            if challenges.iter().any(asks_for_token) { challenge_client(&[BASIC]) } else { Err(why) }
        });
        self.client = Some(client.map_err(ChallengeError::Unknown)?);
        Ok(())
    }
}

fn challenges(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok())
}

fn scheme(challenge: &str) -> &str {
    challenge.split_ascii_whitespace().next().unwrap_or_default()
}

/// Whether the server refused an answer only because its nonce is too old (RFC 7616, section 3.3).
fn is_stale(headers: &HeaderMap) -> bool {
    challenges(headers).any(|challenge| {
        let text: String =
            challenge.to_ascii_lowercase().chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
        text.contains("stale=true")
    })
}

/// The kinds of credentials that a server asks for, in words.
fn kinds(headers: &HeaderMap) -> String {
    let kinds: Vec<String> =
        challenges(headers).map(scheme).filter(|kind| !kind.is_empty()).map(printable).collect();
    if kinds.is_empty() { "credentials".into() } else { kinds.join(" or ") }
}

/// The best answer to these challenges: Digest if it is offered, else Basic.
fn challenge_client(challenges: &[&str]) -> Result<PasswordClient, String> {
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

/// The first words of a server, for a message.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The answer to a challenge, for tests: to `GET /` by user `user` with password `password`.
pub fn answer_to_challenge(challenge: &str) -> Result<String, String> {
    let mut client = challenge_client(&[challenge])?;
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
        assert!(matches!(token.challenged(&["Bearer"]), Err(ChallengeError::OtherKind(_))));
        let mut password = with_password();
        assert_eq!(password.header("GET", "/"), None);
        password.challenged(&["Basic realm=\"x\""]).unwrap();
        assert_eq!(password.header("GET", "/").as_deref(), Some("Basic bWU6c2VjcmV0"));
        assert!(!format!("{password:?}").contains("secret"));
    }

    #[test]
    fn a_password_for_a_server_that_names_tokens_alone_goes_as_basic() {
        let mut password = with_password();
        password.challenged(&["Bearer realm=\"Porthole\""]).unwrap();
        assert_eq!(password.header("GET", "/ws").as_deref(), Some("Basic bWU6c2VjcmV0"));
    }

    #[test]
    fn a_server_that_calls_every_answer_too_old_is_answered_only_so_often() {
        let mut password = with_password();
        let mut headers = HeaderMap::new();
        let challenge = "Digest realm=\"x\", qop=\"auth\", nonce=\"n\", stale=true";
        headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        (0..MAX_ANSWERS).for_each(|_| password.refused(&headers).unwrap());
        assert!(matches!(password.refused(&headers), Err(RemoteFault::PasswordRefused { .. })));
        password.refused(&headers).unwrap();
        password.accepted();
        password.refused(&headers).unwrap();
    }

    #[test]
    fn digest_is_preferred_and_counts_its_requests() {
        let mut password = with_password();
        let challenges = [
            "Basic realm=\"x\"",
            "Digest realm=\"x\", qop=\"auth\", algorithm=SHA-256, nonce=\"n\", opaque=\"o\"",
        ];
        password.challenged(&challenges).unwrap();
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
        assert_eq!(absent.challenged(&["Basic realm=\"x\""]), Err(ChallengeError::NoCredentials));
        for challenge in
            ["", "Negotiate", "Digest", "Digest realm=\"x\", nonce=\"n\", algorithm=MD4", "\u{1}"]
        {
            let mut password = with_password();
            let error = password.challenged(&[challenge]).unwrap_err();
            assert!(matches!(error, ChallengeError::Unknown(_)), "{challenge}");
            assert_eq!(password.header("GET", "/"), None);
        }
    }
}
