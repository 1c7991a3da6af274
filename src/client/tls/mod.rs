//! TLS to another machine. A certificate is accepted if an authority of the system or of a file vouches for it, or if its
//! fingerprint is the configured one. There is no way to accept any certificate.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;

use super::error::{ConnectError, TlsFault};
use super::fingerprint::CertificateFingerprint;
use super::stream::RemoteStream;
use super::trust::{ClientIdentity, ServerTrust};
use crate::sync::lock;

/// Longest time for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The client's side of TLS.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

impl ClientTls {
    /// Accepts the certificates of `trust`, and shows those of `identity`. All files are read now.
    pub(crate) fn new(trust: &ServerTrust, identity: Option<&ClientIdentity>) -> Result<Self, ConnectError> {
        let provider = Arc::new(default_provider());
        let trust = match trust {
            ServerTrust::Fingerprint(fingerprint) => Trust::Fingerprint(*fingerprint),
            ServerTrust::System => Trust::Authorities(system_authorities(&provider)?),
            ServerTrust::File(path) => Trust::Authorities(authorities_of(path, &provider)?),
        };
        let verifier =
            Arc::new(Verifier { trust, provider: Arc::clone(&provider), rejected: Mutex::default() });
        // TLS 1.2 and 1.3.
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(handshake_failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(ClientIdentity { certificate, key }) => {
                let chain = certificates(certificate)?;
                let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| file_fault(key, error))?;
                config.with_client_auth_cert(chain, key_der).map_err(|error| file_fault(key, error))?
            }
        };
        Ok(Self { config: Arc::new(config), verifier })
    }

    /// Completes the handshake with the server that is called `host`.
    pub(super) async fn connect(&self, host: &str, tcp: TcpStream) -> Result<RemoteStream, ConnectError> {
        let name = ServerName::try_from(host.to_owned()).map_err(handshake_failed)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let fault = match timeout(HANDSHAKE_TIMEOUT, connector.connect(name, tcp)).await {
            Ok(Ok(stream)) => return Ok(Box::new(stream)),
            Ok(Err(source)) => lock(&self.verifier.rejected).take().unwrap_or(TlsFault::Handshake(source)),
            Err(_) => TlsFault::Handshake(io::ErrorKind::TimedOut.into()),
        };
        Err(fault.into())
    }
}

fn handshake_failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsFault {
    TlsFault::Handshake(io::Error::other(error))
}

fn file_fault(path: &Path, why: impl Display) -> TlsFault {
    TlsFault::File { path: path.display().to_string(), why: why.to_string() }
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|error| file_fault(path, error))?;
    if found.is_empty() { Err(file_fault(path, "it has no certificate in PEM")) } else { Ok(found) }
}

fn system_authorities(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsFault> {
    let found = rustls_native_certs::load_native_certs();
    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read is left out.
    roots.add_parsable_certificates(found.certs);
    verifier_of(roots, provider).ok_or(TlsFault::NoAuthorities { why })
}

fn authorities_of(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsFault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(path)?);
    verifier_of(roots, provider).ok_or_else(|| file_fault(path, "it has no certificate of an authority"))
}

fn verifier_of(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().ok()
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
    rejected: Mutex<Option<TlsFault>>,
}

impl Verifier {
    fn reject(&self, fault: TlsFault, error: rustls::Error) -> rustls::Error {
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
                return Err(self.reject(TlsFault::WrongFingerprint { seen }, error.into()));
            }
            Trust::Authorities(authorities) => authorities,
        };
        let checked =
            authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        checked.map_err(|error| {
            let fault = match &error {
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    TlsFault::UnknownIssuer { seen }
                }
                // The certificate of an authority in the place of a server's: most are self-signed.
                rustls::Error::InvalidCertificate(CertificateError::Other(_)) => {
                    TlsFault::UnknownIssuer { seen }
                }
                rustls::Error::InvalidCertificate(why) => {
                    TlsFault::RejectedCertificate { why: why.to_string(), seen }
                }
                other => TlsFault::RejectedCertificate { why: other.to_string(), seen },
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
