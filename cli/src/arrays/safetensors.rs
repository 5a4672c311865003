//! Writes `.safetensors` files: the length of a JSON header, the header, the elements. The bytes
//! depend on the contents alone.

use std::collections::BTreeMap;
use std::io::{self, Write};

use ndarray::ArrayView4;
use serde_json::{Map, Value, json};

/// Writes `array` as the tensor `name`, with `metadata`, and beside it an empty tensor named
/// `marker`.
pub(crate) fn write(
    out: &mut impl Write,
    metadata: &BTreeMap<String, String>,
    name: &str,
    array: ArrayView4<'_, f32>,
    marker: Option<&str>,
) -> io::Result<()> {
    let end = array.len() * size_of::<f32>();
    let tensor = |shape: &[usize], offsets: [usize; 2]| -> Value {
        json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets })
    };
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    header.insert(name.into(), tensor(array.shape(), [0, end]));
    if let Some(marker) = marker {
        header.insert(marker.into(), tensor(&[0], [end, end]));
    }
    let mut header = Value::Object(header).to_string();
    // The elements start on a multiple of 8.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    array.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}
