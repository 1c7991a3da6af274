//! The page: plain HTML, CSS and JavaScript, embedded as they lie in this folder. No build step, nothing fetched from
//! elsewhere.
#![forbid(unsafe_code)]

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asset {
    pub(super) content_type: &'static str,
    pub(super) body: &'static str,
}

/// What the page may do: run its own script and style, show pictures it made itself, talk to its own server.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
     connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// The file at `path`, if there is one.
pub(super) fn asset(path: &str) -> Option<Asset> {
    let asset = |content_type, body| Some(Asset { content_type, body });
    match path {
        "/" | "/index.html" => asset("text/html; charset=utf-8", include_str!("index.html")),
        "/app.js" => asset("text/javascript; charset=utf-8", include_str!("app.js")),
        "/style.css" => asset("text/css; charset=utf-8", include_str!("style.css")),
        "/icon.svg" | "/favicon.ico" => asset("image/svg+xml", include_str!("icon.svg")),
        _ => None,
    }
}
