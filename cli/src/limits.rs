//! How much of a picture, an array or latents is read: all limits of the command's own readers.
//! Those of checkpoints, and of tensors in files of the library's formats, are the library's.

/// Pixels of a picture: 16384 x 16384. An encode needs about 1 kB for each, so a larger picture is
/// a mistake or an attack, and is refused by its header alone.
pub(crate) const MOST_PIXELS: u64 = 1 << 28;
/// Pixels of a row or a column. A row is in memory as a whole, several times.
pub(crate) const MOST_SIDE: u32 = 1 << 20;
/// Bytes of a picture's coded pixels: 16 for each, and [`CODED_BESIDE`]. Noise without compression
/// has 8 of them, in png of 16 bits with alpha.
pub(crate) const MOST_CODED: u64 = 16;
/// Bytes of tables beside coded pixels.
pub(crate) const CODED_BESIDE: u64 = 1 << 20;
/// Bytes of EXIF that are looked at for the orientation, which stands at its beginning.
pub(crate) const MOST_EXIF: u64 = 64 << 10;
/// Bytes of the chunks of a png that are kept besides its rows: palette, EXIF. Cameras write some
/// hundred thousand. Texts and colour profiles are passed over.
pub(crate) const MOST_PNG_BESIDE: usize = 4 << 20;
/// Segments of a jpeg that are left out one by one: profiles, previews, notes. Depth maps of
/// telephones take some hundred.
pub(crate) const MOST_SEGMENTS: usize = 1 << 12;
/// Chunks of a webp: two for each picture of an animation.
pub(crate) const MOST_CHUNKS: usize = 1 << 16;

/// Bytes of the header of an array of NumPy, which itself reads no longer one of an untrusted file.
pub(crate) const MOST_HEADER: usize = 10_000;
/// Axes of an array of NumPy, as in NumPy.
pub(crate) const MOST_AXES: usize = 64;
/// Arrays of a `.npz` that are looked at.
pub(crate) const MOST_ARRAYS: u64 = 1000;
/// Bytes of the directory of a `.npz`: 1000 for each array.
pub(crate) const MOST_DIRECTORY: u64 = 1 << 20;
/// Letters of a text that is an array.
pub(crate) const MOST_CHARACTERS: usize = 1000;
/// Bytes that an array is inflated to. Zeros deflate to a thousandth, so that a small file may be
/// larger than any memory.
pub(crate) const MOST_INFLATED: u64 = 1 << 30;

/// The most bytes of the coded pixels of a picture of so many.
pub(crate) fn most_coded(pixels: u64) -> u64 {
    pixels.saturating_mul(MOST_CODED).saturating_add(CODED_BESIDE)
}
