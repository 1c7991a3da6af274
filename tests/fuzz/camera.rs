//! What cuts a camera's stream into pictures, the splitter and the reader of pickles: however a stream is cut, the same
//! pictures come out, in the memory they were given.

use std::io::Read;

use porthole::testing::challenge::answer_to_challenge;
use porthole::testing::multipart::{Found, MultipartReader, NoPictures};
use porthole::testing::pickle::{PickleError, PickleReader, PickledPiece};
use porthole::testing::splitter::{Piece, Splitter};

use crate::memory::watch;
use crate::targets::Cuts;

/// First byte: how the stream is cut. Second: how large a picture may be. The rest: the stream.
pub fn splitter(data: &[u8]) {
    let [cuts, capacity, stream @ ..] = data else { return };
    let capacity = [16, 64, 300, 4096][usize::from(capacity % 4)];
    let whole = split(stream, Cuts::new(0), capacity);
    let cut = split(stream, Cuts::new(cuts | 1), capacity);
    assert_eq!(cut.len(), whole.len());
    assert!(cut == whole, "what comes out depends on how the stream was cut");
    for picture in whole.iter().flatten() {
        assert!(picture.starts_with(&[0xff, 0xd8]) && picture.len() <= capacity);
    }
}

/// Every picture, and `None` for each that was left out.
fn split(mut stream: &[u8], mut cuts: Cuts, capacity: usize) -> Vec<Option<&[u8]>> {
    let whole = stream;
    let mut pieces = Vec::with_capacity(stream.len() + 1);
    let watch = watch();
    let mut splitter = Splitter::new(capacity);
    // Pictures come out in order, so each is found behind the one before.
    let mut behind = 0;
    loop {
        match splitter.next_piece() {
            Piece::Picture(picture) => {
                let at = memchr::memmem::find(&whole[behind..], picture).expect("a picture is of the stream");
                behind += at + picture.len();
                pieces.push(Some(&whole[behind - picture.len()..behind]));
            }
            Piece::TooLarge => pieces.push(None),
            Piece::Incomplete => {
                let read = |room: &mut [u8]| {
                    assert!(!room.is_empty(), "no room left to read into");
                    let n = cuts.next(room.len());
                    stream.read(&mut room[..n])
                };
                if splitter.fill(read).expect("reading from memory") == 0 {
                    assert_eq!(watch.most(), capacity, "memory beyond the buffer");
                    return pieces;
                }
            }
        }
    }
}

/// First byte: how the stream is cut. Second: how large a picture may be. The rest: the stream.
pub fn pickle(data: &[u8]) {
    let [cuts, capacity, stream @ ..] = data else { return };
    let capacity = [16, 64, 300, 4096][usize::from(capacity % 4)];
    // A byte at a time no dictionary is left out; otherwise those are that came with a newer one.
    let (every, end) = unpickle(stream, None, capacity);
    let (some, cut_end) = unpickle(stream, Some(Cuts::new(*cuts)), capacity);
    assert_eq!(cut_end, end, "the end depends on how the stream was cut");
    assert_eq!(some.len(), every.len(), "the number of dictionaries depends on how the stream was cut");
    for (newest, same) in some.iter().zip(&every) {
        assert!(newest.is_none() || newest == same, "a picture depends on how the stream was cut");
    }
}

/// The picture of every dictionary, and how it ended. `None` for each without a picture, and each that was left out.
fn unpickle(
    mut stream: &[u8],
    mut cuts: Option<Cuts>,
    capacity: usize,
) -> (Vec<Option<Vec<u8>>>, Option<PickleError>) {
    let mut reader = PickleReader::new(capacity);
    let room = reader.unfilled().len();
    let mut pieces = Vec::new();
    loop {
        match reader.newest_piece() {
            Ok((PickledPiece::Incomplete, skipped)) => assert_eq!(skipped, 0),
            Ok((piece, skipped)) => {
                pieces.extend((0..skipped).map(|_| None));
                pieces.push(match piece {
                    PickledPiece::Picture(jpeg) => {
                        assert!(jpeg.len() <= room, "more than came");
                        Some(jpeg.to_vec())
                    }
                    _ => None,
                });
                continue;
            }
            Err(error) => {
                assert_eq!(reader.newest_piece(), Err(error.clone()), "read on after a fault");
                return (pieces, Some(error));
            }
        }
        let read = |room: &mut [u8]| {
            assert!(!room.is_empty(), "no room left to read into");
            let n = cuts.as_mut().map_or(1, |cuts| cuts.next(room.len()));
            stream.read(&mut room[..n])
        };
        if reader.fill(read).expect("reading from memory") == 0 {
            return (pieces, None);
        }
    }
}

/// First byte: how the body is cut. Second: how large a picture may be, and whether the answer names a boundary and a length. The
/// rest: the body.
pub fn multipart(data: &[u8]) {
    let [cuts, shape, body @ ..] = data else { return };
    let whole = find_pictures(body, Cuts::new(0), *shape);
    let cut = find_pictures(body, Cuts::new(cuts | 1), *shape);
    for found in [&whole, &cut] {
        for picture in &found.0 {
            assert!(picture.starts_with(&[0xff, 0xd8]), "no picture begins like this");
            assert!(memchr::memmem::find(body, picture).is_some(), "a picture is of the body");
        }
    }
}

/// All pictures that are kept, each before the next bytes come, and what came if none did.
fn find_pictures(mut body: &[u8], mut cuts: Cuts, shape: u8) -> (Vec<Vec<u8>>, Result<(), NoPictures>) {
    let capacity = [16, 64, 300, 4096][usize::from(shape % 4)];
    let boundary = [None, Some(""), Some("frame"), Some("--frame")][usize::from(shape / 4 % 4)];
    let length = (shape & 0x80 != 0).then_some(body.len() as u64);
    let mut reader = MultipartReader::new(capacity);
    reader.begin(boundary, Some("multipart/x-mixed-replace"), length);
    let mut pictures = Vec::new();
    loop {
        match reader.next_found() {
            Ok(Found::Picture | Found::TooLarge) => {}
            Ok(Found::Incomplete) => {
                if let Some(picture) = reader.picture() {
                    pictures.push(picture.to_vec());
                    reader.release();
                } else if body.is_empty() {
                    return (pictures, Ok(()));
                }
                let taken = reader.push(&body[..cuts.next(body.len())]);
                body = &body[taken..];
                if body.is_empty() {
                    reader.end_of_stream();
                }
            }
            Err(none) => return (pictures, Err(none)),
        }
    }
}

/// The value of a header line `WWW-Authenticate`.
pub fn challenge(data: &[u8]) {
    let Ok(challenge) = str::from_utf8(data) else { return };
    if let Ok(answer) = answer_to_challenge(challenge) {
        assert!(answer.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "no header line: {answer:?}");
        assert!(
            !answer.contains("password") || challenge.contains("password"),
            "the password is shown: {answer}"
        );
    }
}
