//! NumPy's `.npz`: a zip archive of `.npy` files, stored or deflated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use ndarray::ArrayView4;
use zip::read::ZipFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::directory::Guarded;
use super::npy::{self, Header};
use super::pick::Entry;
use crate::limits::{MOST_CHARACTERS, MOST_INFLATED};

/// An open archive.
pub(crate) struct Npz {
    archive: Mutex<ZipArchive<BufReader<Guarded>>>,
    headers: BTreeMap<String, (usize, Header)>,
    texts: BTreeMap<String, String>,
}

impl Npz {
    /// Opens an archive, and reads the headers and the texts in it.
    pub(crate) fn open(file: File) -> Result<Self, String> {
        let (file, floor) = Guarded::new(file)?;
        let archive = ZipArchive::new(BufReader::new(file));
        let mut archive = archive.map_err(|error| format!("not a valid .npz file: {error}"))?;
        floor.store(0, Ordering::Relaxed);
        let (mut headers, mut texts) = (BTreeMap::new(), BTreeMap::new());
        for index in 0..archive.len() {
            let mut file = archive.by_index(index).map_err(|error| error.to_string())?;
            let name = file.name().map_err(|error| error.to_string())?.into_owned();
            let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else { continue };
            let within = |message: String| format!("array {name}: {message}");
            let header = Header::read(&mut file).map_err(within)?;
            let characters = header.text().filter(|&characters| characters <= MOST_CHARACTERS);
            let text = characters.map(|characters| {
                let mut data = vec![0; 4 * characters];
                file.read_exact(&mut data).map(|()| npy::text(&data, characters))
            });
            match text.transpose().map_err(|error| within(error.to_string()))?.flatten() {
                Some(text) => drop(texts.insert(name, text)),
                None => drop(headers.insert(name, (index, header))),
            }
        }
        Ok(Self { archive: Mutex::new(archive), headers, texts })
    }

