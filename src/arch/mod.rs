//! Floor 2: instruction sets. The only place that names a processor feature or an intrinsic.
//!
//! An instruction set is a token ([`isa::Simd`]) that only detection makes, so that holding one
//! proves that the processor has it. A kernel is written once, generic over the token
//! ([`isa::Kernel`]), and [`Isa::run`] compiles it for each set and picks one.

pub(crate) mod isa;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod token;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::ffi::CStr;
use std::fmt;
use std::str::FromStr;

use crate::base::error::{Error, Result};
use isa::Kernel;
pub(crate) use scalar::Scalar;
#[cfg(target_arch = "x86_64")]
use x86_64::{Avx2, Avx512};

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Runs on any processor.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL, and all that `Avx2` needs.
    Avx512,
}

impl Level {
    /// The levels of this architecture, slowest first.
    #[cfg(target_arch = "x86_64")]
    const HERE: &[Self] = &[Self::Portable, Self::Avx2, Self::Avx512];
    #[cfg(not(target_arch = "x86_64"))]
    const HERE: &[Self] = &[Self::Portable];

    /// The name as a C string.
    pub(crate) const fn c_name(self) -> &'static CStr {
        match self {
            Self::Portable => c"portable",
            Self::Avx2 => c"avx2",
            Self::Avx512 => c"avx512",
        }
    }

    /// `portable`, `avx2` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self.c_name().to_str() {
            Ok(name) => name,
            Err(_) => unreachable!(),
        }
    }

    /// All levels that this processor supports, slowest first.
    pub fn available() -> Vec<Self> {
        Self::HERE.iter().copied().filter(|&level| Isa::new(level).is_some()).collect()
    }

    /// The best level of this processor, or a lower one named by the environment variable
    /// `VAEKL_CPU`. A level of this architecture that the processor lacks is ignored.
    ///
    /// # Errors
    /// `InvalidArgument` if `VAEKL_CPU` names no level of this architecture.
    pub fn detect() -> Result<Self> {
        let limit = std::env::var_os("VAEKL_CPU").filter(|name| !name.is_empty());
        let limit = limit.as_ref().map(|name| name.to_string_lossy());
        best(Self::HERE, limit.as_deref(), |level| Isa::new(level).is_some())
            .map_err(|error| error.within("environment variable VAEKL_CPU"))
    }
}

/// The best of `levels` (slowest first) that the processor has, but none above `limit`.
fn best(levels: &[Level], limit: Option<&str>, has: impl Fn(Level) -> bool) -> Result<Level> {
    let last = limit.map_or(Ok(levels.len() - 1), |name| rank(levels, name))?;
    Ok(levels[..=last].iter().copied().rfind(|&level| has(level)).unwrap_or(Level::Portable))
}

/// Index of the level `name` in `levels`.
fn rank(levels: &[Level], name: &str) -> Result<usize> {
    levels.iter().position(|level| level.name() == name).ok_or_else(|| {
        let names: Vec<&str> = levels.iter().map(|level| level.name()).collect();
        Error::invalid(format!("{} expected, \"{name}\" found", names.join(" or ")))
    })
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Knows only the levels of this architecture.
impl FromStr for Level {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        rank(Self::HERE, name).map(|rank| Self::HERE[rank])
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
    use crate::base::error::ErrorKind;

    const X86: &[Level] = &[Level::Portable, Level::Avx2, Level::Avx512];
    const PLAIN: &[Level] = &[Level::Portable];

    #[test]
    fn levels_have_names() {
        for &level in Level::HERE {
            assert_eq!(level.name().parse::<Level>().unwrap(), level);
        }
        assert_eq!(Level::available()[0], Level::Portable);
    }

    #[test]
    fn the_best_level_is_lowered_and_never_raised() {
        let without_avx512 = |level| level != Level::Avx512;
        let cases = [
            (None, Level::Avx2),
            (Some("avx512"), Level::Avx2),
            (Some("avx2"), Level::Avx2),
            (Some("portable"), Level::Portable),
        ];
        for (limit, expected) in cases {
            assert_eq!(best(X86, limit, without_avx512).unwrap(), expected, "{limit:?}");
        }
        assert_eq!(best(X86, None, |_| true).unwrap(), Level::Avx512);
        assert_eq!(best(PLAIN, None, |_| true).unwrap(), Level::Portable);
    }

    #[test]
    fn a_level_of_another_architecture_is_refused() {
        for (levels, name) in [(PLAIN, "avx2"), (X86, "neon"), (X86, "AVX2"), (X86, "")] {
            let error = best(levels, Some(name), |_| true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let message = error.message();
            assert!(message.contains(&format!("\"{name}\" found")), "{message}");
            let expected = if levels.len() == 1 { "portable" } else { "avx2 or avx512" };
            assert!(message.contains(&format!("{expected} expected")), "{message}");
        }
    }
}
