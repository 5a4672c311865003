#![forbid(unsafe_code)]
//! The fields of a `config.json`, read by name.

use serde_json::{Map, Value};

use super::activation::Activation;
use crate::base::error::{Error, Result};

/// Limits against absurd configurations, far above those of any model.
pub(super) const MOST_LEVELS: usize = 16;
pub(super) const MOST_CHANNELS: usize = 1 << 16;
pub(super) const MOST_LAYERS: usize = 64;

/// Refuses the first of `counts` (name, value, greatest value) that is not from 1 to its greatest.
pub(super) fn check_counts(counts: &[(&str, usize, usize)]) -> Result<()> {
    for &(field, value, most) in counts {
        if value == 0 || value > most {
            return Err(Error::model(format!("{field}: 1 to {most} expected, {value} found")));
        }
    }
    Ok(())
}

/// The fields of a configuration.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl Fields<'_> {
    /// The field; `None` if it is missing or null.
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn wrong<T>(field: &str, expected: &str, found: &Value) -> Result<T> {
        let mut found = found.to_string();
        if let Some((cut, _)) = found.char_indices().nth(60) {
            found.truncate(cut);
            found.push_str("...");
        }
        Err(Error::model(format!("{field}: {expected} expected, {found} found")))
    }

    fn as_count(field: &str, value: &Value) -> Result<usize> {
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(n),
            None => Self::wrong(field, "a whole number", value),
        }
    }

    pub(super) fn count(&self, field: &str, default: usize) -> Result<usize> {
        self.get(field).map_or(Ok(default), |value| Self::as_count(field, value))
    }

    fn list<'v>(field: &str, value: &'v Value) -> Result<&'v Vec<Value>> {
        value.as_array().map_or_else(|| Self::wrong(field, "a list", value), Ok)
    }

    pub(super) fn counts(&self, field: &str, default: &[usize]) -> Result<Vec<usize>> {
        Ok(self.some_counts(field)?.unwrap_or_else(|| default.to_vec()))
    }

    pub(super) fn some_counts(&self, field: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let counts = Self::list(field, value)?.iter().map(|value| Self::as_count(field, value));
        counts.collect::<Result<_>>().map(Some)
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>> {
        self.get(field)
            .map(|value| value.as_f64().map_or_else(|| Self::wrong(field, "a number", value), Ok))
            .transpose()
    }

    pub(super) fn numbers(&self, field: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = |v: &Value| v.as_f64().map_or_else(|| Self::wrong(field, "numbers", v), Ok);
        Self::list(field, value)?.iter().map(number).collect::<Result<Vec<_>>>().map(Some)
    }

    pub(super) fn flag(&self, field: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(field) else { return Ok(default) };
        value.as_bool().map_or_else(|| Self::wrong(field, "true or false", value), Ok)
    }

    pub(super) fn size(&self, field: &str, default: (usize, usize)) -> Result<(usize, usize)> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Array(list)) if list.len() == 2 => {
                Ok((Self::as_count(field, &list[0])?, Self::as_count(field, &list[1])?))
            }
            Some(value) => Self::as_count(field, value).map(|n| (n, n)),
        }
    }

    /// Block types, each `plain` or `Attn` and `plain`, with or without the old prefix `UNetRes`.
    pub(super) fn blocks(&self, field: &str, plain: &str, levels: usize) -> Result<Vec<bool>> {
        let Some(value) = self.get(field) else { return Ok(vec![false; levels]) };
        let one = |value: &Value| {
            let name = value.as_str().unwrap_or("");
            let name = name.strip_prefix("UNetRes").unwrap_or(name);
            match name.strip_prefix("Attn").unwrap_or(name) {
                kind if kind == plain => Ok(name != plain),
                _ => Self::wrong(field, &format!("{plain} or Attn{plain}"), value),
            }
        };
        Self::list(field, value)?.iter().map(one).collect()
    }

    pub(super) fn activation(&self, field: &str, default: Activation) -> Result<Activation> {
        let Some(value) = self.get(field) else { return Ok(default) };
        match value.as_str().unwrap_or("").to_ascii_lowercase().as_str() {
            "silu" | "swish" => Ok(Activation::Silu),
            "mish" => Ok(Activation::Mish),
            "gelu" => Ok(Activation::Gelu),
            "relu" => Ok(Activation::Relu),
            _ => Self::wrong(field, "silu, swish, mish, gelu or relu", value),
        }
    }
}
