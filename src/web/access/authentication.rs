//! Who may come in, and as what.
//!
//! On a loopback address everybody who reaches it; elsewhere, unless the operator says otherwise, whoever has the token
//! or a password. What is right is known at once and always let in, be it a token, a session or a password that was
//! right before. Only what is not known is a guess: it is held against its address ([`login_throttle`](super::login_throttle)), and a password is
//! checked one at a time, on a thread that is not the network's, so that guessing costs one processor and the memory of
//! one check at most, however many guess.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blake2::{Blake2s256, Digest};
use data_encoding::BASE64;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE};
use subtle::ConstantTimeEq;
use tokio::task::spawn_blocking;

use super::client::{Admission, Denied, Proof, Visitor};
use super::login_throttle::{Ledger, Suspect, Verdict};
use super::password::{Memory, Passwords, Role};
use super::session::{LIFE, Sessions, Tag};
use super::token::{self, TokenError};

/// How it is decided who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Whoever has the token.
    Token,
    /// Whoever has a password.
    Password(Passwords),
    /// Everybody.
    None,
}

/// Names of the cookies that hold the token, or a session's id, for a browser.
const TOKEN_COOKIE: &str = "porthole_token";
const SESSION_COOKIE: &str = "porthole_session";

/// What is right.
enum How {
    Everybody,
    Token { token: String, is_new: bool },
    Passwords(Passwords),
}

/// Decides who may come in.
#[derive(Clone)]
pub(in crate::web) struct Auth {
    vault: Arc<Vault>,
    /// Whose turn it is to have a password checked, in the one memory there is for that.
    turn: Arc<tokio::sync::Mutex<Memory>>,
}

/// What is remembered, on whichever thread.
struct Vault {
    how: How,
    /// Of the hashes by which secrets are remembered.
    key: [u8; 32],
    started: Instant,
    /// The password of each role, as it was when it was right.
    known: Mutex<[Option<Tag>; Role::ALL.len()]>,
    ledger: Mutex<Ledger>,
    sessions: Mutex<Sessions>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is changed under these locks is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Auth {
    /// Makes ready for `mode`; the token is read from `state_dir` or made there.
    pub(in crate::web) fn prepare(mode: AuthMode, state_dir: &Path) -> Result<Self, TokenError> {
        let how = match mode {
            AuthMode::None => How::Everybody,
            AuthMode::Password(passwords) => How::Passwords(passwords),
            AuthMode::Token => {
                let (token, is_new) = token::kept(state_dir)?;
                How::Token { token, is_new }
            }
        };
        Ok(Self::new(how, token::key(state_dir)?))
    }

    fn new(how: How, key: [u8; 32]) -> Self {
        let (known, ledger, sessions) = Default::default();
        let vault = Vault { how, key, started: Instant::now(), known, ledger, sessions };
        Self { vault: Arc::new(vault), turn: Arc::default() }
    }

    /// The token to print, if it was made just now.
    pub(in crate::web) fn new_token(&self) -> Option<&str> {
        match &self.vault.how {
            How::Token { token, is_new: true } => Some(token),
            _ => None,
        }
    }

    /// As it is written in the configuration.
    pub(in crate::web) fn mode(&self) -> &'static str {
        match self.vault.how {
            How::Everybody => "none",
            How::Token { .. } => "token",
            How::Passwords(_) => "password",
        }
    }

    /// Whether a request may come in: by cookie, Bearer, Basic (the user name is anybody's) or `?token=`.
    pub(in crate::web) async fn admit(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        visitor: Visitor,
    ) -> Result<Admission, Denied> {
        let everybody = matches!(self.vault.how, How::Everybody).then_some(Role::Admin);
        if let Some(role) = everybody.or(visitor.known) {
            return Ok(Admission { role, proof: Proof::Unneeded });
        }
        let shown = shown(headers, query);
        // First what can be known at once, so that a cookie still counts beside an address that holds an old token.
        let known = |(proof, secret): &(Proof, Vec<u8>)| {
            Some(Admission { role: self.vault.recognise(secret)?, proof: *proof })
        };
        let cookie = cookies(headers).find_map(|(name, value)| self.vault.cookie_role(name, value));
        let cookie = cookie.map(|role| Admission { role, proof: Proof::Cookie });
        if let Some(admission) = shown.iter().find_map(known).or(cookie) {
            return Ok(admission);
        }
        let mut denied = Denied::Nothing;
        for (proof, secret) in shown {
            match self.check(&secret, visitor.suspect).await {
                Ok(role) => return Ok(Admission { role, proof }),
                Err(why) => denied = why,
            }
        }
        Err(denied)
    }

