//! stub
use crate::base::error::Result;
/// l
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level { /// p
 Portable }
impl Level { /// d
 pub fn detect() -> Result<Self> { Ok(Self::Portable) } }
