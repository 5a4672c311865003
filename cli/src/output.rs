//! Output files, which appear complete or not at all.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use vaekl::AtomicFile;

use crate::failure::{AtPath, Failure, Result};

/// The format of a file, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// 8 bits a sample, lossless.
    Png,
    /// 8 bits a sample, quality 95.
    Jpeg,
    /// 8 bits a sample, lossless.
    Webp,
    /// NumPy, `f32`.
    Npy,
    /// safetensors, `f32`.
    Safetensors,
}

impl Format {
    /// The format `path`'s extension names.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "png" => Ok(Self::Png),
            "jpg" | "jpeg" => Ok(Self::Jpeg),
            "webp" => Ok(Self::Webp),
            "npy" => Ok(Self::Npy),
            "safetensors" => Ok(Self::Safetensors),
            _ => Err(Failure::at(
                path,
                "unknown extension, expected .png, .jpg, .jpeg, .webp, .npy or .safetensors",
            )),
        }
    }

    /// Whether the file holds floats rather than 8-bit samples.
    pub(crate) fn is_array(self) -> bool {
        matches!(self, Self::Npy | Self::Safetensors)
    }

    /// The largest width and height that the format allows.
    pub(crate) fn max_side(self) -> usize {
        match self {
            Self::Jpeg => 65_535,
            Self::Webp => 16_383,
            Self::Png => i32::MAX as usize,
            Self::Npy | Self::Safetensors => usize::MAX,
        }
    }

    /// The most bytes in memory while a picture `[channels, height, width]` is written, besides its
    /// values: 8-bit samples, and what the encoder makes of them.
    pub(crate) fn writing_bytes(self, [channels, height, width]: [usize; 3]) -> u64 {
        let pixels = (height as u64).saturating_mul(width as u64);
        let samples = pixels.saturating_mul(channels as u64);
        match self {
            // A row at a time.
            Self::Png | Self::Npy | Self::Safetensors => 0,
            Self::Jpeg => samples,
            // Four bytes a pixel, and the coded picture, at most 9 bits a sample, which for a
            // moment is there a second time, in a list twice its size.
            Self::Webp => samples.saturating_mul(1 + 4).saturating_add(pixels.saturating_mul(4)),
        }
    }
}

/// An output in progress: an [`AtomicFile`] and its format.
pub(crate) struct Target<F = Format> {
    file: AtomicFile,
    format: F,
}

impl Target {
    /// A target for pictures, in the format of the extension.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Self::create_as(path, Format::of(path)?)
    }

    /// A target for picture `index` of a batch: `out.png` becomes `out_0.png`.
    pub(crate) fn numbered(&self, index: usize) -> Result<Self> {
        let mut name = OsString::from(self.path().file_stem().unwrap_or_default());
        name.push(format!("_{index}."));
        name.push(self.path().extension().unwrap_or_default());
        Self::create(&self.path().with_file_name(name))
    }
}

impl<F: Copy> Target<F> {
    /// Proves before the work that a file can be made at `path`.
    pub(crate) fn create_as(path: &Path, format: F) -> Result<Self> {
        Ok(Self { file: AtomicFile::create(path)?, format })
    }

    /// The path of the finished file.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The format of the file.
    pub(crate) fn format(&self) -> F {
        self.format
    }

    /// Writes the whole file through a buffer. A failed write is an error here even if the encoder
    /// swallows it.
    pub(crate) fn write(
        &mut self,
        body: impl FnOnce(&mut AtomicFile) -> io::Result<()>,
    ) -> Result<()> {
        body(&mut self.file).at(self.file.path())?;
        Ok(self.file.finish()?)
    }

    /// Puts the file at its path, replacing an existing one.
    pub(crate) fn commit(self) -> Result<()> {
        Ok(self.file.commit()?)
    }

    /// Puts all files at their paths, after the last of them is complete.
    pub(crate) fn commit_all(targets: Vec<Self>) -> Result<()> {
        let files = targets.into_iter().map(|target| target.file);
        Ok(AtomicFile::commit_all(files.collect())?)
    }
}
