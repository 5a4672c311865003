//! The shapes that latents come in, made `[batch, channels, h, w]`.

use ndarray::{Array4, indices};

use crate::memory::room;

/// What the model and the user say of the shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Latent channels of the model.
    pub(super) channels: usize,
    /// Pixels of a latent's side.
    pub(super) factor: usize,
    /// Side of the patches that scaled latents may be folded into; 1 if they never are.
    pub(super) patch: usize,
    /// Width and height of the picture.
    pub(super) size: Option<(usize, usize)>,
}

impl Expected {
    /// What an array of `shape` is: `[channels, h, w]` is a batch of one, an axis of one frame is
    /// dropped, `[batch, h * w / 4, 4 * channels]` is unpacked.
    pub(super) fn layout(self, shape: &[usize]) -> Result<LatentShape, String> {
        if shape.contains(&0) {
            return Err(format!("shape {shape:?} holds nothing"));
        }
        let dims = match *shape {
            [batch, channels, h, w] | [batch, channels, 1, h, w] => [batch, channels, h, w],
            [_, _, frames, _, _] => {
                return Err(format!(
                    "shape {shape:?} of {frames} frames, one expected: save one of them, \
                     latents[:, :, 0]"
                ));
            }
            [batch, patches, wide] if self.is_packed(shape) => {
                return self.packed([batch, patches, wide]);
            }
            [channels, h, w] => [1, channels, h, w],
            _ => return Err(format!("shape {shape:?}, expected [batch, channels, height, width]")),
        };
        let [_, channels, height, width] = dims;
        let factor = self.pixels(channels);
        let (height, width) = (height.saturating_mul(factor), width.saturating_mul(factor));
        if let Some(size) = self.size
            && size != (width, height)
        {
            return Err(format!(
                "latents of a picture of {width}x{height}, {}x{} expected by --size",
                size.0, size.1
            ));
        }
        Ok(LatentShape { dims, packed: false })
    }

    /// Whether latents of so many channels are folded into patches.
    pub(super) fn is_folded(self, channels: usize) -> bool {
        self.patch > 1 && channels == self.channels * self.patch.pow(2)
    }

    /// Pixels of the side of a latent, or of a patch, in an array of so many channels.
    fn pixels(self, channels: usize) -> usize {
        self.factor * if self.is_folded(channels) { self.patch } else { 1 }
    }

    /// Whether `shape` is that of packed latents. One that is also `[channels, h, w]` is so only
    /// if a size was given, and is not that of such latents.
    fn is_packed(self, shape: &[usize]) -> bool {
        let &[channels, h, w] = shape else { return false };
        let plain =
            channels == self.channels || channels == 2 * self.channels || self.is_folded(channels);
        let factor = self.pixels(channels);
        let plain_size = (w.saturating_mul(factor), h.saturating_mul(factor));
        w == 4 * self.channels && (!plain || self.size.is_some_and(|size| size != plain_size))
    }

    /// The layout of packed latents.
    fn packed(self, shape: [usize; 3]) -> Result<LatentShape, String> {
        let [batch, patches, wide] = shape;
        let Some((width, height)) = self.size else {
            return Err(format!(
                "packed latents {shape:?} do not say how wide they are: give the picture's --size \
                 WxH"
            ));
        };
        let (rows, columns) = (height / (2 * self.factor), width / (2 * self.factor));
        if rows.checked_mul(columns) != Some(patches) {
            return Err(format!(
                "packed latents of {patches} patches, {} expected for --size {width}x{height}",
                rows.saturating_mul(columns)
            ));
        }
        Ok(LatentShape { dims: [batch, wide / 4, 2 * rows, 2 * columns], packed: true })
    }
}

/// The axes of latents or moments, and how an array has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatentShape {
    /// Batch, channels, height and width.
    pub(super) dims: [usize; 4],
    /// Whether 2x2 latents are packed together.
    pub(super) packed: bool,
}

impl LatentShape {
    /// The values of an array of the shape that this was made of, in order.
    pub(super) fn apply(self, values: Vec<f32>) -> vaekl::Result<Array4<f32>> {
        let values = if self.packed { self.unpack(&values)? } else { values };
        let [batch, channels, h, w] = self.dims;
        let array = Array4::from_shape_vec((batch, channels, h, w), values);
        Ok(array.expect("as many as the shape says"))
    }

