#![forbid(unsafe_code)]
//! The memory and the work that a call needs.

use crate::base::error::{Error, ErrorKind, Result};
use crate::os::{self, Headroom};

/// The memory and the work that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Workspace in bytes, exact: activations and working memory of the kernels.
    pub workspace_bytes: u64,
    /// Scratch file in bytes; 0 without one.
    pub scratch_bytes: u64,
    /// Upper bound in bytes of what the call adds to the process's memory: workspace, the weights
    /// resident at a time, threads, and the library's own lists and code; and
    /// [`SessionOptions::memory_reserved`](crate::SessionOptions). Arrays that the caller passes or
    /// is given are not included.
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
    /// Checks that the system has the memory now, with what is reserved: the machine, the control
    /// groups of a container, and the limits of the process. A session checks this itself, and
    /// takes a leaner plan where there is one; asking first saves reading the input.
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
    /// `OutOfMemory`, with the memory needed and that which can be had.
    pub fn fits_machine(&self) -> Result<()> {
        let Headroom { memory, address_space } = os::headroom();
        for (need, have) in [(self.peak_bytes, memory), (self.workspace_bytes, address_space)] {
            let have = have.unwrap_or(u64::MAX);
            if need > have {
                let (need, have) = (mebibytes(need), have >> 20);
                let message = format!("{need} needed, {have} MiB can be had");
                return Err(Error::new(ErrorKind::OutOfMemory, message));
            }
        }
        Ok(())
    }
}

/// Bytes of this process that are in memory now; `None` where the system does not tell.
pub fn memory_in_use() -> Option<u64> {
    os::resident_memory()
}

/// Bytes that this process may still take: what the machine has without swapping, or less where a
/// control group of a container gives less. `None` where the system does not tell.
pub fn memory_available() -> Option<u64> {
    os::headroom().memory
}

/// Bytes in MiB for a person, rounded up so that the number is a sufficient budget.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
