//! What a URL asks for. Pure: names what is wanted, fetches nothing.
//!
//! Existing programs have their own ways to write the same thing, and all of them come here: mjpg-streamer's
//! `?action=` on any path, cache-busting keys without a value, several cameras by name.
#![forbid(unsafe_code)]

use std::time::Duration;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) enum Want<'a> {
    /// A file of the page.
    Page(&'a str),
    /// The page of a camera, by an address that lacks its last slash: what the page loads is named beside it.
    PageWithoutSlash,
    /// Frames over WebSocket.
    Socket,
    /// Frames over WebSocket, as the tutorial's page takes them.
    TutorialSocket,
    /// Frames as multipart.
    Stream,
    /// One frame, captured after the request minus `max_age` if that is given.
    Snapshot { max_age: Option<Duration> },
    /// One picture of the largest size the camera has.
    Still,
    /// The state of the service.
    State,
    /// The same in figures, for Prometheus.
    Metrics,
    /// Whether it can serve.
    Health,
    /// The controls of the camera.
    Controls,
    /// One of them, by name.
    Control(&'a str),
}

/// A request target taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) struct Target<'a> {
    /// The camera by name; `None` for the first.
    pub(in crate::web) camera: Option<&'a str>,
    /// What is wanted of it.
    pub(in crate::web) want: Want<'a>,
}

/// Takes a path and query apart. Query keys that mean nothing here are passed over.
pub(in crate::web) fn target<'a>(path: &'a str, query: Option<&str>) -> Result<Target<'a>, String> {
    let (camera, rest) = match path.strip_prefix("/cameras/").filter(|rest| !rest.is_empty()) {
        Some(rest) => {
            let (name, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some(name), rest)
        }
        None => (None, path),
    };
    let query = Query::read(query.unwrap_or_default())?;
    let want = match query.action.as_deref() {
        Some("stream") => Want::Stream,
        Some("snapshot") => query.snapshot()?,
        _ => match rest.trim_end_matches('/') {
            "/ws" => Want::Socket,
            "/ws/some-path1" => Want::TutorialSocket,
            "/stream" => Want::Stream,
            "/snapshot" | "/snapshot.jpg" => query.snapshot()?,
            "" if rest.is_empty() => Want::PageWithoutSlash,
            "" => Want::Page("/"),
            "/state" if camera.is_none() => Want::State,
            "/metrics" if camera.is_none() => Want::Metrics,
            "/healthz" if camera.is_none() => Want::Health,
            "/controls" => Want::Controls,
            other => other.strip_prefix("/controls/").map_or(Want::Page(other), Want::Control),
        },
    };
    Ok(Target { camera, want })
}

/// The keys of a query that mean something here.
#[derive(Default)]
struct Query {
    action: Option<String>,
    max_age: Option<Duration>,
    size: Option<String>,
}

impl Query {
    /// The kind of snapshot that is asked for.
    fn snapshot(&self) -> Result<Want<'static>, String> {
        match self.size.as_deref() {
            None => Ok(Want::Snapshot { max_age: self.max_age }),
            Some("max") => Ok(Want::Still),
            Some(other) => Err(format!(
                "size {other:?} is not known; size=max gives the largest there is, and without it the picture is as large as the stream"
            )),
        }
    }

    fn read(query: &str) -> Result<Self, String> {
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

    fn want(url: &'static str) -> Want<'static> {
        let (path, query) = url.split_once('?').map_or((url, None), |(p, q)| (p, Some(q)));
        target(path, query).unwrap().want
    }

    #[test]
    fn every_way_to_ask_for_a_stream() {
        for url in [
            "/stream",
            "/stream/",
            "/?action=stream",
            "/webcam/?action=stream",
            "/?action=stream&1608856928650",
            "/?1608856928650&action=stream",
            "/stream?key=&x",
            "/cameras/front/stream",
            "/cameras/front/?action=stream",
        ] {
            assert_eq!(want(url), Want::Stream, "{url}");
        }
    }

    #[test]
    fn every_way_to_ask_for_a_snapshot() {
        for url in
            ["/snapshot", "/snapshot.jpg", "/?action=snapshot", "/x/y?action=snapshot&t=1", "/snapshot?1"]
        {
            assert_eq!(want(url), Want::Snapshot { max_age: None }, "{url}");
        }
        let aged = Want::Snapshot { max_age: Some(Duration::from_millis(250)) };
        assert_eq!(want("/snapshot?max_age=250"), aged);
        assert_eq!(want("/snapshot?size=max"), Want::Still);
        assert_eq!(want("/x?action=snapshot&size=max&1"), Want::Still);
        assert_eq!(want("/stream?size=640x480"), Want::Stream, "somebody else's key");
        assert!(target("/snapshot", Some("size=big")).unwrap_err().contains("\"big\""));
        assert!(target("/snapshot", Some("max_age=soon")).unwrap_err().contains("\"soon\""));
    }

    #[test]
    fn cameras_have_their_own_urls() {
        let front = |want| Target { camera: Some("front"), want };
        assert_eq!(target("/cameras/front/ws", None), Ok(front(Want::Socket)));
        assert_eq!(target("/cameras/front/ws/some-path1/", None), Ok(front(Want::TutorialSocket)));
        assert_eq!(target("/cameras/front/state", None), Ok(front(Want::Page("/state"))));
        assert_eq!(target("/cameras/front", None), Ok(front(Want::PageWithoutSlash)));
        assert_eq!(target("/cameras/front/", None), Ok(front(Want::Page("/"))));
        assert_eq!(target("/cameras/front/app.js", None), Ok(front(Want::Page("/app.js"))));
    }

    #[test]
    fn the_rest_is_the_page_or_nothing() {
        assert_eq!(want("/"), Want::Page("/"));
        assert_eq!(want("/?token=x"), Want::Page("/"));
        assert_eq!(want("/app.js"), Want::Page("/app.js"));
        assert_eq!(want("/state"), Want::State);
        assert_eq!(want("/controls"), Want::Controls);
        assert_eq!(want("/controls/gain"), Want::Control("gain"));
        assert_eq!(want("/healthz"), Want::Health);
        assert_eq!(want("/metrics"), Want::Metrics);
        assert_eq!(want("/ws/some-path1/"), Want::TutorialSocket);
    }
}
