//! The interface of Rust, all that `src/lib.rs` gives, in `interface.txt`: a change shows it to its
//! reviewer. `VAEKL_BLESS=1 cargo test --test floors` rewrites it.
//!
//! An item stands there as the source has it, without comments and bodies: a type with its public
//! fields and what it derives, its functions, the traits of other crates that it implements.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::rust::{Token, closing, code, tokens, without_tests};
use super::sources;

/// Attributes that users notice. Texts in them are not compared.
const ATTRIBUTES: [&str; 6] =
    ["derive", "non_exhaustive", "must_use", "deprecated", "default", "cfg"];

/// Words that begin an item, and are before its name.
const KINDS: [&str; 7] = ["struct", "enum", "trait", "type", "fn", "const", "static"];

/// An item in the tokens of a file.
struct Item {
    /// What it is known as in the interface; of an implementation, its type.
    name: String,
    /// Above what belongs to a type, with `impl` before it.
    header: Option<String>,
    text: String,
}

/// One space between words, none where nobody writes one.
fn join(tokens: &[Token]) -> String {
    let mut text = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |at| tokens[at].text);
        let tight_after = ["(", "[", "<", "::", "&", "#", ".", "!", "'"].contains(&before);
        let tight = [")", "]", ">", "::", ",", ";", ":", ".", "?", "!"].contains(&token.text)
            || (["(", "<"].contains(&token.text) && !["->", "=", ":", ","].contains(&before))
            || (token.text == "[" && before == "#");
        if at > 0 && !tight && !tight_after {
            text.push(' ');
        }
        text.push_str(token.text);
    }
    text
}

/// The place after the attributes at `at`, and those that users notice.
fn attributes(tokens: &[Token], mut at: usize) -> (usize, String) {
    let mut kept = String::new();
    while tokens.get(at).is_some_and(|token| token.text == "#") {
        // `#![..]` is the file's.
        let open = if tokens[at + 1].text == "!" { at + 2 } else { at + 1 };
        let end = closing(tokens, open) + 1;
        if ATTRIBUTES.contains(&tokens[at + 2].text) {
            kept += &format!("{} ", join(&tokens[at..end]));
        }
        at = end;
    }
    (at, kept)
}

/// The place after the item at `at`: its `;`, or its body.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at].text {
            ";" => return at + 1,
            "{" => return closing(tokens, at) + 1,
            "(" | "[" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
    at
}

/// `pub struct A { pub b: B, c: C }` as users see it: the fields that are public, and whether there
/// are others.
fn visible_fields(tokens: &[Token], body: Range<usize>) -> String {
    let (mut text, mut hidden, mut at) = (String::new(), false, body.start);
    while at < body.end {
        let (start, kept) = attributes(tokens, at);
        let mut end = start;
        let mut generics = 0;
        while end < body.end && (tokens[end].text != "," || generics > 0) {
            generics += i32::from(tokens[end].text == "<") - i32::from(tokens[end].text == ">");
            end = match tokens[end].text {
                "(" | "[" | "{" => closing(tokens, end) + 1,
                _ => end + 1,
            };
        }
        if tokens[start].text == "pub" && tokens[start + 1].text != "(" {
            text += &format!("    {kept}{},\n", join(&tokens[start..end]));
        } else {
            hidden = true;
        }
        at = end + 1;
    }
    if hidden {
        text += "    ..\n";
    }
    text
}

/// The fields of an enumeration's body: all are public.
fn variants(tokens: &[Token], body: Range<usize>) -> String {
    let (mut text, mut at) = (String::new(), body.start);
    while at < body.end {
        let (start, kept) = attributes(tokens, at);
        let mut end = start;
        while end < body.end && tokens[end].text != "," {
            end = match tokens[end].text {
                "(" | "[" | "{" => closing(tokens, end) + 1,
                _ => end + 1,
            };
        }
        text += &format!("    {kept}{},\n", join(&tokens[start..end]));
        at = end + 1;
    }
    text
}

