//! The noise of a sample is that of `torch.randn` on a CPU generator, bit for bit.
//!
//! `tests/data/randn.json` has the SHA-256 of each draw as torch made it; `randn.safetensors` has
//! the values of most, which tell where a difference begins.

mod support;

use sha2::{Digest, Sha256};
use vaekl::Generator;

fn table() -> serde_json::Map<String, serde_json::Value> {
    let text = std::fs::read_to_string(support::data().join("randn.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn sha256(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Draws the entries whose names begin with `group`, in the order of their last
/// part, from one generator.
fn check(seed: u64, group: &str) -> usize {
    let (table, file) =
        (table(), std::fs::read(support::data().join("randn.safetensors")).unwrap());
    let values = safetensors::SafeTensors::deserialize(&file).unwrap();
    let mut names: Vec<&String> = table.keys().filter(|name| name.starts_with(group)).collect();
    names.sort();
    let mut generator = Generator::new(seed);
    for name in &names {
        let shape = table[*name]["shape"].as_array().unwrap();
        let count = shape.iter().map(|n| n.as_u64().unwrap() as usize).product();
        let drawn = generator.randn(count);
        if values.tensor(name).is_ok() {
            let expected = support::read(&file, name);
            for (i, (&drawn, &expected)) in drawn.iter().zip(&expected).enumerate() {
                assert_eq!(
                    drawn.to_bits(),
                    (expected as f32).to_bits(),
                    "{name} value {i}: {drawn} {expected}"
                );
            }
        }
        assert_eq!(sha256(&drawn), table[*name]["sha256"].as_str().unwrap(), "{name}");
    }
    names.len()
}

#[test]
fn two_draws_of_each_shape_are_torchs() {
    for seed in [0, 33, 47, (1 << 32) + 5] {
        for shape in ["1x4x2x1", "1x4x64x64", "2x4x5x3", "1x4x17x9"] {
            assert_eq!(check(seed, &format!("seed{seed}/{shape}/")), 2, "seed {seed}, {shape}");
        }
    }
}

#[test]
fn short_and_long_draws_from_one_generator_are_torchs() {
    // 3, 3, 20, 5, 16 and 1 values: the second value of a pair survives into later calls.
    for seed in [0, 33, 47, (1 << 32) + 5] {
        assert_eq!(check(seed, &format!("seed{seed}/sequence/")), 6, "seed {seed}");
    }
}
