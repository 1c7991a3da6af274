//! Checks tokens, passwords and sessions.
//!
//! Known secrets are recognised at once and always accepted: the token, a session, or a password that was accepted
//! before. Any other secret is a guess, which the [`LoginThrottle`] counts against its address. Passwords are hashed one at
//! a time, off the network's thread, so that guessing costs at most one processor and the memory of one hash.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use blake2::{Blake2s256, Digest};
use hyper::HeaderMap;
use subtle::ConstantTimeEq;
use tokio::task::spawn_blocking;

use super::client::{Client, CredentialKind, cookies, secrets};
use super::login_throttle::{LoginThrottle, ThrottleDecision, ThrottleKey};
use super::password::{HashMemory, Passwords, UserRole};
use super::secrets::{MAX_AGE, SecretDigest, Sessions, TokenError, random, random_key, read_or_make};
use crate::sync::lock;

/// Which credentials are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// The token.
    Token,
    /// A password.
    Password(Passwords),
    /// None.
    None,
}

const TOKEN_COOKIE: &str = "porthole_token";
const SESSION_COOKIE: &str = "porthole_session";
/// Life of the token cookie in seconds: a year, after which a browser has to be given the token again.
const TOKEN_COOKIE_AGE: u64 = 31_536_000;

/// A role, and the credentials that it was granted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) role: UserRole,
    pub(crate) credential: CredentialKind,
}

/// The credentials of a request are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthError {
    /// There are none.
    Missing,
    /// They are wrong.
    Wrong,
    /// They were not checked: its address has failed too often and must wait this long.
    Throttled(Duration),
    /// They were not checked: too many others wait for that.
    Busy,
}

enum AcceptedSecrets {
    Any,
    Token { token: String, is_new: bool },
    Passwords(Passwords),
}

#[derive(Clone)]
pub(crate) struct Authenticator {
    shared: Arc<AuthState>,
    /// The memory that passwords are hashed in. Its lock makes sure that one is hashed at a time.
    hashing: Arc<tokio::sync::Mutex<HashMemory>>,
}

/// What is shared with the thread that hashes.
struct AuthState {
    accepted: AcceptedSecrets,
    /// Key of the hashes by which secrets are remembered.
    key: [u8; 32],
    started: Instant,
    /// The digest of each role's password, once it was accepted.
    known: Mutex<[Option<SecretDigest>; UserRole::ALL.len()]>,
    throttle: Mutex<LoginThrottle>,
    sessions: Mutex<Sessions>,
}

impl fmt::Debug for Authenticator {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.shared.accepted {
            AcceptedSecrets::Any => "none",
            AcceptedSecrets::Token { .. } => "token",
            AcceptedSecrets::Passwords(_) => "password",
        })
    }
}

impl Authenticator {
    /// Prepares for `mode`. The token is read from `state_dir`, or made there.
    pub(crate) fn prepare(mode: AuthMode, state_dir: &Path) -> Result<Self, TokenError> {
        let accepted = match mode {
            AuthMode::None => AcceptedSecrets::Any,
            AuthMode::Password(passwords) => AcceptedSecrets::Passwords(passwords),
            AuthMode::Token => {
                let (token, is_new) = read_or_make(state_dir)?;
                AcceptedSecrets::Token { token, is_new }
            }
        };
        Ok(Self::new(accepted, random_key(state_dir)?))
    }

    fn new(accepted: AcceptedSecrets, key: [u8; 32]) -> Self {
        let (known, throttle, sessions) = Default::default();
        let shared = AuthState { accepted, key, started: Instant::now(), known, throttle, sessions };
        Self { shared: Arc::new(shared), hashing: Arc::default() }
    }

    /// The token, if it was made just now and has to be told.
    pub(crate) fn new_token(&self) -> Option<&str> {
        match &self.shared.accepted {
            AcceptedSecrets::Token { token, is_new: true } => Some(token),
            _ => None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.shared.accepted, AcceptedSecrets::Any)
    }

    pub(crate) fn uses_token(&self) -> bool {
        matches!(self.shared.accepted, AcceptedSecrets::Token { .. })
    }

