//! A reader of Python's imports within the package.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Files;
use super::sources::Source;

/// The package's name: `import vaekl._x` is one of its own.
const PACKAGE: &str = "vaekl";

/// The files of the package below `root` and the arrows between them, with the names that make
/// them. A late import, in a function, is an arrow too; one for the checker of types is none.
pub(crate) fn files(sources: &[Source], root: &str) -> Files {
    let file = |source: &Source| {
        source.path.strip_prefix(root).unwrap().trim_start_matches('/').to_string()
    };
    let paths: Vec<String> = sources.iter().map(file).collect();
    let modules: Vec<String> = paths.iter().map(|path| module_of(path)).collect();
    let mut arrows: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (from, source) in sources.iter().enumerate() {
        let folder = match modules[from].rsplit_once('.') {
            _ if paths[from].ends_with("__init__.py") => modules[from].as_str(),
            Some((folder, _)) => folder,
            None => PACKAGE,
        };
        for name in imports(&source.text, folder) {
            if let Some(to) = longest(&modules, &name).filter(|&to| to != from) {
                arrows.entry((from, to)).or_default().insert(name);
            }
        }
    }
    Files { paths, arrows }
}

/// `vaekl.a.b` of `a/b.py`, `vaekl` of `__init__.py`.
fn module_of(file: &str) -> String {
    let path = format!("{PACKAGE}/{}", file.trim_end_matches(".py"));
    path.trim_end_matches("/__init__").replace('/', ".")
}

/// The module that `name` is or is in.
fn longest(modules: &[String], name: &str) -> Option<usize> {
    let holds = |module: &str| {
        name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let matching = (0..modules.len()).filter(|&at| holds(&modules[at]));
    matching.max_by_key(|&at| modules[at].len())
}

/// The names of the package that `text`, a module in `folder`, imports.
fn imports(text: &str, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Indentation of the `if TYPE_CHECKING:` that is open.
    let mut checking: Option<usize> = None;
    for line in statements(text) {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if checking.is_some_and(|outer| indent <= outer) {
            checking = None;
        }
        if line.starts_with("if TYPE_CHECKING:") || line.starts_with("if typing.TYPE_CHECKING:") {
            checking = Some(indent);
        } else if checking.is_some() {
            continue;
        } else if let Some(names) = line.strip_prefix("import ") {
            found.extend(names.split(',').map(|name| first_word(name).to_string()));
        } else if let Some((from, names)) =
            line.strip_prefix("from ").and_then(|rest| rest.split_once(" import "))
        {
            let from = absolute(from.trim(), folder);
            let names = names.trim_matches(|c: char| "() ".contains(c)).split(',');
            let names = names.map(first_word).filter(|name| !name.is_empty());
            found.extend(names.map(|name| format!("{from}.{name}")));
        }
    }
    found.retain(|name| name == PACKAGE || name.starts_with(&format!("{PACKAGE}.")));
    found
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or("")
}

/// `vaekl.a` of `.a`, in `folder`.
fn absolute(from: &str, folder: &str) -> String {
    let name = from.trim_start_matches('.');
    let dots = from.len() - name.len();
    if dots == 0 {
        return from.to_string();
    }
    let above = folder.split('.').count().saturating_sub(dots - 1);
    let folder = folder.split('.').take(above).collect::<Vec<_>>().join(".");
    if name.is_empty() { folder } else { format!("{folder}.{name}") }
}

/// The statements of `text`, each a line with its indentation, without comments and strings.
/// Brackets and `\` join lines, `;` parts them.
fn statements(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut open = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        let line = found.last_mut().unwrap();
        match c {
            '#' => length = rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => {
                length = string(rest);
                line.push_str("''");
            }
            '\\' if rest[1..].starts_with('\n') => length = 2,
            '\n' if open == 0 => found.push(String::new()),
            '\n' => line.push(' '),
            ';' if open == 0 => {
                let indent = " ".repeat(line.len() - line.trim_start().len());
                found.push(indent);
            }
            _ => {
                match c {
                    '(' | '[' | '{' => open += 1,
                    ')' | ']' | '}' => open -= 1,
                    _ => {}
                }
                line.push(c);
            }
        }
        rest = &rest[length..];
    }
    found.retain(|line| !line.trim().is_empty());
    found
}

/// Length of the string at the start of `text`.
fn string(text: &str) -> usize {
    let quote = ["\"\"\"", "'''"].into_iter().find(|quote| text.starts_with(quote));
    let quote = quote.unwrap_or(&text[..1]);
    let mut at = quote.len();
    while at < text.len() && !text[at..].starts_with(quote) {
        let escaped = text[at..].starts_with('\\');
        let skipped = text[at..].chars().take(1 + usize::from(escaped));
        at += skipped.map(char::len_utf8).sum::<usize>();
    }
    (at + quote.len()).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_however_they_are_written() {
        let text = r#"
"""from ._string import a"""
from ._a import b, c as d
from . import _e
import vaekl._f, os; from ._g import (  # from ._comment
    h,
    i,
)
if TYPE_CHECKING:
    from ._type import T

    import vaekl._types
else:
    from ._j import k
def f(text="'"):
    '''from ._doc import it\''''
    from vaekl import _l
    from vaekl._m \
        import n
import vaekl
import vaekles
"#;
        let expected = [
            "vaekl._a.b",
            "vaekl._a.c",
            "vaekl._e",
            "vaekl._f",
            "vaekl._g.h",
            "vaekl._g.i",
            "vaekl._j.k",
            "vaekl._l",
            "vaekl._m.n",
            "vaekl",
        ];
        assert_eq!(imports(text, "vaekl"), expected);
        assert_eq!(imports("from ..b import c", "vaekl.a"), ["vaekl.b.c"]);
    }
}
