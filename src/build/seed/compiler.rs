//! The answers of gcc about itself: its parts, start files, libraries and header directories.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::collect::Collector;
use super::tools::compiler_packages;
use super::{MissingTool, SeedError, SeedEvent};

/// A compiler that was asked.
#[derive(Debug)]
pub struct Compiler {
    path: PathBuf,
    programs: Vec<PathBuf>,
    /// Its version.
    pub version: String,
    /// The machine it compiles for.
    pub target: String,
    /// Where its own libraries are.
    own_dir: PathBuf,
    /// Where it looks for headers, in order.
    pub include_dirs: Vec<PathBuf>,
}

/// What else is known once its parts are found.
#[derive(Debug)]
pub struct Parts {
    /// Directories of the C library.
    pub library_dirs: Vec<PathBuf>,
}

/// Programs of gcc that it cannot do without.
const PROGRAMS: &[&str] = &["cc1", "collect2"];

/// Programs of gcc that come along where they are.
const MORE_PROGRAMS: &[&str] = &["as", "ld", "lto-wrapper", "liblto_plugin.so"];

/// Files to link with that nothing can be linked without.
const FILES: &[&str] = &[
    "crt1.o",
    "crti.o",
    "crtn.o",
    "crtbegin.o",
    "crtend.o",
    "libgcc.a",
    "libc.so",
];

/// Files to link with that come along where they are.
const MORE_FILES: &[&str] = &[
    "Scrt1.o",
    "Mcrt1.o",
    "gcrt1.o",
    "grcrt1.o",
    "rcrt1.o",
    "libanl.a",
    "libanl.so",
    "libatomic.a",
    "libatomic.so",
    "libatomic_asneeded.a",
    "libatomic_asneeded.so",
    "libc.a",
    "libc.so.6",
    "libc_nonshared.a",
    "libcrypt.a",
    "libcrypt.so",
    "libdl.a",
    "libdl.so",
    "libg.a",
    "libgcc_eh.a",
    "libgcc_s.so",
    "libgcc_s.so.1",
    "liblto_plugin.so",
    "libm.a",
    "libm.so",
    "libmcheck.a",
    "libmvec.a",
    "libmvec.so",
    "libnss_files.so.2",
    "libpthread.a",
    "libpthread.so",
    "libpthread_nonshared.a",
    "libresolv.a",
    "libresolv.so",
    "librt.a",
    "librt.so",
    "libssp_nonshared.a",
    "libutil.a",
    "libutil.so",
    "specs",
];

/// A linker script is shorter than this; what is longer is a library.
const MAX_SCRIPT: u64 = 16 * 1024;

impl Compiler {
    /// Asks the compiler at `path`; `programs` is where it finds others.
    pub fn ask(path: &Path, programs: &[PathBuf]) -> Result<Self, SeedError> {
        let mut gcc = Compiler {
            path: path.to_path_buf(),
            programs: programs.to_vec(),
            version: String::new(),
            target: String::new(),
            own_dir: PathBuf::new(),
            include_dirs: Vec::new(),
        };
        gcc.target = gcc.answer(&["-dumpmachine"])?.0.trim().to_owned();
        gcc.version = gcc
            .answer(&["-dumpfullversion", "-dumpversion"])?
            .0
            .trim()
            .to_owned();
        let libgcc = gcc.answer(&["-print-libgcc-file-name"])?.0;
        gcc.own_dir = Path::new(libgcc.trim())
            .parent()
            .and_then(|dir| fs::canonicalize(dir).ok())
            .unwrap_or_default();
        let (_, told) = gcc.answer(&["-E", "-v", "-x", "c", "/dev/null"])?;
        gcc.include_dirs = told
            .lines()
            .skip_while(|l| !l.starts_with("#include <"))
            .skip(1)
            .take_while(|l| l.starts_with(' '))
            .map(|l| PathBuf::from(l.trim()))
            .collect();
        Ok(gcc)
    }

    /// Whether a directory belongs to the compiler alone.
    pub fn owns(&self, dir: &Path) -> bool {
        !self.own_dir.as_os_str().is_empty()
            && fs::canonicalize(dir).is_ok_and(|dir| dir.starts_with(&self.own_dir))
    }

