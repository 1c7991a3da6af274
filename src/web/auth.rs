//! Who may come in.
//!
//! On a loopback address everybody who reaches it; elsewhere, unless the operator says otherwise, whoever has the
//! token: random, made once, kept where only this user can read it, and printed as part of a ready URL.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE};
use subtle::ConstantTimeEq;

/// How it is decided who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Whoever has the token.
    Token,
    /// Everybody.
    None,
}

/// The token cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "state_dir {}: {source}; the access token is kept there: make it writable, \
     name another with --state-dir, or let everybody in with --auth none", path.display()
)]
pub struct TokenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Name of the cookie that holds the token for a browser.
const COOKIE_NAME: &str = "porthole_token";
/// Random bytes in a token: too many to guess.
const TOKEN_BYTES: usize = 16;

/// Decides who may come in.
pub(super) enum Auth {
    Everybody,
    Token { token: String, is_new: bool },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everybody => "Everybody",
            Self::Token { .. } => "Token(..)",
        })
    }
}

/// How a request proved that it may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It needed none.
    Unneeded,
    /// By a header, as programs and returning browsers do.
    Header,
    /// By the URL; a browser that came so is given a cookie for what it asks next.
    Url,
}

impl Auth {
    /// Makes ready for `mode`; the token is read from `state_dir` or made there.
    pub(super) fn prepare(mode: AuthMode, state_dir: &Path) -> Result<Self, TokenError> {
        if mode == AuthMode::None {
            return Ok(Self::Everybody);
        }
        let path = state_dir.join("token");
        let failed = |source| TokenError { path: state_dir.into(), source };
        match fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => {
                Ok(Self::Token { token: token.trim().to_owned(), is_new: false })
            }
            Ok(_) => make(state_dir, &path).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(state_dir, &path).map_err(failed),
            Err(error) => Err(failed(error)),
        }
    }

    /// The token to print, if it was made just now.
    pub(super) fn new_token(&self) -> Option<&str> {
        match self {
            Self::Token { token, is_new: true } => Some(token),
            _ => None,
        }
    }

    /// Whether a request may come in: by Bearer, Basic (the token is the password), cookie or `?token=`.
    pub(super) fn admits(&self, headers: &HeaderMap, query: Option<&str>) -> Option<Proof> {
        let Self::Token { token, .. } = self else { return Some(Proof::Unneeded) };
        let is_right = |candidate: &[u8]| bool::from(candidate.ct_eq(token.as_bytes()));
        let authorization = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut cookies =
            cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        if bearer(authorization).is_some_and(is_right)
            || basic(authorization).is_some_and(|password| is_right(&password))
            || cookies.any(|(name, value)| name == COOKIE_NAME && is_right(value.as_bytes()))
        {
            return Some(Proof::Header);
        }
        let mut query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        query.any(|(key, value)| key == "token" && is_right(value.as_bytes())).then_some(Proof::Url)
    }

    /// The cookie for a browser that came in by URL.
    pub(super) fn cookie(&self) -> Option<String> {
        match self {
            Self::Token { token, .. } => {
                Some(format!("{COOKIE_NAME}={token}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict"))
            }
            Self::Everybody => None,
        }
    }
}

fn make(state_dir: &Path, path: &Path) -> io::Result<Auth> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let token = HEXLOWER.encode(&random);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    // Written aside and moved, so that a power cut leaves a whole token or none.
    let aside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    Ok(Auth::Token { token, is_new: true })
}

/// The credentials behind a scheme's name, which may be in any case (RFC 9110, section 11.1).
fn credentials<'a>(authorization: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (name, rest) = authorization.split_at_checked(scheme.len())?;
    (name.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b" ")).then(|| rest.trim_ascii())
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    credentials(authorization, "Bearer")
}

fn basic(authorization: &[u8]) -> Option<Vec<u8>> {
    let pair = BASE64.decode(credentials(authorization, "Basic")?).ok()?;
    let colon = pair.iter().position(|&b| b == b':')?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hyper::header::HeaderValue;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("porthole-auth-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_token_is_made_once_and_kept_private() {
        let folder = scratch("once");
        let first = Auth::prepare(AuthMode::Token, &folder).unwrap();
        let token = first.new_token().unwrap().to_owned();
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(fs::metadata(folder.join("token")).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Auth::prepare(AuthMode::Token, &folder).unwrap();
        assert_eq!(again.new_token(), None, "printed a second time");
        let url = format!("token={token}");
        assert_eq!(again.admits(&HeaderMap::new(), Some(&url)), Some(Proof::Url));
        assert!(!format!("{first:?}").contains(&token), "Debug shows the token");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named_with_the_remedy() {
        let file = scratch("file");
        fs::write(&file, "in the way").unwrap();
        let error = Auth::prepare(AuthMode::Token, &file).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()) && error.contains("--state-dir"), "{error}");
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn every_way_to_show_the_token_is_taken_and_no_other() {
        let auth = Auth::Token { token: "secret".into(), is_new: false };
        let with = |name, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            auth.admits(&headers, None)
        };
        for good in ["Bearer secret", "bearer  secret", "Basic OnNlY3JldA==", "basic dmlld2VyOnNlY3JldA=="] {
            assert_eq!(with(AUTHORIZATION, good), Some(Proof::Header), "{good}");
        }
        for bad in
            ["", "Bearer", "Bearersecret", "Bearer secre", "Basic secret", "Basic c2VjcmV0", "Digest secret"]
        {
            assert_eq!(with(AUTHORIZATION, bad), None, "{bad}");
        }
        assert_eq!(with(COOKIE, "a=b; porthole_token=secret"), Some(Proof::Header));
        assert_eq!(with(COOKIE, "token=secret"), None);
        assert_eq!(auth.admits(&HeaderMap::new(), Some("x&token=secret")), Some(Proof::Url));
        assert_eq!(auth.admits(&HeaderMap::new(), Some("token=")), None);
        assert_eq!(Auth::Everybody.admits(&HeaderMap::new(), None), Some(Proof::Unneeded));
    }
}
