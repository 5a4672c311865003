//! What is known of a jpeg or webp before its pixels are decoded.

use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;

use crate::limits::{MOST_PIXELS, MOST_SIDE, most_coded};

/// What a walk over a file finds.
pub(crate) struct Facts {
    /// Width and height, before the orientation.
    pub(crate) size: (u32, u32),
    /// The beginning of the EXIF data.
    pub(crate) exif: Option<Vec<u8>>,
    /// Where the coded pixels are, and what a decoder needs with them.
    pub(crate) coded: Vec<Range<u64>>,
    /// The most bytes for each pixel that the decoder has besides its input, its output of them.
    pub(crate) per_pixel: u64,
}

impl Facts {
    /// Bytes of the coded pixels.
    pub(crate) fn coded_bytes(&self) -> u64 {
        self.coded.iter().map(|range| range.end - range.start).sum()
    }

    /// Pixels in all.
    pub(crate) fn pixels(&self) -> u64 {
        u64::from(self.size.0) * u64::from(self.size.1)
    }

    /// The most bytes that a decoder takes, its output among them.
    pub(crate) fn decoder_bytes(&self) -> u64 {
        2 * self.coded_bytes() + self.per_pixel * self.pixels()
    }

    /// Fails if there are more coded bytes than the pixels can need.
    pub(crate) fn check(self) -> Result<Self, String> {
        let (found, most) = (self.coded_bytes(), most_coded(self.pixels()));
        if found > most {
            let (width, height) = self.size;
            return Err(format!(
                "{found} bytes of coded pixels, at most {most} expected for {width}x{height}"
            ));
        }
        Ok(self)
    }
}

/// A walk: what it finds, or what is wrong. An end of the file that comes too early is an error of
/// that kind.
pub(crate) type Walked = io::Result<Result<Facts, String>>;

/// A function that walks.
pub(crate) type Walk = fn(&mut BufReader<File>) -> Walked;

/// Fails if a picture of this width and height is not read, whatever its pixels.
pub(crate) fn check_size((width, height): (u32, u32)) -> Result<(), String> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MOST_PIXELS {
        let range = format!("expected 1 to {MOST_PIXELS} pixels");
        return Err(format!("picture of {width}x{height}, {range}"));
    }
    if width.max(height) > MOST_SIDE {
        let range = format!("expected sides of at most {MOST_SIDE}");
        return Err(format!("picture of {width}x{height}, {range}"));
    }
    Ok(())
}
