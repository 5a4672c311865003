//! What a jpeg says of itself, by a walk over its segments, none of which is taken into memory.
//!
//! The decoder sees the file without segments that do not matter to its pixels: profiles, previews
//! and notes may be larger than the picture, and those after its end often are.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::ops::Range;

use crate::coded::{Facts, Walked};
use crate::limits::{MOST_EXIF, MOST_SEGMENTS};

/// Walks to the end-of-image marker: a thumbnail in a segment has its own, and telephones append
/// data after the picture's. An end of the file before it is an error of that kind.
pub(crate) fn walk(file: &mut BufReader<File>) -> Walked {
    let (mut size, mut progressive, mut exif, mut in_scan) = ((0, 0), false, None, false);
    let (mut ranges, mut from): (Vec<Range<u64>>, u64) = (Vec::new(), 0);
    let mut byte = [0];
    file.rewind()?;
    loop {
        // Nothing between two segments, the coded pixels after a start of scan.
        file.skip_until(0xff)?;
        // A marker may have any number of 0xff before it.
        while {
            file.read_exact(&mut byte)?;
            byte == [0xff]
        } {}
        let marker = byte[0];
        match marker {
            // A coded 0xff, and the markers without a segment: TEM, RST0 to RST7, SOI.
            0x00 | 0x01 | 0xd0..=0xd8 => continue,
            0xd9 => break,
            _ => {}
        }
        let mut length = [0; 2];
        file.read_exact(&mut length)?;
        let length = u64::from(u16::from_be_bytes(length)).max(2) - 2;
        let end = file.stream_position()? + length;
        match marker {
            // A frame: precision, height, width, components. Not tables, extensions, arithmetic
            // conditioning.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let mut frame = [0; 5];
                file.read_exact(&mut frame)?;
                let [_, a, b, c, d] = frame;
                size = (u16::from_be_bytes([c, d]).into(), u16::from_be_bytes([a, b]).into());
                progressive = marker & 3 == 2;
            }
            // Applications' segments but JFIF's and Adobe's, and comments.
            0xe1..=0xed | 0xef | 0xfe => {
                if marker == 0xe1 && !in_scan {
                    let mut segment = Vec::new();
                    file.by_ref().take(length.min(MOST_EXIF)).read_to_end(&mut segment)?;
                    if segment.starts_with(b"Exif\0\0") {
                        segment.drain(..6);
                        exif = Some(segment);
                    }
                }
                if ranges.len() == MOST_SEGMENTS {
                    let found = "segments beside the picture";
                    return Ok(Err(format!("over {MOST_SEGMENTS} {found}")));
                }
                ranges.push(from..end - length - 4);
                from = end;
            }
            0xda => in_scan = true,
            _ => {}
        }
        let here = file.stream_position()?;
        file.seek_relative(end as i64 - here as i64)?;
    }
    ranges.push(from..file.stream_position()?);
    let per_pixel = if progressive { 16 } else { 8 };
    Ok(Facts { size, exif, coded: ranges, per_pixel }.check())
}
