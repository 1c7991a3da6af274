//! The manual for users: chapters in Markdown, shown here and installed by the package. No code belongs here.
//!
//! | chapter | what belongs there |
//! |---|---|
//! | [`installation`] | the package, the systemd unit, a web server in front |
//! | [`container`] | the container image, a compose file, devices and groups |
//! | [`cameras`] | sources, cameras on other machines, HDMI inputs, CSI cameras, controls |
//! | [`configuration`] | every key of the configuration file; generated from the table in `config` |
//! | [`http`] | URLs, the WebSocket protocol, `/state`, metrics, limits |
//! | [`mqtt`] | publishing to an MQTT broker: topics, a broker of your own |
//! | [`clients`] | settings for each client program |
//! | [`security`] | access, HTTPS, host names and origins, the threat model |
//! | [`leds`] | the roles of LEDs, the privacy light |
//! | [`sd_card`] | the SD-card image: settings, what is proven, a checklist for a board |
//! | [`updates`] | new versions over ssh, and how they are taken back |
//! | [`reach`] | as many viewers as a cluster of brokers carries: front ends, brokers, costs, limits |
//! | [`reliability`] | every fault and how long it lasts; the soak test |
//! | [`benchmarks`] | the measurements |
#![forbid(unsafe_code)]

/// Modules that show a chapter each. Chapters link to each other by labels, whose definitions at the end of each file
/// name files. Here, definitions of the same labels come first and so take precedence: they name modules, and rustdoc
/// checks them.
macro_rules! chapters {
    ($($module:ident: $file:literal;)*) => { $(
        #[doc = "[access]: crate::manual::http#access"]
        #[doc = "[clients]: crate::manual::clients"]
        #[doc = "[configuration]: crate::manual::configuration"]
        #[doc = "[csi]: crate::manual::cameras#raspberry-pi-cameras"]
        #[doc = "[http]: crate::manual::http"]
        #[doc = "[leds]: crate::manual::leds"]
        #[doc = "[limits]: crate::manual::http#limits"]
        #[doc = "[mqtt]: crate::manual::mqtt"]
        #[doc = "[origins]: crate::manual::security#host-names-and-other-sites"]
        #[doc = "[package]: crate::manual::installation#the-debian-package"]
        #[doc = "[privacy-light]: crate::manual::leds#the-privacy-light"]
        #[doc = "[proxy]: crate::manual::installation#behind-a-web-server"]
        #[doc = "[reach]: crate::manual::reach"]
        #[doc = "[remote]: crate::manual::cameras#cameras-on-other-machines"]
        #[doc = "[security]: crate::manual::security"]
        #[doc = "[slots]: crate::manual::updates#on-the-sd-card-image"]
        #[doc = "[unit]: crate::manual::installation#the-systemd-unit"]
        #[doc = "[updates]: crate::manual::updates"]
        #[doc = ""]
        #[doc = include_str!(concat!("manual/", $file))]
        pub mod $module {}
    )* };
}

chapters! {
    benchmarks: "benchmarks.md";
    cameras: "cameras.md";
    clients: "clients.md";
    configuration: "configuration.md";
    container: "container.md";
    http: "http.md";
    installation: "installation.md";
    leds: "leds.md";
    mqtt: "mqtt.md";
    reach: "reach.md";
    reliability: "reliability.md";
    sd_card: "sd-card.md";
    security: "security.md";
    updates: "updates.md";
}
