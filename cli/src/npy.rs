//! NumPy's `.npy` format, as far as floats go: `f16`, `f32` and `f64`, little-endian, C order.
//!
//! ```text
//! "\x93NUMPY"  u8 major  u8 minor  u16 (major 1) or u32 (major 2, 3) header length
//! {'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 64, 64), }   padded, ends in '\n'
//! elements
//! ```

use std::io::{self, Write};

use half::f16;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads the bytes of a `.npy` file: the shape, and the elements as `f32`. The message of an error
/// does not name the file.
pub(crate) fn read(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>), String> {
    let (header, data) = split(bytes).ok_or("not a .npy file, or cut off in its header")?;
    let header = std::str::from_utf8(header).map_err(|_| ".npy header is not text")?;
    let field = |name| value_of(header, name).ok_or(format!(".npy header has no '{name}'"));

    let descr = field("descr")?;
    let (size, decode): (usize, fn(&[u8]) -> Vec<f32>) = match descr.split(['\'', '"']).nth(1) {
        Some("<f2") => (2, |data| map_elements(data, |bytes| f16::from_le_bytes(bytes).to_f32())),
        Some("<f4") => (4, |data| map_elements(data, f32::from_le_bytes)),
        Some("<f8") => (8, |data| map_elements(data, |bytes| f64::from_le_bytes(bytes) as f32)),
        _ => {
            let found = descr.split(',').next().unwrap_or(descr).trim();
            return Err(format!("elements are {found}, expected '<f4', '<f2' or '<f8'"));
        }
    };
    if !field("fortran_order")?.starts_with("False") {
        return Err("array is in Fortran order; save numpy.ascontiguousarray of it".into());
    }
    let shape = parse_shape(field("shape")?).ok_or(".npy header has no valid shape")?;
    let expected = shape.iter().try_fold(size, |n, &dim| n.checked_mul(dim));
    if expected != Some(data.len()) {
        return Err(format!("{} bytes of elements do not make shape {shape:?}", data.len()));
    }
    Ok((shape, decode(data)))
}

/// Writes `data` in C order as `<f4`.
pub(crate) fn write(
    out: &mut impl Write,
    shape: &[usize],
    data: impl Iterator<Item = f32>,
) -> io::Result<()> {
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    let dims = dims.trim_end();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(io::Error::other)?;
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for value in data {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// Header text and element bytes.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_at_checked(2)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            (usize::try_from(u32::from_le_bytes(*length)).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// What follows `'name':` in the header's dictionary.
fn value_of<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let key = [format!("'{name}'"), format!("\"{name}\"")];
    let end = key.iter().find_map(|key| header.find(key).map(|at| at + key.len()))?;
    header[end..].trim_start().strip_prefix(':').map(str::trim_start)
}

fn parse_shape(value: &str) -> Option<Vec<usize>> {
    let (inside, _) = value.strip_prefix('(')?.split_once(')')?;
    let dims = inside.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    dims.map(|dim| dim.parse().ok()).collect()
}

/// Converts every `N` bytes.
pub(crate) fn map_elements<const N: usize>(data: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(|&bytes| f(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [vec![2, 1, 3], vec![6], vec![1, 1, 2, 3]] {
            let values = [1.0, -2.5, 0.0, f32::MIN_POSITIVE, 3.0e38, -0.0];
            let mut bytes = Vec::new();
            write(&mut bytes, &shape, values.into_iter()).unwrap();
            assert_eq!(bytes.len() % 64, 24, "elements start on a multiple of 64");
            assert_eq!(read(&bytes).unwrap(), (shape, values.to_vec()));
        }
    }

    #[test]
    fn halves_and_doubles() {
        let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }\n";
        assert_eq!(read(&file(header, &[0, 0x3c, 0, 0xc0])).unwrap().1, [1.0, -2.0]);
        let header = "{'shape': (1,), 'descr': '<f8', 'fortran_order': False}\n";
        assert_eq!(read(&file(header, &0.1f64.to_le_bytes())).unwrap().1, [0.1]);
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let cases = [
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "'>f4'"),
            ("{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }", "'|u1'"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "Fortran"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "4 bytes"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "no valid shape"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
                "4 bytes",
            ),
            ("{'fortran_order': False, 'shape': (1,), }", "no 'descr'"),
        ];
        for (header, part) in cases {
            let message = read(&file(header, &[0; 4])).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        let good = file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", &[0; 4]);
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
    }
}
