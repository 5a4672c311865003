#![forbid(unsafe_code)]
//! What a call will need.

use crate::base::error::{Error, ErrorKind, Result};
use crate::os::physical_memory;

/// What a call will need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Bytes of workspace: activations and scratch memory, to the byte.
    pub workspace_bytes: u64,
    /// Bytes of the scratch file, 0 without one.
    pub scratch_bytes: u64,
    /// An upper bound of the process's memory during the call: workspace, the weights that are
    /// resident at a time, and 16 MiB for the process itself. Memory held by the caller is not
    /// included.
    pub peak_bytes: u64,
    /// Multiply-adds, counted as direct convolutions.
    pub multiply_adds: u64,
    /// Whether the result is that of the whole picture in one piece.
    pub exact: bool,
    /// Tiles in a row, 1 when the picture is worked on whole.
    pub tiles_x: usize,
    /// Tiles in a column, 1 when the picture is worked on whole.
    pub tiles_y: usize,
    /// Latent pixels of a tile's side, 0 without tiles.
    pub tile_size: usize,
}

impl Plan {
    /// Whether the machine has the memory for it. A session refuses a call that does not pass;
    /// asking first spares the reading of its input.
    ///
    /// ```
    /// use vaekl::{ErrorKind, Model, SessionOptions, plan_encode};
    ///
    /// let model = Model::open("cli/model")?;
    /// let plan = plan_encode(&model, &SessionOptions::default(), 1 << 20, 1 << 20)?;
    /// assert_eq!(plan.fits_machine().unwrap_err().kind(), ErrorKind::OutOfMemory);
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    ///
    /// # Errors
    /// `OutOfMemory`, with the bytes needed and those the machine has.
    pub fn fits_machine(&self) -> Result<()> {
        match physical_memory() {
            Some(have) if self.workspace_bytes > have => {
                let need = self.workspace_bytes;
                let message = format!("{need} bytes of workspace needed, the machine has {have}");
                Err(Error::new(ErrorKind::OutOfMemory, message))
            }
            _ => Ok(()),
        }
    }
}

/// Bytes for a person, rounded up, so that the number is a budget that can be kept.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
