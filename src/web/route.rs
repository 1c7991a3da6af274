//! Parses the path and query of a request into the endpoint that it is for. Pure.
//!
//! Existing programs write the same address in ways of their own, and all of them are parsed here: `?action=` of
//! mjpg-streamer on any path, keys without a value against caches, cameras by name.
#![forbid(unsafe_code)]

use std::time::Duration;

use hyper::Method;

use super::access::check::Operation;

/// Files that need no credentials, as they reveal nothing of the cameras: those of the login page, and those that a
/// device fetches by itself, without the browser's cookies, to put the page among its apps.
const PUBLIC_FILES: [&str; 6] =
    ["/style.css", "/icon.svg", "/favicon.ico", "/icon-192.png", "/icon-512.png", "/app.webmanifest"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// A file of the page.
    Page(&'a str),
    /// A file of the page that needs no credentials.
    PublicFile(&'a str),
    /// The page of a camera without the last slash of its address, which its files are relative to.
    PageWithoutSlash,
    Login,
    Logout,
    WebSocket,
    /// Frames over WebSocket in the tutorial's format.
    TutorialWebSocket,
    Stream,
    /// H.264 as one endless MP4.
    Mp4,
    /// H.264 as a byte stream.
    AnnexB,
    /// One frame, at most `max_age` old when the request came.
    Snapshot {
        max_age: Option<Duration>,
    },
    /// One picture of the largest size that the camera has.
    Still,
    State,
    Metrics,
    Health,
    Controls,
    Control(&'a str),
}

impl Endpoint<'_> {
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Control(_) => "PUT, OPTIONS",
            Self::Login => "GET, HEAD, POST, OPTIONS",
            Self::Logout => "POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    pub(super) fn allows(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }

    pub(super) fn is_login(&self) -> bool {
        matches!(self, Self::Login | Self::Logout)
    }

    /// What a request by `method` does, as far as access to it goes. `is_open` says that no credentials are asked for.
    pub(super) fn operation(&self, method: &Method, is_open: bool) -> Operation {
        match self {
            Self::Login | Self::Logout if *method == Method::POST && !is_open => Operation::LogIn,
            Self::Login | Self::Logout => Operation::Public,
            _ if !self.allows(method) => Operation::Read,
            Self::PublicFile(_) => Operation::Public,
            Self::WebSocket => Operation::OpenWebSocket,
            Self::TutorialWebSocket => Operation::OpenTutorialWebSocket,
            Self::Control(_) => Operation::ChangeControl,
            _ => Operation::Read,
        }
    }
}

/// An endpoint, and the camera it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// The name of the camera; `None` for the first one.
    pub(super) camera: Option<&'a str>,
    pub(super) endpoint: Endpoint<'a>,
}

impl<'a> Route<'a> {
    /// Parses a path and query. Unknown keys of the query are ignored. Fails when the value of a known key is not
    /// valid.
    pub(super) fn parse(path: &'a str, query: Option<&str>) -> Result<Self, String> {
        // Before the query, so that a login does not depend on it.
        let without_query = match path.trim_end_matches('/') {
            "/login" => Some(Endpoint::Login),
            "/logout" => Some(Endpoint::Logout),
            path if PUBLIC_FILES.contains(&path) => Some(Endpoint::PublicFile(path)),
            _ => None,
        };
        if let Some(endpoint) = without_query {
            return Ok(Self { camera: None, endpoint });
        }
        let (camera, rest) = match path.strip_prefix("/cameras/").filter(|rest| !rest.is_empty()) {
            Some(rest) => {
                let (name, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(name), rest)
            }
            None => (None, path),
        };
        let query = Query::parse(query.unwrap_or_default())?;
        let endpoint = match query.action.as_deref() {
            Some("stream") => Endpoint::Stream,
            Some("snapshot") => query.snapshot()?,
            _ => match rest.trim_end_matches('/') {
                "/ws" => Endpoint::WebSocket,
                "/ws/some-path1" => Endpoint::TutorialWebSocket,
                "/stream" => Endpoint::Stream,
                "/stream.mp4" => Endpoint::Mp4,
                "/stream.h264" => Endpoint::AnnexB,
                "/snapshot" | "/snapshot.jpg" => query.snapshot()?,
                "" if rest.is_empty() => Endpoint::PageWithoutSlash,
                "" => Endpoint::Page("/"),
                "/state" if camera.is_none() => Endpoint::State,
                "/metrics" if camera.is_none() => Endpoint::Metrics,
                "/healthz" if camera.is_none() => Endpoint::Health,
                "/controls" => Endpoint::Controls,
                other => other.strip_prefix("/controls/").map_or(Endpoint::Page(other), Endpoint::Control),
            },
        };
        Ok(Self { camera, endpoint })
    }
}

#[derive(Default)]
struct Query {
    action: Option<String>,
    max_age: Option<Duration>,
    size: Option<String>,
}

impl Query {
    fn snapshot(&self) -> Result<Endpoint<'static>, String> {
        match self.size.as_deref() {
            None => Ok(Endpoint::Snapshot { max_age: self.max_age }),
            Some("max") => Ok(Endpoint::Still),
            Some(other) => Err(format!(
                "size {other:?} is not known; use size=max for the largest picture, or leave it out for one as large as the stream"
            )),
        }
    }

    fn parse(query: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "action" => all.action = Some(value.into_owned()),
                "max_age" => {
                    let ms = value.parse();
                    let remedy = "give whole milliseconds, like max_age=100";
                    let ms = ms.map_err(|_| format!("max_age {value:?} is not a number; {remedy}"))?;
                    all.max_age = Some(Duration::from_millis(ms));
                }
                "size" => all.size = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &'static str) -> Endpoint<'static> {
        let (path, query) = url.split_once('?').map_or((url, None), |(p, q)| (p, Some(q)));
        Route::parse(path, query).unwrap().endpoint
    }

    #[test]
    fn every_address_of_a_stream_is_known() {
        let urls = "/stream /stream/ /?action=stream /webcam/?action=stream /?action=stream&1608856928650 \
            /?1608856928650&action=stream /stream?key=&x /cameras/front/stream \
            /cameras/front/?action=stream";
        for url in urls.split(' ') {
            assert_eq!(endpoint(url), Endpoint::Stream, "{url}");
        }
    }

    #[test]
    fn every_address_of_a_snapshot_is_known() {
        for url in
            ["/snapshot", "/snapshot.jpg", "/?action=snapshot", "/x/y?action=snapshot&t=1", "/snapshot?1"]
        {
            assert_eq!(endpoint(url), Endpoint::Snapshot { max_age: None }, "{url}");
        }
        let aged = Endpoint::Snapshot { max_age: Some(Duration::from_millis(250)) };
        assert_eq!(endpoint("/snapshot?max_age=250"), aged);
        assert_eq!(endpoint("/snapshot?size=max"), Endpoint::Still);
        assert_eq!(endpoint("/x?action=snapshot&size=max&1"), Endpoint::Still);
        assert_eq!(endpoint("/stream?size=640x480"), Endpoint::Stream, "a key of another endpoint");
        assert!(Route::parse("/snapshot", Some("size=big")).unwrap_err().contains("\"big\""));
        assert!(Route::parse("/snapshot", Some("max_age=soon")).unwrap_err().contains("\"soon\""));
    }

    #[test]
    fn cameras_have_their_own_urls() {
        let front = |endpoint| Route { camera: Some("front"), endpoint };
        assert_eq!(Route::parse("/cameras/front/ws", None), Ok(front(Endpoint::WebSocket)));
        assert_eq!(
            Route::parse("/cameras/front/ws/some-path1/", None),
            Ok(front(Endpoint::TutorialWebSocket))
        );
        assert_eq!(Route::parse("/cameras/front/state", None), Ok(front(Endpoint::Page("/state"))));
        assert_eq!(Route::parse("/cameras/front", None), Ok(front(Endpoint::PageWithoutSlash)));
        assert_eq!(Route::parse("/cameras/front/", None), Ok(front(Endpoint::Page("/"))));
        assert_eq!(Route::parse("/cameras/front/app.js", None), Ok(front(Endpoint::Page("/app.js"))));
    }

    #[test]
    fn other_addresses_are_endpoints_or_files_of_the_page() {
        assert_eq!(endpoint("/"), Endpoint::Page("/"));
        assert_eq!(endpoint("/?token=x"), Endpoint::Page("/"));
        assert_eq!(endpoint("/app.js"), Endpoint::Page("/app.js"));
        assert_eq!(endpoint("/style.css/"), Endpoint::PublicFile("/style.css"));
        assert_eq!(endpoint("/login/?max_age=x"), Endpoint::Login);
        assert_eq!(endpoint("/state"), Endpoint::State);
        assert_eq!(endpoint("/controls"), Endpoint::Controls);
        assert_eq!(endpoint("/controls/gain"), Endpoint::Control("gain"));
        assert_eq!(endpoint("/healthz"), Endpoint::Health);
        assert_eq!(endpoint("/metrics"), Endpoint::Metrics);
        assert_eq!(endpoint("/ws/some-path1/"), Endpoint::TutorialWebSocket);
        assert_eq!(endpoint("/stream.mp4?1"), Endpoint::Mp4);
        assert_eq!(endpoint("/cameras/front/stream.h264"), Endpoint::AnnexB);
    }

    #[test]
    fn operations_depend_on_endpoint_and_method() {
        let operation = |url: &'static str, method: Method| endpoint(url).operation(&method, false);
        assert_eq!(operation("/state", Method::GET), Operation::Read);
        assert_eq!(operation("/ws", Method::GET), Operation::OpenWebSocket);
        assert_eq!(operation("/controls/gain", Method::PUT), Operation::ChangeControl);
        assert_eq!(operation("/controls/gain", Method::GET), Operation::Read, "answered with the methods");
        assert_eq!(operation("/style.css", Method::HEAD), Operation::Public);
        assert_eq!(operation("/app.webmanifest", Method::GET), Operation::Public);
        assert_eq!(operation("/icon-192.png", Method::GET), Operation::Public);
        assert_eq!(operation("/style.css", Method::PUT), Operation::Read, "answered with the methods");
        assert_eq!(operation("/cameras/front/style.css", Method::GET), Operation::Read);
        assert_eq!(operation("/login", Method::GET), Operation::Public);
        assert_eq!(operation("/login", Method::POST), Operation::LogIn);
        assert_eq!(operation("/logout", Method::POST), Operation::LogIn);
        assert_eq!(endpoint("/login").operation(&Method::POST, true), Operation::Public);
    }
}
