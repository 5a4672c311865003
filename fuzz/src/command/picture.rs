//! Pictures, whole and row by row: what is read has the size of the header, is within [-1, 1], and
//! rows are those of the whole picture, in the first reading and in a second.

use vaekl_cli::fuzzing;

use super::is_for_a_person;
use super::scratch::Scratch;

/// The most pixels of a picture that is read.
const MOST: usize = 1 << 18;

pub fn picture(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.write("input", bytes);
    let (width, height) = match fuzzing::size(&path) {
        Ok(size) => size,
        Err(message) => return is_for_a_person(&message),
    };
    assert!(width > 0 && height > 0);
    if width.saturating_mul(height) > MOST {
        return;
    }
    for channels in [3, 1] {
        let whole = fuzzing::picture(&path, channels);
        if let Ok(whole) = &whole {
            assert_eq!(whole.dim(), (1, channels, height, width));
            assert!(whole.iter().all(|value| value.abs() <= 1.0));
        }
        match (whole, fuzzing::rows(&path, channels)) {
            (_, Ok(None)) => {}
            (Ok(whole), Ok(Some(readings))) => {
                let rows = whole.permuted_axes([0, 2, 3, 1]);
                for found in readings {
                    assert!(found == rows.index_axis(ndarray::Axis(0), 0), "other rows");
                }
            }
            (Err(message), Err(_)) => is_for_a_person(&message),
            (Err(message), Ok(Some(_))) => panic!("read by rows, not whole: {message}"),
            (Ok(_), Err(message)) => panic!("read whole, not by rows: {message}"),
        }
    }
}
