//! The message of one camera: a device of Home Assistant with its entities.
//!
//! Their states are templates over `CAMERA/state`, which is the camera's part of `/state`.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

use super::control_entity::control_entity;
use super::facts::{AnnouncedCamera, AnnouncedDevice};
use crate::camera::Control;
use crate::mqtt::topics::CameraTopics;

/// Entities by a name that is unique within their device.
pub(super) type Components = Map<String, Value>;

/// What the names of the entities of controls begin with.
const CONTROL: &str = "control_";

/// The message of a camera, with its entities apart from the rest, so that entities can be added and taken away.
#[derive(Clone, Debug)]
pub(super) struct DeviceMessage {
    /// Everything but the entities.
    head: Map<String, Value>,
    /// The entities.
    pub(super) components: Components,
    /// Whether the entities of its controls are among them, or not known.
    pub(super) knows_controls: bool,
}

impl DeviceMessage {
    /// The message of a camera. The same facts always give the same message.
    pub(super) fn new(service_id: &str, device: &AnnouncedDevice, camera: &AnnouncedCamera) -> Self {
        let AnnouncedDevice { host, version, topics, configuration_url, .. } = device;
        let id = device_id(service_id, &camera.name);
        let mut about = json!({
            "ids": [id],
            "name": format!("{host} {}", camera.name),
            "mf": "Porthole",
            "mdl": "Camera service",
            "sw": version,
        });
        if let Some(url) = configuration_url {
            about["cu"] = url.as_str().into();
        }
        let of_camera = topics.camera(&camera.name);
        let mut components = entities_of_every_camera(&of_camera);
        for control in camera.controls.iter().flatten() {
            if let Some(entity) = entity_of_control(control, &of_camera) {
                components.insert(format!("{CONTROL}{}", control.name), entity);
            }
        }
        for (name, entity) in &mut components {
            entity["uniq_id"] = format!("{id}/{name}").into();
        }
        let mut head = head(about, version);
        // For every entity that does not name another one: shared options of `schemas.py`.
        head.insert("avty_t".into(), topics.status().into());
        head.insert("stat_t".into(), of_camera.state().into());
        Self { head, components, knows_controls: camera.controls.is_some() }
    }

    /// The message that takes entities away from a camera that is gone. Without their device: they are not shown again.
    pub(super) fn farewell(service_id: &str, camera: &str, version: &str) -> Self {
        let head = head(json!({ "ids": [device_id(service_id, camera)] }), version);
        Self { head, components: Components::new(), knows_controls: true }
    }

    /// The text of the message with these entities.
    pub(super) fn payload(&self, components: &Components) -> String {
        let mut message = self.head.clone();
        message.insert("cmps".into(), components.clone().into());
        Value::from(message).to_string()
    }
}

/// Whether this is the name of the entity of a control.
pub(super) fn is_of_control(name: &str) -> bool {
    name.starts_with(CONTROL)
}

/// What identifies a camera. A slash stands in neither part, so no two cameras have the same.
fn device_id(service_id: &str, camera: &str) -> String {
    format!("{service_id}/{camera}")
}

fn head(about: Value, version: &str) -> Map<String, Value> {
    let origin = json!({ "name": "Porthole", "sw": version });
    Map::from_iter([("dev".to_owned(), about), ("o".to_owned(), origin)])
}

