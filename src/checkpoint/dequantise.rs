#![forbid(unsafe_code)]
//! Elements of 8 bits and quantised blocks to `f32`.
//!
//! The blocks are those of ggml, <https://github.com/ggml-org/ggml>; results are those of gguf-py's
//! `gguf.quants.dequantize`, bit for bit. Numbers `d` and `m` are f16, `q` are whole numbers whose
//! bits [`field`] finds:
//!
//! | type | block in the file | value |
//! |---|---|---|
//! | `Q4_0`, `Q5_0` | `d`, fifth bits of `q`, low bits of `q` | `d (q - 8)`, `d (q - 16)` |
//! | `Q4_1`, `Q5_1` | `d`, `m`, fifth bits, low bits | `d q + m` |
//! | `Q8_0` | `d`, `q` with sign | `d q` |
//! | `Q2_K` | 16 pairs of `s` and `t` with 4 bits, `q`, `d`, `m` | `d s q - m t` |
//! | `Q3_K` | third bits of `q`, low bits, 16 `s` with 6 bits, `d` | `d (s - 32) (q - 4)` |
//! | `Q4_K`, `Q5_K` | `d`, `m`, 8 pairs `s`, `t` of 6 bits, fifth bits, low bits | `d s q - m t` |
//! | `Q6_K` | low bits of `q`, upper bits, 16 `s` with sign, `d` | `d s (q - 32)` |

use std::array::from_fn;

use half::f16;

use crate::base::encoding::Encoding;

/// Decodes whole blocks of `encoding`, which kernels do not pack, to `f32`.
///
/// # Panics
/// If kernels pack `encoding`. That is a bug in the caller.
pub(super) fn dequantise(encoding: Encoding, bytes: &[u8], out: &mut [f32]) {
    match encoding {
        Encoding::F8E4M3 => blocks(bytes, out, |&[bits]: &[u8; 1]| [e4m3(bits)]),
        Encoding::F8E5M2 => blocks(bytes, out, |&[bits]: &[u8; 1]| [e5m2(bits)]),
        Encoding::Q4_0 => blocks(bytes, out, |block: &[u8; 18]| with_scale(block, 4)),
        Encoding::Q5_0 => blocks(bytes, out, |block: &[u8; 22]| with_scale(block, 5)),
        Encoding::Q4_1 => blocks(bytes, out, |block: &[u8; 20]| with_minimum(block, 4)),
        Encoding::Q5_1 => blocks(bytes, out, |block: &[u8; 24]| with_minimum(block, 5)),
        Encoding::Q8_0 => blocks(bytes, out, q8_0),
        Encoding::Q2K => blocks(bytes, out, q2_k),
        Encoding::Q3K => blocks(bytes, out, q3_k),
        Encoding::Q4K => blocks(bytes, out, |block: &[u8; 144]| with_pairs(block, 4)),
        Encoding::Q5K => blocks(bytes, out, |block: &[u8; 176]| with_pairs(block, 5)),
        Encoding::Q6K => blocks(bytes, out, q6_k),
        Encoding::F32 | Encoding::F16 | Encoding::Bf16 | Encoding::F64 => {
            unreachable!("{encoding} has no blocks")
        }
    }
}

/// Decodes blocks of `BYTES` bytes and `LEN` elements, one after the other.
fn blocks<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES]) -> [f32; LEN],
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        *out = decode(block);
    }
}

/// E4M3 without infinity, whose two NaN are 0x7f and 0xff (`torch.float8_e4m3fn`).
fn e4m3(bits: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(bits >> 3 & 15), u32::from(bits & 7));
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        // Subnormal: steps of 2^-9.
        (0, _) => mantissa as f32 / 512.0,
        // The exponent's bias is 7 here and 127 there.
        _ => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// E5M2, which is the upper half of an f16.
fn e5m2(bits: u8) -> f32 {
    f16::from_bits(u16::from(bits) << 8).to_f32()
}

/// The f16 at byte `at`.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The number `i` of those with `BITS` bits in `bytes`. The lowest bits of the first `GROUP` bytes
/// are the first `GROUP` numbers, the next bits of the same bytes the next ones; then come other
/// bytes.
fn field<const GROUP: usize, const BITS: usize>(bytes: &[u8], i: usize) -> u8 {
    let (group, at) = (i / GROUP, i % GROUP);
    let byte = bytes[group / (8 / BITS) * GROUP + at];
    byte >> (group % (8 / BITS) * BITS) & ((1 << BITS) - 1)
}

/// 32 numbers of 4 bits, or of 5 where the fifth bits come first.
fn nibbles(bytes: &[u8], bits: usize) -> [f32; 32] {
    let (fifth, low) = bytes.split_at((bits - 4) * 4);
    from_fn(|i| {
        let fifth = if bits == 5 { field::<1, 1>(fifth, i) } else { 0 };
        f32::from(field::<16, 4>(low, i) | fifth << 4)
    })
}

