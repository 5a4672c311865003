//! Floor 2: instruction sets. The only place that names a processor feature or an intrinsic.
//!
//! An instruction set is a token ([`isa::Simd`]) that only detection makes, so that holding one proves
//! that the processor has it. A kernel is written once, generic over the token ([`isa::Kernel`]), and
//! [`Isa::run`] compiles it for each set and picks one.

pub(crate) mod isa;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::fmt;
use std::str::FromStr;

use crate::base::error::{Error, Result};
use isa::Kernel;
pub(crate) use scalar::Scalar;
#[cfg(target_arch = "x86_64")]
use x86_64::{Avx2, Avx512};

/// A set of processor instructions that kernels are compiled for, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Any processor.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL, and what `Avx2` needs.
    Avx512,
}

impl Level {
    const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// `portable`, `avx2` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Every level of this processor, slowest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|&level| Isa::new(level).is_some()).collect()
    }

    /// The best level of this processor, or the lower one that the environment variable `VAEKL_CPU`
    /// names; naming a level that the processor lacks changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when `VAEKL_CPU` is no level's name.
    pub fn detect() -> Result<Self> {
        let best = Self::available().into_iter().next_back().unwrap_or(Self::Portable);
        match std::env::var_os("VAEKL_CPU") {
            Some(name) if !name.is_empty() => {
                let limit: Self = name
                    .to_string_lossy()
                    .parse()
                    .map_err(|error: Error| error.within("environment variable VAEKL_CPU"))?;
                Ok(best.min(limit))
            }
            _ => Ok(best),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| {
            Error::invalid(format!("portable, avx2 or avx512 expected, \"{name}\" found"))
        })
    }
}

/// A token of one of the instruction sets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isa {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Isa {
    /// The token of `level`, if the processor has it.
    pub(crate) fn new(level: Level) -> Option<Self> {
        match level {
            Level::Portable => Some(Self::Scalar(Scalar)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Avx2::new().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Avx512::new().map(Self::Avx512),
            #[cfg(not(target_arch = "x86_64"))]
            _ => None,
        }
    }

    /// Runs `kernel` compiled for this set.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Scalar(isa) => kernel.run(isa),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.run(kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_an_order() {
        for level in Level::ALL {
            assert_eq!(level.name().parse::<Level>().unwrap(), level);
        }
        assert!(Level::Portable < Level::Avx2 && Level::Avx2 < Level::Avx512);
        let message = "sse9".parse::<Level>().unwrap_err().to_string();
        assert!(message.contains("sse9") && message.contains("avx512"), "{message}");
        assert_eq!(Level::available()[0], Level::Portable);
    }
}