/// The entities that every camera has.
fn entities_of_every_camera(topics: &CameraTopics) -> Components {
    let entities = json!({
        // No name: it is called what the device is called. No image_encoding: the picture comes as it is.
        "camera": { "p": "camera", "name": null, "t": topics.image() },
        "fresh_image": {
            "p": "button", "name": "Fresh image", "ic": "mdi:camera", "cmd_t": topics.image_get(),
        },
        "on_air": {
            "p": "binary_sensor", "name": "On air", "ic": "mdi:record-rec",
            "val_tpl": "{{ 'ON' if value_json.on_air else 'OFF' }}",
        },
        "problem": {
            "p": "binary_sensor", "name": "Problem", "dev_cla": "problem", "ent_cat": "diagnostic",
            "val_tpl": "{{ 'ON' if value_json.error else 'OFF' }}",
            "json_attr_t": topics.state(),
            "json_attr_tpl": "{{ {'reason': value_json.error, 'camera_state': value_json.state} | tojson }}",
        },
        "rate": {
            "p": "sensor", "name": "Rate", "ic": "mdi:filmstrip", "ent_cat": "diagnostic",
            "stat_cla": "measurement", "unit_of_meas": "fps", "sug_dsp_prc": 1,
            "val_tpl": "{{ value_json.fps }}",
        },
        "viewers": {
            "p": "sensor", "name": "Viewers", "ic": "mdi:eye", "stat_cla": "measurement",
            "val_tpl": "{{ value_json.viewers | length }}",
        },
        // Of the viewer that is behind the most; without viewers there is none.
        "delay": {
            "p": "sensor", "name": "Delay", "dev_cla": "duration", "ent_cat": "diagnostic",
            "stat_cla": "measurement", "unit_of_meas": "ms", "sug_dsp_prc": 0,
            "val_tpl": "{{ value_json.viewers | map(attribute='age_ms') | max if value_json.viewers else 'None' }}",
        },
        "corrupt": {
            "p": "sensor", "name": "Corrupt frames", "ic": "mdi:image-broken-variant", "ent_cat": "diagnostic",
            "stat_cla": "total_increasing", "val_tpl": "{{ value_json.corrupt }}",
        },
        "version": {
            "p": "sensor", "name": "Firmware version", "ic": "mdi:package-variant", "ent_cat": "diagnostic",
            "val_tpl": "{{ value_json.version }}",
        },
    });
    match entities {
        Value::Object(entities) => entities,
        _ => Components::new(),
    }
}

fn entity_of_control(control: &Control, topics: &CameraTopics) -> Option<Value> {
    let mut entity = control_entity(control)?;
    entity["name"] = control.label.as_str().into();
    entity["ent_cat"] = "config".into();
    entity["stat_t"] = topics.control(&control.name).into();
    entity["cmd_t"] = topics.set_control(&control.name).into();
    Some(entity)
}

#[cfg(test)]
mod tests {
    use super::super::control_entity::tests::control;
    use super::*;
    use crate::camera::ControlKind;
    use crate::mqtt::topics::HostTopics;

    fn message(controls: Option<Vec<Control>>) -> Value {
        let device = AnnouncedDevice {
            host: "nest".into(),
            version: "1.2.3".into(),
            topics: HostTopics::new("porthole/{host}", "nest").unwrap(),
            configuration_url: Some("http://nest.local:8080/".into()),
            cameras: vec![],
        };
        let camera = AnnouncedCamera { name: "front_1".into(), controls };
        let message = DeviceMessage::new("porthole_nest", &device, &camera);
        serde_json::from_str(&message.payload(&message.components)).unwrap()
    }

    #[test]
    fn the_message_of_a_camera_has_its_device_and_its_entities() {
        let message = message(None);
        let device = json!({
            "ids": ["porthole_nest/front_1"],
            "name": "nest front_1",
            "mf": "Porthole",
            "mdl": "Camera service",
            "sw": "1.2.3",
            "cu": "http://nest.local:8080/",
        });
        assert_eq!(message["dev"], device);
        assert_eq!(message["o"], json!({ "name": "Porthole", "sw": "1.2.3" }));
        assert_eq!(message["avty_t"], "porthole/nest/status");
        assert_eq!(message["stat_t"], "porthole/nest/front_1/state");
        let components = message["cmps"].as_object().unwrap();
        let names: Vec<_> = components.keys().map(String::as_str).collect();
        let all = "camera corrupt delay fresh_image on_air problem rate version viewers";
        assert_eq!(names.join(" "), all);
        for (name, entity) in components {
            assert_eq!(entity["uniq_id"], format!("porthole_nest/front_1/{name}"));
        }
        let camera = json!({
            "p": "camera", "name": null, "t": "porthole/nest/front_1/image", "uniq_id": "porthole_nest/front_1/camera",
        });
        assert_eq!(components["camera"], camera);
        assert_eq!(components["fresh_image"]["cmd_t"], "porthole/nest/front_1/image/get");
    }

    #[test]
    fn controls_have_topics_of_their_own() {
        let message =
            message(Some(vec![control("gain", ControlKind::Integer), control("text", ControlKind::Other)]));
        let entity = json!({
            "p": "number", "name": "The Label", "ent_cat": "config",
            "min": -64, "max": 64, "step": 2, "mode": "auto",
            "stat_t": "porthole/nest/front_1/control/gain",
            "cmd_t": "porthole/nest/front_1/control/gain/set",
            "uniq_id": "porthole_nest/front_1/control_gain",
        });
        assert_eq!(message["cmps"]["control_gain"], entity);
        assert_eq!(message["cmps"].get("control_text"), None);
    }
}
