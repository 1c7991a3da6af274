//! The keys of `[mqtt]`: one entry each, as in `keys`.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::PathBuf;

use super::key::{Accepts, DefaultValue, Field, Key, KeyType, Section, section};
use crate::document::{DeValue, DocumentError, FromToml, TableReader};
use Accepts::{Between, Form};
use DefaultValue::{Rule, Value};

section! {
    /// `[mqtt]`
    MqttSection "[mqtt]", "The MQTT broker that cameras are published to. None unless url is set." {
        url: String {
            accepts: Form("mqtt:// or mqtts://, HOST, and :PORT unless it is 1883 or 8883; further addresses behind commas"),
            help: "Broker to publish to",
            example: "\"mqtts://broker.example\"",
        }
        user: String {
            default: Rule("that of url, else none"),
            help: "User at the broker",
            example: "\"porthole\"",
        }
        password_file: PathBuf {
            default: Rule("the password of url, if it has one"),
            help: "File whose first line is the password of the user",
            example: "\"/etc/porthole/mqtt-password\"",
        }
        ca: PathBuf {
            default: Rule("the authorities that the system trusts"),
            help: "PEM file with the authority that signed the broker's certificate",
            example: "\"/etc/porthole/broker-ca.pem\"",
        }
        client_certificate: PathBuf {
            help: "PEM file with the certificate that the broker is shown",
            example: "\"/etc/porthole/mqtt.crt\"",
        }
        client_key: PathBuf {
            help: "PEM file with the key of client_certificate",
            example: "\"/etc/porthole/mqtt.key\"",
        }
        topic: String {
            default: Value("\"porthole/{host}\""),
            accepts: Form("levels between `/`, without + and #; {host} is the name of this machine"),
            help: "Topic that everything is published below",
        }
        snapshot_s: f64 {
            default: Value("0"), accepts: Between(0.0, 86_400.0), unit: "seconds",
            help: "Time between two images of an open camera; 0 for none. A closed camera is not opened for them",
            example: "10",
        }
        discovery: bool {
            default: Value("true"),
            help: "Announce the cameras to Home Assistant; false takes back what was announced",
        }
        discovery_prefix: String {
            default: Value("\"homeassistant\""), accepts: Form("levels between `/`, without + and #"),
            help: "Topic below which Home Assistant looks for announcements",
        }
    }
}
