//! Sessions in pages: commands with what they print, carried out and compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command of a page, and the lines that it prints there.
#[derive(Debug)]
pub struct Entry {
    /// The line of the page that it begins on, from 1.
    pub line: usize,
    /// The command, with the lines of its here-documents.
    pub command: String,
    /// What it prints; a line `...` stands for any lines.
    pub printed: Vec<String>,
}

/// The blocks of a page that are fenced as `kind`, each with the line that it begins on.
pub fn blocks(page: &str, kind: &str) -> Vec<(usize, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line != format!("```{kind}") {
            continue;
        }
        let inside = lines.by_ref().map(|(_, line)| line);
        let block = inside.take_while(|line| *line != "```").map(str::to_owned);
        blocks.push((at + 2, block.collect()));
    }
    blocks
}

/// The commands of a page's `console` blocks, in order.
pub fn entries(page: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (first, block) in blocks(page, "console") {
        let mut lines = block.into_iter().zip(first..);
        while let Some((text, line)) = lines.next() {
            let Some(command) = text.strip_prefix("$ ") else {
                let last = entries.last_mut().expect("a block begins with a command");
                // An empty line sets commands apart.
                if !text.is_empty() {
                    last.printed.push(text);
                }
                continue;
            };
            let mut command = command.to_owned();
            let end = command.split_once("<<'").and_then(|(_, rest)| {
                let (word, _) = rest.split_once('\'')?;
                Some(word.to_owned())
            });
            if let Some(end) = end {
                for (text, _) in lines.by_ref() {
                    command = format!("{command}\n{text}");
                    if text == end {
                        break;
                    }
                }
            }
            let printed = Vec::new();
            entries.push(Entry {
                line,
                command,
                printed,
            });
        }
    }
    entries
}

/// A machine of a reader: a home, a store, and the program in the path.
pub struct Reader {
    dir: tempfile::TempDir,
    cwd: PathBuf,
}

impl Reader {
    /// Somebody who has nothing yet.
    pub fn new() -> Reader {
        let dir = tempfile::Builder::new()
            .prefix("mstore-page.")
            .tempdir_in("/var/tmp")
            .unwrap();
        for folder in ["home", "bin"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let program = env!("CARGO_BIN_EXE_mstore");
        std::os::unix::fs::symlink(program, dir.path().join("bin/mstore")).unwrap();
        let cwd = dir.path().join("home");
        Reader { dir, cwd }
    }

    /// The folder that the reader is in.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// Carries out what a page says. A command fails exactly where the page shows an error.
    pub fn follow(&mut self, name: &str, page: &str) {
        for entry in entries(page) {
            let (text, success) = self.run(&entry.command);
            let at = format!(
                "{name}:{}: {}\n--- printed\n{text}---",
                entry.line, entry.command
            );
            let error = entry.printed.iter().any(|line| line.contains("error: "));
            // As diff(1) does, it ends with 1 when there is a difference.
            let differs = entry.command.starts_with("mstore diff ");
            assert_eq!(success, !error && !differs, "{at}");
            let found: Vec<String> = text.lines().filter(|l| !l.is_empty()).map(plain).collect();
            let wanted: Vec<String> = entry.printed.iter().map(|line| plain(line)).collect();
            assert!(
                matches(&wanted, &found),
                "{at}\n{}\n--- is not\n{}",
                found.join("\n"),
                wanted.join("\n")
            );
        }
    }

    /// What a command prints, and whether it succeeded.
    pub fn run(&mut self, command: &str) -> (String, bool) {
        let (home, after) = (self.dir.path().join("home"), self.dir.path().join("cwd"));
        let path = std::env::var("PATH").unwrap_or_default();
        let script = format!("{command}\nstatus=$?\npwd > \"$AFTER\"\nexit $status");
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{script}")])
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .env_clear()
            .env(
                "PATH",
                format!("{}:{path}", self.dir.path().join("bin").display()),
            )
            .env("HOME", &home)
            .env("MSTORE_STORE", home.join("store"))
            .env("AFTER", &after)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([
                ("GIT_AUTHOR_NAME", "reader"),
                ("GIT_AUTHOR_EMAIL", "reader@localhost"),
            ])
            .envs([
                ("GIT_COMMITTER_NAME", "reader"),
                ("GIT_COMMITTER_EMAIL", "reader@localhost"),
            ])
            .output()
            .unwrap();
        if let Ok(cwd) = fs::read_to_string(&after) {
            self.cwd = PathBuf::from(cwd.trim_end());
        }
        let text = String::from_utf8(output.stdout).unwrap();
        (
            text.replace(&format!("{}/", self.dir.path().display()), "/"),
            output.status.success(),
        )
    }
}

/// A line without what differs from machine to machine and from day to day: hashes, times, sizes, numbers.
fn plain(line: &str) -> String {
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> String {
    let is_base32 = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
    let bare = word
        .trim_end_matches([',', ';', ':', ')'])
        .trim_start_matches('(');
    let digits = bare.chars().filter(char::is_ascii_digit).count();
    let number = digits > 0 && bare.chars().all(|c| c.is_ascii_digit() || ".-".contains(c));
    let stands_for = match bare {
        _ if number => "N",
        "B" | "kB" | "MB" | "GB" | "ms" | "s" | "min" => "UNIT",
        _ if (12..=52).contains(&bare.len())
            && bare.len() % 40 == 12
            && bare.chars().all(is_base32) =>
        {
            "HASH"
        }
        _ => return word.to_owned(),
    };
    word.replacen(bare, stands_for, 1)
}

/// Whether lines are as wanted; `...` stands for any lines.
fn matches(wanted: &[String], found: &[String]) -> bool {
    match wanted.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=found.len()).any(|skip| matches(rest, &found[skip..]))
        }
        Some((first, rest)) => match found.split_first() {
            Some((line, others)) => first == line && matches(rest, others),
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_but_for_what_differs() {
        let lines = |text: &str| text.lines().map(plain).collect::<Vec<_>>();
        let hash = "w6rn4d3xyznkclh4cvwxgx3bcfrz5jxs4hkcpohhrf57a7d4vuwa";
        assert_eq!(plain(&format!("stage3 {hash}")), "stage3 HASH");
        assert_eq!(plain("25 built in 15.2 s"), plain("3 built in 120 ms"));
        assert_ne!(
            plain("built stage3-corei7:run"),
            plain("built stage3-corei8:run")
        );
        assert!(matches(&lines("a\n...\nc"), &lines("a\nb\nb\nc")));
        assert!(matches(&lines("a\n...\nc"), &lines("a\nc")));
        assert!(!matches(&lines("a\n...\nc"), &lines("a\nb")));
        assert!(!matches(&lines("a"), &lines("a\nb")));
    }

    #[test]
    fn commands_of_pages_are_found_with_what_they_print() {
        let page = "x\n```console\n$ cat > f <<'END'\na\n$ b\nEND\n\n$ cat f\na\n...\n```\n```sh\n$ no\n```\n";
        let found = entries(page);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].printed.len()), (3, 0));
        assert_eq!(found[0].command, "cat > f <<'END'\na\n$ b\nEND");
        assert_eq!(found[1].printed, ["a", "..."]);
    }
}
