//! Finds JPEGs in the body of an answer: a multipart stream as cameras and their programs write it, or a single JPEG.
//!
//! RFC 2046, section 5.1, says what a multipart body looks like; few cameras follow it. So a picture begins where a JPEG
//! begins, whatever is around it. Header lines between pictures are read for their `Content-Length`, which spares the search
//! for the end of the picture; it is used only after it was right, and until it is wrong.
//!
//! Only the newest complete picture is kept. Memory is bounded by the buffer, and all that is no picture is bounded too.
#![forbid(unsafe_code)]

use std::ops::Range;

use memchr::{memchr, memmem};

use super::part_head::{PartHead, is_boundary_next, what_came};
use crate::camera::source::splitter::{EndSearch, SOI};

/// Most bytes before the first picture: headers of a part, or a page instead of pictures.
const MAX_PREAMBLE: usize = 64 * 1024;
/// Longest line that is looked at. A part that is no JPEG may have no lines at all.
const MAX_LINE: usize = 8 * 1024;
/// Parts without a JPEG, one after another, after which the stream is of no use. Some cameras send other data in between.
const MAX_OTHER_PARTS: u32 = 8;
/// Bytes that are kept of content that is no picture, for the message.
const KEPT: usize = 64;

/// Finds pictures in a stream that is pushed into it.
#[derive(Debug)]
pub struct MultipartReader {
    /// Allocated once.
    buffer: Box<[u8]>,
    /// Bytes of the buffer that were pushed.
    end: usize,
    /// The position up to which the stream was parsed.
    at: usize,
    /// The newest complete picture. It stands before `at`.
    picture: Option<Range<usize>>,
    place: StreamPlace,
    boundary: Option<Box<[u8]>>,
    lengths: LengthTrust,
    /// Pictures have no EOI, as their length has shown.
    lacks_eoi: bool,
    /// Nothing comes any more.
    is_ended: bool,
    /// Bytes since the last picture that belong to none.
    between: usize,
    /// Parts since the last picture that were none.
    others: u32,
    /// Type and first bytes of content that is no picture, for the message.
    came: Option<(Option<String>, Vec<u8>)>,
    pictures: u64,
}

/// What is at the position.
#[derive(Debug)]
enum StreamPlace {
    /// Between pictures, at the start of a line.
    Lines(PartHead),
    /// In a picture, which begins at the position.
    Picture { length: Option<usize>, search: EndSearch },
    /// In a part that is skipped: the bytes that are left of it.
    Skipping(u64),
}

/// Whether the stated lengths of parts are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LengthTrust {
    /// None has been compared with a picture.
    Unknown,
    /// They were right so far.
    Right,
    /// One was wrong.
    Wrong,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A picture is complete: [`MultipartReader::picture`].
    Picture,
    /// A picture was larger than the buffer and was dropped.
    TooLarge,
    /// Nothing more in what was pushed.
    Incomplete,
}

/// The stream has no pictures; this came instead.
#[derive(Debug, PartialEq, Eq)]
pub struct NoPictures(pub String);

