//! What every target does with a file.

use vaekl::{Model, ModelOptions, TensorFile};

/// The most elements of a tensor that are loaded: a shape may claim far more than its file has, by
/// strides of 0.
const MOST: usize = 1 << 20;

/// Opens the bytes of a file as a model and as tensors, and loads these. Errors are welcome.
pub fn open(bytes: &[u8]) {
    let options = ModelOptions::default().with_norm_num_groups(4);
    let _ = Model::from_bytes(bytes.to_vec(), &options);
    let Ok(file) = TensorFile::from_bytes(bytes.to_vec()) else { return };
    for name in file.names() {
        let shape = file.shape(name).expect("its own name");
        let shape = file.shape(name).expect("its own name");
        let elements = shape.iter().try_fold(1_usize, |n, &side| n.checked_mul(side));
        if elements.is_some_and(|elements| elements <= MOST) {
            let _ = file.to_f32(name);
        }
    }
}