    /// Whose token or password this is. A wrong one is held against `peer`.
    pub(in crate::web) async fn check(&self, secret: &[u8], peer: Suspect) -> Result<Role, Denied> {
        let tag = self.vault.tag(secret);
        self.vault.judge(secret, &tag, peer)?;
        if let Some(role) = self.vault.recognise(secret) {
            return Ok(role);
        }
        if !matches!(self.vault.how, How::Passwords(_)) {
            self.vault.take_down(None, tag, peer);
            return Err(Denied::Wrong);
        }
        let _place = Place::take(&self.vault, peer).ok_or(Denied::Busy)?;
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        // Others have been checked meanwhile: the same, or as many wrong ones as one address may send.
        self.vault.judge(secret, &tag, peer)?;
        if let Some(role) = self.vault.recognise(secret) {
            return Ok(role);
        }
        let (vault, secret) = (Arc::clone(&self.vault), secret.to_vec());
        // Whoever goes away meanwhile has guessed all the same, and the next one waits until this is over.
        let checked = spawn_blocking(move || {
            let How::Passwords(passwords) = &vault.how else { return None };
            let role = passwords.role(&secret, &mut turn);
            vault.take_down(role, tag, peer);
            role
        });
        checked.await.map_err(|_| Denied::Busy)?.ok_or(Denied::Wrong)
    }

    /// The cookie for a browser whose user showed what is right: with the token as it is, or with a session of its own.
    /// The token is for as long as it is the token, and is not sent along from other sites at all. A session ends, and is
    /// sent along where a link from another site leads here: nothing is changed by following one.
    pub(in crate::web) fn cookie(&self, role: Role, secure: bool) -> Option<String> {
        let (name, value, life, site) = match &self.vault.how {
            How::Everybody => return None,
            How::Token { token, .. } => (TOKEN_COOKIE, token.clone(), 31_536_000, "Strict"),
            How::Passwords(_) => {
                let id = token::random().ok()?;
                lock(&self.vault.sessions).begin(self.vault.tag(id.as_bytes()), role, self.vault.now());
                (SESSION_COOKIE, id, LIFE.as_secs(), "Lax")
            }
        };
        let secure = if secure { "; Secure" } else { "" };
        Some(format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite={site}{secure}"))
    }

    /// Ends the session of whoever asks; the cookies that make a browser forget.
    pub(in crate::web) fn log_out(&self, headers: &HeaderMap) -> [String; 2] {
        for (_, id) in cookies(headers).filter(|(name, _)| *name == SESSION_COOKIE) {
            lock(&self.vault.sessions).end(&self.vault.tag(id.as_bytes()));
        }
        [TOKEN_COOKIE, SESSION_COOKIE].map(|name| format!("{name}=; Path=/; Max-Age=0; HttpOnly"))
    }

    /// How many sessions there are, and how many addresses have to wait.
    pub(in crate::web) fn figures(&self) -> (usize, usize) {
        let now = self.vault.now();
        (lock(&self.vault.sessions).count(now), lock(&self.vault.ledger).locked_out(now))
    }
}

impl Vault {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// What a secret is remembered by. With a key before it, BLAKE2 is a keyed hash (RFC 7693, section 1).
    fn tag(&self, secret: &[u8]) -> Tag {
        Blake2s256::new().chain_update(self.key).chain_update(secret).finalize().into()
    }

    /// Whose secret this is, if that is known without checking.
    fn recognise(&self, secret: &[u8]) -> Option<Role> {
        match &self.how {
            How::Everybody => None,
            How::Token { token, .. } => bool::from(secret.ct_eq(token.as_bytes())).then_some(Role::Admin),
            How::Passwords(_) => {
                let (tag, known) = (self.tag(secret), lock(&self.known));
                let is = |role: &Role| known[*role as usize].is_some_and(|known| known.ct_eq(&tag).into());
                Role::ALL.into_iter().find(is)
            }
        }
    }

