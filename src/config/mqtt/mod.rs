//! Validation of `[mqtt]`.
#![forbid(unsafe_code)]

use super::error::ConfigError;
use super::mqtt_keys::MqttSection;
use super::resolver::Resolver;
use crate::announced::AnnouncedSettings;
use crate::camera::{CameraSettings, SourceSpec};
use crate::client::{ClientIdentity, ServerTrust};
use crate::mqtt::topics::HostTopics;
use crate::mqtt::{BrokerAccess, BrokerUrl, CameraFilter};
use crate::publisher::{DiscoverySettings, PublisherSettings};

/// Longest topic that announcements are below: what is behind it fits into what MQTT allows, 65,535 bytes, many times over.
const LONGEST_PREFIX: usize = 256;

/// Resolves where cameras are published; `None` if no broker is given.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    section: MqttSection,
) -> Result<Option<PublisherSettings>, ConfigError> {
    resolver.report_section("[mqtt]");
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    let host = host.unwrap_or_else(|_| "localhost".into());
    let topics = resolver.value(section.topic, None).check(|topic| HostTopics::new(topic, &host))?;
    let snapshot = resolver.value(section.snapshot_s, None).seconds()?;
    let enabled = resolver.value(section.discovery, None).accept();
    let prefix = resolver.value(section.discovery_prefix, None).check(|prefix| discovery_prefix(prefix))?;
    let discovery = DiscoverySettings { enabled, prefix };
    let url = resolver.given(section.url).map(|url| url.check(|text| broker(text))).transpose()?;
    let beside = |is_right: bool, words: &str| if is_right { Ok(()) } else { Err(words.to_owned()) };
    let has_url = |_: &_| beside(url.is_some(), "needs url beside it: the broker");
    let is_encrypted = url.as_ref().is_some_and(BrokerUrl::is_encrypted);
    let has_tls = |_: &_| beside(is_encrypted, "needs TLS: write mqtts:// in url");
    let user = resolver.given(section.user);
    let user = user.map(|user| user.check(|user| has_url(&()).and_then(|()| name(user)))).transpose()?;
    let has_user = user.is_some() || url.as_ref().is_some_and(BrokerUrl::has_user);
    let password_file = resolver.given(section.password_file);
    let password_file = password_file
        .map(|file| file.check(|path| beside(has_user, "needs user beside it").map(|()| path.clone())))
        .transpose()?;
    let ca = resolver.given(section.ca);
    let ca = ca.map(|file| file.check(|path| has_tls(&()).map(|()| path.clone()))).transpose()?;
    let (certificate, key) = (resolver.given(section.client_certificate), resolver.given(section.client_key));
    let (has_certificate, has_key) = (certificate.is_some(), key.is_some());
    let certificate = certificate.map(|file| {
        file.check(|path| {
            has_tls(&())?;
            beside(has_key, "needs client_key beside it").map(|()| path.clone())
        })
    });
    let key = key.map(|file| {
        file.check(|path| {
            beside(has_certificate, "needs client_certificate beside it").map(|()| path.clone())
        })
    });
    let identity = certificate.transpose()?.zip(key.transpose()?);
    let identity = identity.map(|(certificate, key)| ClientIdentity { certificate, key });
    let Some(url) = url else { return Ok(None) };
    let trust = ca.map_or(ServerTrust::System, ServerTrust::File);
    let broker = BrokerAccess { url, user, password_file, trust, identity };
    Ok(Some(PublisherSettings { broker, topics, host, discovery, snapshot }))
}

/// Takes out of `cameras` those that stand for all that a broker announces.
pub(super) fn announced(cameras: &mut Vec<CameraSettings>) -> Vec<AnnouncedSettings> {
    let mut announced = Vec::new();
    cameras.retain(|camera| {
        let SourceSpec::Broker(broker) = &camera.source else { return true };
        let Ok(Some(filter)) = CameraFilter::parse(broker.topic()) else { return true };
        announced.push(AnnouncedSettings { broker: broker.clone(), filter, template: camera.clone() });
        false
    });
    announced
}

fn broker(text: &str) -> Result<BrokerUrl, String> {
    let url: BrokerUrl = text.parse()?;
    if !url.topic().is_empty() {
        return Err("must have no path; the topic is the key topic".into());
    }
    if url.is_encrypted() && !cfg!(feature = "tls") {
        return Err(
            "this porthole was built without TLS (its feature tls): take one with it, or use mqtt://".into(),
        );
    }
    Ok(url)
}

fn discovery_prefix(prefix: &str) -> Result<String, String> {
    let is_level =
        |level: &str| !level.is_empty() && !level.chars().any(|c| c.is_control() || "+#".contains(c));
    if prefix.starts_with('$') || prefix.len() > LONGEST_PREFIX || !prefix.split('/').all(is_level) {
        return Err(format!(
            "must be a topic like \"homeassistant\": levels between single `/`, without + and #, of at most {LONGEST_PREFIX} bytes"
        ));
    }
    Ok(prefix.to_owned())
}

fn name(user: &str) -> Result<String, String> {
    if user.is_empty() || user.contains('\0') || user.len() > 65_535 {
        return Err("must be a name, as the broker has it".into());
    }
    Ok(user.to_owned())
}
