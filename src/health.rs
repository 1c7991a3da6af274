//! `porthole health`: asks the running service whether it can give frames, and finds it by the same flags and
//! configuration. Containers and supervisors run it; there need be no other client on the machine.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use porthole::config::Config;
use porthole::web::{AuthMode, Encryption, ListenAddress, WebSettings, kept_token};

/// Longest time for all of it. The service answers within milliseconds; the health check of the image is given 10 s.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes that are read of an answer: more than the faults of all cameras take.
const MOST_BYTES: u64 = 64 * 1024;
/// What to do when the service is not where it is looked for.
const REMEDY: &str =
    "start porthole, or give `porthole health` the flags and the configuration file of the service";

/// Asks the service that runs with `config`. Returns a message for the user.
pub(crate) fn ask(config: Config) -> Result<String, String> {
    let (answered, answer) = channel();
    // The thread ends with the process if the service does not answer.
    let asking = thread::Builder::new().spawn(move || {
        // Fails only after the timeout.
        let _ = answered.send(ask_by(&config.web));
    });
    asking.map_err(|cause| format!("cannot start a thread: {cause}; check the limit on processes"))?;
    answer.recv_timeout(TIMEOUT).unwrap_or_else(|why| {
        Err(match why {
            RecvTimeoutError::Timeout => {
                format!("the service does not answer within {} s; restart porthole", TIMEOUT.as_secs())
            }
            RecvTimeoutError::Disconnected => {
                "the health check panicked; this is a bug in porthole, please report it".into()
            }
        })
    })
}

fn ask_by(settings: &WebSettings) -> Result<String, String> {
    let place = place(&settings.listen)?;
    let token = match (&settings.auth, place) {
        // It asks for no credentials.
        (AuthMode::Token, ListenAddress::Local(_)) => None,
        (AuthMode::Token, _) => Some(kept_token(&settings.state_dir).map_err(|cause| {
            let path = settings.state_dir.display();
            format!("{path}: the token cannot be read: {cause}; run this as the service's user, after the service has started")
        })?),
        _ => None,
    };
    let failed = |cause: io::Error| format!("{place}: {cause}; {REMEDY}");
    let answer = match place {
        ListenAddress::Unix(path) | ListenAddress::Local(path) => over_unix(path, token),
        ListenAddress::Tcp(address) => over_tcp(*address, &settings.encryption, token),
        // `place` has looked behind it.
        ListenAddress::Activated { at, .. } => Err(io::Error::other(format!("{at} is not open here"))),
    };
    let (status, body) = parse(&answer.map_err(failed)?)
        .ok_or_else(|| format!("{place}: the answer is not HTTP; another program listens there: {REMEDY}"))?;
    match status {
        200 => Ok(body),
        // It proves that the service answers; of its cameras it tells only those who know the password.
        401 if matches!(settings.auth, AuthMode::Password(_)) => Ok(
            "the service answers; to include its cameras, give --local-socket to it and to `porthole health`"
                .into(),
        ),
        401 => Err(format!(
            "{place}: the token in {} is not the one of the service; give --state-dir as the service has it",
            settings.state_dir.display()
        )),
        503 => Err(body),
        other => Err(format!("{place}: the answer is {other}: {body}; {REMEDY}")),
    }
}

/// Where a socket of a service manager's is.
fn inner(address: &ListenAddress) -> &ListenAddress {
    match address {
        ListenAddress::Activated { at, .. } => at,
        address => address,
    }
}

/// The address to ask at: the one that needs least.
fn place(listen: &[ListenAddress]) -> Result<&ListenAddress, String> {
    let rank = |address: &&ListenAddress| match address {
        ListenAddress::Local(_) => 0,
        ListenAddress::Unix(_) => 1,
        _ => 2,
    };
    let known = listen
        .iter()
        .map(inner)
        .filter(|address| !matches!(address, ListenAddress::Tcp(address) if address.port() == 0));
    known.min_by_key(rank).ok_or_else(|| {
        "port 0 is any free port; give --listen with the port that the service has, or --local-socket to both".into()
    })
}

fn over_unix(path: &Path, token: Option<String>) -> io::Result<Vec<u8>> {
    exchange(UnixStream::connect(path)?, token.as_deref())
}

fn over_tcp(address: SocketAddr, encryption: &Encryption, token: Option<String>) -> io::Result<Vec<u8>> {
    let stream = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())),
        // A machine may have IPv6 switched off on loopback, and [::] serves both.
        IpAddr::V6(ip) if ip.is_unspecified() => TcpStream::connect((Ipv6Addr::LOCALHOST, address.port()))
            .or_else(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, address.port()))),
        _ => TcpStream::connect(address),
    }?;
    match encryption {
        Encryption::None => exchange(stream, token.as_deref()),
        _ => exchange(tls::over(stream)?, token.as_deref()),
    }
}

/// Sends the request, and reads the answer to its end.
fn exchange(mut stream: impl Read + Write, token: Option<&str>) -> io::Result<Vec<u8>> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{token}Connection: close\r\n\r\n")?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(MOST_BYTES).read_to_end(&mut answer) {
        // The peer closed without close_notify (RFC 8446, section 6.1). The answer is complete.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        read => drop(read?),
    }
    Ok(answer)
}

/// Status and text of an answer, as one line without control characters.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let lines = body.trim().lines().map(|line| line.replace(char::is_control, "?"));
    Some((status, lines.collect::<Vec<_>>().join("; ")))
}

#[cfg(feature = "tls")]
mod tls {
    use std::io::{self, Read, Write};
    use std::net::{IpAddr, Ipv4Addr, TcpStream};
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{
        ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    };

    /// Accepts every certificate: the peer is this machine, and no network lies between.
    #[derive(Debug)]
    struct AcceptAnyCertificate;

    impl ServerCertVerifier for AcceptAnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            default_provider().signature_verification_algorithms.supported_schemes()
        }
    }

    /// TLS over a connection to this machine. The handshake is made with the first byte.
    pub(super) fn over(stream: TcpStream) -> io::Result<impl Read + Write> {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate))
            .with_no_client_auth();
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(session, stream))
    }
}

#[cfg(not(feature = "tls"))]
mod tls {
    use std::io;
    use std::net::TcpStream;

    /// Never called: a configuration with TLS is an error in this build.
    pub(super) fn over(_: TcpStream) -> io::Result<TcpStream> {
        Err(io::Error::other("this porthole was built without TLS (its feature tls)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_needs_least_is_asked() {
        let parse = |text: &str| text.parse::<ListenAddress>().unwrap();
        let all = [parse("0.0.0.0:80"), parse("unix:/a"), ListenAddress::Local("/b".into())];
        assert_eq!(place(&all), Ok(&all[2]));
        assert_eq!(place(&all[..2]), Ok(&all[1]));
        let free = [parse("127.0.0.1:0"), parse("127.0.0.1:81")];
        assert_eq!(place(&free), Ok(&free[1]));
        assert!(place(&free[..1]).unwrap_err().contains("--local-socket"));
    }

    #[test]
    fn answers_are_read_without_control_characters() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\ncamera a\x1b[2J is lost\ncamera b\n";
        assert_eq!(parse(answer), Some((503, "camera a?[2J is lost; camera b".into())));
        for other in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 x y\r\n\r\n", "HTTP/1.1 200"] {
            assert_eq!(parse(other.as_bytes()), None, "{other:?}");
        }
    }
}
