//! The fingerprint of a model: the same wherever its vectors are, another where one differs.

mod support;

use std::collections::BTreeMap;
use std::fs;

use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use support::Fixture;
use vaekl::{Model, ModelOptions, Parts, TensorFile};

/// Name, shape and f32 values of each tensor.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn fingerprint(tensors: &Tensors, parts: Parts) -> String {
    let bytes: BTreeMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| {
            (name.as_str(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), &bytes[name.as_str()]).unwrap())
    });
    let file = serialize(views, None).unwrap();
    let config = Fixture::open("sd_like").model(|_| {}).config().clone();
    let options = ModelOptions::default().with_config(config).with_parts(parts);
    Model::from_bytes(file, &options).unwrap().info().fingerprint.clone()
}

#[test]
fn names_and_values_of_the_vectors_make_it() {
    let path = Fixture::open("sd_like").folder.join("diffusion_pytorch_model.safetensors");
    let file = TensorFile::open(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(file.names().count(), SafeTensors::deserialize(&bytes).unwrap().len());
    let tensors: Tensors = file
        .names()
        .map(|name| {
            let array = file.to_f32(name).unwrap();
            (name.to_owned(), (array.shape().to_vec(), array.into_iter().collect()))
        })
        .collect();

    let expected = Model::open(path.parent().unwrap()).unwrap().info().fingerprint.clone();
    assert!(expected.len() == 16 && expected.bytes().all(|digit| digit.is_ascii_hexdigit()));
    // A half of the model is recognised by the other.
    for parts in [Parts::Both, Parts::Encoder, Parts::Decoder] {
        assert_eq!(fingerprint(&tensors, parts), expected, "{parts:?}");
    }
    // Other names of the same, with others around, and linear layers as convolutions.
    let renamed = tensors.iter().map(|(name, (shape, values))| {
        let name = name.replace(".to_q.", ".query.").replace(".to_out.0.", ".proj_attn.");
        let linear = name.contains("attentions") && shape.len() == 2;
        let shape = if linear { [&shape[..], &[1, 1]].concat() } else { shape.clone() };
        (format!("first_stage_model.{name}"), (shape, values.clone()))
    });
    let other = ("loss.bias".to_owned(), (vec![1], vec![1.0]));
    assert_eq!(fingerprint(&renamed.chain([other]).collect(), Parts::Both), expected);

    // The last bit of a bias, the values of two norms exchanged; a weight does not count.
    let changed = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        fingerprint(&tensors, Parts::Decoder)
    };
    let bias = changed(&|tensors| {
        let (_, values) = tensors.get_mut("encoder.conv_in.bias").unwrap();
        values[0] = f32::from_bits(values[0].to_bits() ^ 1);
    });
    assert_ne!(bias, expected);
    let exchanged = changed(&|tensors| {
        let norm = |name: &str| format!("decoder.mid_block.resnets.0.{name}.bias");
        let first = tensors[&norm("norm1")].clone();
        let second = tensors.insert(norm("norm2"), first).unwrap();
        tensors.insert(norm("norm1"), second);
    });
    assert_ne!(exchanged, expected);
    let weight = changed(&|tensors| {
        tensors.get_mut("encoder.conv_in.weight").unwrap().1[0] += 1.0;
    });
    assert_eq!(weight, expected);
}