impl MultipartReader {
    /// A reader for pictures of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            // With room for the lines between pictures. The pages of the buffer take memory when they are written to.
            buffer: vec![0; max_bytes + MAX_LINE].into(),
            end: 0,
            at: 0,
            picture: None,
            place: StreamPlace::Lines(PartHead::default()),
            boundary: None,
            lengths: LengthTrust::Unknown,
            lacks_eoi: false,
            is_ended: false,
            between: 0,
            others: 0,
            came: None,
            pictures: 0,
        }
    }

    /// Begins a new body. `boundary` separates its parts; without one it is a single part of this type and length.
    pub fn begin(&mut self, boundary: Option<&str>, content_type: Option<&str>, length: Option<u64>) {
        (self.end, self.at, self.picture, self.is_ended) = (0, 0, None, false);
        (self.between, self.others, self.came, self.pictures) = (0, 0, None, 0);
        self.boundary = boundary.map(|boundary| boundary.as_bytes().into());
        let content_type = content_type.map(str::to_owned);
        self.place = StreamPlace::Lines(match boundary {
            Some(_) => PartHead::default(),
            None => PartHead { length, content_type, ..PartHead::default() },
        });
    }

    /// Takes as much of `data` as there is room for, and returns how much that is. It is 0 only while
    /// [`picture`](Self::picture) keeps a picture, which must be released then.
    pub fn push(&mut self, data: &[u8]) -> usize {
        let start = self.picture.as_ref().map_or(self.at, |picture| picture.start);
        // Starting at the front whenever possible keeps the number of touched pages small.
        if start > 0 && (start == self.end || self.buffer.len() - self.end < data.len()) {
            self.buffer.copy_within(start..self.end, 0);
            self.picture = self.picture.take().map(|picture| picture.start - start..picture.end - start);
            (self.at, self.end) = (self.at - start, self.end - start);
        }
        let taken = data.len().min(self.buffer.len() - self.end);
        self.buffer[self.end..self.end + taken].copy_from_slice(&data[..taken]);
        self.end += taken;
        taken
    }

    /// Nothing comes any more: what was pushed last may be a whole picture that nothing follows.
    pub fn end_of_stream(&mut self) {
        self.is_ended = true;
    }

    /// The newest complete picture, until it is released.
    pub fn picture(&self) -> Option<&[u8]> {
        self.picture.clone().map(|picture| &self.buffer[picture])
    }

    /// Gives up the picture.
    pub fn release(&mut self) {
        self.picture = None;
    }

    /// Pictures of this body.
    pub fn pictures(&self) -> u64 {
        self.pictures
    }

    /// The error for a stream without pictures: it names the content.
    pub fn no_pictures(&self) -> NoPictures {
        let (content_type, begin) = match &self.came {
            Some((content_type, begin)) => (content_type.as_deref(), begin.as_slice()),
            None => match &self.place {
                StreamPlace::Lines(head) => (head.content_type.as_deref(), &[][..]),
                StreamPlace::Picture { .. } => return NoPictures("a JPEG that is not whole".into()),
                StreamPlace::Skipping(_) => (None, &[][..]),
            },
        };
        NoPictures(what_came(content_type, begin))
    }

    /// Parses on. A picture that is found replaces the one before.
    pub fn next_found(&mut self) -> Result<Found, NoPictures> {
        loop {
            match &mut self.place {
                StreamPlace::Lines(_) => {
                    if !self.read_lines()? {
                        return Ok(Found::Incomplete);
                    }
                }
                StreamPlace::Skipping(left) => {
                    let skipped = (self.end - self.at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= skipped as u64;
                    self.at += skipped;
                    if *left > 0 {
                        return Ok(Found::Incomplete);
                    }
                    self.place = StreamPlace::Lines(PartHead::default());
                }
                StreamPlace::Picture { .. } => {
                    let Some((picture, next)) = self.picture_end() else {
                        // There is no room for more of it, also when no picture is kept before it.
                        if self.picture.is_none() && self.end - self.at == self.buffer.len() {
                            self.at = self.end;
                            self.place = StreamPlace::Lines(PartHead::default());
                            return Ok(Found::TooLarge);
                        }
                        return Ok(Found::Incomplete);
                    };
                    self.picture = Some(self.at..self.at + picture);
                    self.at += next;
                    self.place = StreamPlace::Lines(PartHead::default());
                    (self.between, self.others, self.came) = (0, 0, None);
                    self.pictures += 1;
                    return Ok(Found::Picture);
                }
            }
        }
    }

    /// Reads lines up to a picture. Returns false if there is none in what was pushed.
    fn read_lines(&mut self) -> Result<bool, NoPictures> {
        loop {
            let rest = &self.buffer[self.at..self.end];
            let line_end = memchr(b'\n', rest);
            let line = &rest[..line_end.unwrap_or(rest.len())];
            // Nothing else in a line begins like a JPEG. Before it may be anything.
            if let Some(begin) = memmem::find(line, &SOI) {
                self.at += begin;
                let StreamPlace::Lines(head) = &mut self.place else { return Ok(true) };
                // One that cannot be true is none.
                let length = head.length.and_then(|length| usize::try_from(length).ok());
                let length = length.filter(|length| (4..=self.buffer.len() - MAX_LINE).contains(length));
                self.place = StreamPlace::Picture { length, search: EndSearch::default() };
                return Ok(true);
            }
            let Some(line_end) = line_end else {
                if rest.len() >= MAX_LINE {
                    // All but the bytes that may be the first of an SOI.
                    let passed = rest.len() - (SOI.len() - 1);
                    self.pass_over(passed)?;
                    continue;
                }
                if self.is_ended && !rest.is_empty() && !SOI.starts_with(rest) {
                    let all = rest.len();
                    self.pass_over(all)?;
                }
                return Ok(false);
            };
            let line = line.trim_ascii_end();
            let is_empty = line.is_empty();
            let line = line[..line.len().min(MAX_LINE)].to_vec();
            self.read_line(&line, is_empty, line_end + 1)?;
            if matches!(self.place, StreamPlace::Skipping(_)) {
                return Ok(true);
            }
        }
    }

    /// Reads a line of `bytes` bytes with its end.
    fn read_line(&mut self, line: &[u8], is_empty: bool, bytes: usize) -> Result<(), NoPictures> {
        let StreamPlace::Lines(head) = &mut self.place else { return Ok(()) };
        let is_boundary = line.starts_with(b"--") || self.boundary.as_deref() == Some(line);
        if is_boundary {
            *head = PartHead::default();
        } else if is_empty && head.has_lines && head.is_other() {
            // A part of another type. Its length tells where it ends, unless it is too large to be true.
            let length = head.length.filter(|length| *length <= self.buffer.len() as u64).unwrap_or(0);
            let name = head.content_type.take();
            self.came.get_or_insert((name, Vec::new()));
            self.count_other()?;
            self.place = StreamPlace::Skipping(length);
        } else if is_empty {
            head.is_complete |= head.has_lines;
        } else if head.is_complete {
            self.pass_over(bytes)?;
            self.place = StreamPlace::Lines(PartHead::default());
            return self.count_other();
        } else {
            head.read_line(line);
            if !head.has_lines {
                return self.pass_over(bytes);
            }
        }
        self.at += bytes;
        self.count_between(bytes)
    }

    /// Passes over `bytes` bytes that are neither a picture nor a header.
    fn pass_over(&mut self, bytes: usize) -> Result<(), NoPictures> {
        let begin = self.buffer[self.at..self.at + bytes.min(KEPT)].trim_ascii_end();
        let content_type = match &self.place {
            StreamPlace::Lines(head) => head.content_type.clone(),
            _ => None,
        };
        self.at += bytes;
        let (_, came) = self.came.get_or_insert((content_type, Vec::new()));
        if came.is_empty() {
            came.extend_from_slice(begin);
        }
        self.count_between(bytes)
    }

    fn count_between(&mut self, bytes: usize) -> Result<(), NoPictures> {
        self.between = self.between.saturating_add(bytes);
        // A picture that was damaged may leave as many behind.
        let most = if self.pictures == 0 { MAX_PREAMBLE } else { MAX_PREAMBLE.max(self.buffer.len()) };
        if self.between > most { Err(self.no_pictures()) } else { Ok(()) }
    }

    fn count_other(&mut self) -> Result<(), NoPictures> {
        self.others += 1;
        let (name, begin) =
            self.came.as_ref().map_or((None, &[][..]), |(name, begin)| (name.as_deref(), begin));
        let came =
            || if begin.is_empty() { name.unwrap_or_default().to_owned() } else { what_came(name, begin) };
        let name = name.unwrap_or_default();
        // A stream of other pictures or of video will not turn into one of JPEGs.
        let is_media = name.starts_with("image/") || name.starts_with("video/") || name == "text/html";
        if self.pictures == 0 && (is_media || self.others >= MAX_OTHER_PARTS) {
            return Err(NoPictures(format!("a multipart stream of {}", came())));
        }
        if self.others >= MAX_OTHER_PARTS {
            return Err(NoPictures(format!("one part after another with {}", came())));
        }
        Ok(())
    }

    /// The end of the picture at the position, and where the stream goes on, if it is complete.
    fn picture_end(&mut self) -> Option<(usize, usize)> {
        let data = &self.buffer[self.at..self.end];
        let StreamPlace::Picture { length, search } = &mut self.place else { return None };
        let length = length.filter(|_| self.lengths != LengthTrust::Wrong);
        if let Some(length) = length.filter(|_| self.lengths == LengthTrust::Right) {
            let whole = data.get(..length)?;
            if let Some(end) = end_before_padding(whole) {
                return Some((end, length));
            }
            if self.lacks_eoi {
                return Some((length, length));
            }
        }
        let found = search.find(data);
        match (found, length) {
            (Some(end), Some(length)) if end <= length => {
                let behind = &data[end..length.min(data.len())];
                if !behind.iter().all(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
                    self.lengths = LengthTrust::Wrong;
                } else if data.len() >= length {
                    self.lengths = LengthTrust::Right;
                    return Some((end, length));
                }
                Some((end, end))
            }
            (Some(_), Some(length))
                if is_boundary_next(&data[length..], self.boundary.as_deref(), self.is_ended)
                    == Some(true) =>
            {
                (self.lengths, self.lacks_eoi) = (LengthTrust::Right, true);
                Some((length, length))
            }
            (Some(end), _) => {
                if length.is_some() {
                    self.lengths = LengthTrust::Wrong;
                }
                Some((self.before_boundary(end), end))
            }
            // It may be right, and the picture without its end: what follows tells.
            (None, Some(length)) => {
                let followed =
                    is_boundary_next(data.get(length..)?, self.boundary.as_deref(), self.is_ended)?;
                self.lengths = if followed { LengthTrust::Right } else { LengthTrust::Wrong };
                self.lacks_eoi |= followed;
                followed.then_some((length, length))
            }
            (None, None) => None,
        }
    }

    /// Where a picture of `end` bytes ends that may have run into the boundary, as one without its EOI does.
    fn before_boundary(&self, end: usize) -> usize {
        let picture = &self.buffer[self.at..self.at + end];
        let Some(boundary) = self.boundary.as_deref().filter(|_| !picture.ends_with(&[0xff, 0xd9])) else {
            return end;
        };
        // One that is not named begins a line with dashes all the same.
        let (mark, dashes) =
            if boundary.is_empty() { (&b"\n--"[..], &b""[..]) } else { (boundary, &b"--"[..]) };
        let Some(at) = memmem::find(picture, mark) else { return end };
        let picture = picture[..at].trim_ascii_end();
        picture.strip_suffix(dashes).map_or(picture, <[u8]>::trim_ascii_end).len()
    }
}

