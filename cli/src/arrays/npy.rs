//! NumPy's `.npy` format, as far as floats go: `f16`, `f32` and `f64`, little-endian, C order.
//!
//! ```text
//! "\x93NUMPY"  u8 major  u8 minor  u16 (major 1) or u32 (major 2, 3) header length
//! {'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 64, 64), }   padded, ends in '\n'
//! elements
//! ```

use std::io::{self, Write};

use super::element::Element;

const MAGIC: &[u8] = b"\x93NUMPY";

/// An array in a file.
#[derive(Debug, PartialEq)]
pub(crate) struct RawArray<'file> {
    /// Lengths of the axes.
    pub(crate) shape: Vec<usize>,
    /// Type of the elements.
    pub(crate) dtype: Element,
    /// The elements, little-endian, in C order; their number is checked.
    pub(crate) data: &'file [u8],
}

/// The head of a `.npy` file.
#[derive(Debug)]
pub(crate) struct Header {
    /// Type of the elements as NumPy writes it, such as `'<f4'`.
    descr: String,
    fortran_order: bool,
    /// Lengths of the axes.
    pub(crate) shape: Vec<usize>,
    /// Bytes of the file before the elements.
    pub(crate) length: usize,
}

impl Header {
    /// The longest that is read; NumPy itself reads no longer one of an untrusted file.
    pub(crate) const LONGEST: usize = 10_000;

    /// The beginning of a `.npy` file, which may be all of it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let (text, data) = split(bytes).ok_or("not a .npy file, or cut off in its header")?;
        let length = bytes.len() - data.len();
        if length > Self::LONGEST {
            return Err(format!(".npy header of {length} bytes, which is too long"));
        }
        let text = std::str::from_utf8(text).map_err(|_| ".npy header is not text")?;
        let field = |name| value_of(text, name).ok_or(format!(".npy header has no '{name}'"));
        let descr = field("descr")?;
        let fortran_order = !field("fortran_order")?.starts_with("False");
        let shape = parse_shape(field("shape")?).ok_or(".npy header has no valid shape")?;
        let descr = match quoted(descr) {
            Some(name) => format!("'{name}'"),
            None => descr.split(',').next().unwrap_or(descr).trim().to_owned(),
        };
        Ok(Self { descr, fortran_order, shape, length })
    }

    /// The type of the elements, if they are floats in C order.
    pub(crate) fn floats(&self) -> Result<Element, String> {
        let dtype = match &*self.descr {
            "'<f2'" => Element::F16,
            "'<f4'" => Element::F32,
            "'<f8'" => Element::F64,
            found => return Err(format!("elements are {found}, expected '<f2', '<f4' or '<f8'")),
        };
        if self.fortran_order {
            return Err("array is in Fortran order; save numpy.ascontiguousarray of it".into());
        }
        Ok(dtype)
    }

    /// The number of characters, if the array is a single string.
    pub(crate) fn text(&self) -> Option<usize> {
        let characters = self.descr.strip_prefix("'<U")?.strip_suffix('\'')?;
        characters.parse().ok().filter(|_| self.shape.is_empty())
    }

    /// Bytes of the elements, if these have `size` bytes each.
    pub(crate) fn data_bytes(&self, size: usize) -> Option<usize> {
        self.shape.iter().try_fold(size, |bytes, &dim| bytes.checked_mul(dim))
    }
}

/// Reads the bytes of a `.npy` file. The message of an error does not name the file.
pub(crate) fn read(bytes: &[u8]) -> Result<RawArray<'_>, String> {
    let header = Header::read(bytes)?;
    let (dtype, data) = (header.floats()?, &bytes[header.length..]);
    if header.data_bytes(dtype.size()) != Some(data.len()) {
        let shape = &header.shape;
        return Err(format!("{} bytes of elements do not make shape {shape:?}", data.len()));
    }
    Ok(RawArray { shape: header.shape, dtype, data })
}

