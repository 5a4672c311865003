//! What can be read at a glance: lines, files and lists of parameters are short.

use super::rust::{Token, closing, code, tokens};
use super::sources::{self, Source};

/// Characters of a line.
const LONGEST_LINE: usize = 100;

/// Lines of a file.
const MOST_LINES: usize = 500;

/// Lines of a file of tests, which are read one by one.
const MOST_LINES_OF_TESTS: usize = 600;

/// Parameters of a function in Rust, `self` aside. Those of the bindings in Python mirror the
/// functions of diffusers, with their many parameters, and are not counted.
const MOST_PARAMETERS: usize = 6;

/// The header of the first version: it stays as it was (`tests/abi.rs`).
const FROZEN: &str = "tests/abi/first/vaekl.h";

/// As long as the interface is: made from the comments in `src/ffi/`, which keep the rules.
const GENERATED: &str = "include/vaekl.h";

/// One file to copy, on purpose.
const SINGLE_HEADER: &str = "bindings/cpp/vaekl.hpp";

/// Lines that are too long.
fn long_lines(source: &Source) -> Vec<String> {
    let long = source.text.lines().enumerate().filter_map(|(at, line)| {
        let length = line.chars().count();
        (length > LONGEST_LINE).then(|| format!("{}:{}: {length} characters", source.path, at + 1))
    });
    long.collect()
}

/// How many lines the file may have, or no limit.
fn most_lines(path: &str) -> Option<usize> {
    let is_test = path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/Tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_test.go");
    match path {
        FROZEN | GENERATED | SINGLE_HEADER => None,
        _ if is_test => Some(MOST_LINES_OF_TESTS),
        _ => Some(MOST_LINES),
    }
}

fn long_file(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let too_many = most_lines(&source.path).is_some_and(|most| lines > most);
    too_many.then(|| format!("{}: {lines} lines", source.path))
}

/// A function: its name, the line of it, and how many parameters it has, `self` aside.
#[derive(Debug, PartialEq)]
struct Function<'a> {
    name: &'a str,
    line: usize,
    parameters: usize,
}

/// The functions of `tokens`, with bodies and without, those in macros too.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<Function<'a>> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        // `fn name`, or `fn $name` of a macro; `fn(` is a type.
        let name = match tokens.get(at + 1) {
            Some(sign) if tokens[at].text == "fn" && sign.text == "$" => at + 2,
            Some(name) if tokens[at].text == "fn" && name.is_name() => at + 1,
            _ => continue,
        };
        let Some(&Token { text, line }) = tokens.get(name) else { continue };
        let mut open = name + 1;
        if tokens.get(open).is_some_and(|token| token.text == "<") {
            open = past_generics(tokens, open);
        }
        if tokens.get(open).is_none_or(|token| token.text != "(") {
            continue;
        }
        let list = &tokens[open + 1..closing(tokens, open)];
        let parameters = fields(list).into_iter().map(parameter).sum();
        found.push(Function { name: text, line, parameters });
    }
    found
}

/// The place after the `>` that closes the `<` at `open`. (`->` is a token of its own.)
fn past_generics(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    let mut at = open;
    while at < tokens.len() {
        match tokens[at].text {
            "<" => depth += 1,
            ">" => depth -= 1,
            "(" | "[" | "{" => at = closing(tokens, at),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The fields of a list, parted by commas outside of all brackets.
fn fields<'s, 'a>(list: &'s [Token<'a>]) -> Vec<&'s [Token<'a>]> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < list.len() {
        match list[at].text {
            "," => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            "(" | "[" | "{" => at = closing(list, at),
            // In a type `<` opens generics, wherever it stands.
            "<" => at = past_generics(list, at) - 1,
            _ => {}
        }
        at += 1;
    }
    if start < list.len() {
        found.push(&list[start..]);
    }
    found
}

/// How many parameters `pattern: type` counts as: none for `self`, as many as its fields for a
/// tuple.
fn parameter(mut tokens: &[Token]) -> usize {
    if let [repeated] = tokens
        && ["*", "+", "?"].contains(&repeated.text)
    {
        return 0; // The end of a macro's `$(name: $type),*`, which counts as one.
    }
    while let [hash, bracket, ..] = tokens
        && (hash.text, bracket.text) == ("#", "[")
    {
        tokens = &tokens[closing(tokens, 1) + 1..];
    }
    let mut at = 0;
    while at < tokens.len() && tokens[at].text != ":" {
        at = match tokens[at].text {
            "(" | "[" | "{" => closing(tokens, at) + 1,
            _ => at + 1,
        };
    }
    let pattern = &tokens[..at.min(tokens.len())];
    let marks = |token: &&Token| token.text == "&" || token.text == "mut" || token.is_lifetime();
    if pattern.iter().find(|token| !marks(token)).is_some_and(|token| token.text == "self") {
        return 0;
    }
    tokens.get(at + 1..).map_or(1, values)
}

