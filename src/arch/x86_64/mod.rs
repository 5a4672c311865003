//! x86-64: AVX2 and AVX-512.

mod avx2;
mod avx512;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;

/// Makes a token from one list of features, used both to detect and to compile.
macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $($feature:tt),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name {
            _detected: (),
        }

        impl $name {
            /// The token, if the processor has every feature.
            pub(crate) fn new() -> Option<Self> {
                ($(is_x86_feature_detected!($feature))&&+).then_some(Self { _detected: () })
            }

            /// Runs `kernel` compiled with these features.
            pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
                $(#[target_feature(enable = $feature)])+
                fn compiled<K: Kernel>(isa: $name, kernel: K) -> K::Output {
                    kernel.run(isa)
                }
                // SAFETY: the token exists, so the processor has the features.
                unsafe { compiled(self, kernel) }
            }
        }
    };
}
use token;