    /// Whose cookie this is.
    fn cookie_role(&self, name: &str, value: &str) -> Option<Role> {
        match (&self.how, name) {
            (How::Token { .. }, TOKEN_COOKIE) => self.recognise(value.as_bytes()),
            (How::Passwords(_), SESSION_COOKIE) => {
                lock(&self.sessions).role(&self.tag(value.as_bytes()), self.now())
            }
            _ => None,
        }
    }

    /// Whether a secret may be checked now; one that is known to be right always may.
    fn judge(&self, secret: &[u8], tag: &Tag, peer: Suspect) -> Result<(), Denied> {
        if self.recognise(secret).is_some() {
            return Ok(());
        }
        match lock(&self.ledger).judge(peer, mark(tag), self.now()) {
            Verdict::Check => Ok(()),
            Verdict::Wrong => Err(Denied::Wrong),
            Verdict::Wait(time) => Err(Denied::TooMany(time)),
        }
    }

    /// Remembers what has been found out about a secret.
    fn take_down(&self, role: Option<Role>, tag: Tag, peer: Suspect) {
        match role {
            Some(role) => lock(&self.known)[role as usize] = Some(tag),
            None => lock(&self.ledger).wrong(peer, mark(&tag), self.now()),
        }
    }
}

/// Enough of a tag to know a wrong guess again.
fn mark(tag: &Tag) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *tag;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// A place among those who wait for a check; given back when dropped.
struct Place<'a>(&'a Vault, Suspect);

impl<'a> Place<'a> {
    fn take(vault: &'a Vault, peer: Suspect) -> Option<Self> {
        // A place that was not had is none to give back.
        let had = lock(&vault.ledger).queue(peer);
        had.then(|| Self(vault, peer))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.0.ledger).leave(self.1);
    }
}

/// What a request shows as a secret, besides cookies: of each kind one, so that a request is few guesses.
fn shown(headers: &HeaderMap, query: Option<&str>) -> Vec<(Proof, Vec<u8>)> {
    let authorization = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let bearer = credentials(authorization, "Bearer").map(|token| (Proof::Bearer, token.to_vec()));
    let basic = basic(authorization).map(|password| (Proof::Basic, password));
    let mut query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let url = query.find(|(key, _)| key == "token").map(|(_, token)| (Proof::Url, token.into_owned().into()));
    bearer.or(basic).into_iter().chain(url).filter(|(_, secret)| !secret.is_empty()).collect()
}

/// Names and values of all cookies.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// The credentials behind a scheme's name, which may be in any case (RFC 9110, section 11.1).
fn credentials<'a>(authorization: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (name, rest) = authorization.split_at_checked(scheme.len())?;
    (name.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b" ")).then(|| rest.trim_ascii())
}

