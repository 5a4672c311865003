#![forbid(unsafe_code)]
//! The normal random numbers of torch's CPU generator, bit for bit.
//!
//! `torch.randn` in float32 has two algorithms, which share the generator's state:
//!
//! * fewer than 16 values: Box-Muller in f64 on 53-bit uniforms, a value at a time, the second of
//!   each pair kept for the next call;
//! * 16 values or more: 24-bit uniforms, then Box-Muller in f32 on blocks of 16, eight radii and
//!   eight angles; a ragged tail draws 16 new uniforms and overwrites the last 16 values.
//!
//! torch vectorises the second with logarithm, sine and cosine of Moshier's Cephes library on
//! processors with AVX2, compiled to fuse products and sums. The functions here reproduce these
//! roundings with [`f32::mul_add`], so every platform draws what torch draws on x86-64 with AVX2.
//! On other processors torch itself draws values that differ in the last bits. The first algorithm
//! calls the platform's `log1p`, `sin` and `cos` in f64 and rounds to f32, which hides all but one
//! difference in about 10^8 between libraries.
//!
//! There are no float16 and bfloat16 draws: torch changed them between versions.

use std::f64::consts::PI;

use crate::base::alloc;
use crate::base::error::Result;

/// The random numbers of a `torch.Generator` on the CPU.
#[derive(Clone, Debug)]
pub struct Generator {
    engine: Mt19937,
    /// The second value of a pair drawn by the f64 algorithm.
    spare: Option<f64>,
}

/// The least number of values for which torch vectorises, and the size of its blocks.
const BLOCK: usize = 16;

impl Generator {
    /// `torch.Generator().manual_seed(seed)`; only the low 32 bits count, as in torch.
    pub fn new(seed: u64) -> Self {
        Self { engine: Mt19937::new(seed as u32), spare: None }
    }

    /// `torch.randn(n, generator=self)` in float32, in the order of a contiguous tensor.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n];
        self.fill(&mut values);
        values
    }

    /// Like [`Generator::randn`], if there is memory.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn try_randn(&mut self, n: usize) -> Result<Vec<f32>> {
        let mut values = alloc::filled(0.0, n, "noise")?;
        self.fill(&mut values);
        Ok(values)
    }

    /// Draws `values`.
    fn fill(&mut self, values: &mut [f32]) {
        if values.len() < BLOCK {
            values.fill_with(|| self.one() as f32);
            return;
        }
        values.fill_with(|| self.uniform());
        for block in values.as_chunks_mut::<BLOCK>().0 {
            box_muller(block);
        }
        if !values.len().is_multiple_of(BLOCK)
            && let Some(last) = values.last_chunk_mut::<BLOCK>()
        {
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
    }

    /// A uniform of 24 bits in [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.engine.next() & 0xff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// A uniform of 53 bits in [0, 1).
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.engine.next()) << 32;
        let bits = high | u64::from(self.engine.next());
        (bits & ((1 << 53) - 1)) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    fn one(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u1, u2) = (self.uniform_f64(), self.uniform_f64());
        let (radius, angle) = ((-2.0 * (-u2).ln_1p()).sqrt(), 2.0 * PI * u1);
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// Eight radii and eight angles into sixteen normal values, in place.
fn box_muller(block: &mut [f32; BLOCK]) {
    const TWO_PI: f32 = std::f32::consts::TAU;
    for j in 0..BLOCK / 2 {
        let (u1, u2) = (1.0 - block[j], block[j + BLOCK / 2]);
        let radius = (-2.0 * ln(u1)).sqrt();
        let (sin, cos) = sin_cos(TWO_PI * u2);
        // torch multiplies by the deviation and adds the mean, which turns -0 into 0.
        block[j] = (radius * cos).mul_add(1.0, 0.0);
        block[j + BLOCK / 2] = (radius * sin).mul_add(1.0, 0.0);
    }
}

/// Cephes' `logf` for positive normal `x`, with the roundings of torch's AVX2 build.
#[allow(clippy::excessive_precision)] // the constants as published
fn ln(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 9] = [
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ];
    let bits = x.to_bits();
    let mut exponent = ((bits >> 23) as i32 - 126) as f32;
    let mut x = f32::from_bits(bits & 0x807f_ffff | 0x3f00_0000);
    if x < std::f32::consts::FRAC_1_SQRT_2 {
        exponent -= 1.0;
        x = (x - 1.0) + x;
    } else {
        x -= 1.0;
    }
    let z = x * x;
    let y = COEFFICIENTS[1..].iter().fold(COEFFICIENTS[0], |y, &c| y.mul_add(x, c)) * x;
    let y = y.mul_add(z, exponent * -2.12194440e-4);
    let y = (-z).mul_add(0.5, y);
    exponent.mul_add(0.693359375, x + y)
}

/// Cephes' `sinf` and `cosf` for `x` in [0, 2 pi], with the roundings of torch's AVX2 build.
#[allow(clippy::excessive_precision)] // the constants as published
fn sin_cos(x: f32) -> (f32, f32) {
    let octant = ((x * 1.27323954473516) as i32 + 1) & !1;
    let y = octant as f32;
    let x = y.mul_add(-0.78515625, x);
    let x = y.mul_add(-2.4187564849853515625e-4, x);
    let x = y.mul_add(-3.77489497744594108e-8, x);
    let z = x * x;
    let cos = 2.443315711809948e-5_f32.mul_add(z, -1.388731625493765e-3);
    let cos = cos.mul_add(z, 4.166664568298827e-2) * z;
    let cos = cos.mul_add(z, -(z * 0.5)) + 1.0;
    let sin = (-1.9515295891e-4_f32).mul_add(z, 8.3321608736e-3);
    let sin = sin.mul_add(z, -1.6666654611e-1) * z;
    let sin = sin.mul_add(x, x);
    let (sin, cos) = if octant & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let sin = if octant & 4 == 0 { sin } else { -sin };
    let cos = if (octant - 2) & 4 == 0 { -cos } else { cos };
    (sin, cos)
}

/// The Mersenne Twister of Matsumoto and Nishimura (1998), mt19937.
#[derive(Clone, Debug)]
struct Mt19937 {
    state: Vec<u32>,
    next: usize,
}

impl Mt19937 {
    const N: usize = 624;
    const M: usize = 397;

    fn new(seed: u32) -> Self {
        let mut state = Vec::with_capacity(Self::N);
        let mut word = seed;
        for i in 0..Self::N as u32 {
            if i > 0 {
                word = 1_812_433_253_u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(i);
            }
            state.push(word);
        }
        Self { state, next: Self::N }
    }

    fn next(&mut self) -> u32 {
        if self.next == Self::N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..Self::N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % Self::N] & 0x7fff_ffff);
            let odd = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + Self::M) % Self::N] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twister_is_mt19937() {
        // The reference implementation's 10000th number from its default seed.
        let mut engine = Mt19937::new(5489);
        assert_eq!((0..10_000).map(|_| engine.next()).last(), Some(4_123_659_995));
    }

    #[test]
    fn only_the_low_half_of_a_seed_counts() {
        let draw = |seed| Generator::new(seed).randn(20);
        assert_eq!(draw(5), draw((1 << 32) + 5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn no_values_take_no_draws() {
        let mut generator = Generator::new(1);
        assert!(generator.randn(0).is_empty());
        assert_eq!(generator.randn(3), Generator::new(1).randn(3));
    }
}