/// The public item whose `pub` is at `at`, after `kept` attributes: its name and its text.
fn public_item(tokens: &[Token], at: usize, kept: &str) -> Option<(String, String)> {
    let words = || tokens[at + 1..].iter().take(6);
    let kind = at + 1 + words().position(|token| KINDS.contains(&token.text))?;
    // `const fn`: the name is after the second.
    let kind = if tokens[kind + 1].text == "fn" { kind + 1 } else { kind };
    let name = tokens[kind + 1].text.to_owned();
    let mut open = kind;
    // Where what users see ends: the body, or the value of a constant.
    let ends = |text: &str| match tokens[kind].text {
        "const" | "static" => ["=", ";"].contains(&text),
        _ => ["{", ";"].contains(&text),
    };
    while !ends(tokens.get(open)?.text) {
        open = match tokens[open].text {
            "(" | "[" => closing(tokens, open) + 1,
            _ => open + 1,
        };
    }
    let fields = (kind + 2..open).find(|&at| tokens[at].text == "(");
    let mut text = match fields {
        // Fields without names: those that are not public have no type here either.
        Some(fields) if tokens[kind].text == "struct" && tokens[fields + 1].text != "pub" => {
            format!("{kept}{}(..)", join(&tokens[at..fields]))
        }
        _ => format!("{kept}{}", join(&tokens[at..open])),
    };
    if tokens[open].text == "{" && ["struct", "enum", "trait"].contains(&tokens[kind].text) {
        let body = open + 1..closing(tokens, open);
        let inside = match tokens[kind].text {
            "struct" => visible_fields(tokens, body),
            "enum" => variants(tokens, body),
            _ => format!("    {}\n", join(&tokens[body])),
        };
        text += &format!(" {{\n{inside}}}");
    }
    Some((name, text))
}

/// What stands between `impl` and its body: the trait, if it is one, and the type.
fn implemented<'a>(header: &[Token<'a>]) -> (Option<&'a str>, Option<&'a str>) {
    let mut at = 1;
    if header.get(1).is_some_and(|token| token.text == "<") {
        at = past_generics(header, 1);
    }
    let (mut path, mut of_trait) = (None, None);
    while at < header.len() && header[at].text != "where" {
        match header[at].text {
            "for" => of_trait = path.take(),
            "<" => {
                at = past_generics(header, at);
                continue;
            }
            _ if header[at].is_name() => path = Some(header[at].text),
            _ => {}
        }
        at += 1;
    }
    (of_trait, path)
}

fn past_generics(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth += i32::from(token.text == "<") - i32::from(token.text == ">");
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The public items of a file, and what it implements.
fn items(tokens: &[Token]) -> Vec<Item> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let (start, kept) = attributes(tokens, at);
        let Some(first) = tokens.get(start) else { break };
        let end = end_of_item(tokens, start);
        if first.text == "pub" && tokens[start + 1].text != "(" && tokens[start + 1].text != "use" {
            if let Some((name, text)) = public_item(tokens, start, &kept) {
                found.push(Item { name, header: None, text });
            }
        } else if first.text == "impl"
            || (first.text == "unsafe" && tokens[start + 1].text == "impl")
        {
            found.extend(implementation(&tokens[start..end], &kept));
        }
        at = end;
    }
    found
}

/// What `impl .. { .. }` gives: each public function of a type, or the trait it implements.
fn implementation(tokens: &[Token], kept: &str) -> Vec<Item> {
    let open = tokens.iter().position(|token| token.text == "{").unwrap();
    let header = join(&tokens[..open]);
    let (of_trait, of_type) = implemented(&tokens[..open]);
    let name = of_type.unwrap_or("").to_owned();
    let body = &tokens[open + 1..tokens.len() - 1];
    if let Some(of_trait) = of_trait {
        let header = format!("trait {of_trait}");
        let mut text = format!("{kept}{}", join(&tokens[..open]));
        // `type Item = ..` of an iterator is part of it.
        for at in (0..body.len()).filter(|&at| body[at].text == "type") {
            text += &format!(" {{ {} }}", join(&body[at..end_of_item(body, at)]));
        }
        return vec![Item { name, header: Some(header), text }];
    }
    let inside = items(body).into_iter();
    inside
        .map(|item| Item {
            name: name.clone(),
            header: Some(format!("{kept}{header}")),
            text: item.text,
        })
        .collect()
}

/// The names that `pub use` of `src/lib.rs` gives, with the attributes above.
fn exported(lib: &[Token]) -> BTreeSet<String> {
    let (mut names, mut at) = (BTreeSet::new(), 0);
    while at < lib.len() {
        let (start, _) = attributes(lib, at);
        let end = end_of_item(lib, start).max(start + 1);
        let is_use = lib.get(start + 1).is_some_and(|token| token.text == "use");
        if is_use && lib[start].text == "pub" {
            let end = lib[start..].iter().position(|token| token.text == ";").unwrap() + start;
            let last = |at: &usize| [",", "}", ";"].contains(&lib[at + 1].text);
            let given = (start..end).filter(last).filter(|&at| lib[at].is_name());
            names.extend(given.map(|at| lib[at].text.to_owned()));
            at = end + 1;
        } else {
            at = end;
        }
    }
    names
}

