#![forbid(unsafe_code)]
//! The memory and the work that a call needs.

use crate::base::error::{Error, ErrorKind, Result};
use crate::os::physical_memory;

/// The memory and the work that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Workspace in bytes, exact: activations and working memory of the kernels.
    pub workspace_bytes: u64,
    /// Scratch file in bytes; 0 without one.
    pub scratch_bytes: u64,
    /// Upper bound of the process's memory in bytes during the call: workspace, the weights
    /// resident at a time, and 16 MiB for the process itself. Memory held by the caller is not
    /// included.
    pub peak_bytes: u64,
    /// Multiply-adds, counted as direct convolutions.
    pub multiply_adds: u64,
    /// Whether the result equals the untiled one.
    pub exact: bool,
    /// Number of tiles in a row; 1 without tiles.
    pub tiles_x: usize,
    /// Number of tiles in a column; 1 without tiles.
    pub tiles_y: usize,
    /// Side of a tile in latent pixels; 0 without tiles.
    pub tile_size: usize,
}

impl Plan {
    /// Checks that the machine has the memory. A session checks this itself; asking first saves
    /// reading the input.
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

/// Bytes in MiB for a person, rounded up so that the number is a sufficient budget.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
