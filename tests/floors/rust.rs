//! A reader of Rust's text, as far as the rules need one: code without comments, strings and tests,
//! and the code's tokens.

/// A word or a sign of the code, and the line it stands in, from 1. `::`, `->` and `=>` are one
/// sign, a lifetime is one word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl Token<'_> {
    pub(crate) fn is_name(&self) -> bool {
        self.text.starts_with(is_name_part) && !self.text.starts_with(|c: char| c.is_numeric())
    }

    pub(crate) fn is_lifetime(&self) -> bool {
        self.text.starts_with('\'')
    }
}

fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `text` with spaces in place of its comments, strings and characters. Lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_name = kept.ends_with(is_name_part);
        let blank = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !in_name => prefixed_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if blank == 0 {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            kept.extend(rest[..blank].chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = &rest[blank..];
        }
    }
    kept
}

/// Length of the block comment at the start of `text`. Comments nest.
fn block_comment(text: &str) -> usize {
    let mut open = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            open += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            open -= 1;
            at += 2;
            if open == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string at the start of `text`, from quote to quote.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `r".."`, `r#".."#`, `b".."`, `br".."`, `c".."` or `b'.'` at the start of `text`, or 0.
fn prefixed_string(text: &str) -> usize {
    let after = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - after.len();
    if prefix > 1 {
        return 0;
    }
    if let Some(raw) = after.strip_prefix('r') {
        let quoted = raw.trim_start_matches('#');
        if !quoted.starts_with('"') {
            return 0;
        }
        let hashes = &raw[..raw.len() - quoted.len()];
        let end = quoted[1..].find(&format!("\"{hashes}"));
        return end
            .map_or(text.len(), |end| text.len() - quoted.len() + 1 + end + 1 + hashes.len());
    }
    match after.chars().next() {
        Some('"') if prefix == 1 => 1 + string(after),
        Some('\'') if prefix == 1 => 1 + character(after),
        _ => 0,
    }
}

/// Length of the character at the start of `text`, from quote to quote, or 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text[1..].chars();
    match inside.next() {
        Some('\\') => text[3..].find('\'').map_or(0, |end| 3 + end + 1),
        Some(c) if inside.next() == Some('\'') => 2 + c.len_utf8(),
        _ => 0,
    }
}

/// The tokens of `code`, which `code()` made.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |text: &str| text.find(|c| !is_name_part(c)).unwrap_or(text.len());
            let length = match first {
                '\'' => 1 + word(&rest[1..]),
                _ if is_name_part(first) => word(rest),
                _ if ["::", "->", "=>"].iter().any(|sign| rest.starts_with(sign)) => 2,
                _ => first.len_utf8(),
            };
            found.push(Token { text: &rest[..length], line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// Where the bracket that `tokens[open]` opens is closed: the place of its counterpart.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// The tokens of `#[cfg(test)]` and of `#[cfg(all(test, ..))]` up to the end of the item below
/// them.
fn test_items(tokens: &[Token]) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for at in 0..tokens.len() {
        let is = |words: &[&str]| {
            tokens[at..].iter().map(|token| token.text).take(words.len()).eq(words.iter().copied())
        };
        let tested = is(&["#", "[", "cfg", "(", "test", ")"])
            || is(&["#", "[", "cfg", "(", "all", "(", "test", ","]);
        if !tested || found.last().is_some_and(|last| last.contains(&at)) {
            continue;
        }
        let mut end = closing(tokens, at + 1) + 1;
        while end < tokens.len() {
            match tokens[end].text {
                ";" => break,
                "{" => {
                    end = closing(tokens, end);
                    break;
                }
                "(" | "[" => end = closing(tokens, end) + 1,
                _ => end += 1,
            }
        }
        found.push(at..(end + 1).min(tokens.len()));
    }
    found
}

/// The tokens of a file that are not of its tests, and the files' modules that are: `tests` of
/// `#[cfg(test)] mod tests;`.
pub(crate) fn without_tests<'a>(tokens: &[Token<'a>]) -> (Vec<Token<'a>>, Vec<&'a str>) {
    let tests = test_items(tokens);
    let modules = tests
        .iter()
        .filter_map(|range| match &tokens[range.clone()] {
            [.., word, name, end] if word.text == "mod" && end.text == ";" => Some(name.text),
            _ => None,
        })
        .collect();
    let kept = (0..tokens.len())
        .filter(|at| !tests.iter().any(|range| range.contains(at)))
        .map(|at| tokens[at])
        .collect();
    (kept, modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokens(&code(text)).iter().map(|token| token.text.to_string()).collect()
    }

    #[test]
    fn comments_strings_and_characters_are_no_code() {
        let text = r####"
a // crate::one "
/* two /* three */ 'x' */ b "four \" crate::five" c
r#"six " seven"# d b"eight" e br"nine\" f '"' g '\'' h '\u{1F600}' i b'"' j
'outer: k<'a> c"ten" l r#type
"####;
        let expected = "a b c d e f g h i j 'outer : k < 'a > l r # type";
        assert_eq!(words(text).join(" "), expected);
        assert_eq!(code(text).lines().count(), text.lines().count());
    }

    #[test]
    fn signs_of_two_characters_are_one_token() {
        let signs = words("fn f<A: Fn(u8) -> crate::B>() { a => b >= c }");
        let expected = "fn f < A : Fn ( u8 ) -> crate :: B > ( ) { a => b > = c }";
        assert_eq!(signs.join(" "), expected);
    }

    #[test]
    fn items_of_tests_are_left_out() {
        let text = "
a
#[cfg(test)]
mod tests;
#[cfg(all(test, unix))]
#[allow(dead_code)]
mod more { fn f() { { } } }
#[cfg(test)]
fn g() -> [u8; 2] { body }
#[cfg(not(test))]
b";
        let code = code(text);
        let tokens = tokens(&code);
        let (kept, modules) = without_tests(&tokens);
        let kept: Vec<_> = kept.iter().map(|token| token.text).collect();
        assert_eq!(kept.join(" "), "a # [ cfg ( not ( test ) ) ] b");
        assert_eq!(modules, ["tests"]);
    }
}
