#![forbid(unsafe_code)]
//! Inflating a part of deflated bytes (RFC 1951), in memory that the part and a window need.

use std::ops::Range;

use crate::base::error::Result;

/// What an archive says of deflated bytes.
#[derive(Clone, Copy)]
pub(crate) struct Inflated {
    /// Bytes when inflated.
    pub(crate) len: u64,
    /// Their CRC-32.
    pub(crate) crc: u32,
}

/// Memory of an inflation beside its input and its result: the farthest that deflate looks back,
/// and the tables of the decoder.
pub(super) const WORKING: usize = WINDOW + (16 << 10);
const WINDOW: usize = 32 << 10;

/// Whether this build inflates.
///
/// # Errors
/// `Unsupported` if it was built without the feature.
#[cfg(not(feature = "deflate"))]
pub(super) fn available() -> Result<()> {
    use crate::base::error::{Error, ErrorKind};
    let message = "it is compressed, and this build has no feature \"deflate\"";
    Err(Error::new(ErrorKind::Unsupported, message))
}

#[cfg(not(feature = "deflate"))]
pub(super) fn inflate(_: &[u8], _: Inflated, _: Range<u64>, _: &mut Vec<u8>) -> Result<()> {
    available()
}

#[cfg(feature = "deflate")]
pub(super) fn available() -> Result<()> {
    Ok(())
}

/// Appends the inflated bytes `range` to `out`. Inflated bytes before them are dropped at once,
/// bytes after them are not inflated.
///
/// # Errors
/// `Format` if `compressed` are corrupt, or inflate to other than `expected`, which is told only
/// where `range` reaches their end. `OutOfMemory` if the part is too large.
#[cfg(feature = "deflate")]
pub(super) fn inflate(
    compressed: &[u8],
    expected: Inflated,
    range: Range<u64>,
    out: &mut Vec<u8>,
) -> Result<()> {
    use crate::base::alloc;
    use crate::base::error::Error;
    use miniz_oxide::inflate::TINFLStatus;
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

    let wrong = |what: String| Error::format(format!("corrupt deflated bytes: {what}"));
    let size = (range.end - range.start) as usize;
    out.try_reserve_exact(size).map_err(|_| alloc::out_of_memory("inflated bytes", size))?;
    let mut window = alloc::filled(0, WINDOW, "a window to inflate")?;
    let mut decoder = DecompressorOxide::default();
    let (mut input, mut at, mut crc) = (compressed, 0_u64, Crc::new());
    loop {
        let from = (at % WINDOW as u64) as usize;
        let (status, read, written) = decompress(&mut decoder, input, &mut window, from, 0);
        input = &input[read..];
        let fresh = &window[from..from + written];
        let start = range.start.clamp(at, at + written as u64) - at;
        let end = range.end.clamp(at, at + written as u64) - at;
        out.extend_from_slice(&fresh[start as usize..end as usize]);
        crc.update(fresh);
        at += written as u64;
        if at > expected.len {
            return Err(wrong(format!("they inflate to more than {} bytes", expected.len)));
        }
        if at >= range.end && range.end < expected.len {
            return Ok(());
        }
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput if read + written > 0 => {}
            _ => return Err(wrong(format!("they end or break after {at} inflated bytes"))),
        }
    }
    if at != expected.len {
        return Err(wrong(format!("{} inflated bytes expected, {at} found", expected.len)));
    }
    if !input.is_empty() {
        return Err(wrong(format!("{} bytes after their end", input.len())));
    }
    if crc.value() != expected.crc {
        let found = crc.value();
        return Err(wrong(format!("CRC-32 {:08x} expected, {found:08x} found", expected.crc)));
    }
    Ok(())
}

/// The CRC-32 of ISO 3309, as in zip archives.
#[cfg(feature = "deflate")]
struct Crc(u32);

#[cfg(feature = "deflate")]
impl Crc {
    /// The remainders of all bytes.
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut value, mut bit) = (byte as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[byte] = value;
            byte += 1;
        }
        table
    };

    fn new() -> Self {
        Self(!0)
    }

    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = Self::TABLE[usize::from(self.0 as u8 ^ byte)] ^ self.0 >> 8;
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;

    /// A byte and a match of it deflated by hand: `aaaaaaaaaa` with a fixed table, by zlib.
    const PACKED: [u8; 5] = [0x4b, 0x4c, 0x84, 0x01, 0x00];
    const CRC: u32 = 0x4c11_cdf0;

    fn part(compressed: &[u8], len: u64, range: Range<u64>) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        inflate(compressed, Inflated { len, crc: CRC }, range, &mut out)?;
        Ok(out)
    }

    #[test]
    fn a_part_is_inflated() {
        assert_eq!(part(&PACKED, 10, 0..10).unwrap(), b"aaaaaaaaaa");
        assert_eq!(part(&PACKED, 10, 3..5).unwrap(), b"aa");
        assert_eq!(part(&PACKED, 10, 10..10).unwrap(), b"");
    }

    #[test]
    fn what_does_not_agree_is_refused() {
        let error =
            |compressed: &[u8], len: u64| part(compressed, len, 0..len).unwrap_err().to_string();
        assert!(error(&PACKED, 9).contains("more than 9"));
        assert!(error(&PACKED, 11).contains("11 inflated bytes expected, 10 found"));
        assert!(error(&PACKED[..2], 10).contains("end or break"));
        assert!(error(&[PACKED.as_slice(), &[0]].concat(), 10).contains("1 bytes after"));
        assert!(error(&[7, 0, 0], 10).contains("break"));
        let crc = Inflated { len: 10, crc: 1 };
        let error = inflate(&PACKED, crc, 0..10, &mut Vec::new()).unwrap_err();
        assert!(error.message().contains("CRC-32 00000001 expected"), "{error}");
    }
}
