//! Packing lists: which installed files belong to which subpackage.

/// Most lines of a list.
const MOST_LINES: usize = 100_000;
/// Longest line, in bytes.
const MOST_BYTES: usize = 4096;
/// Patterns of paths, relative to the root that a subpackage is installed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plist(Vec<String>);

impl Plist {
    /// Reads lines: a path or pattern each, absolute or below `prefix`. Blank ones and those that begin with `#` say
    /// nothing.
    pub fn read(lines: &[String], prefix: &str) -> Result<Plist, String> {
        let mut patterns = Vec::new();
        for line in lines {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if patterns.len() == MOST_LINES {
                return Err(format!("there are more than {MOST_LINES} lines"));
            }
            patterns.push(pattern(line, prefix)?);
        }
        Ok(Plist(patterns))
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.0
    }
}

/// Checks one line, which a shell is to expand: nothing but paths and patterns may come of it.
fn pattern(line: &str, prefix: &str) -> Result<String, String> {
    let shown: String = line.chars().take(100).collect();
    if line.len() > MOST_BYTES {
        return Err(format!("a line is longer than {MOST_BYTES} bytes: {shown}"));
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._+-/@%,=:~*?[]!^".contains(&b);
    if !line.bytes().all(fine) {
        return Err(format!(
            "`{shown}` has something else than letters, digits, * ? [ ] and . _ + - / @ % , = : ~ in it"
        ));
    }
    let whole = match line.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None => format!("{}/{line}", prefix.trim_start_matches('/')),
    };
    let whole = whole.trim_end_matches('/');
    for name in whole.split('/') {
        if name.is_empty() || name == "." || name == ".." {
            return Err(format!("`{shown}` has an empty name, . or .. in it"));
        }
    }
    if whole.starts_with('-') || whole.starts_with('~') {
        return Err(format!("`{shown}` begins with - or ~"));
    }
    Ok(whole.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Vec<String>, String> {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        Plist::read(&lines, "/usr/local").map(|plist| plist.0)
    }

    #[test]
    fn paths_are_absolute_or_below_the_prefix() {
        let found = read(&[
            "",
            "# a comment",
            "  bin/gzip ",
            "share/doc/*/",
            "/etc/gzip.conf",
        ])
        .unwrap();
        assert_eq!(
            found,
            [
                "usr/local/bin/gzip",
                "usr/local/share/doc/*",
                "etc/gzip.conf"
            ]
        );
    }

    #[test]
    fn nothing_leads_out_of_the_root_or_runs() {
        for line in [
            "..",
            "../x",
            "/..",
            "a/../../b",
            "a//b",
            "/",
            ".",
            "$(id)",
            "`id`",
            "a b",
            "a;b",
            "$HOME/x",
            "a|b",
            "~root/x ",
            "/~root/x",
            "/-rf",
            "{a,b}",
            "a\\b",
            "a\"b",
            "a'b",
            "a&",
            "a>b",
            "(a)",
        ] {
            assert!(read(&[line]).is_err() || line == "~root/x ", "{line}");
        }
        assert_eq!(read(&["~root/x"]).unwrap(), ["usr/local/~root/x"]);
    }
}
