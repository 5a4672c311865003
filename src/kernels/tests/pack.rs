use half::{bf16, f16};

use super::super::PackConv;
use super::{Numbers, bytes_mut, levels};
use crate::base::buffer::Elements;
use crate::base::encoding::Dense;
use crate::base::weight::DenseWeight;

#[test]
fn filters_of_every_dtype_are_packed_even_unaligned() {
    for kernels in levels() {
        let nr = kernels.panels().width();
        for (out_channels, in_channels, taps) in
            [(1, 1, 9), (3, 5, 9), (32, 8, 1), (33, 17, 9), (70, 4, 1), (64, 64, 9)]
        {
            let filters = Numbers(4).vec(out_channels * in_channels * taps);
            for dtype in [Dense::F32, Dense::F16, Dense::Bf16, Dense::F64] {
                // One byte in front puts every element off its alignment.
                let mut bytes = vec![0xaa];
                let mut rounded = Vec::new();
                for &value in &filters {
                    match dtype {
                        Dense::F32 => bytes.extend(value.to_le_bytes()),
                        Dense::F64 => bytes.extend(f64::from(value).to_le_bytes()),
                        Dense::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
                        Dense::Bf16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
                    }
                    rounded.push(match dtype {
                        Dense::F16 => f16::from_f32(value).to_f32(),
                        Dense::Bf16 => bf16::from_f32(value).to_f32(),
                        _ => value,
                    });
                }
                let weight = DenseWeight { bytes: &bytes[1..], dtype };
                let job = PackConv { weight, out_channels, in_channels, taps };
                for panel in 0..out_channels.div_ceil(nr) {
                    let mut dst = vec![f32::NAN; taps * in_channels * nr];
                    kernels.pack_conv(&job, panel, bytes_mut(&mut dst));
                    for (at, &found) in dst.iter().enumerate() {
                        let (k, out) = (at / nr, panel * nr + at % nr);
                        let (tap, channel) = (k / in_channels, k % in_channels);
                        let expected = if out < out_channels {
                            rounded[(out * in_channels + channel) * taps + tap]
                        } else {
                            0.0
                        };
                        assert_eq!(
                            found,
                            expected,
                            "{} {dtype:?} {out} {channel} {tap}",
                            kernels.level()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn rows_of_keys_and_values_are_packed() {
    for kernels in levels() {
        let nr = kernels.panels().width();
        let (stride, depth) = (45, 37);
        for rows in [1, 3, nr - 1, nr] {
            let values = Numbers(6).vec(rows * stride);
            let halves: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
            let brains: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
            for src in [Elements::F32(&values), Elements::F16(&halves), Elements::Bf16(&brains)] {
                let at = |i: usize| match src {
                    Elements::F32(s) => s[i],
                    Elements::F16(s) => s[i].to_f32(),
                    Elements::Bf16(s) => s[i].to_f32(),
                };
                let mut keys = vec![f32::NAN; depth * nr];
                kernels.pack_rows_transposed(src, stride, rows, depth, bytes_mut(&mut keys));
                for k in 0..depth {
                    for lane in 0..nr {
                        let expected = if lane < rows { at(lane * stride + k) } else { 0.0 };
                        assert_eq!(keys[k * nr + lane], expected);
                    }
                }
                let panels = depth.div_ceil(nr);
                let mut packed = vec![f32::NAN; panels * rows * nr];
                kernels.pack_rows(src, stride, rows, depth, bytes_mut(&mut packed));
                for (i, &found) in packed.iter().enumerate() {
                    let (panel, row, lane) = (i / (rows * nr), i / nr % rows, i % nr);
                    let column = panel * nr + lane;
                    let expected = if column < depth { at(row * stride + column) } else { 0.0 };
                    assert_eq!(found, expected);
                }
            }
        }
    }
}

#[test]
fn panels_tell_the_size_of_what_is_packed() {
    for kernels in levels() {
        let panels = kernels.panels();
        let (width, depth) = (panels.width(), 37);
        for columns in [1, width - 1, width, width + 1, 3 * width] {
            assert_eq!(panels.filled(columns), panels.count(columns) * width);
            assert!(panels.filled(columns) - columns < width);
            let mut packed = vec![f32::NAN; panels.bytes(depth, columns) / size_of::<f32>()];
            let src = vec![1.0; depth * columns];
            let dst = bytes_mut(&mut packed);
            kernels.pack_rows(Elements::F32(&src), columns, depth, columns, dst);
            assert_eq!(packed.iter().sum::<f32>(), (depth * columns) as f32, "{panels:?}");
        }
        assert_eq!(panels.bytes(depth, 0), 0);
        assert_eq!(panels.bytes(depth, 2 * width), 2 * panels.panel_bytes(depth));
        assert_eq!(panels.bytes(usize::MAX, 2), usize::MAX, "too many bytes are not few");
    }
}
