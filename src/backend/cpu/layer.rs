#![forbid(unsafe_code)]
//! The weights of an operator's layers: loaded before it, released and checked after it.

use crate::backend::{Conv, Epilogue, LayerFilter};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::storage::Storage;
use crate::base::weight::LayerWeight;
use crate::kernels::Sum;
use crate::ops::conv::Filter;

/// The name of a convolution, for messages.
pub(super) fn name<'c>(conv: &Conv<'c>) -> &'c str {
    conv.filters.first().map_or("convolution", |filter| filter.name)
}

/// The weights of a convolution's filters.
///
/// # Errors
/// `Format` for one that is not finite, if the activation function could hide it: otherwise the
/// sums of the output tell, without another pass over the weights.
pub(super) fn load<'c>(conv: &Conv<'c>) -> Result<Vec<LayerWeight<'c>>> {
    let hides = matches!(conv.epilogue, Epilogue::Act(_));
    let load = |filter: &LayerFilter<'c>| {
        let weight = LayerWeight::of(filter.weight)?;
        if hides { weight.expect_finite(filter.name) } else { Ok(weight) }
    };
    conv.filters.iter().map(load).collect()
}

/// The filters of a convolution with their weights.
pub(super) fn filters<'w>(conv: &Conv<'w>, weights: &'w [LayerWeight<'w>]) -> Vec<Filter<'w>> {
    let pairs = conv.filters.iter().zip(weights);
    pairs.map(|(filter, weight)| filter.with_weight(weight)).collect()
}

/// Releases the weights of a finished convolution, and fails if the sums of its output are not
/// finite.
pub(super) fn finish(conv: &Conv<'_>, sums: &[Sum], dtype: Storage) -> Result<()> {
    for filter in conv.filters {
        filter.weight.release();
    }
    let Some(group) = sums.iter().position(|sum| !sum.square.is_finite()) else { return Ok(()) };
    let (name, of) = (name(conv), conv.groups);
    let message =
        format!("{name}: the output is not finite in group {group} of {of} ({dtype} storage)");
    Err(Error::new(ErrorKind::NonFinite, message))
}
