#![forbid(unsafe_code)]
//! The fingerprint of a model: tells two models apart without reading their weights.

use crate::base::error::Result;
use crate::base::weight::WeightSource;
use crate::checkpoint::Checkpoint;

/// Elements of the longest vector whose values count; an autoencoder has a thousand channels.
const LONGEST: usize = 1 << 16;

/// Elements of all vectors that count: an autoencoder has some ten thousand, a hostile file may
/// have any number in a few bytes.
const MOST: usize = 1 << 22;

/// FNV-1a with 64 bits (Fowler, Noll and Vo).
struct Hash(u64);

impl Hash {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// 16 hexadecimal digits of the autoencoder's vectors, which are the biases and the affine parts of
/// the norms: their names, as diffusers has them, and their values as f32. Both halves count
/// where the checkpoint has them, whichever is opened: what the encoder writes is then recognised
/// by the decoder.
///
/// # Errors
/// `Io` or `Format`, naming the tensor that cannot be read.
pub(super) fn fingerprint(checkpoint: &Checkpoint) -> Result<String> {
    let (mut hash, mut left) = (Hash::new(), MOST);
    for (name, tensor) in checkpoint.tensors.iter().filter(|(_, it)| it.shape.len() == 1) {
        hash.add(name.as_bytes());
        // No name has this byte, so that names and values cannot be mistaken for each other.
        hash.add(&[0]);
        if tensor.len() <= LONGEST.min(left) {
            left -= tensor.len();
            for value in tensor.to_f32()? {
                hash.add(&value.to_le_bytes());
            }
            tensor.release();
        }
    }
    Ok(format!("{:016x}", hash.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_has_its_published_values() {
        for (text, expected) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut hash = Hash::new();
            hash.add(text.as_bytes());
            assert_eq!(hash.0, expected, "{text}");
        }
    }
}
