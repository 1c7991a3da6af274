//! Takes the place of `[mqtt]` in a build without it: a broker cannot be given.
#![forbid(unsafe_code)]

use crate::config::error::ConfigError;
use crate::config::mqtt_keys::MqttSection;
use crate::config::resolver::Resolver;

/// Fails if a broker is given.
pub(super) fn resolve(resolver: &mut Resolver<'_>, section: MqttSection) -> Result<(), ConfigError> {
    resolver.report_section("[mqtt]");
    resolver.value(section.topic, None).accept();
    resolver.value(section.snapshot_s, None).seconds()?;
    resolver.value(section.discovery, None).accept();
    resolver.value(section.discovery_prefix, None).accept();
    let absent =
        |_: &String| Err("this porthole was built without MQTT (its feature mqtt): take one with it".into());
    resolver.given(section.url).map_or(Ok(()), |url| url.check(absent))
}
