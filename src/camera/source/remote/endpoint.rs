//! What every remote source has: the URL, its settings, and the runtime that its futures run on.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::connect::RemoteConnector;
use super::credentials::{RemoteSettings, SourceCredentials};
use super::error::RemoteFault;
use super::runtime::RemoteRuntime;
use super::url::RemoteUrl;
use crate::camera::settings::CameraSettings;
use crate::camera::source::source_trait::OpenedSource;
use crate::camera::wake::Waker;

/// Most pictures that are skipped at a time for a newer one. Of a server that sends faster than this machine reads none would
/// be shown otherwise.
pub(super) const MAX_SKIPPED: u32 = 16;

/// A camera on another machine, as it is configured.
pub(super) struct RemoteEndpoint {
    pub(super) url: RemoteUrl,
    pub(super) settings: RemoteSettings,
    pub(super) fps: f32,
    pub(super) max_jpeg_bytes: usize,
    waker: Arc<Waker>,
    /// Made when the source is first opened.
    runtime: Option<RemoteRuntime>,
}

impl RemoteEndpoint {
    pub(super) fn new(url: RemoteUrl, settings: &CameraSettings, waker: &Arc<Waker>) -> Self {
        Self {
            url,
            settings: settings.remote.clone(),
            fps: settings.fps,
            max_jpeg_bytes: settings.max_jpeg_bytes(),
            waker: Arc::clone(waker),
            runtime: None,
        }
    }

    /// Makes the runtime, unless that was done before.
    pub(super) fn prepare(&mut self) -> Result<&RemoteRuntime, RemoteFault> {
        if self.runtime.is_none() {
            let runtime = RemoteRuntime::new(Arc::clone(&self.waker));
            self.runtime = Some(runtime.map_err(|source| RemoteFault::Runtime { source })?);
        }
        self.runtime().ok_or(RemoteFault::Stopped)
    }

    /// The runtime; `None` before the source was opened.
    pub(super) fn runtime(&self) -> Option<&RemoteRuntime> {
        self.runtime.as_ref()
    }

    /// Connects to its machine. Reads the system's certificates if it is encrypted.
    pub(super) fn connector(&self) -> Result<RemoteConnector, RemoteFault> {
        RemoteConnector::new(&self.url, self.settings.fingerprint)
    }

    /// The credentials for it. Reads the file with the password.
    pub(super) fn credentials(&self) -> Result<SourceCredentials, RemoteFault> {
        SourceCredentials::read(&self.url, &self.settings)
    }

    /// Its properties, once it is open.
    pub(super) fn opened(&self) -> OpenedSource {
        let (driver, card, path) = (self.url.scheme().name(), self.url.authority(), self.url.to_string());
        OpenedSource::of_stream(driver, card, path, self.fps, self.max_jpeg_bytes)
    }
}