/// The text of a `.npy` file whose header has so many `characters`, from its elements.
pub(crate) fn text(data: &[u8], characters: usize) -> Option<String> {
    let (codes, rest) = data.as_chunks();
    let whole = rest.is_empty() && codes.len() == characters;
    let text: Option<String> =
        codes.iter().map(|&code| char::from_u32(u32::from_le_bytes(code))).collect();
    // NumPy fills up with zeros.
    text.filter(|_| whole).map(|text| text.trim_end_matches('\0').to_owned())
}

/// Writes `data` in C order as `<f4`.
pub(crate) fn write(
    out: &mut impl Write,
    shape: &[usize],
    data: impl Iterator<Item = f32>,
) -> io::Result<()> {
    write_header(out, "<f4", shape)?;
    for value in data {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// Writes a text, which is not empty, as an array without axes.
pub(crate) fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    write_header(out, &format!("<U{}", text.chars().count()), &[])?;
    text.chars().try_for_each(|character| out.write_all(&u32::from(character).to_le_bytes()))
}

fn write_header(out: &mut impl Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    let dims = dims.trim_end();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(io::Error::other)?;
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header.as_bytes())
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

/// The text after `'name':` in the header's dictionary.
fn value_of<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let key = [format!("'{name}'"), format!("\"{name}\"")];
    let end = key.iter().find_map(|key| header.find(key).map(|at| at + key.len()))?;
    header[end..].trim_start().strip_prefix(':').map(str::trim_start)
}

/// The text of a quoted string.
fn quoted(value: &str) -> Option<&str> {
    let quote = value.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
    value[1..].split_once(quote).map(|(text, _)| text)
}

fn parse_shape(value: &str) -> Option<Vec<usize>> {
    let (inside, _) = value.strip_prefix('(')?.split_once(')')?;
    let dims = inside.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    dims.map(|dim| dim.parse().ok()).collect()
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
            let data = &values.map(f32::to_le_bytes).concat();
            assert_eq!(read(&bytes).unwrap(), RawArray { shape, dtype: Element::F32, data });
        }
    }

    #[test]
    fn texts_are_written_and_read() {
        for text in ["raw", "[0.5, -1.25]", "Größe 🎈"] {
            let mut bytes = Vec::new();
            write_text(&mut bytes, text).unwrap();
            let header = Header::read(&bytes).unwrap();
            assert!(header.floats().is_err());
            let characters = header.text().unwrap();
            let data = &bytes[header.length..];
            assert_eq!(data.len(), header.data_bytes(4 * characters).unwrap());
            assert_eq!(super::text(data, characters).as_deref(), Some(text));
            assert_eq!(super::text(&data[1..], characters), None);
            assert_eq!(super::text(&[0xff; 4], 1), None);
        }
        assert_eq!(super::text(&[b'a', 0, 0, 0, 0, 0, 0, 0], 2).as_deref(), Some("a"));
    }

    #[test]
    fn a_header_has_a_limit() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
        let long = format!("{header}{:>1$}", "\n", Header::LONGEST);
        assert!(read(&file(&long, &[0; 4])).unwrap_err().contains("too long"));
    }

    #[test]
    fn keys_in_any_order_and_quotes() {
        let header = "{\"shape\": (2,), \"descr\": \"<f2\", \"fortran_order\": False}\n";
        let data = &[0, 0x3c, 0, 0xc0];
        let expected = RawArray { shape: vec![2], dtype: Element::F16, data };
        assert_eq!(read(&file(header, data)).unwrap(), expected);
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n";
        let data = &0.1f64.to_le_bytes();
        let expected = RawArray { shape: vec![], dtype: Element::F64, data };
        assert_eq!(read(&file(header, data)).unwrap(), expected);
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
            ("{'descr': [('<f4', '<f4')], 'fortran_order': False, 'shape': (1,), }", "[('<f4'"),
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
