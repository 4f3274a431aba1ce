//! Element definitions on the command line: `NAME: VALUE`, `NAME=VALUE`, or `NAME:` and
//! the value as the next argument, as Metro takes them.

use mstore_lang::Definition;

use super::Failure;

/// Reads the definitions. Names are checked by the language itself.
pub fn parse(words: &[String]) -> Result<Vec<Definition>, Failure> {
    let mut definitions = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (name, value) = match (word.find(':'), word.find('=')) {
            (Some(colon), equals) if equals.is_none_or(|e| colon < e) => {
                let (name, rest) = (&word[..colon], &word[colon + 1..]);
                match rest.strip_prefix(' ') {
                    Some(value) => (name, value),
                    None if rest.is_empty() => (name, words.next().map_or("", String::as_str)),
                    None => return Err(malformed(word)),
                }
            }
            (_, Some(equals)) => (&word[..equals], &word[equals + 1..]),
            (_, None) => return Err(malformed(word)),
        };
        definitions.push(Definition {
            name: name.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(definitions)
}

fn malformed(word: &str) -> Failure {
    Failure::usage(format!("'{word}' is not a definition"))
        .hint("write NAME=VALUE or 'NAME: VALUE', for example target/subarch=corei7")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Vec<(String, String)> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        parse(&words)
            .unwrap()
            .into_iter()
            .map(|d| (d.name, d.value))
            .collect()
    }

    #[test]
    fn every_spelling_is_read() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(read(&["a: b"]), [pair("a", "b")]);
        assert_eq!(
            read(&["a:", "b c", "d=e"]),
            [pair("a", "b c"), pair("d", "e")]
        );
        assert_eq!(read(&["a="]), [pair("a", "")]);
        assert_eq!(read(&["a:"]), [pair("a", "")]);
        assert_eq!(read(&["a:   x "]), [pair("a", "  x ")]);
        assert_eq!(read(&["a=b: c"]), [pair("a", "b: c")]);
        assert_eq!(read(&["a: b=c"]), [pair("a", "b=c")]);
    }

    #[test]
    fn other_words_are_refused() {
        assert!(parse(&["stage3".to_owned()]).is_err());
        assert!(parse(&["a:b".to_owned()]).is_err());
    }
}