/// The end of a picture that ends with its EOI, with zeros or a line end behind it at most.
fn end_before_padding(data: &[u8]) -> Option<usize> {
    let padding = data.iter().rev().take_while(|byte| matches!(byte, 0 | b'\r' | b'\n')).count();
    let end = data.len() - padding;
    data[..end].ends_with(&[0xff, 0xd9]).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The structure of a JPEG of `size` bytes: a segment with a thumbnail, then entropy-coded data.
    fn jpeg(tag: u8, size: usize) -> Vec<u8> {
        let mut data = vec![0xff, 0xd8, 0xff, 0xe1, 0, 8, 0xff, 0xd8, 0xff, 0xdb, 0xff, 0xd9];
        data.extend([0xff, 0xda, 0, 3, tag]);
        data.resize(size - 2, b'-');
        data.extend([0xff, 0xd9]);
        data
    }

    struct Body<'a> {
        boundary: Option<&'a str>,
        content_type: Option<&'a str>,
        length: Option<u64>,
        bytes: Vec<u8>,
    }

    fn multipart(bytes: Vec<u8>) -> Body<'static> {
        Body { boundary: Some("frame"), content_type: Some("multipart/x-mixed-replace"), length: None, bytes }
    }

    /// Every picture of `body`, pushed `step` bytes at a time, and what came if none did.
    fn pictures(body: &Body<'_>, step: usize) -> (Vec<Vec<u8>>, Result<(), NoPictures>) {
        let (mut reader, mut found) = (MultipartReader::new(4096), Vec::new());
        reader.begin(body.boundary, body.content_type, body.length);
        let mut left = body.bytes.as_slice();
        loop {
            match reader.next_found() {
                Ok(Found::Picture) => {
                    found.push(reader.picture().unwrap().to_vec());
                    reader.release();
                }
                Ok(Found::TooLarge) => {}
                Ok(Found::Incomplete) if left.is_empty() && reader.is_ended => {
                    let end = if found.is_empty() { Err(reader.no_pictures()) } else { Ok(()) };
                    return (found, end);
                }
                Ok(Found::Incomplete) if left.is_empty() => reader.end_of_stream(),
                Ok(Found::Incomplete) => {
                    let taken = reader.push(&left[..step.min(left.len())]);
                    assert!(taken > 0, "no room");
                    left = &left[taken..];
                }
                Err(error) => return (found, Err(error)),
            }
        }
    }

    /// A body in which each picture stands between what `before` and `after` make of its size.
    fn wrapped(all: &[Vec<u8>], before: impl Fn(usize) -> String, after: &str) -> Vec<u8> {
        all.iter().flat_map(|jpeg| [before(jpeg.len()).as_bytes(), jpeg, after.as_bytes()].concat()).collect()
    }

    #[test]
    fn pictures_are_found_in_what_servers_send() {
        let all = [jpeg(1, 300), jpeg(2, 200), jpeg(3, 400)];
        let bare = Body {
            boundary: None,
            content_type: Some("image/jpeg"),
            length: Some(300),
            bytes: all[0].clone(),
        };
        let bodies = [
            (
                "by the book",
                multipart(wrapped(
                    &all,
                    |n| format!("\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {n}\r\n\r\n"),
                    "",
                )),
            ),
            (
                "the boundary behind",
                multipart(wrapped(
                    &all,
                    |n| format!("Content-Type: image/jpeg\r\nContent-Length: {n}\r\n\r\n"),
                    "\r\n--frame\r\n",
                )),
            ),
            (
                "no length",
                multipart(wrapped(&all, |_| "--frame\r\nContent-Type: image/jpeg\r\n\r\n".into(), "\r\n")),
            ),
            (
                "line feeds alone",
                multipart(wrapped(
                    &all,
                    |n| format!("--frame\ncontent-length:{n}\nCONTENT-TYPE:image/jpeg\n\n"),
                    "\n",
                )),
            ),
            (
                "no dashes",
                multipart(wrapped(&all, |n| format!("frame\r\nContent-Length: {n}\r\n\r\n"), "\r\n")),
            ),
            (
                "more dashes",
                multipart(wrapped(&all, |n| format!("----frame\r\nContent-Length: {n}\r\n\r\n"), "\r\n")),
            ),
            ("no boundary", multipart(wrapped(&all, |n| format!("Content-Length: {n}\r\n\r\n"), "\r\n"))),
            ("no headers", multipart(wrapped(&all, |_| "--frame\r\n\r\n".into(), "\r\n"))),
            (
                "length too large",
                multipart(wrapped(
                    &all,
                    |n| format!("--frame\r\nContent-Length: {}\r\n\r\n", n + 77),
                    "\r\n",
                )),
            ),
            (
                "length too small",
                multipart(wrapped(
                    &all,
                    |n| format!("--frame\r\nContent-Length: {}\r\n\r\n", n - 77),
                    "\r\n",
                )),
            ),
            (
                "length of the line end too",
                multipart(wrapped(&all, |n| format!("--frame\r\nContent-Length: {}\r\n\r\n", n + 2), "\r\n")),
            ),
            (
                "no number",
                multipart(wrapped(&all, |_| "--frame\r\nContent-Length: -1\r\n\r\n".into(), "\r\n")),
            ),
            (
                "endless length",
                multipart(wrapped(
                    &all,
                    |_| "--frame\r\nContent-Length: 18446744073709551615\r\n\r\n".into(),
                    "\r\n",
                )),
            ),
            (
                "padding",
                multipart(wrapped(
                    &all,
                    |n| format!("--frame\r\nContent-Length: {}\r\n\r\n", n + 5),
                    "\0\0\0\0\0\r\n",
                )),
            ),
            (
                "a preamble",
                multipart(
                    [
                        &b"This is a stream: look\r\n\r\nfor frames\r\n"[..],
                        &wrapped(&all, |_| "--frame\r\n\r\n".into(), "\r\n"),
                    ]
                    .concat(),
                ),
            ),
            (
                "a type that is wrong",
                multipart(wrapped(&all, |_| "--frame\r\nContent-Type: text/plain\r\n\r\n".into(), "\r\n")),
            ),
            (
                "nothing around",
                Body { boundary: None, content_type: None, length: None, bytes: all.concat() },
            ),
        ];
        for step in [1, 2, 3, 7, 64, 256, 4096] {
            for (what, body) in &bodies {
                assert_eq!(pictures(body, step), (all.to_vec(), Ok(())), "{what}, {step} bytes at a time");
            }
            assert_eq!(pictures(&bare, step), (vec![all[0].clone()], Ok(())));
        }
    }

    #[test]
    fn a_length_that_was_right_spares_the_search_until_it_is_wrong() {
        let mut reader = MultipartReader::new(4096);
        reader.begin(Some("frame"), None, None);
        let part = |length: usize, jpeg: &[u8]| {
            [format!("--frame\r\nContent-Length: {length}\r\n\r\n").as_bytes(), jpeg, b"\r\n"].concat()
        };
        let (one, other) = (jpeg(1, 300), jpeg(2, 200));
        let mut next = |bytes: &[u8]| {
            assert_eq!(reader.push(bytes), bytes.len());
            let found = reader.next_found().unwrap();
            let picture = reader.picture().map(<[u8]>::to_vec);
            reader.release();
            (found, picture, reader.lengths)
        };
        assert_eq!(next(&part(300, &one)), (Found::Picture, Some(one.clone()), LengthTrust::Right));
        // Complete with its last byte, before anything follows.
        let whole = part(200, &other);
        let (begin, end) = whole.split_at(whole.len() - 3);
        assert_eq!(next(begin).0, Found::Incomplete);
        assert_eq!(next(&end[..1]), (Found::Picture, Some(other.clone()), LengthTrust::Right));
        next(&end[1..]);
        assert_eq!(next(&part(250, &one)).2, LengthTrust::Wrong);
    }

    #[test]
    fn pictures_without_their_end_are_cut_at_the_boundary() {
        let all: Vec<Vec<u8>> =
            [jpeg(1, 300), jpeg(2, 200)].iter().map(|jpeg| jpeg[..jpeg.len() - 2].to_vec()).collect();
        let known = multipart(wrapped(&all, |n| format!("--frame\r\nContent-Length: {n}\r\n\r\n"), "\r\n"));
        let unknown =
            multipart([&wrapped(&all, |_| "--frame\r\n\r\n".into(), "\r\n")[..], &jpeg(3, 99)].concat());
        // Of a server that does not say what its boundary is.
        let unnamed = Body { boundary: Some(""), ..multipart(unknown.bytes.clone()) };
        for step in [1, 5, 1000] {
            assert_eq!(pictures(&known, step).0, all);
            assert_eq!(pictures(&unknown, step).0[..1], all[..1]);
            assert_eq!(pictures(&unnamed, step).0[..1], all[..1]);
        }
    }

    #[test]
    fn parts_of_other_types_are_passed_over_between_pictures() {
        let picture = jpeg(1, 300);
        let other = b"--frame\r\nContent-Type: application/xml\r\nContent-Length: 30\r\n\r\n<a/>\r\n\xff\xd8\xff not a picture here!\r\n";
        let text = b"--frame\r\nContent-Type: text/plain\r\n\r\nhello\r\n";
        let body = multipart(
            [&b"--frame\r\n\r\n"[..], &picture, other, text, b"--frame\r\n\r\n", &picture].concat(),
        );
        for step in [1, 5, 1000] {
            assert_eq!(pictures(&body, step), (vec![picture.clone(), picture.clone()], Ok(())));
        }
    }

    #[test]
    fn what_came_instead_of_pictures_is_named() {
        let html = |bytes: &[u8]| Body {
            boundary: None,
            content_type: Some("text/html"),
            length: None,
            bytes: bytes.into(),
        };
        let part =
            |head: &str| multipart(format!("--frame\r\n{head}\r\n\r\n\u{1}{{}}\r\n").repeat(9).into_bytes());
        for (body, words) in [
            (html(b"<!DOCTYPE html>\n<html><p>Please log in: now</p>"), "an HTML page (text/html)"),
            (html(b""), "nothing (text/html)"),
            (part("Content-Type: image/png\r\nContent-Length: 3"), "a multipart stream of image/png"),
            (
                part("Content-Type: application/x-y"),
                "a multipart stream of data that is no JPEG (application/x-y)",
            ),
            (part("X: y"), "a multipart stream of data that is no JPEG"),
            (multipart(b"a: b\r\n".repeat(100_000)), "nothing"),
            (multipart(vec![0; 100_000]), "data that is no JPEG"),
            (multipart(b"--frame\r\n\r\n\xff\xd8\xff\xe0".to_vec()), "a JPEG that is not whole"),
        ] {
            for step in [7, 4096] {
                assert_eq!(pictures(&body, step), (vec![], Err(NoPictures(words.into()))));
            }
        }
    }

    #[test]
    fn a_newer_picture_replaces_the_one_before_and_memory_is_bounded() {
        let mut reader = MultipartReader::new(1000);
        reader.begin(None, None, None);
        let (one, two) = (jpeg(1, 500), jpeg(2, 500));
        assert_eq!(reader.push(&[&one[..], &two[..]].concat()), 1000);
        assert_eq!(reader.next_found(), Ok(Found::Picture));
        assert_eq!(reader.picture(), Some(&one[..]));
        assert_eq!(reader.next_found(), Ok(Found::Picture));
        assert_eq!(reader.picture(), Some(&two[..]));
        let large = jpeg(3, 20_000);
        let kept = reader.push(&large);
        assert_eq!(kept, 1000 + MAX_LINE - 500, "the picture is kept");
        assert_eq!((reader.next_found(), reader.picture()), (Ok(Found::Incomplete), Some(&two[..])));
        reader.release();
        reader.push(&large[kept..]);
        assert_eq!(reader.next_found(), Ok(Found::TooLarge));
    }
}
