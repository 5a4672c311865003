//! One value of any dtype in a caller's memory.

use half::{bf16, f16};

use super::args::unknown;
use super::types::{
    VAEKL_DTYPE_BF16, VAEKL_DTYPE_F16, VAEKL_DTYPE_F32, VAEKL_DTYPE_U8, vaekl_dtype,
};
use crate::base::error::{Error, Result};

/// Type of an element in the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F16,
    Bf16,
    /// A pixel: [-1, 1] as [0, 255].
    U8,
}

impl Element {
    /// The element type of an image.
    pub(super) fn of_image(dtype: vaekl_dtype, name: &str) -> Result<Self> {
        match dtype {
            VAEKL_DTYPE_F32 => Ok(Self::F32),
            VAEKL_DTYPE_F16 => Ok(Self::F16),
            VAEKL_DTYPE_BF16 => Ok(Self::Bf16),
            VAEKL_DTYPE_U8 => Ok(Self::U8),
            other => {
                Err(unknown(&format!("{name}.dtype"), "VAEKL_DTYPE_F32, _F16, _BF16 or _U8", other))
            }
        }
    }

    /// The element type of latents.
    pub(super) fn of_latent(dtype: vaekl_dtype, name: &str) -> Result<Self> {
        match dtype {
            VAEKL_DTYPE_F32 => Ok(Self::F32),
            VAEKL_DTYPE_F16 => Ok(Self::F16),
            VAEKL_DTYPE_BF16 => Ok(Self::Bf16),
            other => {
                Err(unknown(&format!("{name}.dtype"), "VAEKL_DTYPE_F32, _F16 or _BF16", other))
            }
        }
    }

    /// Bytes of one element, which is also its alignment.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 => 1,
        }
    }

    /// Refuses a number of bytes (an address, a stride) that is not a multiple of the size.
    pub(super) fn check_multiple(self, bytes: usize, name: &str) -> Result<()> {
        if bytes.is_multiple_of(self.size()) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{name}: a multiple of {} bytes expected for {self:?}, {bytes:#x} found",
            self.size()
        )))
    }

    /// The value at `at`.
    ///
    /// # Safety
    /// `at` is aligned to, and valid for a read of, an element of this type.
    #[inline]
    pub(super) unsafe fn load(self, at: *const u8) -> f32 {
        // SAFETY: by the caller's contract; every bit pattern is a value of these types.
        unsafe {
            match self {
                Self::F32 => at.cast::<f32>().read(),
                Self::F16 => at.cast::<f16>().read().to_f32(),
                Self::Bf16 => at.cast::<bf16>().read().to_f32(),
                Self::U8 => f32::from(at.read()) / 255.0 * 2.0 - 1.0,
            }
        }
    }

    /// The value of a mask at `at`: a byte is its part of 255.
    ///
    /// # Safety
    /// As for [`Element::load`].
    #[inline]
    pub(super) unsafe fn load_fraction(self, at: *const u8) -> f32 {
        // SAFETY: by the caller's contract.
        unsafe {
            match self {
                Self::U8 => f32::from(at.read()) / 255.0,
                _ => self.load(at),
            }
        }
    }

    /// Writes `value`, rounded to nearest even, to `at`.
    ///
    /// # Safety
    /// `at` is aligned to, and valid for a write of, an element of this type.
    #[inline]
    pub(super) unsafe fn store(self, at: *mut u8, value: f32) {
        // SAFETY: by the caller's contract; the memory need not be initialised.
        unsafe {
            match self {
                Self::F32 => at.cast::<f32>().write(value),
                Self::F16 => at.cast::<f16>().write(f16::from_f32(value)),
                Self::Bf16 => at.cast::<bf16>().write(bf16::from_f32(value)),
                Self::U8 => at.write(to_u8(value)),
            }
        }
    }
}

/// [-1, 1] to [0, 255], as diffusers' image processor does it in f32.
fn to_u8(value: f32) -> u8 {
    ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_way_there_and_back() {
        for byte in 0..=255_u8 {
            // SAFETY: `byte` is one valid byte.
            let value = unsafe { Element::U8.load(&byte) };
            assert!((-1.0..=1.0).contains(&value));
            assert_eq!(to_u8(value), byte);
        }
    }

    #[test]
    fn bytes_are_clamped_and_rounded_half_to_even() {
        assert_eq!([-7.0, -1.0, 1.0, 7.0].map(to_u8), [0, 0, 255, 255]);
        // 0 is 127.5, which lies between 127 and 128.
        assert_eq!(to_u8(0.0), 128);
        // 126.5 / 255 * 2 - 1 rounds down to the even 126.
        assert_eq!(to_u8(126.5 / 255.0 * 2.0 - 1.0), 126);
    }

    #[test]
    fn halves_are_rounded_to_nearest() {
        let mut bits = 0_u16;
        // SAFETY: two bytes, aligned to two.
        unsafe { Element::Bf16.store((&raw mut bits).cast(), 1.0 + 1.0 / 256.0) };
        assert_eq!(bits, 0x3f80, "a tie goes to the even neighbour");
        // SAFETY: as above.
        unsafe { Element::F16.store((&raw mut bits).cast(), -2.0) };
        assert_eq!(bits, 0xc000);
        // SAFETY: as above.
        assert_eq!(unsafe { Element::F16.load((&raw const bits).cast()) }, -2.0);
    }
}
