//! The page: plain HTML, CSS and JavaScript, embedded as they lie in this folder. No build step but packing, nothing
//! fetched from elsewhere.
//!
//! A browser keeps what it got and asks each time whether that still holds, so that a page is never older than its
//! server, and costs next to nothing when it is the same.
//!
//! | file | what belongs there |
//! |---|---|
//! | `index.html` | everything that can be seen, but the pictures and the camera's own controls |
//! | `style.css` | how it looks: one layout for phones and several cameras, one for a single picture |
//! | `app.js` | what the page as a whole does: which cameras are shown, buttons, keys |
//! | `place.js` | addresses, relative to the page's own |
//! | `report.js` | asking the server what it does |
//! | `feed.js` | one camera's connection: frames, acknowledgements, clocks, coming back |
//! | `picture.js` | one camera's canvas: the newest frame decoded, turned and drawn |
//! | `tile.js` | one camera on the page: its picture, its figures, its state in words |
//! | `keep.js` | snapshots, clips and the small window |
//! | `controls.js` | the camera's controls |
//! | `theme.js` | light or dark; runs before anything is drawn |
//! | `fallback.js` | the plain stream, for browsers that cannot run the others |
#![forbid(unsafe_code)]

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, VARY,
};
use hyper::{HeaderMap, StatusCode};

use miniz_oxide::inflate::decompress_to_vec;

use crate::web::router::{Answer, respond};

/// A file of the page. The tags are strong validators (RFC 9110, section 8.8.3): another for each content and way.
#[derive(Debug)]
struct Asset {
    name: &'static str,
    content_type: &'static str,
    plain_tag: &'static str,
    packed_tag: &'static str,
    /// By gzip.
    packed: &'static [u8],
}

/// What gzip puts before and after the deflated data where it has nothing to say (RFC 1952, section 2.3).
const GZIP_FRAME: (usize, usize) = (10, 8);

impl Asset {
    /// As it lies in this folder, for the few clients that do not take it packed.
    fn plain(&self) -> Vec<u8> {
        let (before, after) = GZIP_FRAME;
        let deflated = &self.packed[before..self.packed.len() - after];
        decompress_to_vec(deflated).expect("it was packed when this was built, and a test unpacks each")
    }
}

const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Answers a request for the file at `path`, if there is one.
pub(in crate::web) fn answer(path: &str, headers: &HeaderMap) -> Option<Answer> {
    let name = match path {
        "/" => "index.html",
        "/favicon.ico" => "icon.svg",
        path => path.strip_prefix('/')?,
    };
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let packed = takes_gzip(headers);
    let tag = if packed { asset.packed_tag } else { asset.plain_tag };
    let is_known = knows(headers, tag);
    let (status, body) = match (is_known, packed) {
        (true, _) => (StatusCode::NOT_MODIFIED, Bytes::new()),
        (false, true) => (StatusCode::OK, Bytes::from_static(asset.packed)),
        (false, false) => (StatusCode::OK, asset.plain().into()),
    };
    let mut answer = respond(status, asset.content_type, body);
    let headers = answer.headers_mut();
    let mut put = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    put(CACHE_CONTROL, "no-cache");
    put(ETAG, tag);
    put(VARY, "Accept-Encoding");
    if packed && !is_known {
        put(CONTENT_ENCODING, "gzip");
    }
    Some(answer)
}

/// Whether a client takes gzip (RFC 9110, section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut gzip = None;
    let mut any = None;
    for coding in list(headers, ACCEPT_ENCODING) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        let wanted = weight.is_ok_and(|weight| weight > 0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(wanted),
            "*" => any = Some(wanted),
            _ => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

/// Whether a client has what `tag` stands for (RFC 9110, section 13.1.2).
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    list(headers, IF_NONE_MATCH).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// The parts of a header that is a list.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn gzip_goes_to_whoever_takes_it() {
        for (value, takes) in [
            ("gzip, deflate, br", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("identity", false),
            ("", false),
            ("gzip;q=much", false),
        ] {
            assert_eq!(takes_gzip(&headers(ACCEPT_ENCODING, value)), takes, "{value:?}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        for (value, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            assert_eq!(knows(&headers(IF_NONE_MATCH, value), "\"a\""), known, "{value}");
        }
        assert!(!knows(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn every_file_is_unpacked_to_what_lies_in_the_folder() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page");
        for asset in ASSETS {
            assert!(asset.plain() == std::fs::read(folder.join(asset.name)).unwrap(), "{}", asset.name);
        }
    }

    #[test]
    fn every_file_has_its_own_tag() {
        let mut tags: Vec<_> = ASSETS.iter().flat_map(|asset| [asset.plain_tag, asset.packed_tag]).collect();
        let all = tags.len();
        tags.sort_unstable();
        tags.dedup();
        assert!(tags.len() == all && all >= 8, "{tags:?}");
    }
}