/// `Q4_0` and `Q5_0`.
fn with_scale(block: &[u8], bits: usize) -> [f32; 32] {
    let (d, middle) = (half(block, 0), f32::from(1_u8 << (bits - 1)));
    nibbles(&block[2..], bits).map(|q| d * (q - middle))
}

/// `Q4_1` and `Q5_1`.
fn with_minimum(block: &[u8], bits: usize) -> [f32; 32] {
    let (d, m) = (half(block, 0), half(block, 2));
    nibbles(&block[4..], bits).map(|q| d * q + m)
}

fn q8_0(block: &[u8; 34]) -> [f32; 32] {
    let d = half(block, 0);
    from_fn(|i| f32::from(block[2 + i] as i8) * d)
}

fn q2_k(block: &[u8; 84]) -> [f32; 256] {
    let (pairs, quants) = block[..80].split_at(16);
    let (d, m) = (half(block, 80), half(block, 82));
    from_fn(|i| {
        let pair = pairs[i / 16];
        let (scale, minimum) = (d * f32::from(pair & 15), m * f32::from(pair >> 4));
        scale * f32::from(field::<32, 2>(quants, i)) - minimum
    })
}

fn q3_k(block: &[u8; 110]) -> [f32; 256] {
    let (third, rest) = block[..108].split_at(32);
    let (low, scales) = rest.split_at(64);
    let d = half(block, 108);
    let scales: [f32; 16] = from_fn(|j| {
        let scale = field::<8, 4>(&scales[..8], j) | field::<4, 2>(&scales[8..], j) << 4;
        d * (f32::from(scale) - 32.0)
    });
    from_fn(|i| {
        let q = field::<32, 2>(low, i) | field::<32, 1>(third, i) << 2;
        scales[i / 16] * (f32::from(q) - 4.0)
    })
}

/// `Q4_K` and `Q5_K`.
fn with_pairs(block: &[u8], bits: usize) -> [f32; 256] {
    let (d, m) = (half(block, 0), half(block, 2));
    let (pairs, rest) = block[4..].split_at(12);
    let (fifth, low) = rest.split_at((bits - 4) * 32);
    // The last four pairs have their upper two bits above the first four's six.
    let pairs: [(f32, f32); 8] = from_fn(|j| {
        let (scale, minimum) = match j {
            0..4 => (pairs[j] & 63, pairs[j + 4] & 63),
            _ => {
                (pairs[j + 4] & 15 | pairs[j - 4] >> 6 << 4, pairs[j + 4] >> 4 | pairs[j] >> 6 << 4)
            }
        };
        (d * f32::from(scale), m * f32::from(minimum))
    });
    from_fn(|i| {
        let fifth = if bits == 5 { field::<32, 1>(fifth, i) } else { 0 };
        let (scale, minimum) = pairs[i / 32];
        scale * f32::from(field::<32, 4>(low, i) | fifth << 4) - minimum
    })
}

fn q6_k(block: &[u8; 210]) -> [f32; 256] {
    let (low, rest) = block[..208].split_at(128);
    let (upper, scales) = rest.split_at(64);
    let d = half(block, 208);
    from_fn(|i| {
        let q = field::<64, 4>(low, i) | field::<32, 2>(upper, i) << 4;
        d * f32::from(scales[i / 16] as i8) * (f32::from(q) - 32.0)
    })
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    /// Blocks of each type, random and quantised, with gguf-py's and torch's values
    /// (`tests/fixtures/quants.py`).
    #[test]
    fn values_are_those_of_gguf_and_torch() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quants.safetensors");
        let file = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        for encoding in [
            Encoding::F8E4M3,
            Encoding::F8E5M2,
            Encoding::Q4_0,
            Encoding::Q4_1,
            Encoding::Q5_0,
            Encoding::Q5_1,
            Encoding::Q8_0,
            Encoding::Q2K,
            Encoding::Q3K,
            Encoding::Q4K,
            Encoding::Q5K,
            Encoding::Q6K,
        ] {
            let data = |part| tensors.tensor(&format!("{encoding}.{part}")).unwrap().data();
            let expected: Vec<f32> = data("values")
                .as_chunks()
                .0
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect();
            let (len, bytes) = encoding.block();
            assert!(data("blocks").len() >= 4 * bytes, "{encoding}");
            assert_eq!(data("blocks").len() / bytes * len, expected.len(), "{encoding}");
            let mut found = vec![0.0; expected.len()];
            dequantise(encoding, data("blocks"), &mut found);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let same = found.to_bits() == expected.to_bits();
                let nan = found.is_nan() && expected.is_nan();
                assert!(same || nan, "{encoding} {i}: {found}, {expected} expected");
            }
        }
    }
}
