//! What latents are, as a file says it.

use std::collections::BTreeMap;

use vaekl::{Config, Model};

/// What was done to latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As the encoder gives and the decoder takes them.
    Raw,
    /// As the diffusion model has them.
    Scaled,
    /// Mean and log-variance, twice the channels.
    Moments,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Raw, Self::Scaled, Self::Moments];

    /// The word in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Scaled => "scaled",
            Self::Moments => "moments",
        }
    }
}

/// Family of the embedded model's latents.
pub(super) const EMBEDDED: &str = "embedded";

/// What latents are and whose, as far as known. In a file each field is a text under a key of its
/// own; numbers are written so that they are read back the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Label {
    pub(super) kind: Option<Kind>,
    /// A preset, `embedded`, or the name of the class.
    pub(super) family: Option<String>,
    /// The name of diffusers' class.
    pub(super) class: Option<String>,
    /// Channels of latents; moments have twice as many.
    pub(super) channels: Option<usize>,
    pub(super) scaling: Option<f64>,
    pub(super) shift: Option<f64>,
    /// Means and deviations of the channels, for families that have them; of the channels of a
    /// patch for FLUX.2's.
    pub(super) statistics: Option<(Vec<f64>, Vec<f64>)>,
    /// The fingerprint of the model.
    pub(super) model: Option<String>,
}

const KIND: &str = "vaekl.latents";
const FAMILY: &str = "vaekl.family";
const CLASS: &str = "vaekl.class";
const CHANNELS: &str = "vaekl.channels";
const SCALING: &str = "vaekl.scaling_factor";
const SHIFT: &str = "vaekl.shift_factor";
const MEAN: &str = "vaekl.latents_mean";
const STD: &str = "vaekl.latents_std";
const MODEL: &str = "vaekl.model";

impl Label {
    /// The label of latents of `model`; `family` is its name if it is known.
    pub(crate) fn of(kind: Kind, model: &Model, family: Option<&str>) -> Self {
        let config: &Config = model.config();
        let statistics = config.latents_mean.clone().zip(config.latents_std.clone());
        Self {
            kind: Some(kind),
            family: Some(family.unwrap_or(config.family.name()).to_owned()),
            class: Some(config.family.name().to_owned()),
            channels: Some(config.latent_channels),
            scaling: Some(config.scaling_factor),
            shift: config.shift_factor,
            statistics,
            model: Some(model.info().fingerprint.clone()),
        }
    }

    /// The label in a file's texts. Without a kind there is none.
    pub(super) fn read(texts: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let Some(name) = texts.get(KIND) else { return Ok(None) };
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind =
            kind.ok_or_else(|| format!("{KIND}: raw, scaled or moments expected, {name:?} found"))?;
        let mean = parse(texts, MEAN, "numbers", list)?;
        let std = parse(texts, STD, "numbers", list)?;
        Ok(Some(Self {
            kind: Some(kind),
            family: texts.get(FAMILY).cloned(),
            class: texts.get(CLASS).cloned(),
            channels: parse(texts, CHANNELS, "a number", |text| text.parse().ok())?,
            scaling: parse(texts, SCALING, "a number", number)?,
            shift: parse(texts, SHIFT, "a number", number)?,
            statistics: mean.zip(std),
            model: texts.get(MODEL).cloned(),
        }))
    }

    /// The texts that say it in a file.
    pub(super) fn texts(&self) -> BTreeMap<String, String> {
        let list =
            |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
        let (mean, std) = match &self.statistics {
            Some((mean, std)) => (Some(list(mean)), Some(list(std))),
            None => (None, None),
        };
        let fields = [
            (KIND, self.kind.map(|kind| kind.name().to_owned())),
            (FAMILY, self.family.clone()),
            (CLASS, self.class.clone()),
            (CHANNELS, self.channels.map(|channels| channels.to_string())),
            (SCALING, self.scaling.map(|factor| factor.to_string())),
            (SHIFT, self.shift.map(|shift| shift.to_string())),
            (MEAN, mean),
            (STD, std),
            (MODEL, self.model.clone()),
        ];
        let given = |(key, text): (&str, Option<String>)| Some((key.to_owned(), text?));
        fields.into_iter().filter_map(given).collect()
    }

    /// Family and numbers, for messages: `sd (4 channels, scaling 0.18215)`.
    pub(super) fn describe(&self) -> String {
        let mut numbers = Vec::new();
        numbers.extend(self.channels.map(|channels| format!("{channels} channels")));
        numbers.extend(self.scaling.map(|factor| format!("scaling {factor}")));
        numbers.extend(self.shift.map(|shift| format!("shift {shift}")));
        numbers.extend(self.statistics.as_ref().map(|_| "means and deviations".to_owned()));
        let family = self.family.as_deref().unwrap_or("a model");
        format!("{family} ({})", numbers.join(", "))
    }
}

fn parse<T>(
    texts: &BTreeMap<String, String>,
    key: &str,
    expected: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    let Some(text) = texts.get(key) else { return Ok(None) };
    read(text).map(Some).ok_or_else(|| format!("{key}: {expected} expected, {text:?} found"))
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn list(text: &str) -> Option<Vec<f64>> {
    text.split(',').map(|part| number(part.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let label = Label {
            kind: Some(Kind::Scaled),
            family: Some("playground-v2.5".into()),
            class: Some("AutoencoderKL".into()),
            channels: Some(4),
            scaling: Some(0.1 + 0.2),
            shift: Some(-1e-300),
            statistics: Some((vec![-1.6574, 1.0 / 3.0], vec![8.4927, 2.0])),
            model: Some("0123456789abcdef".into()),
        };
        assert_eq!(Label::read(&label.texts()).unwrap(), Some(label));
        let bare = Label { kind: Some(Kind::Raw), ..Label::default() };
        assert_eq!(Label::read(&bare.texts()).unwrap(), Some(bare));
        assert_eq!(Label::read(&BTreeMap::new()).unwrap(), None);
    }

    #[test]
    fn texts_that_make_no_sense_are_said() {
        let whole = Label { kind: Some(Kind::Raw), ..Label::default() }.texts();
        for (key, text, part) in [
            (KIND, "cooked", "raw, scaled or moments expected, \"cooked\" found"),
            (CHANNELS, "-1", "vaekl.channels: a number expected"),
            (SCALING, "inf", "vaekl.scaling_factor: a number expected"),
            (MEAN, "1, x", "vaekl.latents_mean: numbers expected"),
        ] {
            let mut texts = whole.clone();
            texts.insert(key.into(), text.into());
            let message = Label::read(&texts).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
