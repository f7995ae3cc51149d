//! Makes strings from other processes and other kernels fit to print.

use std::borrow::Cow;

/// `bytes` as printable text, of which at most `limit` bytes are read; `…` marks a cut.
///
/// UTF-8 stays. A character that could move the cursor, end a line or change the reading order
/// becomes an escape (`\n`, `\u{1b}`, `\u{202e}`). So do a backslash, and each byte that is not
/// UTF-8 (`\xff`).
#[must_use]
pub fn printable(bytes: &[u8], limit: usize) -> String {
    let shown = bytes.get(..limit).unwrap_or(bytes);
    let mut text = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                text.push(character);
            } else {
                text.extend(character.escape_default());
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// `text`, cut to at most `limit` bytes. A cut text ends with `…`, even if the limit is shorter.
#[must_use]
pub fn shortened(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
    text
}

/// A text of this program, made fit for a terminal. The names in it may hold anything. Line breaks
/// and tabs stay; characters that could move the cursor or change the reading order become escapes.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// Like [`visible`], for a sentence: line breaks and tabs become escapes as well.
#[must_use]
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_fine = |character| character == '\\' || stays(character) || is_plain(character);
    if text.chars().all(is_fine) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_fine(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    Cow::Owned(shown)
}

/// Whether a character is printed as it is: it does not control the terminal, reorder the text or
/// begin an escape (`\`).
fn is_plain(character: char) -> bool {
    let reorders = matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    character != '\\' && !character.is_control() && !reorders
}

/// An error and all its causes, as one sentence.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |sentence, cause| format!("{sentence}: {cause}"))
}

/// Lower-case hexadecimal without separators.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The words, separated by commas; `none` if there are none.
pub(crate) fn list<T: ToString>(words: impl Iterator<Item = T>) -> String {
    let words: Vec<String> = words.map(|word| word.to_string()).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a hostile process name cannot forge a line, an escape sequence or reading order.
    #[test]
    fn hostile_names() {
        assert_eq!(printable(b"cat\nPRIORITY=7", 64), "cat\\nPRIORITY=7");
        assert_eq!(printable(b"\x1b[2J", 64), "\\u{1b}[2J");
        assert_eq!(printable("a\u{202e}b".as_bytes(), 64), "a\\u{202e}b");
        assert_eq!(printable(b"\xff\xfeok", 64), "\\xff\\xfeok");
        assert_eq!(printable("größe".as_bytes(), 64), "größe");
        assert_eq!(printable(&[b'a'; 9], 4), "aaaa…");
    }

    /// Check that a long text is cut between two characters, and that a short one stays as it is.
    #[test]
    fn short_enough() {
        assert_eq!(shortened("größe".to_owned(), 7), "größe");
        assert_eq!(shortened("größe".to_owned(), 6), "gr…");
        assert_eq!(shortened("größe".to_owned(), 5), "gr…");
        assert_eq!(shortened("ab".to_owned(), 0), "…");
    }

    /// Check that the lines of an error stay, that escapes are not escaped again, and that a
    /// sentence stays one line.
    #[test]
    fn lines_stay() {
        let error = "line 1\n  |\n1 | \ta\n  | ^ \\x1b";
        assert_eq!(visible(error), error);
        assert_eq!(visible("/a\x1b]0;x\x07"), "/a\\u{1b}]0;x\\u{7}");
        assert_eq!(visible_line("a\nb"), "a\\nb");
    }
}
