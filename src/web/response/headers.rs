//! Headers that tell browsers what an answer may be used for: content security policy, cross-origin resource policy, CORS.
#![forbid(unsafe_code)]

use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, VARY,
};

/// The headers of all answers, made once from the configured origins. Where they depend on the request, they are given the
/// origin that may read the answer (`allowed_origin`).
#[derive(Debug)]
pub(crate) struct ResponseHeaders {
    /// Content security policy of pages and scripts.
    page_policy: HeaderValue,
    /// Content security policy of text and JSON: only which sites may embed it.
    data_policy: HeaderValue,
    /// Whether an answer depends on the `Origin` of its request.
    varies: bool,
}

impl ResponseHeaders {
    /// For a service whose answers the pages of `origins` may read and embed.
    pub(crate) fn new(origins: &[String]) -> Self {
        let sites: String = origins.iter().filter(|o| *o != "null").map(|o| format!(" {o}")).collect();
        let embedders = format!("frame-ancestors 'self'{sites}");
        let page = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
             base-uri 'none'; form-action 'self'; {embedders}"
        );
        // Origins consist of letters, digits and a few signs, and the rest is fixed.
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("frame-ancestors 'none'"))
        };
        let varies = !origins.is_empty() && !origins.iter().any(|origin| origin == "*");
        Self { page_policy: value(&page), data_policy: value(&embedders), varies }
    }

    /// Adds them to an answer. Other sites may embed pictures, as dashboards do, which does not let them read the pixels.
    /// They may neither embed nor read anything else.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, allowed_origin: Option<&HeaderValue>) {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_picture = content_type.starts_with(b"image/jpeg") || content_type.starts_with(b"multipart/");
        let is_data =
            content_type.starts_with(b"text/plain") || content_type.starts_with(b"application/json");
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static(if is_picture { "cross-origin" } else { "same-origin" }),
        );
        if !is_picture {
            let policy = if is_data { &self.data_policy } else { &self.page_policy };
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = allowed_origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        }
    }

    /// The same for a multipart stream, whose head is written by hand: lines that each end with CRLF.
    pub(crate) fn stream_lines(&self, allowed_origin: Option<&HeaderValue>) -> String {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("multipart/"))]);
        self.apply(&mut headers, allowed_origin);
        headers.remove(CONTENT_TYPE);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\r\n", value.to_str().unwrap_or_default())
        };
        headers.iter().map(line).collect()
    }
}

/// Answers a CORS preflight request: what a script of an allowed origin may send (Fetch, section 3.2.2).
pub(crate) fn add_preflight(request: &HeaderMap, headers: &mut HeaderMap) {
    if !request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return;
    }
    for (name, value) in [
        ("access-control-allow-methods", "GET, HEAD, PUT"),
        ("access-control-allow-headers", "authorization, content-type, x-requested-with"),
        ("access-control-allow-private-network", "true"),
        ("access-control-max-age", "600"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_the_origins_that_may_read_and_embed_them() {
        let applied = |origins: &[&str], allowed: Option<&'static str>| {
            let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
            let mut headers = HeaderMap::new();
            ResponseHeaders::new(&origins)
                .apply(&mut headers, allowed.map(HeaderValue::from_static).as_ref());
            headers
        };
        let closed = applied(&[], None);
        assert!(!closed.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && !closed.contains_key(VARY));
        let listed = applied(&["https://a.example"], Some("https://a.example"));
        assert_eq!(listed[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(listed[VARY], "Origin");
        let policy = listed[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.ends_with("frame-ancestors 'self' https://a.example"), "{policy}");
        let other = applied(&["https://a.example"], None);
        assert!(!other.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && other.contains_key(VARY));
        let open = applied(&["*"], Some("*"));
        assert!(open[ACCESS_CONTROL_ALLOW_ORIGIN] == "*" && !open.contains_key(VARY));
    }
}
