//! No circle among the files of one folder: who reads one of them need not have read the others
//! before. A sub-folder counts as one file of the folder it is in.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Files;
use super::paths::{Named, Path, Place, module_of, named};
use super::python;
use super::rust::{Token, code, tokens, without_tests};
use super::sources::{self, Source};

/// A file of a crate, without its tests.
struct File {
    path: String,
    module: Path,
    named: Vec<Named>,
    /// Names that stand alone in its code, outside of `use`.
    words: BTreeSet<String>,
}

/// The files of a crate, in the order of their paths.
struct Crate {
    files: Vec<File>,
    /// Modules and the files they are in.
    modules: BTreeMap<Path, usize>,
}

impl Crate {
    /// The crate of `sources`, whose paths begin with `root`.
    fn new(sources: &[Source], root: &str) -> Self {
        let mut files = Vec::new();
        let mut of_tests: Vec<Path> = Vec::new();
        for source in sources {
            let path = source.path.strip_prefix(root).unwrap().trim_start_matches('/').to_string();
            let module = module_of(&path);
            let code = code(&source.text);
            let tokens = tokens(&code);
            let (tokens, tests) = without_tests(&tokens);
            of_tests
                .extend(tests.iter().map(|name| [module.as_slice(), &[name.to_string()]].concat()));
            let (named, words) = (named(&tokens, &module), words(&tokens));
            files.push(File { path, module, named, words });
        }
        files.retain(|file| !of_tests.iter().any(|tests| file.module.starts_with(tests)));
        let modules =
            files.iter().enumerate().map(|(at, file)| (file.module.clone(), at)).collect();
        Self { files, modules }
    }

    /// The file that the module of `path` is in; inline modules are in that of their parent.
    fn file_of(&self, path: &[String]) -> Option<usize> {
        (0..=path.len()).rev().find_map(|end| self.modules.get(&path[..end])).copied()
    }

    /// What makes `name` known in the module `at`: the path of a `use`.
    fn alias(&self, at: &[String], name: &str) -> Option<&Named> {
        let file = self.file_of(at)?;
        self.files[file].named.iter().find(|named| {
            named.module == at
                && matches!(&named.place, Place::Use { name: Some(known), .. } if known == name)
        })
    }

    /// The files that `named` leads to: the one of the item, and each that hands it on by a `use`.
    fn targets(&self, named: &Named) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        self.follow(named, &named.path, &mut BTreeSet::new(), &mut found);
        found
    }

    fn follow<'a>(
        &'a self,
        named: &'a Named,
        path: &[String],
        seen: &mut BTreeSet<(Path, Path)>,
        found: &mut BTreeSet<usize>,
    ) {
        if !seen.insert((named.module.clone(), path.to_vec())) {
            return;
        }
        let mut at = if named.absolute { Vec::new() } else { named.module.clone() };
        for (index, name) in path.iter().enumerate() {
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&child) {
                at = child;
                continue;
            }
            let itself = |alias: &&Named| !std::ptr::eq(*alias, named);
            if let Some(alias) = self.alias(&at, name).filter(itself) {
                found.extend(self.file_of(&at));
                let path = [alias.path.as_slice(), &path[index + 1..]].concat();
                return self.follow(alias, &path, seen, found);
            }
            if index == 0 && !named.absolute {
                return; // Of another crate, or an item of the module itself.
            }
            break;
        }
        found.extend(self.file_of(&at));
    }

    /// Its files and the arrows between them.
    fn into_files(self) -> Files {
        let mut arrows: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (from, file) in self.files.iter().enumerate() {
            for (named, text) in file.named.iter().flat_map(|named| self.used(file, named)) {
                for to in self.targets(&named).into_iter().filter(|&to| to != from) {
                    arrows.entry((from, to)).or_default().insert(text.clone());
                }
            }
        }
        Files { paths: self.files.into_iter().map(|file| file.path).collect(), arrows }
    }

    /// What a file uses by naming `named`: nothing if it only hands it on; if it is all that is in
    /// another module, those names of it that stand in the code.
    fn used(&self, file: &File, named: &Named) -> Vec<(Named, String)> {
        let text = named.path.join("::");
        match &named.place {
            Place::Use { name: Some(name), public: true }
                if is_parent(&file.path) && !file.words.contains(name) =>
            {
                Vec::new()
            }
            Place::Use { name: None, public } => {
                let names = self.names_in(named);
                let handed_on = *public && is_parent(&file.path);
                let used = names.into_iter().filter(|name| file.words.contains(name));
                let mut used: Vec<(Named, String)> = used
                    .map(|name| {
                        let path = [named.path.as_slice(), &[name]].concat();
                        let text = path.join("::");
                        (Named { path, ..named.clone() }, text)
                    })
                    .collect();
                if !handed_on {
                    used.push((named.clone(), format!("{text}::*")));
                }
                used
            }
            _ => vec![(named.clone(), text)],
        }
    }

    /// The names that the modules of `named` make known by `use`.
    fn names_in(&self, named: &Named) -> BTreeSet<String> {
        let files = self.targets(named);
        let names = files.iter().flat_map(|&file| &self.files[file].named);
        names
            .filter_map(|named| match &named.place {
                Place::Use { name, .. } => name.clone(),
                Place::Code => None,
            })
            .collect()
    }
}

/// Whether the file stands for its folder, and hands on what its children define.
fn is_parent(path: &str) -> bool {
    ["mod.rs", "lib.rs", "main.rs"].contains(&path.rsplit('/').next().unwrap_or(path))
}

