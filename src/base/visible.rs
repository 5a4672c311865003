#![forbid(unsafe_code)]
//! Text from files, made fit for a terminal.

use std::borrow::Cow;

/// `text` on one line that a terminal shows as it is: characters that steer a terminal or the order
/// of reading are written as in Rust's source, `\n` or `\u{1b}`.
///
/// These are the control characters, the ends of lines and paragraphs, the marks of direction, and
/// characters without a shape that can hide in a name. The messages of [`Error`](crate::Error) have
/// gone through it. A program that prints names of tensors or values of a configuration can use it.
///
/// ```
/// assert_eq!(vaekl::visible("conv_in\x1b[2J\n"), "conv_in\\u{1b}[2J\\n");
/// assert_eq!(vaekl::visible("schön 画像"), "schön 画像");
/// ```
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match steers(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal acts on `c`, or shows nothing for it. The two joiners, which words and
/// pictographs need, stay.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_and_mark_of_direction_is_escaped() {
        let controls = (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32);
        let marks = ['\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{200e}', '\u{61c}'];
        for c in controls.chain(marks).chain(['\u{2028}', '\u{2029}', '\u{e0041}']) {
            let shown = visible(&format!("a{c}b")).into_owned();
            assert!(shown.starts_with("a\\") && shown.ends_with('b'), "{c:?}: {shown}");
            assert!(shown.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{c:?}: {shown}");
        }
    }

    #[test]
    fn other_text_is_as_it_was() {
        for text in ["", "a b~", "ä", "日本", "نص", "👩\u{200d}🚀", "back\\slash"] {
            assert!(matches!(visible(text), Cow::Borrowed(shown) if shown == text), "{text}");
        }
    }
}
