#![forbid(unsafe_code)]
//! Marks: what a tensor of a family is called, and of what shape it is.

/// What tells a family: a tensor's name, maybe its shape, maybe a second tensor.
pub(super) struct Mark {
    /// The first parts of the name. `#` stands for a number, `**` for any parts, none too.
    name: &'static str,
    shape: Option<fn(&[usize]) -> bool>,
    beside: Option<&'static str>,
}

/// A tensor of any shape.
pub(super) const fn tensor(name: &'static str) -> Mark {
    Mark { name, shape: None, beside: None }
}

impl Mark {
    /// Only of this shape.
    pub(super) const fn of(self, shape: fn(&[usize]) -> bool) -> Self {
        Self { shape: Some(shape), ..self }
    }

    /// Only if a second tensor has this name.
    pub(super) const fn beside(self, name: &'static str) -> Self {
        Self { beside: Some(name), ..self }
    }

    /// The first of `tensors`, which are sorted, that has the mark, by its place.
    pub(super) fn find(&self, tensors: &[Named<'_>]) -> Option<usize> {
        let shape =
            |tensor: &Named<'_>| self.shape.is_none_or(|shape| tensor.shape.is_some_and(shape));
        let place = first(self.name, tensors, shape)?;
        let second = |name| first(name, tensors, |_| true).is_some();
        self.beside.is_none_or(second).then_some(place)
    }
}

/// The place of the first tensor whose name fits. A file may have a million, so only those whose
/// names begin alike are looked at.
fn first(
    pattern: &str,
    tensors: &[Named<'_>],
    condition: impl Fn(&Named<'_>) -> bool,
) -> Option<usize> {
    let head = &pattern[..pattern.find(['#', '*']).unwrap_or(pattern.len())];
    let from = tensors.partition_point(|tensor| *tensor.name < *head);
    let alike = tensors[from..].iter().take_while(|tensor| tensor.name.starts_with(head));
    let mut alike = alike.enumerate();
    alike
        .find(|(_, tensor)| fits(pattern, &tensor.name) && condition(tensor))
        .map(|(at, _)| from + at)
}

/// A tensor of a file.
pub(super) struct Named<'t> {
    /// Its name inside the autoencoder.
    pub(super) name: String,
    /// `None` if its type is none of weights.
    pub(super) shape: Option<&'t [usize]>,
    pub(super) in_file: &'t str,
}

/// Whether the first parts of `name` are those of `pattern`.
fn fits(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    loop {
        let (part, rest) = split(pattern);
        if part == "**" {
            let rest = rest.unwrap_or_default();
            let starts = name.match_indices('.').map(|(at, _)| at + 1);
            return std::iter::once(0).chain(starts).any(|at| fits(rest, &name[at..]));
        }
        let (found, after) = split(name);
        let number = || !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_digit());
        if !(part == found || part == "#" && number()) {
            return false;
        }
        match (rest, after) {
            (None, _) => return true,
            (Some(_), None) => return false,
            (Some(rest), Some(after)) => (pattern, name) = (rest, after),
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('.').map_or((text, None), |(part, rest)| (part, Some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_parts() {
        for (pattern, name, expected) in [
            ("encoder.stages", "encoder.stages.0.weight", true),
            ("encoder.stages", "encoder.stages", true),
            ("encoder.stages", "encoder.stages_2.weight", false),
            ("encoder.stages", "my.encoder.stages", false),
            ("encoder.#.#", "encoder.3.14.weight", true),
            ("encoder.#.#", "encoder.3.conv.weight", false),
            ("encoder.#.#", "encoder.3", false),
            ("#.conv", "12.conv.weight", true),
            ("#.conv", ".conv.weight", false),
            ("decoder.**.time_stack", "decoder.mid.block_1.time_stack.weight", true),
            ("decoder.**.time_stack", "decoder.time_stack", true),
            ("decoder.**.time_stack", "decoder.mid.time_stacks", false),
            ("decoder.**.time_stack", "encoder.mid.time_stack", false),
            ("decoder.**.a.b", "decoder.a.a.b", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_mark_may_want_a_shape_and_a_second_tensor() {
        let tensors = |names: &[&'static str]| -> Vec<Named<'static>> {
            let named = |&name: &&'static str| Named {
                name: name.to_owned(),
                shape: (name != "typeless").then_some(&[2, 3][..]),
                in_file: name,
            };
            names.iter().map(named).collect()
        };
        // Names around those that begin alike are no hindrance.
        assert_eq!(tensor("b.#.c").find(&tensors(&["a", "b", "b.1.b", "b.2.c", "c"])), Some(3));
        let wide = tensor("b").of(|shape| shape == [2, 3]).beside("c.#");
        assert_eq!(wide.find(&tensors(&["a", "b", "c.1"])), Some(1));
        assert_eq!(wide.find(&tensors(&["a", "b", "c.d"])), None);
        assert_eq!(tensor("b").of(|shape| shape == [2, 4]).find(&tensors(&["b"])), None);
        assert_eq!(tensor("typeless").find(&tensors(&["typeless"])), Some(0));
        assert_eq!(tensor("typeless").of(|_| true).find(&tensors(&["typeless"])), None);
    }
}
