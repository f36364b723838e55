//! Foreign text made fit for people's eyes.
//!
//! File names, hints and the like are chosen by whoever made the model. Before one stands in a sentence, on a
//! terminal, in an Event or in a report it goes through here: nothing that moves a cursor, reverses the direction of
//! text or hides a character is left, and it is short.

use std::error::Error;

/// How much of a foreign name is shown, in characters, with what escaping adds counted in. Enough for any file name
/// that a training tool writes; short enough for several of them in one sentence.
pub const MAX_SHOWN_CHARS: usize = 80;

/// An error with what caused it: a client of HTTP says little by itself. Not escaped.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        // Some repeat what they pass on.
        if !text.ends_with(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    text
}

/// The text escaped, and cut at [`MAX_SHOWN_CHARS`].
pub fn shown(text: &str) -> String {
    shown_to(text, MAX_SHOWN_CHARS)
}

/// The text escaped, and cut at `limit` characters; what was cut ends with an ellipsis, which counts too.
pub fn shown_to(text: &str, limit: usize) -> String {
    // Almost every text is such a one: nothing in it is escaped, and nothing cut.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\';
    if text.len() <= limit && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let length = escaped(char).count();
        let room = limit.saturating_sub(used + usize::from(chars.peek().is_some()));
        if length > room {
            out.push('…');
            break;
        }
        out.extend(escaped(char));
        used += length;
    }
    out
}

/// Quotes stay as they are: they are printable, and JSON and shells have escapes of their own for them.
fn escaped(char: char) -> impl Iterator<Item = char> {
    let plain = matches!(char, '"' | '\'').then_some(char);
    let rest = plain.is_none().then(|| char.escape_debug());
    plain.into_iter().chain(rest.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        assert_eq!(shown("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
        assert_eq!(shown("line\nline"), "line\\nline");
        assert_eq!(shown("it's \"fine\" é 模型"), "it's \"fine\" é 模型");
    }

    #[test]
    fn long_names_are_cut() {
        let cut = shown(&"x".repeat(200));
        assert_eq!(cut.chars().count(), MAX_SHOWN_CHARS);
        assert!(cut.ends_with("x…"));
        assert_eq!(shown(&"x".repeat(MAX_SHOWN_CHARS)), "x".repeat(MAX_SHOWN_CHARS));
    }

    proptest! {
        #[test]
        fn nothing_unprintable_and_nothing_long_comes_out(text in any::<String>(), limit in 1usize..100) {
            let out = shown_to(&text, limit);
            prop_assert!(out.chars().count() <= limit);
            prop_assert!(out.chars().all(|c| !c.is_control()));
        }
    }
}
