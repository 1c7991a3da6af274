//! The `Authorization` header of requests: Basic (RFC 7617), Digest (RFC 7616) and Bearer (RFC 6750).
//!
//! The first request has no password, so that a server that takes Digest never gets it in the clear. The answer to a
//! challenge is used for later requests too, so that most need no further challenge.
#![forbid(unsafe_code)]

use std::fmt;

use http_auth::{PasswordClient, PasswordParams};
use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

use super::credentials::SourceCredentials;
use super::error::{RemoteFault, printable};

/// Most bytes of challenges that are read: far more than a server sends.
const MAX_CHALLENGE_BYTES: usize = 8 * 1024;
/// Most challenges in a row that are answered: a server may call each answer too old.
const MAX_ANSWERS: u32 = 3;
/// The challenge that is answered with a password if a server asks for a Bearer token alone. Porthole does that, so that browsers
/// show no dialog, and accepts Basic too.
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
        let challenges: Vec<&str> =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
        if self.answered > 0 && (self.answered == MAX_ANSWERS || !is_stale(&challenges)) {
            (self.client, self.answered) = (None, 0);
            return Err(RemoteFault::PasswordRefused { asks_for: schemes(&challenges) });
        }
        self.client = Some(self.challenged(&challenges)?);
        self.answered += 1;
        Ok(())
    }

    /// The server accepted the last request.
    pub(super) fn accepted(&mut self) {
        self.answered = 0;
    }

    /// What makes the answers to these challenges.
    fn challenged(&self, challenges: &[&str]) -> Result<PasswordClient, RemoteFault> {
        let asks_for = || schemes(challenges);
        match &self.credentials {
            SourceCredentials::Absent => return Err(RemoteFault::NeedsCredentials { asks_for: asks_for() }),
            SourceCredentials::Token(_) => return Err(RemoteFault::TokenRefused { asks_for: asks_for() }),
            SourceCredentials::Password { .. } => {}
        }
        let asks_for_token = |challenge: &&str| scheme(challenge).eq_ignore_ascii_case("bearer");
        let client = challenge_client(challenges).or_else(|why| {
            if challenges.iter().any(asks_for_token) { challenge_client(&[BASIC]) } else { Err(why) }
        });
        client.map_err(|why| RemoteFault::UnknownChallenge { why: printable(&why) })
    }
}

fn scheme(challenge: &str) -> &str {
    challenge.split_ascii_whitespace().next().unwrap_or_default()
}

/// Whether the server refused an answer only because its nonce is too old (RFC 7616, section 3.3).
fn is_stale(challenges: &[&str]) -> bool {
    challenges.iter().any(|challenge| {
        let text: String =
            challenge.to_ascii_lowercase().chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
        text.contains("stale=true")
    })
}

/// The schemes that a server asks for, in words.
fn schemes(challenges: &[&str]) -> String {
    let schemes: Vec<String> = challenges
        .iter()
        .map(|text| scheme(text))
        .filter(|scheme| !scheme.is_empty())
        .map(printable)
        .collect();
    if schemes.is_empty() { "credentials".into() } else { schemes.join(" or ") }
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
    use crate::client::RemoteSecret;

    fn with_password() -> Authentication {
        let password = RemoteSecret::new("secret");
        Authentication::new(SourceCredentials::Password { user: "me".into(), password })
    }

    fn answer(authentication: &mut Authentication, challenges: &[&str]) {
        authentication.client = Some(authentication.challenged(challenges).unwrap());
    }

    #[test]
    fn a_token_is_sent_at_once_and_a_password_when_it_is_asked_for() {
        let mut token = Authentication::new(SourceCredentials::Token(RemoteSecret::new("abc")));
        assert_eq!(token.header("GET", "/").as_deref(), Some("Bearer abc"));
        assert!(matches!(token.challenged(&["Bearer"]), Err(RemoteFault::TokenRefused { .. })));
        let mut password = with_password();
        assert_eq!(password.header("GET", "/"), None);
        answer(&mut password, &["Basic realm=\"x\""]);
        assert_eq!(password.header("GET", "/").as_deref(), Some("Basic bWU6c2VjcmV0"));
        assert!(!format!("{password:?}").contains("secret"));
    }

    #[test]
    fn a_password_for_a_server_that_names_tokens_alone_goes_as_basic() {
        let mut password = with_password();
        answer(&mut password, &["Bearer realm=\"Porthole\""]);
        assert_eq!(password.header("GET", "/ws").as_deref(), Some("Basic bWU6c2VjcmV0"));
    }

    fn headers(challenge: &str) -> HeaderMap {
        HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge.parse().unwrap())])
    }

    #[test]
    fn an_answer_that_was_refused_is_not_given_again() {
        let (mut password, headers) = (with_password(), headers("Basic realm=\"x\""));
        password.refused(&headers).unwrap();
        password.accepted();
        password.refused(&headers).unwrap();
        assert!(matches!(password.refused(&headers), Err(RemoteFault::PasswordRefused { .. })));
        assert_eq!(password.header("GET", "/"), None, "it begins again");
    }

    #[test]
    fn a_server_that_calls_every_answer_too_old_is_answered_only_so_often() {
        let mut password = with_password();
        let headers = headers("Digest realm=\"x\", qop=\"auth\", nonce=\"n\", stale=true");
        (0..MAX_ANSWERS).for_each(|_| password.refused(&headers).unwrap());
        assert!(matches!(password.refused(&headers), Err(RemoteFault::PasswordRefused { .. })));
        password.refused(&headers).unwrap();
    }

    #[test]
    fn digest_is_preferred_and_counts_its_requests() {
        let mut password = with_password();
        let challenges = [
            "Basic realm=\"x\"",
            "Digest realm=\"x\", qop=\"auth\", algorithm=SHA-256, nonce=\"n\", opaque=\"o\"",
        ];
        answer(&mut password, &challenges);
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
        let absent = Authentication::new(SourceCredentials::Absent);
        let basic = absent.challenged(&["Basic realm=\"x\""]);
        assert!(matches!(basic, Err(RemoteFault::NeedsCredentials { asks_for }) if asks_for == "Basic"));
        for challenge in
            ["", "Negotiate", "Digest", "Digest realm=\"x\", nonce=\"n\", algorithm=MD4", "\u{1}"]
        {
            let mut password = with_password();
            let answered = password.challenged(&[challenge]);
            assert!(matches!(answered, Err(RemoteFault::UnknownChallenge { .. })), "{challenge}");
            assert_eq!(password.header("GET", "/"), None);
        }
    }
}