    /// Takes 2x2 latents out of each patch, as `FluxPipeline._unpack_latents` of diffusers does:
    /// the channels of a patch are `[channels, 2, 2]`.
    fn unpack(self, values: &[f32]) -> vaekl::Result<Vec<f32>> {
        let [batch, channels, height, width] = self.dims;
        let (rows, columns, wide) = (height / 2, width / 2, 4 * channels);
        let mut unpacked = room(values.len(), "unpacked latents")?;
        unpacked.extend(indices((batch, channels, height, width)).into_iter().map(
            |(b, c, y, x)| {
                let patch = (b * rows + y / 2) * columns + x / 2;
                values[patch * wide + 4 * c + 2 * (y % 2) + x % 2]
            },
        ));
        Ok(unpacked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Array {
        shape: Vec<usize>,
        values: Vec<f32>,
    }

    const EXPECTED: Expected = Expected { channels: 2, factor: 8, patch: 1, size: None };

    fn array(shape: &[usize]) -> Array {
        let values = (0..shape.iter().product()).map(|value: usize| value as f32).collect();
        Array { shape: shape.to_vec(), values }
    }

    fn shaped(expected: Expected, array: Array) -> Result<(Array4<f32>, bool), String> {
        let layout = expected.layout(&array.shape)?;
        let latents = layout.apply(array.values).unwrap();
        assert_eq!(latents.shape(), layout.dims);
        Ok((latents, layout.packed))
    }

    #[test]
    fn axes_are_added_and_dropped() {
        for shape in [&[3, 2, 4, 6][..], &[3, 2, 1, 4, 6]] {
            let (latents, packed) = shaped(EXPECTED, array(shape)).unwrap();
            assert_eq!((latents.dim(), packed), ((3, 2, 4, 6), false));
            assert!(latents.iter().copied().eq(array(shape).values));
        }
        for channels in [2, 3, 4] {
            let (latents, _) = shaped(EXPECTED, array(&[channels, 4, 6])).unwrap();
            assert_eq!(latents.dim(), (1, channels, 4, 6));
        }
        // As many channels as a packed batch, as wide as its patches: not packed.
        assert_eq!(shaped(EXPECTED, array(&[2, 6, 8])).unwrap().0.dim(), (1, 2, 6, 8));
        for (shape, part) in [
            (&[1, 2, 3, 4, 5][..], "3 frames, one expected"),
            (&[1, 0, 4, 4], "holds nothing"),
            (&[4, 4], "expected [batch, channels, height, width]"),
        ] {
            let message = shaped(EXPECTED, array(shape)).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn patches_are_twice_as_wide() {
        let folds = Expected { patch: 2, size: Some((96, 64)), ..EXPECTED };
        for shape in [&[3, 8, 4, 6][..], &[8, 4, 6]] {
            assert_eq!(shaped(folds, array(shape)).unwrap().0.shape()[1..], [8, 4, 6]);
        }
        assert!(folds.is_folded(8) && !folds.is_folded(2) && !EXPECTED.is_folded(8));
        let message = shaped(folds, array(&[1, 2, 4, 6])).unwrap_err();
        assert_eq!(message, "latents of a picture of 48x32, 96x64 expected by --size");
        // As wide as packed latents are: the size tells.
        let sized = |size| shaped(Expected { size, ..folds }, array(&[8, 4, 8])).unwrap();
        assert_eq!(sized(None).0.dim(), (1, 8, 4, 8));
        assert_eq!(sized(Some((128, 64))).0.dim(), (1, 8, 4, 8));
        assert_eq!(sized(Some((64, 16))).0.dim(), (8, 2, 2, 8));
    }

    #[test]
    fn packed_latents_need_the_size() {
        let message = shaped(EXPECTED, array(&[1, 6, 8])).unwrap_err();
        assert!(
            message.contains("[1, 6, 8] do not say") && message.contains("--size"),
            "{message}"
        );
        // 2 rows of 3 patches: the picture's sides are cut to whole patches, as in diffusers.
        let sized = Expected { size: Some((48 + 15, 32)), ..EXPECTED };
        for batch in [1, 2] {
            let (latents, packed) = shaped(sized, array(&[batch, 6, 8])).unwrap();
            assert_eq!((latents.dim(), packed), ((batch, 2, 4, 6), true));
            // Row 3, column 4 is at row 1, column 0 of patch (1, 2).
            assert_eq!(latents[[batch - 1, 1, 3, 4]], ((batch * 6 - 1) * 8 + 4 + 2) as f32);
        }
        let other = Expected { size: Some((64, 32)), ..EXPECTED };
        let message = shaped(other, array(&[1, 6, 8])).unwrap_err();
        assert_eq!(message, "packed latents of 6 patches, 8 expected for --size 64x32");
        let message = shaped(sized, array(&[1, 2, 4, 6])).unwrap_err();
        assert_eq!(message, "latents of a picture of 48x32, 63x32 expected by --size");
        // The same shape is both; the size tells.
        let plain = Expected { size: Some((64, 48)), ..EXPECTED };
        assert_eq!(shaped(plain, array(&[2, 6, 8])).unwrap().0.dim(), (1, 2, 6, 8));
        assert_eq!(shaped(sized, array(&[2, 6, 8])).unwrap().0.dim(), (2, 2, 4, 6));
    }
}
