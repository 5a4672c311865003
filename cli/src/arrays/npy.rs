//! NumPy's `.npy` format, as far as floats go: `f16`, `f32` and `f64`, little-endian, C order.
//!
//! ```text
//! "\x93NUMPY"  u8 major  u8 minor  u16 (major 1) or u32 (major 2, 3) header length
//! {'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 64, 64), }   padded, ends in '\n'
//! elements
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use super::element::Element;
use crate::limits::{MOST_AXES, MOST_HEADER};
use crate::memory::room;

const MAGIC: &[u8] = b"\x93NUMPY";

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
    /// Reads the beginning of a `.npy` file, and nothing behind it.
    pub(crate) fn read(file: &mut impl Read) -> Result<Self, String> {
        let wrong = |_| "not a .npy file, or cut off in its header".to_owned();
        let mut head = [0; 8];
        file.read_exact(&mut head).map_err(wrong)?;
        let [magic @ .., major, _] = head;
        let size = match major {
            _ if magic != MAGIC => return Err(wrong(io::ErrorKind::InvalidData.into())),
            1 => 2,
            2 | 3 => 4,
            _ => return Err(wrong(io::ErrorKind::InvalidData.into())),
        };
        let mut length = [0; 4];
        file.read_exact(&mut length[..size]).map_err(wrong)?;
        let text = u32::from_le_bytes(length) as usize;
        let length = head.len() + size + text;
        if length > MOST_HEADER {
            return Err(format!(".npy header of {length} bytes, which is too long"));
        }
        let mut bytes = vec![0; text];
        file.read_exact(&mut bytes).map_err(wrong)?;
        let text = str::from_utf8(&bytes).map_err(|_| ".npy header is not text")?;
        Self::parse(text, length)
    }

    fn parse(text: &str, length: usize) -> Result<Self, String> {
        let field = |name| value_of(text, name).ok_or(format!(".npy header has no '{name}'"));
        let descr = field("descr")?;
        let fortran_order = !field("fortran_order")?.starts_with("False");
        let shape = parse_shape(field("shape")?).ok_or(".npy header has no valid shape")?;
        if shape.len() > MOST_AXES {
            let axes = shape.len();
            return Err(format!(".npy header of {axes} axes, at most {MOST_AXES} expected"));
        }
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

    /// Fails if the elements are no floats, or their `found` bytes are not as many as the shape
    /// says.
    pub(crate) fn check(&self, found: u64) -> Result<Element, String> {
        let dtype = self.floats()?;
        if self.data_bytes(dtype.size()).map(|bytes| bytes as u64) != Some(found) {
            let shape = &self.shape;
            return Err(format!("{found} bytes of elements do not make shape {shape:?}"));
        }
        Ok(dtype)
    }

    /// Reads the elements that follow as f32, a part at a time, and nothing behind them. A number
    /// of 64 bits that is none of 32 is an error; infinities in the file are left to the library.
    pub(crate) fn elements(&self, file: &mut impl Read) -> Result<Vec<f32>, String> {
        /// Elements that are read at a time.
        const PART: usize = 8 << 10;
        let dtype = self.floats()?;
        let size = dtype.size();
        let overflow = || format!("shape {:?} overflows", self.shape);
        let count = self.data_bytes(size).ok_or_else(overflow)? / size;
        let mut values = room(count, "an array").map_err(|error| error.to_string())?;
        let mut part = vec![0; PART * size];
        while values.len() < count {
            let some = &mut part[..size * PART.min(count - values.len())];
            file.read_exact(some).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    let shape = &self.shape;
                    format!("the file ends before the elements of shape {shape:?} do")
                }
                _ => error.to_string(),
            })?;
            let from = values.len();
            dtype.append_f32(some, &mut values);
            if dtype == Element::F64 {
                self.check_range(some, &values, from)?;
            }
        }
        Ok(values)
    }

    /// Fails if one of the `wide` elements is none of the `values` from `from` on.
    fn check_range(&self, wide: &[u8], values: &[f32], from: usize) -> Result<(), String> {
        let wide = wide.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
        let mut pairs = (from..).zip(wide.zip(&values[from..]));
        let lost = pairs.find(|(_, (wide, narrow))| wide.is_finite() && narrow.is_infinite());
        lost.map_or(Ok(()), |(at, (wide, _))| {
            let place = place(at, &self.shape);
            Err(format!("{wide:e} at {place} exceeds the range of f32"))
        })
    }
}

