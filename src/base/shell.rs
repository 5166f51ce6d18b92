//! Words for `/bin/sh`.

/// Quotes one word so that any POSIX shell reads it back as it is.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Quotes bytes (a path that need not be UTF-8) in the same way.
pub fn quote_bytes(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len() + 2);
    out.push(b'\'');
    for &b in word {
        if b == b'\'' { out.extend_from_slice(br"'\''") } else { out.push(b) }
    }
    out.push(b'\'');
    out
}

/// Joins words into one command line.
pub fn join<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|w| quote(w.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_needs_it() {
        assert_eq!(join(["echo", "a b", "it's", "", "$HOME"]), r"echo 'a b' 'it'\''s' '' '$HOME'");
        assert_eq!(quote_bytes(b"a'\xff"), b"'a'\\''\xff'");
    }

    proptest::proptest! {
        #[test]
        fn a_shell_reads_it_back(word in "[^\\x00]{0,20}") {
            let out = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(&word))).output().unwrap();
            proptest::prop_assert_eq!(out.stdout, word.as_bytes());
        }
    }
}