/// How many values a parameter of this type hands over: the fields of a tuple, those of a tuple in
/// a tuple too, behind whatever references.
fn values(tokens: &[Token]) -> usize {
    let Some(first) = tokens.first() else { return 1 };
    match first.text {
        "&" | "*" | "mut" | "const" => values(&tokens[1..]),
        _ if first.is_lifetime() => values(&tokens[1..]),
        "(" => {
            let inside = &tokens[1..closing(tokens, 0)];
            fields(inside).into_iter().map(values).sum::<usize>().max(1)
        }
        _ => 1,
    }
}

fn crowded_functions(source: &Source) -> Vec<String> {
    let code = code(&source.text);
    let tokens = tokens(&code);
    let crowded = functions(&tokens).into_iter().filter(|f| f.parameters > MOST_PARAMETERS);
    crowded
        .map(|Function { name, line, parameters }| {
            format!("{}:{line}: `{name}` has {parameters} parameters", source.path)
        })
        .collect()
}

#[test]
fn lines_stay_short() {
    let sources = sources::all();
    let held = sources.iter().filter(|source| source.path != FROZEN);
    let wrong: Vec<String> = held.flat_map(long_lines).collect();
    assert!(wrong.is_empty(), "{} lines are too long:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn files_stay_short() {
    let wrong: Vec<String> = sources::all().iter().filter_map(long_file).collect();
    assert!(wrong.is_empty(), "files are too long:\n{}", wrong.join("\n"));
}

#[test]
fn functions_have_few_parameters() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in ["src", "cli/src"].into_iter().flat_map(sources::below) {
        seen += functions(&tokens(&code(&source.text))).len();
        wrong.extend(crowded_functions(&source));
    }
    assert!(seen > 500, "the test found only {seen} functions: it no longer reads the sources");
    assert!(wrong.is_empty(), "{} functions:\n{}", wrong.len(), wrong.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn counted(text: &str) -> Vec<usize> {
        functions(&tokens(&code(text))).iter().map(|function| function.parameters).collect()
    }

    #[test]
    fn a_long_line_is_found() {
        let text = format!("short\n{}\n{}\n", "é".repeat(100), "e".repeat(101));
        assert_eq!(long_lines(&source("a.rs", &text)), ["a.rs:3: 101 characters"]);
    }

    #[test]
    fn a_long_file_is_found() {
        let text = "line\n".repeat(501);
        let found = |path: &str| long_file(&source(path, &text));
        assert_eq!(found("src/a.rs").as_deref(), Some("src/a.rs: 501 lines"));
        assert_eq!(found("src/latest.rs").as_deref(), Some("src/latest.rs: 501 lines"));
        let free = ["tests/a.rs", "src/a/tests.rs", "src/a/tests/b.rs", "bindings/go/a_test.go"];
        assert!(free.iter().all(|path| found(path).is_none()));
        let text = "line\n".repeat(601);
        assert!(long_file(&source("tests/a.rs", &text)).is_some());
        assert!(long_file(&source(SINGLE_HEADER, &text)).is_none());
    }

    #[test]
    fn a_function_of_seven_parameters_is_found() {
        let found = |text: &str| crowded_functions(&source("a.rs", text));
        let seven = "\nextern \"C\" fn f(a: A, b: B, c: C, d: D, e: E, f: F, g: G) {}";
        assert_eq!(found(seven), ["a.rs:2: `f` has 7 parameters"]);
        let tuple = "fn f(&self, a: A, b: B, c: C, d: D, e: E, &(f, g): &(F, G)) {}";
        assert_eq!(found(tuple), ["a.rs:1: `f` has 7 parameters"]);
        let six = "fn f(&mut self, a: A, b: B, c: C, d: D, e: E, f: F,) {}";
        assert!(found(six).is_empty());
    }

    #[test]
    fn parameters_are_counted_however_they_are_written() {
        assert_eq!(counted("fn f() {} fn g(self) {} fn h(&'a mut self, a: A) {}"), [0, 0, 1]);
        assert_eq!(counted("fn f(self: Box<Self>, mut a: A, _: &'static str) -> (A, B);"), [2]);
        let generic = "fn f<'a, F: Fn(A, B) -> C, const N: usize>(a: Map<A, B>, b: [(A, B); N]) \
                       where F: X<Y, Z> {}";
        assert_eq!(counted(generic), [2]);
        assert_eq!(
            counted("fn f(a: impl Fn(A, B) -> X<C>, b: &mut dyn FnMut(A, B), c: fn(A, B))"),
            [3]
        );
        assert_eq!(counted("fn f(A { a, b: (c, d) }: A, [e, f]: [u8; 2], #[cfg(x)] g: G) {}"), [3]);
        assert_eq!(
            counted("fn f(a: &'a mut (A, (B, &(C, D)), ()), b: (A), c: Option<(A, B)>) {}"),
            [7]
        );
        assert_eq!(
            counted("fn f(a /* , b: B */: A, // c: C\n d: D, #[doc = \"fn g(e: E)\"] h: H)"),
            [3]
        );
        assert_eq!(
            counted("macro_rules! m { ($n:ident, $t:ty) => { fn $n(a: $t, $(b: $t),*) {} } }"),
            [2]
        );
        assert_eq!(
            counted("let a: fn(A, B) = |x, y| {}; extern \"C\" { fn f(a: *const (A, B), ...); }"),
            [3]
        );
    }
}
