//! Files by PyTorch (tests/fixtures/pickles.py) against safetensors files of the same tensors.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::super::super::file;
use super::super::super::format::{self, Format};
use super::super::super::raw_tensors::RawTensors;
use super::super::super::tensor::Tensor;
use crate::base::error::{ErrorKind, Result};
use crate::base::weight::WeightSource as _;

fn parsed(name: &str, mmap: bool) -> Result<(RawTensors, Format)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/pickles");
    format::parse(&file::open(&folder.join(name), mmap)?)
}

/// The elements, in the file's type where that is possible.
fn elements(tensor: &Tensor) -> (Vec<u8>, Vec<u32>) {
    let bits = tensor.to_f32().unwrap().iter().map(|value| value.to_bits()).collect();
    let len = tensor.len() * tensor.dtype.block().1;
    let bytes = tensor.contents.read().unwrap();
    (bytes.get(..len).filter(|_| tensor.is_plain()).unwrap_or_default().to_vec(), bits)
}

/// Asserts that `name` has the tensors of `reference` and no others.
fn same(name: &str, reference: &str) -> RawTensors {
    let (expected, _) = parsed(reference, true).unwrap();
    let (found, _) = parsed(name, true).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (read, _) = parsed(name, false).unwrap_or_else(|error| panic!("{name}: {error}"));
    let names = |raw: &RawTensors| raw.tensors.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&found), names(&expected), "{name}");
    for (key, expected) in &expected.tensors {
        for found in [&found.tensors[key], &read.tensors[key]] {
            assert_eq!((&found.shape, found.dtype), (&expected.shape, expected.dtype), "{key}");
            let ((found_bytes, found_bits), (bytes, bits)) = (elements(found), elements(expected));
            assert_eq!(found_bits, bits, "{name}: {key}");
            assert!(found_bytes.is_empty() || found_bytes == bytes, "{name}: {key}");
        }
    }
    found
}

#[test]
fn every_form_has_the_tensors_that_safetensors_has() {
    for (name, format) in [
        ("tensors.pt", Format::PytorchZip),
        ("tensors_streamed.pt", Format::PytorchZip),
        ("tensors_protocol3.pt", Format::PytorchZip),
        ("tensors_protocol4.pt", Format::PytorchZip),
        ("tensors_protocol5.pt", Format::PytorchZip),
        ("tensors_legacy.pt", Format::PytorchLegacy),
        ("tensors_legacy_protocol3.pt", Format::PytorchLegacy),
        ("tensors_legacy_protocol4.pt", Format::PytorchLegacy),
        ("tensors_legacy_protocol5.pt", Format::PytorchLegacy),
    ] {
        same(name, "tensors.safetensors");
        assert_eq!(parsed(name, true).unwrap().1, format, "{name}");
    }
    for name in ["strided.pt", "strided_legacy.pt"] {
        same(name, "strided.safetensors");
    }
    for name in ["lightning.pt", "lightning_legacy.pt"] {
        same(name, "lightning.safetensors");
    }
    same("alone.pt", "alone.safetensors");
}

#[test]
#[cfg(feature = "deflate")]
fn compressed_archives_are_inflated_when_they_are_read() {
    for name in ["tensors", "strided", "lightning"] {
        same(&format!("{name}_deflated.pt"), &format!("{name}.safetensors"));
    }
    let (raw, _) = parsed("strided_deflated.pt", false).unwrap();
    let memory = raw.tensors["base"].memory();
    assert_eq!(memory.resident, 0);
    // The compressed bytes, the elements, the f32 values, and the decoder.
    assert!(memory.passing > 2 * 4 * 6 * 4 + (32 << 10), "{memory:?}");
}

#[test]
#[cfg(not(feature = "deflate"))]
fn compressed_archives_name_the_feature() {
    let error = parsed("tensors_deflated.pt", true).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("\"deflate\""), "{error}");
}

#[test]
fn tensors_lie_where_the_file_has_them() {
    let (raw, _) = parsed("strided.pt", true).unwrap();
    for (name, in_place) in
        [("base", true), ("pointwise", true), ("transposed", false), ("channels_last", false)]
    {
        assert_eq!(raw.tensors[name].dense().is_some(), in_place, "{name}");
    }
    // One element for twelve, and a view of the others' storage.
    assert_eq!(raw.tensors["expanded"].contents.len(), 4);
    assert_eq!(raw.tensors["column"].contents.len(), (3 * 6 + 1) * 4);
}

#[test]
fn other_kinds_of_tensors_are_named() {
    for name in ["tensors.pt", "tensors_legacy.pt"] {
        let found = same(name, "tensors.safetensors").unsupported;
        let found: Vec<_> = found.iter().map(|(key, kind)| (&key[..], &kind[..])).collect();
        let expected = [
            ("complex", "complex64"),
            ("mask", "bool"),
            ("num_batches_tracked", "int64"),
            ("quantised", "a quantised tensor"),
            ("sparse", "a sparse tensor"),
            ("unsigned", "uint16"),
        ];
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn files_of_other_kinds_are_named() {
    for (name, part) in [
        ("script.pt", "a TorchScript archive"),
        ("module.pt", "torch.nn.modules.linear.Linear is not on the list"),
    ] {
        let error = parsed(name, true).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
}
