//! Asks a server for its pictures: authentication, redirects, and answers that are none.
#![forbid(unsafe_code)]

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::connection::HttpConnection;
use super::part_head;
use crate::camera::source::remote::authentication::Authentication;
use crate::camera::source::remote::connect::RemoteConnector;
use crate::camera::source::remote::credentials::{RemoteSettings, SourceCredentials};
use crate::camera::source::remote::error::{RemoteFault, printable};
use crate::camera::source::remote::url::RemoteUrl;
use crate::client::CertificateFingerprint;

/// Longest time for the header of an answer. A camera that has to be switched on first takes some.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for all requests together. After ten seconds the thread would count as stuck.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(9);
/// Most redirects that are followed, and challenges that are answered, for one picture.
const MAX_REQUESTS: u32 = 5;
/// What is asked for. Servers that look at this field know one of these.
const ACCEPTED: &str = "multipart/x-mixed-replace, image/jpeg, */*;q=0.5";
/// What asks.
const AGENT: &str = concat!("porthole/", env!("CARGO_PKG_VERSION"));

/// Asks one server.
pub(super) struct HttpClient {
    url: RemoteUrl,
    fingerprint: Option<CertificateFingerprint>,
    connector: RemoteConnector,
    authentication: Authentication,
    /// Kept while the server keeps it.
    connection: Option<HttpConnection>,
}

/// The answer of a server that may hold pictures.
pub(super) struct HttpAnswer {
    pub(super) body: Incoming,
    /// Without parameters.
    pub(super) content_type: Option<String>,
    /// What separates the parts; `None` if the answer is no multipart. Empty if it names none.
    pub(super) boundary: Option<String>,
    pub(super) length: Option<u64>,
}

impl HttpClient {
    /// Reads the credentials, and the system's certificates for `https`.
    pub(super) fn new(url: RemoteUrl, settings: &RemoteSettings) -> Result<Self, RemoteFault> {
        let connector = RemoteConnector::new(&url, settings.fingerprint)?;
        let authentication = Authentication::new(SourceCredentials::read(&url, settings)?);
        Ok(Self { url, fingerprint: settings.fingerprint, connector, authentication, connection: None })
    }

    /// The connection of the last answer.
    pub(super) fn connection(&mut self) -> Option<&mut HttpConnection> {
        self.connection.as_mut()
    }

    /// Closes the connection.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Asks for pictures.
    pub(super) async fn ask(&mut self) -> Result<HttpAnswer, RemoteFault> {
        let answer = timeout(TOTAL_TIMEOUT, self.ask_until_answered()).await;
        let silent = Err(RemoteFault::Silent { seconds: TOTAL_TIMEOUT.as_secs() });
        let answer = answer.unwrap_or(silent);
        if answer.is_err() {
            self.disconnect();
        }
        answer
    }

    async fn ask_until_answered(&mut self) -> Result<HttpAnswer, RemoteFault> {
        for _ in 0..MAX_REQUESTS {
            let answer = self.send_request().await?;
            match answer.status() {
                StatusCode::OK => {
                    self.authentication.accepted();
                    return Ok(HttpAnswer::new(answer));
                }
                StatusCode::UNAUTHORIZED => {
                    // Whatever the body is, the connection is of no use before it has been read.
                    self.disconnect();
                    self.authentication.refused(answer.headers())?;
                }
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    self.disconnect();
                    self.redirect(answer.headers())?;
                }
                status => return Err(of_status(status, answer.headers())),
            }
        }
        Err(RemoteFault::TooManyRedirects { most: MAX_REQUESTS })
    }

    /// Sends a request over the connection that is open, else over a new one.
    async fn send_request(&mut self) -> Result<Response<Incoming>, RemoteFault> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_reusable().await
        {
            let request = self.request()?;
            // The server may have closed it just now. Then it is asked again.
            if let Ok(answer) = answer_of(&mut connection, request).await {
                self.connection = Some(connection);
                return Ok(answer);
            }
        }
        let stream = self.connector.connect().await?;
        let mut connection = HttpConnection::open(stream).await.map_err(no_http)?;
        let answer = answer_of(&mut connection, self.request()?).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn request(&mut self) -> Result<Request<Empty<hyper::body::Bytes>>, RemoteFault> {
        let path = self.url.path_and_query();
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().map_err(|_| RemoteFault::BadRequest)?;
        let authorization = self.authentication.header("GET", path);
        let headers = request.headers_mut();
        let mut insert = |name: HeaderName, value: &str| -> Result<(), RemoteFault> {
            let value = HeaderValue::from_str(value).map_err(|_| RemoteFault::BadRequest)?;
            headers.insert(name, value);
            Ok(())
        };
        insert(HOST, &self.url.authority())?;
        insert(USER_AGENT, AGENT)?;
        insert(ACCEPT, ACCEPTED)?;
        if let Some(authorization) = authorization {
            insert(AUTHORIZATION, &authorization)?;
        }
        Ok(request)
    }

    /// Follows a redirect. Another host must not get the credentials, and a server must not switch TLS off.
    fn redirect(&mut self, headers: &HeaderMap) -> Result<(), RemoteFault> {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some(url) = self.url.redirected(location) else {
            return Err(RemoteFault::RedirectedAway {
                to: printable(&crate::camera::without_passwords(location)),
            });
        };
        if (url.scheme(), url.port()) != (self.url.scheme(), self.url.port()) {
            self.connector = RemoteConnector::new(&url, self.fingerprint)?;
        }
        self.url = url;
        Ok(())
    }
}

impl HttpAnswer {
    fn new(answer: Response<Incoming>) -> Self {
        let text = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let content_type = text(CONTENT_TYPE);
        let name = content_type.map(|text| part_head::type_name(text.as_bytes()));
        let is_multipart = name.as_deref().is_some_and(|name| name.starts_with("multipart/"));
        let boundary = content_type.and_then(part_head::boundary).unwrap_or_default();
        let boundary = is_multipart.then(|| boundary.to_owned());
        let length = text(hyper::header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        Self { content_type: name, boundary, length, body: answer.into_body() }
    }
}

async fn answer_of(
    connection: &mut HttpConnection,
    request: Request<Empty<hyper::body::Bytes>>,
) -> Result<Response<Incoming>, RemoteFault> {
    let answer = timeout(ANSWER_TIMEOUT, connection.send(request)).await;
    answer.map_err(|_| RemoteFault::Silent { seconds: ANSWER_TIMEOUT.as_secs() })?.map_err(no_http)
}

/// The fault behind an error of the protocol.
pub(super) fn no_http(error: hyper::Error) -> RemoteFault {
    if error.is_parse() || error.is_parse_too_large() {
        return RemoteFault::NotHttp { why: error.to_string() };
    }
    RemoteFault::Broken { source: std::io::Error::other(error) }
}

fn of_status(status: StatusCode, headers: &HeaderMap) -> RemoteFault {
    let code = status.as_u16();
    match status {
        StatusCode::FORBIDDEN => RemoteFault::Forbidden,
        StatusCode::NOT_FOUND | StatusCode::GONE => RemoteFault::NotFound { code },
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            RemoteFault::unavailable(code, headers)
        }
        _ => RemoteFault::Status { code, reason: status.canonical_reason().unwrap_or("unknown status") },
    }
}