    /// Its arrays, without the texts.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |(name, (_, header)): (&String, &(usize, Header))| {
            let shape = header.floats().is_ok().then(|| header.shape.clone());
            Entry { name: name.clone(), shape }
        };
        self.headers.iter().map(entry).collect()
    }

    /// Arrays without axes that are texts.
    pub(crate) fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }

    /// The shape of the array `name`, whose size in the archive agrees with it.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        self.with(name, |_, header| Ok(header.shape.clone()))
    }

    /// The array `name`, read a part at a time.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<f32>, String> {
        self.with(name, |file, _| {
            // What was read when the archive was opened, and is inflated again.
            let values = Header::read(file)?.elements(file)?;
            // The checksum is looked at when there is no more.
            match file.read(&mut [0]) {
                Ok(0) => Ok(values),
                Ok(_) => Err("more bytes than the archive says".into()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// What `call` makes of the file of the array `name`, whose size is checked before.
    fn with<T>(
        &self,
        name: &str,
        call: impl FnOnce(&mut ZipFile<'_, BufReader<Guarded>>, &Header) -> Result<T, String>,
    ) -> Result<T, String> {
        let within = |message: String| format!("array {name}: {message}");
        let (index, header) =
            self.headers.get(name).ok_or_else(|| format!("there is no array {name}"))?;
        let size = header.floats().map_err(within)?.size();
        let expected = header.data_bytes(size).and_then(|bytes| bytes.checked_add(header.length));
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = archive.by_index(*index).map_err(|error| within(error.to_string()))?;
        let (inflated, deflated) = (file.size(), file.compressed_size());
        let shape = &header.shape;
        if expected.map(|bytes| bytes as u64) != Some(inflated) {
            return Err(within(format!("{inflated} bytes in the archive do not make {shape:?}")));
        }
        if inflated > deflated && inflated > MOST_INFLATED {
            let what = format!("{inflated} bytes when inflated, at most {MOST_INFLATED} expected");
            return Err(within(format!("{what}; write it by numpy.savez")));
        }
        call(&mut file, header).map_err(within)
    }
}

/// Writes `array` under `name`, stored, and `texts` as arrays without axes.
pub(crate) fn write(
    out: &mut impl Write,
    texts: &BTreeMap<String, String>,
    name: &str,
    array: ArrayView4<'_, f32>,
) -> io::Result<()> {
    let large = array.len() * size_of::<f32>() >= u32::MAX as usize / 2;
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::STORE).large_file(large);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(format!("{name}.npy"), options)?;
    let mut buffered = BufWriter::new(&mut zip);
    npy::write(&mut buffered, array.shape(), array.iter().copied())?;
    buffered.flush()?;
    drop(buffered);
    for (name, text) in texts {
        zip.start_file(format!("{name}.npy"), options)?;
        npy::write_text(&mut zip, text)?;
    }
    out.write_all(&zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of one deflated file.
    fn archive(name: &str, body: &[u8]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        zip.start_file(name, options).unwrap();
        zip.write_all(body).unwrap();
        zip.finish().unwrap().into_inner()
    }

    fn open(bytes: &[u8]) -> Result<Npz, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Npz::open(file)
    }

    fn body(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let texts = BTreeMap::from([("vaekl.latents".to_owned(), "raw".to_owned())]);
        let array = ndarray::Array4::from_shape_fn((1, 2, 3, 4), |(_, c, y, x)| (c + y * x) as f32);
        let mut bytes = Vec::new();
        write(&mut bytes, &texts, "latents", array.view()).unwrap();
        let npz = open(&bytes).unwrap();
        assert_eq!(npz.texts(), &texts);
        let entries = npz.entries();
        assert_eq!((entries.len(), &*entries[0].name), (1, "latents"));
        assert_eq!(npz.shape("latents").unwrap(), [1, 2, 3, 4]);
        assert_eq!(npz.read("latents").unwrap(), array.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn sizes_are_those_of_the_header() {
        let cases = [
            ("'<f4'", "(2,)", 4, "do not make [2]"),
            ("'<f4'", "(1,)", 8, "do not make [1]"),
            ("'<f4'", "(1099511627776,)", 4, "do not make"),
            ("'<f4'", "(4294967296, 4294967296)", 4, "do not make"),
            ("'|O'", "(1,)", 8, "elements are '|O'"),
            ("'<U5'", "(2,)", 40, "elements are '<U5'"),
        ];
        for (descr, shape, length, part) in cases {
            let bytes = archive("x.npy", &body(descr, shape, &vec![0; length]));
            let message = open(&bytes).unwrap().read("x").unwrap_err();
            assert!(message.starts_with("array x: ") && message.contains(part), "{message}");
        }
        let bytes = archive("x.npy", &body("'<f4'", "(1,)", &[0; 4]));
        assert!(open(&bytes).unwrap().read("x").is_ok());
        assert!(open(&bytes).unwrap().read("y").is_err());
        for cut in 0..bytes.len() {
            assert!(open(&bytes[..cut]).and_then(|npz| npz.read("x")).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_small_file_is_not_a_large_array() {
        // The sizes of both headers are made those of an array of 4 GiB.
        let size = (1_u32 << 31) - 1;
        let shape = format!("({},)", size / 4);
        let inside = body("'<f4'", &shape, &[0; 1 << 16]);
        let mut bytes = archive("x.npy", &inside);
        let header = Header::read(&mut &inside[..]).unwrap();
        let claimed = (size / 4 * 4 + header.length as u32).to_le_bytes();
        let was = (inside.len() as u32).to_le_bytes();
        for at in 0..bytes.len() - 4 {
            if bytes[at..at + 4] == was {
                bytes[at..at + 4].copy_from_slice(&claimed);
            }
        }
        let message = open(&bytes).unwrap().read("x").unwrap_err();
        assert!(message.contains("at most 1073741824 expected"), "{message}");
    }

    #[test]
    fn a_flipped_bit_is_found() {
        // More than is looked at when the archive is opened.
        let array = ndarray::Array4::zeros((1, 1, 100, 100));
        let mut bytes = Vec::new();
        write(&mut bytes, &BTreeMap::new(), "x", array.view()).unwrap();
        assert!(open(&bytes).unwrap().read("x").is_ok());
        let end = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        bytes[end - 1] ^= 1;
        assert!(open(&bytes).unwrap().read("x").unwrap_err().contains("checksum"));
    }
}
