//! torch's CPU generator.

/// The random numbers of a `torch.Generator` on the CPU.
#[derive(Clone, Debug)]
pub struct Generator {
    _seed: u64,
}

impl Generator {
    /// `torch.Generator().manual_seed(seed)`; like torch, only the low 32 bits count.
    pub fn new(seed: u64) -> Self {
        Self { _seed: seed }
    }

    /// `torch.randn(n, generator=self)` in float32.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        let _ = n;
        todo!()
    }
}
