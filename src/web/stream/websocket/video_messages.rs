//! H.264 as messages: access units as a byte stream (`porthole.h264.v1`), or one MP4 fragment for each (`porthole.mp4.v1`). A text
//! message tells the format before the first picture and whenever it changes. All units are sent, in their order.
#![forbid(unsafe_code)]

use serde_json::json;

use super::session::{MessageFeed, SessionEnd, WebSocketSession};
use crate::camera::UnitViewer;
use crate::frame::{Frame, Timestamp};
use crate::ring::RingClosed;
use crate::ring::units::AccessUnit;
use crate::web::stream::feed::Feed;
use crate::web::stream::video::VideoTracker;
use crate::web::stream::viewers::{Viewer, ViewerKind};
use crate::websocket::framing::ServerFrameHeader;
use crate::websocket::{FrameMessage, VideoContent, VideoMessage};

/// The access units of a viewer, and what it was told of them.
#[derive(Debug)]
pub(crate) struct VideoMessages {
    viewer: UnitViewer,
    tracker: VideoTracker,
}

impl VideoMessages {
    pub(crate) fn of(viewer: Viewer<UnitViewer>) -> Viewer<Self> {
        let Viewer { subscription: viewer, registration } = viewer;
        Viewer { subscription: Self { viewer, tracker: VideoTracker::default() }, registration }
    }
}

impl Feed for VideoMessages {
    async fn changed(&mut self) -> Result<(), RingClosed> {
        self.viewer.changed().await
    }
}

impl MessageFeed for VideoMessages {
    async fn send_next(&mut self, session: &mut WebSocketSession<'_>) -> Result<(), SessionEnd> {
        let Self { viewer, tracker } = self;
        let Some(lease) = viewer.units.lease() else { return Ok(()) };
        let unit = lease.unit();
        let is_mp4 = session.stats.kind == ViewerKind::Mp4WebSocket;
        if tracker.take(&unit, &lease) {
            tell_format(session, tracker, &unit, is_mp4).await?;
        }
        if !tracker.is_known() {
            return Ok(());
        }
        let sent_at = session.begin_frame(frame(&unit));
        let head = |content| {
            let message = FrameMessage { frame: frame(&unit), sent_at, skipped: lease.skipped() };
            VideoMessage { content, message, is_key: unit.is_key }.encode()
        };
        let bytes = if is_mp4 {
            let (fragment, sample) = tracker.fragment(&unit, &lease);
            let head = head(VideoContent::Fragment);
            let bytes = head.len() + fragment.len() + sample.len();
            session.send(&ServerFrameHeader::binary(bytes), &[&head, fragment, sample]).await?;
            bytes
        } else {
            session.send_byte_stream(&head(VideoContent::AccessUnit), &lease).await?
        };
        session.frame_sent(unit.captured_at, lease.skipped(), bytes);
        Ok(())
    }
}

async fn tell_format(
    session: &mut WebSocketSession<'_>,
    tracker: &VideoTracker,
    unit: &AccessUnit,
    is_mp4: bool,
) -> Result<(), SessionEnd> {
    let (Some(track), Some(init_segment)) = (tracker.track(), tracker.init_segment()) else { return Ok(()) };
    let (codec, size) = (track.parameters.codec(), track.parameters.resolution);
    let mut format = json!({ "type": "mp4", "codec": codec, "width": size.width, "height": size.height });
    if !is_mp4 {
        format["type"] = "h264".into();
        format["fps"] = tracker.rate(unit).into();
    }
    let text = format.to_string();
    session.send(&ServerFrameHeader::text(text.len()), &[text.as_bytes()]).await?;
    if is_mp4 {
        let message = FrameMessage { frame: frame(unit), sent_at: Timestamp::now(), skipped: 0 };
        let head = VideoMessage { content: VideoContent::InitSegment, message, is_key: unit.is_key }.encode();
        let bytes = head.len() + init_segment.len();
        session.send(&ServerFrameHeader::binary(bytes), &[&head, init_segment]).await?;
    }
    Ok(())
}

fn frame(unit: &AccessUnit) -> Frame {
    Frame { sequence: unit.sequence, captured_at: unit.captured_at, resolution: unit.resolution }
}
