//! Pillow's Lanczos resampling, bit for bit for 8-bit samples.
//!
//! diffusers' image processor resizes with Pillow, so a picture given to both must become the same
//! array. Each axis is a pass of its own, horizontal first, rounded to samples in between:
//!
//! ```text
//! scale   = max(in / out, 1)              (a smaller output widens the filter: antialiasing)
//! centre  = (x + 0.5) * in / out
//! weight  = lanczos3((i + 0.5 - centre) / scale) for |i + 0.5 - centre| < 3 * scale, normalised
//! out[x]  = sum of weight[i] * in[i]
//! ```
//!
//! Pillow takes 8-bit samples in fixed point; 16-bit samples are summed in `f64`, as in its 16-bit
//! mode. Reference: `src/libImaging/Resample.c` of Pillow.

use vaekl::Result;

use crate::memory::room;
use crate::raster::{Picture, Raster};

/// What is allocated here, for messages.
const RESIZED: &str = "a resized picture";
const WEIGHTS: &str = "the weights of a resized picture";

/// Bits after the point of a weight: 8 bits of sample and 2 of overshoot leave these of 32.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// A sample of a picture.
pub(crate) trait Sample: Copy + Default {
    /// A weight as the sums take it.
    type Weight: Copy;
    /// Rounds a weight.
    fn weight(weight: f64) -> Self::Weight;
    /// The rounded, clamped sum of products.
    fn sum(products: impl Iterator<Item = (Self, Self::Weight)>) -> Self;
}

impl Sample for u8 {
    type Weight = i32;

    fn weight(weight: f64) -> i32 {
        // `round` and not `round_ties_even`: Pillow adds half away from zero and truncates.
        (weight * f64::from(1 << PRECISION_BITS)).round() as i32
    }

    fn sum(products: impl Iterator<Item = (Self, i32)>) -> Self {
        let half = 1 << (PRECISION_BITS - 1);
        let sum = products.fold(half, |sum, (sample, weight)| sum + i32::from(sample) * weight);
        (sum >> PRECISION_BITS).clamp(0, 255) as Self
    }
}

impl Sample for u16 {
    type Weight = f64;

    fn weight(weight: f64) -> f64 {
        weight
    }

    fn sum(products: impl Iterator<Item = (Self, f64)>) -> Self {
        // A float that is too large or too small for the cast saturates, which is the clamping.
        products.fold(0.0, |sum, (sample, weight)| sum + f64::from(sample) * weight).round() as Self
    }
}

impl Picture {
    /// Resamples to `width` x `height`.
    pub(crate) fn resized(self, width: usize, height: usize) -> Result<Self> {
        Ok(match self {
            Self::Bits8(raster) => Self::Bits8(lanczos(raster, width, height)?),
            Self::Bits16(raster) => Self::Bits16(lanczos(raster, width, height)?),
        })
    }
}

/// Resamples `raster` to `width` x `height`; an axis that keeps its length is left alone.
pub(crate) fn lanczos<T: Sample>(
    raster: Raster<T>,
    width: usize,
    height: usize,
) -> Result<Raster<T>> {
    let raster = if raster.width == width { raster } else { horizontal(&raster, width)? };
    if raster.height == height { Ok(raster) } else { vertical(&raster, height) }
}

/// Which input samples make an output sample: `weights` for those from `first` on.
struct Taps<W> {
    first: usize,
    weights: Vec<W>,
}

fn taps<T: Sample>(input: usize, output: usize) -> Result<Vec<Taps<T::Weight>>> {
    let step = input as f64 / output as f64;
    let scale = step.max(1.0);
    let support = 3.0 * scale;
    let inverse_scale = 1.0 / scale;
    let taps = |x: usize| {
        let centre = (x as f64 + 0.5) * step;
        // The casts truncate and saturate at 0.
        let first = (centre - support + 0.5) as usize;
        let last = ((centre + support + 0.5) as usize).min(input);
        let weight = |i| lanczos3((i as f64 - centre + 0.5) * inverse_scale);
        let total: f64 = (first..last).map(weight).sum();
        let mut weights = room(last.saturating_sub(first), WEIGHTS)?;
        weights.extend((first..last).map(|i| T::weight(weight(i) / total)));
        Ok(Taps { first, weights })
    };
    let mut all = room(output, WEIGHTS)?;
    for x in 0..output {
        all.push(taps(x)?);
    }
    Ok(all)
}

fn lanczos3(x: f64) -> f64 {
    let sinc = |x: f64| {
        let x = x * std::f64::consts::PI;
        if x == 0.0 { 1.0 } else { x.sin() / x }
    };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

fn horizontal<T: Sample>(raster: &Raster<T>, width: usize) -> Result<Raster<T>> {
    let channels = raster.channels;
    let taps = taps::<T>(raster.width, width)?;
    let mut data = room(raster.height * width * channels, RESIZED)?;
    for row in raster.data.chunks_exact(raster.width * channels) {
        for Taps { first, weights } in &taps {
            for c in 0..channels {
                let samples = row[first * channels + c..].iter().step_by(channels).copied();
                data.push(T::sum(samples.zip(weights.iter().copied())));
            }
        }
    }
    Ok(Raster { width, height: raster.height, channels, data })
}

fn vertical<T: Sample>(raster: &Raster<T>, height: usize) -> Result<Raster<T>> {
    let row_len = raster.width * raster.channels;
    let mut data = room(height * row_len, RESIZED)?;
    for Taps { first, weights } in taps::<T>(raster.height, height)? {
        for x in 0..row_len {
            let samples = raster.data[first * row_len + x..].iter().step_by(row_len).copied();
            data.push(T::sum(samples.zip(weights.iter().copied())));
        }
    }
    Ok(Raster { width: raster.width, height, channels: raster.channels, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Raster<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let image = image::open(path).unwrap().into_rgb8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        Raster { width, height, channels: 3, data: image.into_raw() }
    }

    const CASES: [(usize, usize); 5] = [(40, 24), (13, 8), (64, 40), (45, 24), (40, 29)];

    #[test]
    fn equals_pillow_bit_for_bit() {
        for (width, height) in CASES {
            let expected = fixture(&format!("photo_{width}x{height}.png"));
            let resized = lanczos(fixture("photo.png"), width, height).unwrap();
            assert_eq!((resized.width, resized.height), (width, height));
            assert!(resized.data == expected.data, "{width}x{height}");
        }
    }

    #[test]
    fn sixteen_bits_agree_with_eight() {
        let photo = fixture("photo.png");
        let data: Vec<u16> = photo.data.iter().map(|&sample| u16::from(sample) * 257).collect();
        let wide = Raster { data, width: photo.width, height: photo.height, channels: 3 };
        for (width, height) in CASES {
            let eight = lanczos(photo.clone(), width, height).unwrap();
            let sixteen = lanczos(wide.clone(), width, height).unwrap();
            let worst = eight.data.iter().zip(&sixteen.data);
            let worst = worst.map(|(&a, &b)| (f64::from(a) - f64::from(b) / 257.0).abs());
            // Two roundings to 8 bits, the first spread by the second pass.
            let worst = worst.fold(0.0, f64::max);
            assert!(worst > 0.0 && worst < 1.5, "{width}x{height}: {worst}");
        }
    }
}