/// The password of Basic authentication (RFC 7617); any user name will do.
fn basic(authorization: &[u8]) -> Option<Vec<u8>> {
    let pair = BASE64.decode(credentials(authorization, "Basic")?).ok()?;
    let colon = pair.iter().position(|&b| b == b':')?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};
    use tokio::runtime::Builder;

    use super::*;
    use crate::web::access::password::PasswordHash;

    const VISITOR: Visitor = Visitor { suspect: PEER, secure: false, known: None };
    const PEER: Suspect = Suspect::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const OTHER: Suspect = Suspect::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    fn token() -> Auth {
        Auth::new(How::Token { token: "secret".into(), is_new: false }, [7; 32])
    }

    fn passwords() -> Auth {
        let hash = |password: &str| Some(PasswordHash::make(password).unwrap());
        let passwords = Passwords { viewer: hash("only look"), admin: hash("and touch") };
        Auth::new(How::Passwords(passwords), [7; 32])
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn with(auth: &Auth, name: HeaderName, value: &str) -> Result<Admission, Denied> {
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        wait(auth.admit(&headers, None, VISITOR))
    }

    fn by_url(auth: &Auth, query: &str) -> Result<Admission, Denied> {
        wait(auth.admit(&HeaderMap::new(), Some(query), VISITOR))
    }

    #[test]
    fn every_way_to_show_the_token_is_taken_and_no_other() {
        let admin = |proof| Ok(Admission { role: Role::Admin, proof });
        for (good, proof) in [
            ("Bearer secret", Proof::Bearer),
            ("bearer  secret", Proof::Bearer),
            ("Basic OnNlY3JldA==", Proof::Basic),
            ("basic dmlld2VyOnNlY3JldA==", Proof::Basic),
        ] {
            assert_eq!(with(&token(), AUTHORIZATION, good), admin(proof), "{good}");
        }
        for bad in
            ["", "Bearer", "Bearer ", "Bearersecret", "Basic secret", "Basic c2VjcmV0", "Digest secret"]
        {
            assert_eq!(with(&token(), AUTHORIZATION, bad), Err(Denied::Nothing), "{bad}");
        }
        assert_eq!(with(&token(), AUTHORIZATION, "Bearer secre"), Err(Denied::Wrong));
        assert_eq!(with(&token(), COOKIE, "a=b; porthole_token=secret"), admin(Proof::Cookie));
        assert_eq!(with(&token(), COOKIE, "token=secret"), Err(Denied::Nothing));
        assert_eq!(with(&token(), COOKIE, "porthole_session=secret"), Err(Denied::Nothing));
        assert_eq!(by_url(&token(), "x&token=secret"), admin(Proof::Url));
        assert_eq!(by_url(&token(), "token="), Err(Denied::Nothing));
        assert_eq!(by_url(&Auth::new(How::Everybody, [7; 32]), ""), admin(Proof::Unneeded));
    }

    #[test]
    fn what_is_right_is_let_in_from_an_address_that_guesses() {
        for auth in [token(), passwords()] {
            let is_token = auth.mode() == "token";
            let right = if is_token { "token=secret" } else { "token=only look" };
            assert!(by_url(&auth, right).is_ok(), "it is known from now on");
            let cookie = auth.cookie(Role::Viewer, false).unwrap();
            for n in 0..6 {
                assert_eq!(by_url(&auth, &format!("token=guess{n}")), Err(Denied::Wrong));
            }
            // Until long after this test.
            let vault = &auth.vault;
            (6..16).for_each(|n| lock(&vault.ledger).wrong(PEER, n, vault.now()));
            assert!(matches!(by_url(&auth, "token=guess6"), Err(Denied::TooMany(_))));
            lock(&vault.ledger).wrong(PEER, mark(&vault.tag(b"guess5")), vault.now());
            assert_eq!(by_url(&auth, "token=guess5"), Err(Denied::Wrong), "the same again");
            assert!(by_url(&auth, right).is_ok());
            assert!(with(&auth, COOKIE, cookie.split(';').next().unwrap()).is_ok());
            assert_eq!(auth.figures(), (usize::from(!is_token), 1));
            // A password that is not known yet is a guess like any other, from there and not from elsewhere.
            let unknown = b"and touch";
            if !is_token {
                assert!(matches!(wait(auth.check(unknown, PEER)), Err(Denied::TooMany(_))));
                assert_eq!(wait(auth.check(unknown, OTHER)), Ok(Role::Admin));
                assert_eq!(wait(auth.check(unknown, PEER)), Ok(Role::Admin));
            }
        }
    }

    #[test]
    fn a_session_is_as_long_as_it_is_not_ended() {
        let auth = passwords();
        let cookie = auth.cookie(Role::Viewer, true).unwrap();
        assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let viewer = Ok(Admission { role: Role::Viewer, proof: Proof::Cookie });
        assert_eq!(with(&auth, COOKIE, pair), viewer);
        assert_eq!(with(&passwords(), COOKIE, pair), Err(Denied::Nothing));
        assert_ne!(auth.cookie(Role::Viewer, true).unwrap(), cookie);
        auth.log_out(&HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(pair).unwrap())]));
        assert_eq!(with(&auth, COOKIE, pair), Err(Denied::Nothing));
    }

    #[test]
    fn many_who_guess_at_once_are_checked_one_by_one_and_few_wait() {
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
        assert_eq!((count(Denied::Wrong), count(Denied::Busy)), (4, 16), "{denials:?}");
        assert!(auth.turn.try_lock().is_ok());
        // Nothing is held against somebody else, and no place is lost.
        assert_eq!(wait(auth.check(b"and touch", PEER)), Ok(Role::Admin));
    }

    #[test]
    fn nothing_secret_is_shown() {
        for auth in [token(), passwords()] {
            let text = format!("{auth:?} {:?}", VISITOR);
            assert!(!text.contains("secret") && !text.contains("argon2"), "{text}");
        }
    }
}
