//! Paths that a Rust file names: those of its `use` and those in its code.

use super::rust::{Token, closing};

/// Segments of a path, `crate::run::Plan` without its `crate`.
pub(crate) type Path = Vec<String>;

/// A path in a file.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// The module it is written in, from the root of the crate.
    pub(crate) module: Path,
    /// From the root of the crate if `absolute`, as it is after `crate`, `self` or `super`;
    /// otherwise from a name that is known in `module`.
    pub(crate) path: Path,
    pub(crate) absolute: bool,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// In a `use`, which makes it known as `name`, or all that is in it if there is no name.
    Use { name: Option<String>, public: bool },
    /// In code: a type, a call and the like.
    Code,
}

/// The module of a file below the root of the crate: `a/b` of `a/b.rs`, `a` of `a/mod.rs`, nothing
/// of `lib.rs` and `main.rs`.
pub(crate) fn module_of(file: &str) -> Path {
    let module = file.strip_suffix(".rs").unwrap_or(file);
    let module = match module {
        "lib" | "main" | "mod" => "",
        _ => module.strip_suffix("/mod").unwrap_or(module),
    };
    module.split('/').filter(|segment| !segment.is_empty()).map(str::to_string).collect()
}

/// The paths of two segments and more that a file's `tokens` name, and all that it
/// `use`s. `module` is the file's.
pub(crate) fn named(tokens: &[Token], module: &Path) -> Vec<Named> {
    let mut reader = Reader { tokens, at: 0, module: module.clone(), found: Vec::new() };
    // Where each open inline module is closed.
    let mut open: Vec<usize> = Vec::new();
    while reader.at < tokens.len() {
        let at = reader.at;
        if open.last() == Some(&at) {
            open.pop();
            reader.module.pop();
        }
        match reader.text(0) {
            "mod" if reader.text(2) == "{" => {
                reader.module.push(reader.text(1).to_string());
                open.push(closing(tokens, at + 2));
                reader.at += 3;
            }
            // Not `impl Trait + use<'a>`.
            "use" if reader.text(1) != "<" => {
                let public = reader.is_public();
                reader.at += 1;
                reader.tree(&[], public);
            }
            // `pub(in crate::run)` says who may see, and imports nothing.
            "pub" if reader.text(1) == "(" => reader.at = closing(tokens, at + 1) + 1,
            _ if reader.starts_path() => {
                let mut path = vec![reader.take()];
                while reader.text(0) == "::" && reader.name(1) {
                    reader.at += 1;
                    path.push(reader.take());
                }
                if path.len() > 1 {
                    reader.add(path, Place::Code);
                }
            }
            _ => reader.at += 1,
        }
    }
    reader.found
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    module: Path,
    found: Vec<Named>,
}

impl<'a> Reader<'a> {
    fn text(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text)
    }

    fn name(&self, ahead: usize) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(Token::is_name)
    }

    fn take(&mut self) -> String {
        self.at += 1;
        self.tokens[self.at - 1].text.to_string()
    }

    /// Whether the `use` at hand begins with `pub`, `pub(crate)` and the like. (`pub(..)` has been
    /// passed by.)
    fn is_public(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).map_or("", |at| self.tokens[at].text);
        before(1) == "pub" || (before(1) == ")" && ["(", "in"].contains(&before(3)))
    }

    /// Whether a path begins here: a name that is not behind `::` (which would be a path from
    /// outside, or the rest of `<A as B>::C`) nor behind `.`.
    fn starts_path(&self) -> bool {
        let before = self.at.checked_sub(1).map_or("", |at| self.tokens[at].text);
        self.name(0) && before != "::" && before != "."
    }

    /// A path of a `use`, or a group of them, behind `prefix`.
    fn tree(&mut self, prefix: &[String], public: bool) {
        let mut path = prefix.to_vec();
        if self.text(0) == "::" {
            // From outside of the crate.
            while !["", ";"].contains(&self.text(0)) {
                self.at += 1;
            }
            return;
        }
        loop {
            match self.text(0) {
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.text(0)) {
                        self.tree(&path, public);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" => {
                    self.at += 1;
                    return self.add(path, Place::Use { name: None, public });
                }
                _ if self.name(0) => path.push(self.take()),
                _ => {
                    self.at += 1; // Not a path: `$name` of a macro.
                    return;
                }
            }
            if self.text(0) != "::" {
                break;
            }
            self.at += 1;
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let mut name = path.last().cloned();
        if self.text(0) == "as" {
            self.at += 1;
            name = Some(self.take());
        }
        self.add(path, Place::Use { name, public });
    }

    fn add(&mut self, path: Path, place: Place) {
        let mut rest = path.as_slice();
        let mut base = self.module.clone();
        let absolute = match rest[0].as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
                true
            }
            "self" | "super" => {
                while let Some(first) = rest.first().filter(|s| *s == "self" || *s == "super") {
                    if first == "super" {
                        base.pop();
                    }
                    rest = &rest[1..];
                }
                true
            }
            _ => {
                base.clear();
                false
            }
        };
        base.extend_from_slice(rest);
        if !base.is_empty() {
            let module = self.module.clone();
            self.found.push(Named { module, path: base, absolute, place });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rust::{code, tokens};
    use super::*;

    fn absolute(text: &str, file: &str) -> Vec<String> {
        let code = code(text);
        let mut found = named(&tokens(&code), &module_of(file));
        found.retain(|named| named.absolute);
        found.iter().map(|named| named.path.join("::")).collect()
    }

    #[test]
    fn imports_are_found_however_they_are_written() {
        let text = "
use crate::{base::{error::Error, dtype}, arch,
    kernels::Kernels};
use super::own;
use super::super::{run::{Plan, Session}, ffi::*};
pub(in crate::nothing) use self::below as other;
mod tests {
    mod inner {
        use super::super::super::neighbour;
        fn f() { super::super::super::super::model::open::<crate::Level>() }
    }
    use super::super::own::{self, more};
    use super::super::super::latents;
}
use super::super::bench;
";
        let expected = [
            "base::error::Error",
            "base::dtype",
            "arch",
            "kernels::Kernels",
            "ops::own",
            "run::Plan",
            "run::Session",
            "ffi",
            "ops::conv::below",
            "ops::neighbour",
            "model::open",
            "Level",
            "ops::own",
            "ops::own::more",
            "latents",
            "bench",
        ];
        assert_eq!(absolute(text, "ops/conv.rs"), expected);
        assert_eq!(absolute("use super::base;", "ops/mod.rs"), ["base"]);
        assert_eq!(absolute("use self::base::A;", "lib.rs"), ["base::A"]);
    }

    #[test]
    fn a_name_says_how_it_is_known() {
        let code =
            code("pub(crate) use a::{B, c as d}; use ::std::fs; use e::*; fn f() { g::h() }");
        let found = named(&tokens(&code), &module_of("x/mod.rs"));
        let using = |name: Option<&str>, public| Place::Use { name: name.map(Into::into), public };
        let places: Vec<_> =
            found.iter().map(|named| (named.path.join("::"), named.place.clone())).collect();
        let expected = [
            ("a::B".to_string(), using(Some("B"), true)),
            ("a::c".to_string(), using(Some("d"), true)),
            ("e".to_string(), using(None, false)),
            ("g::h".to_string(), Place::Code),
        ];
        assert_eq!(places, expected);
    }
}
