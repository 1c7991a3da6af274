//! The web page: HTML, CSS and JavaScript, embedded from this folder. The build only compresses them, and a browser
//! fetches nothing from elsewhere.
//!
//! A browser may keep the files, and asks each time whether they are still valid. A page is never older than its server,
//! and takes almost no traffic while it is the same.
//!
//! | file | what belongs there |
//! |---|---|
//! | `index.html` | all elements, except for pictures and camera controls |
//! | `style.css` | layout and colours: one layout for phones and several cameras, one for a single picture |
//! | `app.js` | the page as a whole: which cameras are shown, buttons, keys |
//! | `place.js` | addresses, relative to that of the page |
//! | `report.js` | the state of the server |
//! | `feed.js` | one camera's connection: frames, acknowledgements, clock offset, reconnecting |
//! | `picture.js` | one camera's canvas: decodes, rotates and draws the newest frame |
//! | `video.js` | one camera's H.264: plays what comes, close to the newest fragment |
//! | `mp4.js` | the fields of a fragmented MP4 that the page reads, and files of fragments |
//! | `choice.js` | whether a camera is shown in JPEG or in H.264 |
//! | `layout.js` | where the bars of a single picture are |
//! | `tile.js` | one camera on the page: its picture, figures and state |
//! | `keep.js` | snapshots, clips, picture-in-picture |
//! | `controls.js` | the camera's controls |
//! | `theme.js` | light or dark; runs before anything is drawn |
//! | `fallback.js` | the MJPEG stream, for browsers that cannot run the rest |
//! | `app.webmanifest`, `icon*` | the page among the apps of a device |
#![forbid(unsafe_code)]

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, VARY,
};
use hyper::{HeaderMap, StatusCode};

use miniz_oxide::inflate::decompress_to_vec;

use crate::web::response::{Answer, answer as make_answer};

/// A file of the page. Its tags are strong validators (RFC 9110, section 8.8.3), one for each encoding.
#[derive(Debug)]
struct Asset {
    name: &'static str,
    content_type: &'static str,
    plain_tag: &'static str,
    packed_tag: &'static str,
    packed: &'static [u8],
}

/// Bytes of gzip's header without optional fields, and of its trailer (RFC 1952, section 2.3).
const GZIP_OVERHEAD: (usize, usize) = (10, 8);

impl Asset {
    /// The content uncompressed, for the few clients that do not accept gzip.
    fn plain(&self) -> Vec<u8> {
        let (before, after) = GZIP_OVERHEAD;
        let deflated = &self.packed[before..self.packed.len() - after];
        decompress_to_vec(deflated).expect("the build compressed it, and a test decompresses each file")
    }
}

const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Answers a request for the file at `path`; `None` if there is none.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Option<Answer> {
    let name = match path {
        "/" => "index.html",
        "/favicon.ico" => "icon.svg",
        path => path.strip_prefix('/')?,
    };
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let packed = accepts_gzip(headers);
    let tag = if packed { asset.packed_tag } else { asset.plain_tag };
    let is_known = has_tag(headers, tag);
    let (status, body) = match (is_known, packed) {
        (true, _) => (StatusCode::NOT_MODIFIED, Bytes::new()),
        (false, true) => (StatusCode::OK, Bytes::from_static(asset.packed)),
        (false, false) => (StatusCode::OK, asset.plain().into()),
    };
    let mut answer = make_answer(status, asset.content_type, body);
    let headers = answer.headers_mut();
    let mut insert = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    insert(CACHE_CONTROL, "no-cache");
    insert(ETAG, tag);
    insert(VARY, "Accept-Encoding");
    if packed && !is_known {
        insert(CONTENT_ENCODING, "gzip");
    }
    Some(answer)
}

/// Whether a client accepts gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
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

/// Whether a client has the file that `tag` stands for (RFC 9110, section 13.1.2).
fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    list(headers, IF_NONE_MATCH).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// The elements of a header that is a list.
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
    fn gzip_is_sent_to_clients_that_accept_it() {
        for (value, accepts) in [
            ("gzip, deflate, br", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("identity", false),
            ("", false),
            ("gzip;q=much", false),
        ] {
            assert_eq!(accepts_gzip(&headers(ACCEPT_ENCODING, value)), accepts, "{value:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn known_tags_are_recognised() {
        for (value, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            assert_eq!(has_tag(&headers(IF_NONE_MATCH, value), "\"a\""), known, "{value}");
        }
        assert!(!has_tag(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn every_file_decompresses_to_its_source() {
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