fn interface() -> String {
    let sources = sources::below("src");
    let codes: Vec<_> = sources.iter().map(|file| (&file.path, code(&file.text))).collect();
    let all: Vec<_> = codes.iter().map(|(path, code)| (path, tokens(code))).collect();
    let lib = all.iter().find(|(path, _)| path.as_str() == "src/lib.rs").unwrap();
    let names = exported(&lib.1);
    let own_traits: BTreeSet<&str> = all
        .iter()
        .flat_map(|(_, tokens)| tokens.windows(2).filter(|pair| pair[0].text == "trait"))
        .map(|pair| pair[1].text)
        .collect();

    let mut definitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut parts: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for (path, tokens) in &all {
        if path.starts_with("src/ffi/") || path.starts_with("src/bench/") {
            continue;
        }
        for item in items(&without_tests(tokens).0) {
            let Item { name, header, text } = item;
            let Some(header) = header else {
                definitions.entry(name).or_default().push(text);
                continue;
            };
            let of_trait = header.strip_prefix("trait ");
            if of_trait.is_some_and(|name| own_traits.contains(name) && !names.contains(name)) {
                continue;
            }
            let header = if of_trait.is_some() { String::new() } else { header };
            parts.entry(name).or_default().entry(header).or_default().push(text);
        }
    }

    let mut text = String::new();
    for name in names {
        let found = definitions.get(&name).map_or(&[][..], |found| &found[..]);
        assert_eq!(found.len(), 1, "`{name}` of src/lib.rs is defined in {found:?}");
        text += &format!("{}\n", found[0]);
        for (header, mut items) in parts.remove(&name).unwrap_or_default() {
            items.sort();
            let (before, indent) = if header.is_empty() {
                (String::new(), "")
            } else {
                (format!("{header}:\n"), "    ")
            };
            text += &before;
            items.iter().for_each(|item| text += &format!("{indent}{item}\n"));
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_interface_of_rust_is_the_one_that_is_written_down() {
    sources::compare("tests/floors/interface.txt", &interface());
}

/// What a user may send to another thread or share; the compiler says so.
#[test]
fn types_are_as_free_to_move_as_promised() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<vaekl::Model>();
    shared::<vaekl::CancelToken>();
    shared::<vaekl::Error>();
    shared::<vaekl::Plan>();
    shared::<vaekl::SessionOptions>();
    shared::<vaekl::ModelOptions>();
    shared::<vaekl::TensorFile>();
    shared::<vaekl::Encoded>();
    sent::<vaekl::Session>();
    sent::<vaekl::Generator>();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_see_signatures_and_public_fields() {
        let text = r#"
            #![forbid(unsafe_code)]
            /// Comment.
            #[derive(Clone, Debug)]
            #[allow(dead_code)]
            pub struct A<T: Copy> { pub b: Map<B, C>, c: u8, pub(crate) d: u8 }
            impl<T: Copy> A<T> {
                /// Comment.
                #[must_use]
                pub const fn f(&self, x: &'static [T; 2]) -> Result<(), B> where T: D { body(); }
                pub const E: usize = 3;
                fn hidden() {}
                pub(crate) fn g() {}
            }
            impl<'a, T: Copy> Iterator for A<T> { type Item = T; fn next(&mut self) {} }
            pub enum B { One, Two { x: u8 }, #[default] Three(u8, u8) }
        "#;
        let code = code(text);
        let items = items(&tokens(&code));
        let shown: Vec<_> = items.iter().map(|item| item.text.as_str()).collect();
        let expected = [
            "#[derive(Clone, Debug)] pub struct A<T: Copy> {\n    pub b: Map<B, C>,\n    ..\n}",
            "#[must_use] pub const fn f(&self, x: &'static [T; 2]) -> Result<(), B> where T: D",
            "pub const E: usize",
            "impl<'a, T: Copy> Iterator for A<T> { type Item = T; }",
            "pub enum B {\n    One,\n    Two { x: u8 },\n    #[default] Three(u8, u8),\n}",
        ];
        assert_eq!(shown, expected);
        assert_eq!(items[1].header.as_deref(), Some("impl<T: Copy> A<T>"));
        assert!(items[..4].iter().all(|item| item.name == "A"));
    }

    #[test]
    fn names_are_those_of_pub_use() {
        let code = code("mod a; pub use a::b::C; use a::X; pub use d::{E, f, g::{H, I}};");
        let names: Vec<_> = exported(&tokens(&code)).into_iter().collect();
        assert_eq!(names, ["C", "E", "H", "I", "f"]);
    }
}