    /// Calls the compiler; gives what it wrote to both outputs.
    fn answer(&self, arguments: &[&str]) -> Result<(String, String), SeedError> {
        let error = |reason: String| SeedError::Compiler {
            path: self.path.clone(),
            question: arguments.join(" "),
            reason,
        };
        let path = env::join_paths(&self.programs).map_err(|e| error(e.to_string()))?;
        let output = Command::new(&self.path)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| error(e.to_string()))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let line = told.lines().next().unwrap_or("no reason given");
            return Err(error(format!("{}: {line}", output.status)));
        }
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), told))
    }

    /// Where the compiler finds one of its programs.
    fn program(&self, name: &str) -> Result<Option<PathBuf>, SeedError> {
        self.whole_path(&format!("-print-prog-name={name}"), name)
    }

    /// Where the compiler finds a file to link with.
    fn file(&self, name: &str) -> Result<Option<PathBuf>, SeedError> {
        self.whole_path(&format!("-print-file-name={name}"), name)
    }

    /// gcc prints the bare name back when it knows no file of that name.
    fn whole_path(&self, question: &str, name: &str) -> Result<Option<PathBuf>, SeedError> {
        let answer = self.answer(&[question])?.0;
        let answer = Path::new(answer.trim());
        Ok(
            (answer != Path::new(name) && answer.is_absolute() && answer.is_file())
                .then(|| answer.to_path_buf()),
        )
    }

    /// Takes everything that compiling and linking need but headers.
    pub fn parts(
        &self,
        collector: &mut Collector,
        events: &mut dyn FnMut(SeedEvent),
    ) -> Result<Parts, SeedError> {
        let mut missing = Vec::new();
        let mut lacks = |name: &str| {
            missing.push(MissingTool {
                name: name.to_owned(),
                packages: compiler_packages(),
            });
        };
        for name in PROGRAMS {
            match self.program(name)? {
                Some(path) => drop(collector.add(&path)?),
                None => lacks(name),
            }
        }
        for name in MORE_PROGRAMS {
            if let Some(path) = self.program(name)? {
                collector.add(&path)?;
            }
        }
        let mut linked = BTreeSet::new();
        let mut library_dirs = Vec::new();
        for name in FILES {
            match self.file(name)? {
                Some(path) => self.add_linked(collector, &path, &mut linked)?,
                None => lacks(name),
            }
        }
        for name in MORE_FILES {
            match self.file(name)? {
                Some(path) => self.add_linked(collector, &path, &mut linked)?,
                None if *name == "libc.a" => events(SeedEvent::Without {
                    what: "libc.a".to_owned(),
                    why: "programs are linked dynamically".to_owned(),
                }),
                None => {}
            }
        }
        for name in ["libc.so.6", "libc.so"] {
            let Some(path) = self.file(name)? else {
                continue;
            };
            // The C library's directory is one that its dynamic linker always looks into.
            let real = collector.add(&path)?;
            let Some(dir) = real.parent() else { continue };
            let in_usr = Path::new("/usr").join(dir.strip_prefix("/").unwrap_or(dir));
            for dir in [dir.to_path_buf(), in_usr] {
                if !library_dirs.contains(&dir) && dir.is_dir() {
                    library_dirs.push(dir);
                }
            }
        }
        // Start files for every way of linking lie together with libgcc.
        for entry in fs::read_dir(&self.own_dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "o") {
                collector.add(&path)?;
            }
        }
        if !missing.is_empty() {
            return Err(SeedError::MissingTools { tools: missing });
        }
        Ok(Parts { library_dirs })
    }

    /// Takes a library and, when it is a script for the linker, the libraries that it names.
    fn add_linked(
        &self,
        collector: &mut Collector,
        path: &Path,
        seen: &mut BTreeSet<PathBuf>,
    ) -> Result<(), SeedError> {
        let real = collector.add(path)?;
        if !seen.insert(real.clone()) {
            return Ok(());
        }
        for word in script_words(&real) {
            let found = if word.starts_with('/') {
                Some(PathBuf::from(&word)).filter(|p| p.is_file())
            } else if let Some(name) = word.strip_prefix("-l") {
                match self.file(&format!("lib{name}.so"))? {
                    Some(path) => Some(path),
                    None => self.file(&format!("lib{name}.a"))?,
                }
            } else {
                self.file(&word)?
            };
            if let Some(found) = found {
                self.add_linked(collector, &found, seen)?;
            }
        }
        Ok(())
    }
}

/// The files that a linker script names; nothing for a library.
fn script_words(path: &Path) -> Vec<String> {
    let mut bytes = Vec::new();
    let Ok(file) = fs::File::open(path) else {
        return Vec::new();
    };
    if file.metadata().map_or(true, |m| m.len() > MAX_SCRIPT)
        || file.take(MAX_SCRIPT).read_to_end(&mut bytes).is_err()
    {
        return Vec::new();
    }
    match String::from_utf8(bytes) {
        Ok(text) => words_of_script(&text),
        Err(_) => Vec::new(),
    }
}

/// The names within `GROUP ( ... )` and `INPUT ( ... )`, those of `AS_NEEDED ( ... )` among them.
fn words_of_script(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        plain.push_str(before);
        plain.push(' ');
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    let spaced = plain
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace(',', " ");
    let mut words = Vec::new();
    let mut depth = 0_u32;
    let mut last = "";
    let mut wanted_from = None;
    for word in spaced.split_whitespace() {
        match word {
            "(" => {
                depth += 1;
                if wanted_from.is_none() && (last == "GROUP" || last == "INPUT") {
                    wanted_from = Some(depth);
                }
            }
            ")" => {
                if wanted_from == Some(depth) {
                    wanted_from = None;
                }
                depth = depth.saturating_sub(1);
            }
            "AS_NEEDED" => {}
            _ if wanted_from.is_some() => words.push(word.to_owned()),
            _ => {}
        }
        last = word;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words_of_script;

    #[test]
    fn a_linker_script_names_its_libraries() {
        let text = "/* GNU ld script */\nOUTPUT_FORMAT(elf64-x86-64)\nGROUP ( /lib/libc.so.6 \
                    /usr/lib/libc_nonshared.a  AS_NEEDED ( /lib64/ld-linux-x86-64.so.2 ) )";
        assert_eq!(
            words_of_script(text),
            [
                "/lib/libc.so.6",
                "/usr/lib/libc_nonshared.a",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(
            words_of_script("GROUP ( libgcc_s.so.1 -lgcc )"),
            ["libgcc_s.so.1", "-lgcc"]
        );
        assert_eq!(words_of_script("INPUT(-lfoo, -lbar)"), ["-lfoo", "-lbar"]);
        assert!(words_of_script("!<arch>\n/ 0 ( x )").is_empty());
    }
}
