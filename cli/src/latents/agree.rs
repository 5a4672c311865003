//! Whether a file's latents are what the user says, and the open model's.

use super::label::{EMBEDDED, Kind, Label};

/// Fails if latents labelled `found` are none that `--scaled`, given or not, can be about.
pub(super) fn check_flag(found: Kind, scaled: bool) -> Result<(), String> {
    match found {
        Kind::Raw if scaled => {
            Err("--scaled expects scaled latents, but the file says that they are raw: leave \
                 --scaled out"
                .into())
        }
        Kind::Moments if scaled => Err(
            "--scaled is for latents, but the file says that it has moments: leave --scaled out"
                .into(),
        ),
        Kind::Raw | Kind::Moments | Kind::Scaled => Ok(()),
    }
}

/// The class whose latents are told apart by names: their factor is always 1.
const TINY: &str = "AutoencoderTiny";

/// The most that statistics of the same latents differ, in deviations and in parts of a value:
/// those of a model whose weights were rounded to bf16 do.
const NEAR: f64 = 0.01;

/// Compares the label of a file with the open model's, which is whole. Fails if the model would
/// make another picture of the latents; a remark if it may.
///
/// The numbers tell families apart, not their names: two models of a family may have two names, and
/// an `AsymmetricAutoencoderKL` decodes Stable Diffusion's latents. The exception are the tiny
/// ones, whose raw latents are the scaled ones of another family. Raw latents of the same model fit
/// it whatever its factor is said to be.
pub(super) fn check_model(found: &Label, model: &Label) -> Result<Option<String>, String> {
    fn differs<T: PartialEq>(found: &Option<T>, model: &Option<T>) -> bool {
        found.is_some() && found != model
    }
    let same_model = found.model.is_some() && found.model == model.model;
    // A file that says the factor says all there is about the scaling.
    let scaling = found.scaling.is_some()
        && ((found.scaling, found.shift.unwrap_or(0.0))
            != (model.scaling, model.shift.unwrap_or(0.0))
            || !near(&found.statistics, &model.statistics));
    let embedded = |label: &Label| label.family.as_deref() == Some(EMBEDDED);
    let known = found.family.is_some();
    let embedded = known && (embedded(found) || embedded(model));
    let other = if same_model {
        scaling && found.kind == Some(Kind::Scaled)
    } else {
        differs(&found.channels, &model.channels) || scaling || embedded || tiny(found, model)
    };
    if other {
        let (expected, found) = (model.describe(), found.describe());
        return Err(format!(
            "latents of {expected} expected by the model, of {found} found: --model is the one \
             they were made with{}",
            // A guessed family may be the wrong one, on either side.
            if scaling { ", --preset its family" } else { "" }
        ));
    }
    Ok(match (&found.model, &model.model) {
        (Some(found), Some(model)) if found != model => Some(format!(
            "made with another model of the same family ({found}, this one is {model})"
        )),
        _ => None,
    })
}

/// Whether one is of a tiny model and the other is not, or they are of two that have names.
fn tiny(found: &Label, model: &Label) -> bool {
    let is_tiny = |label: &Label| label.class.as_deref() == Some(TINY);
    let named = |label: &Label| label.family.as_deref().is_some_and(|name| name != TINY);
    found.class.is_some() && is_tiny(found) != is_tiny(model)
        || is_tiny(found) && named(found) && named(model) && found.family != model.family
}

/// Means and deviations.
type Statistics = Option<(Vec<f64>, Vec<f64>)>;