    /// Checks the credentials of a request. Fails with [`AuthError`] when none of them is accepted.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        client: Client,
    ) -> Result<Grant, AuthError> {
        let open_role = self.is_open().then_some(UserRole::Admin);
        if let Some(role) = open_role.or(client.local_role()) {
            return Ok(Grant { role, credential: CredentialKind::Unneeded });
        }
        let secrets = secrets(headers, query);
        // Known secrets first, so that a valid cookie counts although the URL holds an old token.
        let recognise = |(credential, secret): &(CredentialKind, Vec<u8>)| {
            Some(Grant { role: self.shared.recognise(secret)?, credential: *credential })
        };
        let cookie = cookies(headers).find_map(|(name, value)| self.shared.cookie_role(name, value));
        let cookie = cookie.map(|role| Grant { role, credential: CredentialKind::Cookie });
        if let Some(grant) = secrets.iter().find_map(recognise).or(cookie) {
            return Ok(grant);
        }
        let mut error = AuthError::Missing;
        for (credential, secret) in secrets {
            match self.check(&secret, client.throttle_key).await {
                Ok(role) => return Ok(Grant { role, credential }),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    /// The role of a token or password. A wrong one counts against `key`. Fails with [`AuthError`] when it is wrong or
    /// was not checked.
    pub(super) async fn check(&self, secret: &[u8], key: ThrottleKey) -> Result<UserRole, AuthError> {
        let digest = self.shared.digest(secret);
        if let Some(role) = self.shared.recognise_or_throttle(secret, &digest, key)? {
            return Ok(role);
        }
        if !matches!(self.shared.accepted, AcceptedSecrets::Passwords(_)) {
            self.shared.record(None, digest, key);
            return Err(AuthError::Wrong);
        }
        let _slot = QueueSlot::take(&self.shared, key).ok_or(AuthError::Busy)?;
        let mut hashing = Arc::clone(&self.hashing).lock_owned().await;
        // Others were checked meanwhile: perhaps the same password, perhaps too many wrong ones of this address.
        if let Some(role) = self.shared.recognise_or_throttle(secret, &digest, key)? {
            return Ok(role);
        }
        let (shared, secret) = (Arc::clone(&self.shared), secret.to_vec());
        // It runs to its end though the client may leave: its guess counts, and the next one waits for the memory.
        let checked = spawn_blocking(move || {
            let AcceptedSecrets::Passwords(passwords) = &shared.accepted else { return None };
            let role = passwords.role(&secret, &mut hashing);
            shared.record(role, digest, key);
            role
        });
        checked.await.map_err(|_| AuthError::Busy)?.ok_or(AuthError::Wrong)
    }

    /// A cookie for a browser whose user has shown a secret of `role`; `None` where no credentials are asked for.
    ///
    /// The token's cookie holds the token and is `SameSite=Strict`. A password's begins a session and is `Lax`, so that a
    /// link from another site leads to the page: following a link changes nothing.
    pub(crate) fn cookie(&self, role: UserRole, is_secure: bool) -> Option<String> {
        let (name, value, age, same_site) = match &self.shared.accepted {
            AcceptedSecrets::Any => return None,
            AcceptedSecrets::Token { token, .. } => (TOKEN_COOKIE, token.clone(), TOKEN_COOKIE_AGE, "Strict"),
            AcceptedSecrets::Passwords(_) => {
                let id = random().ok()?;
                let digest = self.shared.digest(id.as_bytes());
                lock(&self.shared.sessions).begin(digest, role, self.shared.now());
                (SESSION_COOKIE, id, MAX_AGE.as_secs(), "Lax")
            }
        };
        let secure = if is_secure { "; Secure" } else { "" };
        Some(format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite={same_site}{secure}"))
    }

    /// Ends the session of a request. Returns cookies that make the browser forget its own.
    pub(crate) fn log_out(&self, headers: &HeaderMap) -> [String; 2] {
        for (_, id) in cookies(headers).filter(|(name, _)| *name == SESSION_COOKIE) {
            lock(&self.shared.sessions).end(&self.shared.digest(id.as_bytes()));
        }
        [TOKEN_COOKIE, SESSION_COOKIE].map(|name| format!("{name}=; Path=/; Max-Age=0; HttpOnly"))
    }

    pub(crate) fn session_count(&self) -> usize {
        lock(&self.shared.sessions).count(self.shared.now())
    }

    pub(crate) fn locked_out_count(&self) -> usize {
        lock(&self.shared.throttle).locked_out(self.shared.now())
    }
}

impl AuthState {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The digest by which a secret is remembered. BLAKE2 with a key in front is a keyed hash (RFC 7693, section 1).
    fn digest(&self, secret: &[u8]) -> SecretDigest {
        Blake2s256::new().chain_update(self.key).chain_update(secret).finalize().into()
    }

    /// The role of a secret that is known without hashing.
    fn recognise(&self, secret: &[u8]) -> Option<UserRole> {
        match &self.accepted {
            AcceptedSecrets::Any => None,
            AcceptedSecrets::Token { token, .. } => {
                bool::from(secret.ct_eq(token.as_bytes())).then_some(UserRole::Admin)
            }
            AcceptedSecrets::Passwords(_) => {
                let (digest, known) = (self.digest(secret), lock(&self.known));
                let is_known =
                    |role: &UserRole| known[*role as usize].is_some_and(|known| known.ct_eq(&digest).into());
                UserRole::ALL.into_iter().find(is_known)
            }
        }
    }

    fn cookie_role(&self, name: &str, value: &str) -> Option<UserRole> {
        match (&self.accepted, name) {
            (AcceptedSecrets::Token { .. }, TOKEN_COOKIE) => self.recognise(value.as_bytes()),
            (AcceptedSecrets::Passwords(_), SESSION_COOKIE) => {
                lock(&self.sessions).role(&self.digest(value.as_bytes()), self.now())
            }
            _ => None,
        }
    }

    /// The role of a secret that is known; `None` if it may be checked. Fails if it may not be checked now.
    fn recognise_or_throttle(
        &self,
        secret: &[u8],
        digest: &SecretDigest,
        key: ThrottleKey,
    ) -> Result<Option<UserRole>, AuthError> {
        if let Some(role) = self.recognise(secret) {
            return Ok(Some(role));
        }
        match lock(&self.throttle).decide(key, guess_id(digest), self.now()) {
            ThrottleDecision::Check => Ok(None),
            ThrottleDecision::KnownWrong => Err(AuthError::Wrong),
            ThrottleDecision::Wait(time) => Err(AuthError::Throttled(time)),
        }
    }

    fn record(&self, role: Option<UserRole>, digest: SecretDigest, key: ThrottleKey) {
        match role {
            Some(role) => lock(&self.known)[role as usize] = Some(digest),
            None => lock(&self.throttle).record_wrong(key, guess_id(&digest), self.now()),
        }
    }
}

/// Enough of a digest to recognise a repeated guess.
fn guess_id(digest: &SecretDigest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// A place in the queue for hashing, given back when dropped.
struct QueueSlot<'a>(&'a AuthState, ThrottleKey);

impl<'a> QueueSlot<'a> {
    fn take(shared: &'a AuthState, key: ThrottleKey) -> Option<Self> {
        // Made only once the place is taken, as dropping it gives the place back.
        lock(&shared.throttle).enqueue(key).then(|| Self(shared, key))
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        lock(&self.0.throttle).dequeue(self.1);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
    use tokio::runtime::Builder;

    use super::*;
    use crate::web::access::password::PasswordHash;
    use crate::web::server::address::Peer;

    const CLIENT: Client = Client { throttle_key: PEER, is_secure: false, peer: Peer::Unix };
    const PEER: ThrottleKey =
        ThrottleKey::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const OTHER: ThrottleKey =
        ThrottleKey::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    fn token() -> Authenticator {
        Authenticator::new(AcceptedSecrets::Token { token: "secret".into(), is_new: false }, [7; 32])
    }

    fn passwords() -> Authenticator {
        let hash = |password: &str| Some(PasswordHash::make(password).unwrap());
        let passwords = Passwords { viewer: hash("only look"), admin: hash("and touch") };
        Authenticator::new(AcceptedSecrets::Passwords(passwords), [7; 32])
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn with(auth: &Authenticator, name: HeaderName, value: &str) -> Result<Grant, AuthError> {
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        wait(auth.authenticate(&headers, None, CLIENT))
    }

    fn by_url(auth: &Authenticator, query: &str) -> Result<Grant, AuthError> {
        wait(auth.authenticate(&HeaderMap::new(), Some(query), CLIENT))
    }

    #[test]
    fn the_token_is_accepted_in_every_documented_way_and_no_other() {
        let admin = |credential| Ok(Grant { role: UserRole::Admin, credential });
        for (good, credential) in [
            ("Bearer secret", CredentialKind::Bearer),
            ("bearer  secret", CredentialKind::Bearer),
            ("Basic OnNlY3JldA==", CredentialKind::Basic),
            ("basic dmlld2VyOnNlY3JldA==", CredentialKind::Basic),
        ] {
            assert_eq!(with(&token(), AUTHORIZATION, good), admin(credential), "{good}");
        }
        for bad in
            ["", "Bearer", "Bearer ", "Bearersecret", "Basic secret", "Basic c2VjcmV0", "Digest secret"]
        {
            assert_eq!(with(&token(), AUTHORIZATION, bad), Err(AuthError::Missing), "{bad}");
        }
        assert_eq!(with(&token(), AUTHORIZATION, "Bearer secre"), Err(AuthError::Wrong));
        assert_eq!(with(&token(), COOKIE, "a=b; porthole_token=secret"), admin(CredentialKind::Cookie));
        assert_eq!(with(&token(), COOKIE, "token=secret"), Err(AuthError::Missing));
        assert_eq!(with(&token(), COOKIE, "porthole_session=secret"), Err(AuthError::Missing));
        assert_eq!(by_url(&token(), "x&token=secret"), admin(CredentialKind::Url));
        assert_eq!(by_url(&token(), "token="), Err(AuthError::Missing));
        assert_eq!(
            by_url(&Authenticator::new(AcceptedSecrets::Any, [7; 32]), ""),
            admin(CredentialKind::Unneeded)
        );
    }

    #[test]
    fn known_secrets_are_accepted_from_a_throttled_address() {
        for auth in [token(), passwords()] {
            let is_token = auth.uses_token();
            let right = if is_token { "token=secret" } else { "token=only look" };
            assert!(by_url(&auth, right).is_ok(), "it is known from now on");
            let cookie = auth.cookie(UserRole::Viewer, false).unwrap();
            for n in 0..6 {
                assert_eq!(by_url(&auth, &format!("token=guess{n}")), Err(AuthError::Wrong));
            }
            // Until long after this test.
            let shared = &auth.shared;
            (6..16).for_each(|n| lock(&shared.throttle).record_wrong(PEER, n, shared.now()));
            assert!(matches!(by_url(&auth, "token=guess6"), Err(AuthError::Throttled(_))));
            lock(&shared.throttle).record_wrong(PEER, guess_id(&shared.digest(b"guess5")), shared.now());
            assert_eq!(by_url(&auth, "token=guess5"), Err(AuthError::Wrong), "the same again");
            assert!(by_url(&auth, right).is_ok());
            assert!(with(&auth, COOKIE, cookie.split(';').next().unwrap()).is_ok());
            assert_eq!((auth.session_count(), auth.locked_out_count()), (usize::from(!is_token), 1));
            // A password that is not known yet is a guess, throttled at that address and not at others.
            let unknown = b"and touch";
            if !is_token {
                assert!(matches!(wait(auth.check(unknown, PEER)), Err(AuthError::Throttled(_))));
                assert_eq!(wait(auth.check(unknown, OTHER)), Ok(UserRole::Admin));
                assert_eq!(wait(auth.check(unknown, PEER)), Ok(UserRole::Admin));
            }
        }
    }

    #[test]
    fn a_session_lasts_until_it_is_ended() {
        let auth = passwords();
        let cookie = auth.cookie(UserRole::Viewer, true).unwrap();
        assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let viewer = Ok(Grant { role: UserRole::Viewer, credential: CredentialKind::Cookie });
        assert_eq!(with(&auth, COOKIE, pair), viewer);
        assert_eq!(with(&passwords(), COOKIE, pair), Err(AuthError::Missing));
        assert_ne!(auth.cookie(UserRole::Viewer, true).unwrap(), cookie);
        auth.log_out(&HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(pair).unwrap())]));
        assert_eq!(with(&auth, COOKIE, pair), Err(AuthError::Missing));
    }

    #[test]
    fn guesses_are_checked_one_at_a_time_and_few_wait() {
        let auth = passwords();
        let runtime = Builder::new_current_thread().build().unwrap();
        let denials = runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for n in 0..20 {
                let auth = auth.clone();
                all.spawn(async move { auth.check(format!("guess{n}").as_bytes(), PEER).await.unwrap_err() });
            }
            all.join_all().await
        });
        let count = |denied| denials.iter().filter(|one| **one == denied).count();
        assert_eq!((count(AuthError::Wrong), count(AuthError::Busy)), (4, 16), "{denials:?}");
        assert!(auth.hashing.try_lock().is_ok());
        // The address is not throttled yet, and no slot is lost.
        assert_eq!(wait(auth.check(b"and touch", PEER)), Ok(UserRole::Admin));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        for auth in [token(), passwords()] {
            let text = format!("{auth:?} {:?}", CLIENT);
            assert!(!text.contains("secret") && !text.contains("argon2"), "{text}");
        }
    }
}
