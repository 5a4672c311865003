//! Values to compute with.

/// A number in [-1, 1) that looks random.
pub(super) fn number(i: usize) -> f32 {
    let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x >> 40) as f32 / (1 << 23) as f32 - 1.0
}
