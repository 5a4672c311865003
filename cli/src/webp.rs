//! What a webp says of itself, by a walk over its chunks, none of which is taken into memory.
//!
//! `"RIFF" u32 length "WEBP"`, then chunks: `name u32 length data`, padded to an even length.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crate::coded::{Facts, Walked};
use crate::limits::{MOST_CHUNKS, MOST_EXIF, most_coded};

/// A place in the file that chunks are read from.
struct Walk<'f> {
    file: &'f mut BufReader<File>,
    /// Bytes of the file, or those that its header says.
    end: u64,
}

/// A chunk: its name, and where its data are.
struct Chunk {
    name: [u8; 4],
    start: u64,
    end: u64,
}

/// Walks over all chunks. An end of the file before the one that the header says is an error of
/// that kind.
pub(crate) fn walk(file: &mut BufReader<File>) -> Walked {
    let length = file.get_ref().metadata()?.len();
    let mut header = [0; 12];
    file.rewind()?;
    file.read_exact(&mut header)?;
    let [_, _, _, _, a, b, c, d, ..] = header;
    let end = 8 + u64::from(u32::from_le_bytes([a, b, c, d]));
    if end > length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Walk { file, end }.facts()
}

impl Walk<'_> {
    fn facts(&mut self) -> Walked {
        let (mut canvas, mut picture, mut frame) = (None, None, None);
        let (mut exif, mut at, mut chunks, mut largest) = (None, 12, 0, 0);
        while at + 8 <= self.end {
            chunks += 1;
            if chunks > MOST_CHUNKS {
                return Ok(Err(format!("over {MOST_CHUNKS} chunks")));
            }
            let chunk = match self.chunk(at, self.end)? {
                Ok(chunk) => chunk,
                Err(message) => return Ok(Err(message)),
            };
            at = chunk.end + (chunk.end - chunk.start) % 2;
            match &chunk.name {
                b"VP8X" if canvas.is_none() => canvas = Some(self.sides(&chunk, 4)?),
                b"VP8 " | b"VP8L" | b"ALPH" => {
                    largest = largest.max(chunk.end - chunk.start);
                    if let (Some(size), None) = (self.picture(&chunk)?, picture) {
                        picture = Some(size);
                    }
                }
                b"ANMF" if frame.is_none() => match self.frame(&chunk)? {
                    Ok((size, most)) => {
                        (frame, largest) = (Some(size), largest.max(most));
                    }
                    Err(message) => return Ok(Err(message)),
                },
                b"EXIF" if exif.is_none() => {
                    let (start, length) = (chunk.start, chunk.end - chunk.start);
                    let mut bytes = Vec::new();
                    self.file.seek(SeekFrom::Start(start))?;
                    self.file.by_ref().take(length.min(MOST_EXIF)).read_to_end(&mut bytes)?;
                    exif = Some(bytes);
                }
                _ => {}
            }
        }
        let Some(size) = canvas.or(picture) else { return Ok(Err("no picture in it".into())) };
        let (width, height) = size;
        let inside = frame.is_none_or(|(w, h)| w <= width && h <= height);
        if picture.is_some_and(|found| frame.is_none() && found != size) || !inside {
            return Ok(Err("pictures of different sizes in it".into()));
        }
        let most = most_coded(u64::from(width) * u64::from(height));
        if largest > most {
            let message = format!("{largest} bytes of coded pixels, at most {most} expected");
            return Ok(Err(format!("{message} for {width}x{height}")));
        }
        let coded = std::iter::once(0..self.end).collect();
        Ok(Ok(Facts { size, exif, coded, per_pixel: 16 }))
    }

    /// The chunk at `at`, which must end before `end`.
    fn chunk(&mut self, at: u64, end: u64) -> io::Result<Result<Chunk, String>> {
        self.file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 8];
        self.file.read_exact(&mut header)?;
        let [name @ .., a, b, c, d] = header;
        let length = u32::from_le_bytes([a, b, c, d]);
        let chunk = Chunk { name, start: at + 8, end: at + 8 + u64::from(length) };
        if chunk.end > end {
            let name = name.escape_ascii();
            return Ok(Err(format!("chunk {name} of {length} bytes reaches beyond the end")));
        }
        Ok(Ok(chunk))
    }

    /// Width and height as two numbers of 24 bits, less one, at `offset` of a chunk.
    fn sides(&mut self, chunk: &Chunk, offset: u64) -> io::Result<(u32, u32)> {
        self.file.seek(SeekFrom::Start(chunk.start + offset))?;
        let mut sides = [0; 6];
        self.file.read_exact(&mut sides)?;
        let [a, b, c, d, e, f] = sides;
        let side = |low, middle, high| 1 + u32::from_le_bytes([low, middle, high, 0]);
        Ok((side(a, b, c), side(d, e, f)))
    }

    /// Width and height of coded pixels, as their own header has them; `None` for alpha.
    fn picture(&mut self, chunk: &Chunk) -> io::Result<Option<(u32, u32)>> {
        self.file.seek(SeekFrom::Start(chunk.start))?;
        let mut head = [0; 10];
        match &chunk.name {
            b"VP8 " => {
                self.file.read_exact(&mut head)?;
                let [.., a, b, c, d] = head;
                let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                Ok(Some((side(a, b), side(c, d))))
            }
            b"VP8L" => {
                self.file.read_exact(&mut head[..5])?;
                let [_, a, b, c, d, ..] = head;
                let bits = u32::from_le_bytes([a, b, c, d]);
                Ok(Some((1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff))))
            }
            _ => Ok(None),
        }
    }

    /// Width and height of a picture of an animation, which are those of its coded pixels, and the
    /// bytes of these.
    #[expect(clippy::type_complexity, reason = "what is read, or why it is not, as elsewhere")]
    fn frame(&mut self, frame: &Chunk) -> io::Result<Result<((u32, u32), u64), String>> {
        let size = self.sides(frame, 6)?;
        let (mut at, mut largest) = (frame.start + 16, 0);
        while at + 8 <= frame.end {
            let chunk = match self.chunk(at, frame.end)? {
                Ok(chunk) => chunk,
                Err(message) => return Ok(Err(message)),
            };
            if self.picture(&chunk)?.is_some_and(|found| found != size) {
                return Ok(Err("pictures of different sizes in it".into()));
            }
            let length = chunk.end - chunk.start;
            (at, largest) = (chunk.end + length % 2, largest.max(length));
        }
        Ok(Ok((size, largest)))
    }
}
