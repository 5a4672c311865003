//! Floor 4: bytes to named tensors.

mod tensor;

pub(crate) use tensor::Tensor;
