//! Macros that define an instruction set.

/// Makes a token from one list of features, used for detection, by the macro before the list, and
/// for compilation.
macro_rules! token {
    ($(#[$doc:meta])* $name:ident: $detected:ident, $($feature:tt),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name {
            _detected: (),
        }

        impl $name {
            /// The token, if the processor has every feature.
            pub(crate) fn new() -> Option<Self> {
                ($($detected!($feature))&&+).then_some(Self { _detected: () })
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

/// Makes methods of `Simd` from vectors to a vector. What stands after a `=` calls intrinsics on
/// values and touches no memory.
macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident($($x:ident),+) = $result:expr;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        fn $name(self, $($x: Self::V),+) -> Self::V {
            // SAFETY: intrinsics on values need the features alone, which the token proves.
            unsafe { $result }
        }
    )+};
}

pub(super) use {ops, token};