/// The names at the head of a path or alone, outside of `use`: not fields, methods or definitions.
fn words(tokens: &[Token]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |at| tokens[at].text);
        let after = tokens.get(at + 1).map_or("", |token| token.text);
        if tokens[at].text == "use" && after != "<" {
            while at < tokens.len() && tokens[at].text != ";" {
                at += 1;
            }
        } else if tokens[at].is_name()
            && !["::", ".", "fn", "mod", "struct", "enum", "trait", "let"].contains(&before)
            && after != ":"
        {
            found.insert(tokens[at].text.to_string());
        }
        at += 1;
    }
    found
}

/// The circles of a Rust crate whose sources are below `root`.
fn in_rust(sources: &[Source], root: &str) -> Vec<String> {
    Crate::new(sources, root).into_files().circles(root)
}

/// The circles of a Python package whose sources are below `root`.
fn in_python(sources: &[Source], root: &str) -> Vec<String> {
    python::files(sources, root).circles(root)
}

#[test]
fn files_of_a_folder_form_no_circle() {
    let mut found = Vec::new();
    for root in ["src", "cli/src"] {
        found.extend(in_rust(&sources::below(root), root));
    }
    let package = "bindings/python/src/vaekl";
    found.extend(in_python(&sources::below(package), package));
    assert!(found.is_empty(), "circles of files:\n{}", found.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        let source = |&(path, text): &(&str, &str)| Source { path: path.into(), text: text.into() };
        files.iter().map(source).collect()
    }

    fn rust(files: &[(&str, &str)]) -> String {
        in_rust(&sources(files), "src").join("\n")
    }

    #[test]
    fn a_circle_of_three_files_is_found() {
        let found = rust(&[
            ("src/lib.rs", "mod run;"),
            ("src/run/mod.rs", "mod plan; mod rows; mod session; mod tiles;"),
            ("src/run/plan.rs", "use super::session::Session;"),
            ("src/run/session.rs", "fn f() { super::rows::pulled::go() }"),
            ("src/run/rows/mod.rs", "mod pulled;"),
            ("src/run/rows/pulled.rs", "use crate::{base, run::plan::{Plan, Part}};"),
            ("src/run/tiles.rs", "use super::plan::Plan;"),
        ]);
        let expected = "src/run: plan.rs, rows/, session.rs
    plan.rs -> session.rs: run::session::Session
    rows/ -> plan.rs: run::plan::Part, run::plan::Plan
    session.rs -> rows/: run::rows::pulled::go";
        assert_eq!(found, expected);
    }

    #[test]
    fn a_circle_does_not_hide_behind_the_parent() {
        let found = rust(&[
            ("src/a/mod.rs", "mod b; mod c; pub(crate) use b::B; pub(crate) use c::C;"),
            ("src/a/b.rs", "use super::C;"),
            ("src/a/c.rs", "use crate::a::{B as Other};"),
        ]);
        assert!(found.starts_with("src/a: b.rs, c.rs\n"), "{found}");
    }

    #[test]
    fn a_parent_that_uses_its_child_is_in_a_circle_with_it() {
        let parent = "mod b; pub(crate) use b::B; use b::go; pub(crate) struct A;";
        let files = [("src/a/mod.rs", parent), ("src/a/b.rs", "use super::A;")];
        assert!(rust(&files).starts_with("src/a: b.rs, mod.rs\n"), "{}", rust(&files));
        // A name that is handed on as well is used where it stands in the code.
        let parent = "mod b; pub(crate) use b::B; struct A(B);";
        let files = [("src/a/mod.rs", parent), files[1]];
        assert!(rust(&files).starts_with("src/a: b.rs, mod.rs\n"), "{}", rust(&files));
        let parent = "mod b; struct A; impl A { fn f() { b::go() } }";
        let files = [("src/a/mod.rs", parent), files[1]];
        assert!(rust(&files).starts_with("src/a: b.rs, mod.rs\n"), "{}", rust(&files));
        // All that is in the parent.
        let files = [files[0], ("src/a/b.rs", "use super::*;")];
        assert!(rust(&files).starts_with("src/a: b.rs, mod.rs\n"), "{}", rust(&files));
    }

    #[test]
    fn no_circle_is_found_where_there_is_none() {
        let found = rust(&[
            ("src/a/mod.rs", "mod b; mod c; pub(crate) use b::B; pub use c::*; struct A;"),
            // What is of the tests does not count, nor do comments.
            (
                "src/a/b.rs",
                "use super::A; // super::c\n#[cfg(test)]\nmod tests { use super::super::c; }",
            ),
            ("src/a/c.rs", "use super::b; use std::fmt; #[cfg(test)] mod tests;"),
            ("src/a/c/tests.rs", "use super::super::d;"),
            ("src/a/d.rs", "use super::c::C; pub(in crate::a) struct D;"),
        ]);
        assert_eq!(found, "");
    }

    #[test]
    fn a_circle_of_python_is_found() {
        let found = in_python(
            &sources(&[
                ("p/__init__.py", "from ._a import A\nfrom ._b import B"),
                ("p/_a.py", "import os\nimport vaekl._b as b"),
                ("p/_b.py", "def f():\n    from . import (  # _d\n        _c)\n"),
                ("p/_c.py", "'''from ._d import d'''\nfrom vaekl._a import A\n"),
                ("p/_d.py", "if TYPE_CHECKING:\n    from ._e import E\n\nfrom ._a import A\n"),
                ("p/_e.py", "from ._d import D  # from . import _a\n"),
            ]),
            "p",
        );
        let expected = "p: _a.py, _b.py, _c.py
    _a.py -> _b.py: vaekl._b
    _b.py -> _c.py: vaekl._c
    _c.py -> _a.py: vaekl._a.A";
        assert_eq!(found.join("\n"), expected);
    }
}
