//! TLS to another machine. A certificate is accepted if an authority of the system vouches for it, or if its fingerprint is
//! the configured one. There is no way to accept any certificate.
#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;

use super::error::RemoteFault;
use super::fingerprint::CertificateFingerprint;
use super::stream::RemoteStream;
use super::url::Scheme;
use crate::sync::lock;

/// Longest time for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The client's side of TLS.
#[derive(Clone, Debug)]
pub(super) struct RemoteTls {
    scheme: Scheme,
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

impl RemoteTls {
    /// Accepts the certificate with `fingerprint`, or those that the system's authorities vouch for, which are read now.
    pub(super) fn new(
        scheme: Scheme,
        fingerprint: Option<CertificateFingerprint>,
    ) -> Result<Self, RemoteFault> {
        let provider = Arc::new(default_provider());
        let trust = match fingerprint {
            Some(fingerprint) => Trust::Fingerprint(fingerprint),
            None => Trust::Authorities(authorities(&provider)?),
        };
        let verifier =
            Arc::new(Verifier { trust, provider: Arc::clone(&provider), rejected: Mutex::default() });
        let failed = |error: rustls::Error| tls_failed(scheme, io::Error::other(error));
        // TLS 1.2 and 1.3.
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Ok(Self { scheme, config: Arc::new(config), verifier })
    }

    /// Completes the handshake with the server that is called `host`.
    pub(super) async fn connect(&self, host: &str, tcp: TcpStream) -> Result<RemoteStream, RemoteFault> {
        let failed = |source| tls_failed(self.scheme, source);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match timeout(HANDSHAKE_TIMEOUT, connector.connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(source)) => Err(lock(&self.verifier.rejected).take().unwrap_or_else(|| failed(source))),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }
}

fn tls_failed(scheme: Scheme, source: io::Error) -> RemoteFault {
    RemoteFault::Tls { plain: scheme.plain().name(), source }
}

fn authorities(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, RemoteFault> {
    let found = rustls_native_certs::load_native_certs();
    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read is left out.
    roots.add_parsable_certificates(found.certs);
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    built.map_err(|_| RemoteFault::NoAuthorities { why })
}

/// Whom to trust.
#[derive(Debug)]
enum Trust {
    Fingerprint(CertificateFingerprint),
    Authorities(Arc<WebPkiServerVerifier>),
}

/// Checks the certificate of a server. Keeps why it was not accepted.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    rejected: Mutex<Option<RemoteFault>>,
}

impl Verifier {
    fn reject(&self, fault: RemoteFault, error: rustls::Error) -> rustls::Error {
        *lock(&self.rejected) = Some(fault);
        error
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest = ring::digest::digest(&ring::digest::SHA256, end_entity);
        let mut seen = CertificateFingerprint([0; 32]);
        seen.0.copy_from_slice(digest.as_ref());
        let authorities = match &self.trust {
            Trust::Fingerprint(pinned) if *pinned == seen => return Ok(ServerCertVerified::assertion()),
            Trust::Fingerprint(_) => {
                let error = CertificateError::ApplicationVerificationFailure;
                return Err(self.reject(RemoteFault::WrongFingerprint { seen }, error.into()));
            }
            Trust::Authorities(authorities) => authorities,
        };
        let checked =
            authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        checked.map_err(|error| {
            let fault = match &error {
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    RemoteFault::UnknownIssuer { seen }
                }
                // The certificate of an authority in the place of a server's: most are self-signed.
                rustls::Error::InvalidCertificate(CertificateError::Other(_)) => {
                    RemoteFault::UnknownIssuer { seen }
                }
                rustls::Error::InvalidCertificate(why) => {
                    RemoteFault::RejectedCertificate { why: why.to_string(), seen }
                }
                other => RemoteFault::RejectedCertificate { why: other.to_string(), seen },
            };
            self.reject(fault, error)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