/// Element `at` of an array of `shape`, for a person.
fn place(at: usize, shape: &[usize]) -> String {
    let mut rest = at;
    let mut index = vec![0; shape.len()];
    for (index, side) in index.iter_mut().zip(shape).rev() {
        (*index, rest) = (rest % side, rest / side);
    }
    match index[..] {
        [b, c, y, x] => format!("batch {b}, channel {c}, row {y}, column {x}"),
        [c, y, x] => format!("batch 0, channel {c}, row {y}, column {x}"),
        _ => format!("{index:?}"),
    }
}

/// A `.npy` file whose header is read.
pub(crate) struct NpyFile {
    pub(crate) header: Header,
    /// Bytes of the elements; `None` of what is no regular file, such as a pipe.
    found: Option<u64>,
    /// The elements.
    rest: BufReader<File>,
}

impl NpyFile {
    /// Reads the header of `file`, and none of its elements.
    pub(crate) fn open(file: File) -> io::Result<Result<Self, String>> {
        let metadata = file.metadata()?;
        let mut rest = BufReader::new(file);
        Ok(Header::read(&mut rest).map(|header| {
            let found = metadata.len().saturating_sub(header.length as u64);
            Self { header, found: metadata.is_file().then_some(found), rest }
        }))
    }

    /// Fails if what is known of the elements does not agree with the header.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.header.floats()?;
        self.found.map_or(Ok(()), |found| self.header.check(found).map(|_| ()))
    }

    /// Reads the elements, once.
    pub(crate) fn read(&mut self) -> Result<Vec<f32>, String> {
        self.check()?;
        let values = self.header.elements(&mut self.rest)?;
        let more = self.rest.fill_buf().map_err(|error| error.to_string())?.len();
        if more > 0 {
            let shape = &self.header.shape;
            return Err(format!("bytes after the elements of shape {shape:?}"));
        }
        Ok(values)
    }
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
    use std::io::Seek;

    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>), String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let mut npy = NpyFile::open(file).unwrap()?;
        let values = npy.read()?;
        Ok((npy.header.shape, values))
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
    fn texts_are_written_and_read() {
        for text in ["raw", "[0.5, -1.25]", "Größe 🎈"] {
            let mut bytes = Vec::new();
            write_text(&mut bytes, text).unwrap();
            let header = Header::read(&mut &bytes[..]).unwrap();
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
        let long = format!("{header}{:>1$}", "\n", MOST_HEADER);
        assert!(read(&file(&long, &[0; 4])).unwrap_err().contains("too long"));
    }

    /// More than are read at a time, in each type.
    #[test]
    fn parts_are_joined() {
        let count = 20_000;
        let numbers = || (0..count).map(|at| at as f32 / 8.0);
        let halves: Vec<u8> =
            numbers().flat_map(|it| half::f16::from_f32(it).to_le_bytes()).collect();
        let singles: Vec<u8> = numbers().flat_map(f32::to_le_bytes).collect();
        let mut doubles: Vec<u8> = numbers().flat_map(|it| f64::from(it).to_le_bytes()).collect();
        let header = |descr: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count},), }}")
        };
        for (descr, data) in [("<f2", &halves), ("<f4", &singles), ("<f8", &doubles)] {
            let (shape, values) = read(&file(&header(descr), data)).unwrap();
            assert_eq!(shape, [count]);
            let near = |(a, b): (&f32, f32)| (a - b).abs() <= 1e-3 * b;
            assert!(values.len() == count && values.iter().zip(numbers()).all(near), "{descr}");
        }
        doubles[8 * 15_000..][..8].copy_from_slice(&1e300_f64.to_le_bytes());
        let message = read(&file(&header("<f8"), &doubles)).unwrap_err();
        assert_eq!(message, "1e300 at [15000] exceeds the range of f32");
        // The header alone decides what is read.
        let long = file(&header("<f4"), &singles[4..]);
        assert!(read(&long).unwrap_err().starts_with("79996 bytes of elements do not make shape"));
        let header = Header::read(&mut &long[..]).unwrap();
        let message = header.elements(&mut &long[header.length..]).unwrap_err();
        assert_eq!(message, "the file ends before the elements of shape [20000] do");
    }

    #[test]
    fn keys_in_any_order_and_quotes() {
        let header = "{\"shape\": (2,), \"descr\": \"<f2\", \"fortran_order\": False}\n";
        let data = &[0, 0x3c, 0, 0xc0];
        assert_eq!(read(&file(header, data)).unwrap(), (vec![2], vec![1.0, -2.0]));
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n";
        let data = &0.1f64.to_le_bytes();
        assert_eq!(read(&file(header, data)).unwrap(), (vec![], vec![0.1]));
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
