#![forbid(unsafe_code)]
//! The fields of a `config.json`, read by name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::activation::Activation;
use super::flax;
use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::base::json::{Kind, Reader};
use crate::checkpoint::{MOST_CONFIG, shortened};

/// Limits against absurd configurations, far above those of any model.
pub(super) const MOST_LEVELS: usize = 16;
pub(super) const MOST_CHANNELS: usize = 1 << 16;
pub(super) const MOST_LAYERS: usize = 64;
/// Fields of a configuration; diffusers' have some thirty.
const MOST_FIELDS: usize = 1 << 12;
/// Entries of a list: a number for each channel at most.
const MOST_ENTRIES: usize = MOST_CHANNELS;

/// Refuses the first of `counts` (name, value, greatest value) that is not from 1 to its greatest.
pub(super) fn check_counts(counts: &[(&str, usize, usize)]) -> Result<()> {
    for &(field, value, most) in counts {
        if value == 0 || value > most {
            return Err(Error::model(format!("{field}: 1 to {most} expected, {value} found")));
        }
    }
    Ok(())
}

/// The fields of a configuration, each as its text: nothing of one that is unknown is built.
pub(super) struct Fields<'a> {
    texts: BTreeMap<Cow<'a, str>, &'a str>,
    /// Whether those of diffusers' `FlaxAutoencoderKL` are read.
    pub(super) of_flax: bool,
}

impl<'a> Fields<'a> {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// `Format` if it is not JSON, no object or beyond the limits.
    pub(super) fn read(text: &'a str) -> Result<Self> {
        if text.len() as u64 > MOST_CONFIG {
            let found = text.len();
            let message = format!("at most {MOST_CONFIG} bytes expected, {found} found");
            return Err(Error::format(message));
        }
        let (mut texts, mut reader) = (BTreeMap::new(), Reader::new(text, "not valid JSON"));
        if reader.kind()? != Kind::Object {
            reader.value()?;
            reader.end()?;
            return Err(Error::format("a JSON object expected"));
        }
        reader.object(|reader, key| {
            if texts.len() == MOST_FIELDS {
                return Err(Error::format(format!("more than {MOST_FIELDS} fields")));
            }
            texts.insert(key, reader.value()?);
            Ok(())
        })?;
        reader.end()?;
        Ok(Self { texts, of_flax: false })
    }

    /// The text of a field; `None` if it is missing, null or not read.
    pub(super) fn get(&self, field: &str) -> Option<&'a str> {
        if self.of_flax && flax::IGNORED.contains(&field) {
            return None;
        }
        self.texts.get(field).copied().filter(|&text| text != "null")
    }

    pub(super) fn wrong<T>(field: &str, expected: &str, found: &str) -> Result<T> {
        let found = shortened(found);
        Err(Error::model(format!("{field}: {expected} expected, {found} found")))
    }

    /// The string that a field's text is; `None` if it is none.
    pub(super) fn text(value: &'a str) -> Option<Cow<'a, str>> {
        Reader::new(value, "").text().ok()
    }

    fn as_count(field: &str, value: &str) -> Result<usize> {
        // A valid text of JSON: what parses is a number without sign, fraction and exponent.
        value.parse().or_else(|_| Self::wrong(field, "a whole number", value))
    }

    fn as_number(value: &str) -> Option<f64> {
        value.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// The items of a list, each made by `item`.
    fn list<T>(field: &str, value: &'a str, item: impl Fn(&'a str) -> Result<T>) -> Result<Vec<T>> {
        let (mut items, mut reader) = (Vec::new(), Reader::new(value, ""));
        if reader.kind()? != Kind::List {
            return Self::wrong(field, "a list", value);
        }
        reader.list(|reader| {
            if items.len() == MOST_ENTRIES {
                let message = format!("{field}: at most {MOST_ENTRIES} entries expected");
                return Err(Error::model(message));
            }
            alloc::push(&mut items, item(reader.value()?)?, field)
        })?;
        Ok(items)
    }

    pub(super) fn count(&self, field: &str, default: usize) -> Result<usize> {
        self.get(field).map_or(Ok(default), |value| Self::as_count(field, value))
    }

    pub(super) fn counts(&self, field: &str, default: &[usize]) -> Result<Vec<usize>> {
        Ok(self.some_counts(field)?.unwrap_or_else(|| default.to_vec()))
    }

    pub(super) fn some_counts(&self, field: &str) -> Result<Option<Vec<usize>>> {
        let counts = |value| Self::list(field, value, |item| Self::as_count(field, item));
        self.get(field).map(counts).transpose()
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>> {
        let wrong = |value| Self::wrong(field, "a number", value);
        let number = |value| Self::as_number(value).map_or_else(|| wrong(value), Ok);
        self.get(field).map(number).transpose()
    }

    pub(super) fn numbers(&self, field: &str) -> Result<Option<Vec<f64>>> {
        let wrong = |value| Self::wrong(field, "numbers", value);
        let number = |value| Self::as_number(value).map_or_else(|| wrong(value), Ok);
        self.get(field).map(|value| Self::list(field, value, number)).transpose()
    }

    pub(super) fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(value) => Self::wrong(field, "true or false", value),
        }
    }

    pub(super) fn size(&self, field: &str, default: (usize, usize)) -> Result<(usize, usize)> {
        let Some(value) = self.get(field) else { return Ok(default) };
        if !value.starts_with('[') {
            return Self::as_count(field, value).map(|side| (side, side));
        }
        match Self::list(field, value, |item| Self::as_count(field, item))?[..] {
            [height, width] => Ok((height, width)),
            _ => Self::wrong(field, "a whole number", value),
        }
    }

    /// Block types, each `plain` or `Attn` and `plain`, with or without the old prefix `UNetRes`.
    pub(super) fn blocks(&self, field: &str, plain: &str, levels: usize) -> Result<Vec<bool>> {
        let Some(value) = self.get(field) else { return Ok(vec![false; levels]) };
        let one = |value| {
            if self.of_flax {
                // Of which the class takes the number alone.
                return Ok(false);
            }
            let name = Self::text(value).unwrap_or_default();
            let name = name.strip_prefix("UNetRes").unwrap_or(&name);
            match name.strip_prefix("Attn").unwrap_or(name) {
                kind if kind == plain => Ok(name != plain),
                _ => Self::wrong(field, &format!("{plain} or Attn{plain}"), value),
            }
        };
        Self::list(field, value, one)
    }

    pub(super) fn activation(&self, field: &str, default: Activation) -> Result<Activation> {
        let Some(value) = self.get(field) else { return Ok(default) };
        let name = Self::text(value).unwrap_or_default();
        const NAMES: [(&str, Activation); 5] = [
            ("silu", Activation::Silu),
            ("swish", Activation::Silu),
            ("mish", Activation::Mish),
            ("gelu", Activation::Gelu),
            ("relu", Activation::Relu),
        ];
        match NAMES.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) {
            Some((_, activation)) => Ok(activation),
            None => Self::wrong(field, "silu, swish, mish, gelu or relu", value),
        }
    }
}