/// Whether two models' latents have the same statistics, up to the rounding of weights.
fn near(found: &Statistics, model: &Statistics) -> bool {
    let (Some((means, deviations)), Some((model_means, model_deviations))) = (found, model) else {
        return found.is_none() && model.is_none();
    };
    let lengths = [means, deviations, model_means].map(Vec::len);
    let pairs = means.iter().zip(model_means).zip(deviations.iter().zip(model_deviations));
    lengths.iter().all(|&length| length == model_deviations.len()) && { pairs }.all(
        |((mean, model_mean), (deviation, model_deviation))| {
            let most = NEAR * (model_deviation.abs() + model_mean.abs());
            (mean - model_mean).abs() <= most
                && (deviation - model_deviation).abs() <= NEAR * model_deviation.abs()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(family: &str, channels: usize, scaling: f64, model: &str) -> Label {
        Label {
            kind: Some(Kind::Raw),
            family: Some(family.into()),
            channels: Some(channels),
            scaling: Some(scaling),
            model: Some(model.into()),
            ..Label::default()
        }
    }

    #[test]
    fn models_are_told_apart_by_what_matters() {
        let sd = label("sd", 4, 0.18215, "a");
        let embedded = label(EMBEDDED, 16, 1.0, "e");
        let fits = |found: &Label, model: &Label| check_model(found, model);
        assert_eq!(fits(&sd, &sd), Ok(None));
        // Nothing is said, nothing contradicts.
        assert_eq!(fits(&Label::default(), &embedded), Ok(None));
        // Another name, or another model, of the same family.
        assert_eq!(fits(&label("AutoencoderKL", 4, 0.18215, "a"), &sd), Ok(None));
        let remark = fits(&label("sd", 4, 0.18215, "b"), &sd).unwrap().unwrap();
        assert!(remark.contains("(b, this one is a)"), "{remark}");
        for found in [
            label("sdxl", 4, 0.13025, "b"),
            label("sd", 16, 0.18215, "b"),
            Label { shift: Some(0.1), ..label("sd", 4, 0.18215, "b") },
            Label { statistics: Some((vec![0.0], vec![1.0])), ..label("sd", 4, 0.18215, "b") },
            label(EMBEDDED, 4, 0.18215, "b"),
        ] {
            let message = fits(&found, &sd).unwrap_err();
            let expected = "latents of sd (4 channels, scaling 0.18215) expected by the model, of ";
            assert!(message.starts_with(expected), "{message}");
        }
        // The embedded model has latents of its own, though the numbers are equal.
        assert!(fits(&label("flux", 16, 1.0, "f"), &embedded).is_err());
        assert!(fits(&label(EMBEDDED, 16, 1.0, "older"), &embedded).is_err());
        assert_eq!(fits(&embedded, &label("AutoencoderKL", 16, 1.0, "e")), Ok(None));
        // The same model with another factor: only what is scaled suffers.
        let other = label("sdxl", 4, 0.13025, "a");
        assert_eq!(fits(&other, &sd), Ok(None));
        let message = fits(&Label { kind: Some(Kind::Scaled), ..other }, &sd).unwrap_err();
        assert!(message.ends_with("--preset its family"), "{message}");
    }

    #[test]
    fn tiny_models_are_told_apart_by_their_names() {
        let of = |family: &str, class: &str| Label {
            class: Some(class.into()),
            ..label(family, 4, 1.0, family)
        };
        let (taesd, taesdxl) = (of("taesd", TINY), of("taesdxl", TINY));
        let nameless = of(TINY, TINY);
        assert!(check_model(&taesdxl, &taesd).is_err());
        for found in [&taesd, &nameless] {
            assert!(check_model(found, &taesd).is_ok());
            assert!(check_model(&taesd, found).is_ok());
            // Of the same numbers, but no tiny one.
            let message = check_model(found, &of("kl", "AutoencoderKL")).unwrap_err();
            assert!(message.starts_with("latents of kl (4 channels, scaling 1) expected"));
            assert!(check_model(&of("kl", "AutoencoderKL"), found).is_err());
            assert!(check_model(&Label { class: None, ..taesd.clone() }, found).is_ok());
        }
        let asymmetric = of("asymmetric", "AsymmetricAutoencoderKL");
        assert!(check_model(&of("sd", "AutoencoderKL"), &asymmetric).is_ok());
    }

    #[test]
    fn rounded_statistics_are_the_same() {
        let of = |mean: f64, deviation: f64, model: &str| Label {
            statistics: Some((vec![0.0, mean], vec![1.0, deviation])),
            ..label("flux2", 32, 1.0, model)
        };
        let model = of(-1.6574, 8.4927, "a");
        assert!(check_model(&of(-1.656_25, 8.5, "b"), &model).is_ok());
        for found in [
            of(-1.4, 8.4927, "b"),
            of(-1.6574, 8.0, "b"),
            Label { statistics: Some((vec![0.0], vec![1.0])), ..of(0.0, 1.0, "b") },
            Label { statistics: None, ..of(0.0, 1.0, "b") },
        ] {
            let message = check_model(&found, &model).unwrap_err();
            assert!(message.contains("means and deviations"), "{message}");
        }
    }

    #[test]
    fn the_flag_contradicts_what_is_not_scaled() {
        assert!(check_flag(Kind::Raw, true).unwrap_err().contains("raw"));
        assert!(check_flag(Kind::Moments, true).unwrap_err().contains("moments"));
        for (kind, scaled) in [
            (Kind::Raw, false),
            (Kind::Moments, false),
            (Kind::Scaled, false),
            (Kind::Scaled, true),
        ] {
            assert_eq!(check_flag(kind, scaled), Ok(()));
        }
    }
}
