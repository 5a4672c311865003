#![forbid(unsafe_code)]
//! The activation function of a network.

/// The activation function inside the blocks of a network (`act_fn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(x)`; `silu` and `swish` in a configuration.
    #[default]
    Silu,
    /// `x * tanh(softplus(x))`.
    Mish,
    /// The exact form, `x * Phi(x)`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The name in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Mish => "mish",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
        }
    }
}
