//! The values of a camera's controls at `CAMERA/control/NAME`, and new ones from `CAMERA/control/NAME/set`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use log::{info, warn};
use tokio::sync::{mpsc, watch};

use super::set_value::parse;
use super::shared::PublishedCamera;
use crate::camera::{Control, list_controls, set_control};
use crate::status::CameraState;

/// A new value of a control: its name, and the message.
pub(super) type SetRequest = (String, Vec<u8>);

/// Sets what is asked for in `requests`, one after the other, and publishes all values: at a new connection, after a control was
/// set in whatever way, and when the camera delivers frames, as it may be another one then. They are shown to `listed`, too.
pub(super) async fn run(
    mut camera: PublishedCamera,
    mut requests: mpsc::Receiver<SetRequest>,
    listed: watch::Sender<Option<Vec<Control>>>,
) {
    let mut changed = camera.camera.controls_changed();
    let mut status = camera.status.clone();
    let (mut published, mut was_live) = (PublishedValues::default(), false);
    loop {
        let is_new = tokio::select! {
            request = requests.recv() => match request {
                Some((name, payload)) => {
                    set(&camera, &name, &payload).await;
                    false
                }
                None => return,
            },
            changed = camera.connections.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            _ = changed.changed() => false,
            _ = status.changed() => {
                let live = status.borrow_and_update().camera(camera.camera.id()).is_some_and(|c| c.state == CameraState::Live);
                if std::mem::replace(&mut was_live, live) || !live {
                    continue;
                }
                false
            }
        };
        if is_new {
            published = PublishedValues::default();
        }
        match list_controls(&camera.camera).await {
            Ok(controls) => {
                published.update(&camera, &controls).await;
                listed
                    .send_if_modified(|before| before.replace(controls.clone()).as_ref() != Some(&controls));
            }
            Err(error) => info!("mqtt: camera {}: its controls are not known: {error}", camera.camera.name()),
        }
    }
}

async fn set(camera: &PublishedCamera, name: &str, payload: &[u8]) {
    let set = match parse(payload) {
        Ok(value) => set_control(&camera.camera, name, value).await.map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    if let Err(why) = set {
        camera.counters.refused.add(1);
        let topic = camera.topics.set_control(name);
        warn!("mqtt: camera {}: a message at {topic} is refused: {why}", camera.camera.name());
    }
}

/// What was published over this connection, by topic.
#[derive(Debug, Default)]
struct PublishedValues {
    values: BTreeMap<String, String>,
}

impl PublishedValues {
    async fn update(&mut self, camera: &PublishedCamera, controls: &[Control]) {
        let values: BTreeMap<String, String> = controls
            .iter()
            .filter_map(|control| Some((camera.topics.control(&control.name), control.value?.to_string())))
            .collect();
        for (topic, value) in &values {
            if self.values.get(topic) != Some(value) {
                camera.publish(topic, value.as_bytes(), true).await;
            }
        }
        // An empty message takes back what the broker keeps (MQTT 3.1.1, section 3.3.1.3).
        for topic in self.values.keys().filter(|topic| !values.contains_key(*topic)) {
            camera.publish(topic, b"", true).await;
        }
        self.values = values;
    }
}
