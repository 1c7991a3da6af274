//! What a broker sends: packets, and the messages at `watch`, `set` and other topics.

use porthole::testing::mqtt::{Arrived, HostTopics, PacketReader, WatchRequest, level, set_value};

use crate::memory::watch as watch_memory;
use crate::targets::Cuts;

/// Largest packet that is taken here.
const MOST: usize = 4096;

/// First byte: how the stream is cut. The rest: the stream.
pub fn packets(data: &[u8]) {
    let [cuts, stream @ ..] = data else { return };
    let whole = read(stream, Cuts::new(0));
    let cut = read(stream, Cuts::new(cuts | 1));
    assert_eq!(cut, whole, "what is read depends on how the stream was cut");
}

/// What is read of a stream, in words. The last says whether it can go on.
fn read(mut stream: &[u8], mut cuts: Cuts) -> Vec<String> {
    let (mut reader, mut read) = (PacketReader::new(MOST), Vec::new());
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(cuts.next(stream.len()).clamp(1, stream.len()));
        reader.feed(piece);
        stream = rest;
        loop {
            match reader.take() {
                Ok(Some(arrived)) => {
                    if let Arrived::TooLarge(bytes) = arrived {
                        assert!(bytes > MOST);
                    }
                    read.push(format!("{arrived:?}"));
                }
                Ok(None) => break,
                Err(error) => {
                    read.push(error.to_string());
                    return read;
                }
            }
        }
    }
    read
}

/// A message at `watch`.
pub fn watch(data: &[u8]) {
    let memory = watch_memory();
    let parsed = WatchRequest::parse(data);
    assert!(memory.most() < 8192, "{} bytes for {}", memory.most(), data.len());
    if let Ok(request) = parsed {
        let again = WatchRequest::parse(&request.to_payload());
        assert_eq!(again.as_ref(), Ok(&request), "it is written as it was read");
    }
}

/// First byte: how long the topic is. Then the topic, then a message at `set`.
pub fn set(data: &[u8]) {
    let [length, rest @ ..] = data else { return };
    let (topic, payload) = rest.split_at(usize::from(*length).min(rest.len()));
    let topics = HostTopics::new("porthole/{host}", "pi").unwrap();
    if let Ok(topic) = std::str::from_utf8(topic) {
        let _ = topics.request(topic);
        let name = level(topic);
        assert!(!name.contains(['/', '+', '#', '\0']), "{name}");
        let watch = format!("porthole/pi/{name}/watch");
        let (camera, _) = topics.request(&watch).unwrap();
        assert_eq!(camera, topic, "the name comes out as it went in");
    }
    if let Err(why) = set_value::parse(payload) {
        assert!(why.contains("it must be"), "{why}");
    }
}
