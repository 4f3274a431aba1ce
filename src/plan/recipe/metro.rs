//! What a target of a repository of Metro is, where the elements that mstore reads say nothing.
//!
//! | mstore reads | of Metro's |
//! | --- | --- |
//! | `target/platform` | `target/arch_desc`, `portage/CHOST` |
//! | `source/seed` | a source of another subarch, one of `source/seed.spec`, the stage1 of `strategy/seed`, or what it makes itself |
//! | `snapshot`, `snapshot/path` | the name of the build, and `snapshot/source/type` |
//! | `steps/chroot` | the order in which Metro runs its scripts, after a step that makes what `steps/unpack` leaves |
//! | `target/class` | what `target/name` is like |

use super::{Reader, Reads, Start, StepRecipe, TEST_STEP};
use crate::drv::derivation::Impure;
use crate::plan::error::PlanError;
use crate::plan::metro::Repository;
use crate::plan::name::TargetId;

/// The steps that Metro runs inside, in its order.
pub(super) const STEPS: [&str; 5] = ["prerun", "run", "postrun", "clean", "postclean"];
/// The step that makes in the root what `steps/unpack` of Metro leaves there besides source and snapshot.
const UNPACK: &str = "unpack";
/// The test of a target that is a folder of the root that it is built in: it is written for that root, where alone
/// the interpreter is.
const TESTING: &str = "testing";
/// What cleans the root.
const CLEANING: [&str; 2] = ["clean", "postclean"];

/// The files that collect a seed, in every distribution of a repository.
const SEED_FILE: &str = "source/seed.spec";

impl Reader<'_> {
    /// The repository, if it is one of Metro.
    pub(super) fn metro(&self) -> Option<&Repository> {
        self.elements.metro()
    }

    /// Refuses what Metro makes without a root: snapshots, and images on other machines.
    pub(super) fn check_metro_class(&self) -> Result<(), PlanError> {
        let class = self.text("target/class")?.unwrap_or_default();
        match class.as_str() {
            "stage" | "chroot" => Ok(()),
            "snapshot" => Err(PlanError::Imported {
                target: Box::new(self.id.clone()),
                name: self.metro_snapshot()?,
            }),
            "" => Err(PlanError::Missing {
                element: "target/class".to_owned(),
                target: self.id.to_string(),
                help: "targets of Metro get it from `target/stage.spec`, as `stage`",
            }),
            other => Err(self.bad(
                "target/class",
                format!("nothing here makes a target of class `{other}`"),
                "the class `stage` is the only one that is built in a root",
            )),
        }
    }

    /// The class that names of files in a mirror are made by.
    pub(super) fn metro_class(&self) -> Result<String, PlanError> {
        let name = self.text("target/name")?.unwrap_or_default();
        let version = self.text("target/version")?.unwrap_or_default();
        let (build, subarch) = (&self.id.build, &self.id.subarch);
        let stage = ["stage1", "stage2", "stage3"]
            .into_iter()
            .find(|stage| name == format!("{stage}-{subarch}-{build}-{version}"));
        if let Some(stage) = stage {
            return Ok(stage.to_owned());
        }
        if name == format!("{build}-{subarch}-openvz-{version}") {
            return Ok("openvz".to_owned());
        }
        match self.text("stage4/target/name")? {
            Some(_) => Ok("stage4".to_owned()),
            None => Ok(self.text("target/class")?.unwrap_or_default()),
        }
    }

    /// The machine that runs programs of the architecture.
    pub(super) fn metro_platform(&self) -> Result<Option<String>, PlanError> {
        let known = match self.id.arch_desc.as_str() {
            "x86-64bit" | "pure64" => "x86_64",
            "x86-32bit" => "i686",
            "arm-32bit" => "armv7l",
            "arm-64bit" => "aarch64",
            "riscv-64bit" => "riscv64",
            "sparc64" => "sparc64",
            _ => {
                let host = self.text("portage/CHOST")?.unwrap_or_default();
                let machine = host.split('-').next().filter(|machine| !machine.is_empty());
                return Ok(machine.map(str::to_owned));
            }
        };
        Ok(Some(known.to_owned()))
    }

    /// What the target starts from.
    pub(super) fn metro_start(&self) -> Result<Start, PlanError> {
        let Some(class) = self.text("source")? else {
            return Err(PlanError::Missing {
                element: "source".to_owned(),
                target: self.id.to_string(),
                help: "targets of Metro get it from a file in `source`, such as `source/stage3.spec`",
            });
        };
        let or_own = |element: &str, own: &str| -> Result<String, PlanError> {
            Ok(self.text(element)?.unwrap_or_else(|| own.to_owned()))
        };
        let arch = or_own("source/arch_desc", &self.id.arch_desc)?;
        let from = TargetId {
            build: or_own("source/build", &self.id.build)?,
            arch_desc: Repository::arch_name(&arch).to_owned(),
            subarch: or_own("source/subarch", &self.id.subarch)?,
            target: class,
        };
        let own = from.build == self.id.build
            && from.arch_desc == self.id.arch_desc
            && from.subarch == self.id.subarch
            && from.target != self.id.target;
        let files = self.elements.spec().collected();
        let seeded = files.iter().any(|path| path.ends_with(SEED_FILE));
        let from_seed = || -> Result<bool, PlanError> {
            let seed = self.text("strategy/seed")?.unwrap_or_default();
            Ok(from.target == seed && seed == "stage1")
        };
        // What makes the archive that it starts from, such as stage3-freshen, starts from an earlier one.
        let again = || Ok::<bool, PlanError>(self.metro_class()? == from.target);
        match own && !seeded && self.index.contains(&from) && !from_seed()? && !again()? {
            true => Ok(Start::Target(from)),
            false => self.seed("source", from.to_string(), false),
        }
    }

    /// The name of the snapshot.
    pub(super) fn metro_snapshot(&self) -> Result<String, PlanError> {
        Ok(self
            .text("snapshot")?
            .unwrap_or_else(|| self.id.build.clone()))
    }

    /// Where Metro unpacks the snapshot.
    pub(super) fn metro_snapshot_path(&self) -> Result<&'static str, PlanError> {
        match self.text("snapshot/source/type")?.as_deref() {
            Some("meta-repo") => Ok("/var/git/meta-repo"),
            _ => Ok("/usr/portage"),
        }
    }

    /// Whether a step comes when Metro has taken away all that is of the outside.
    pub(super) fn is_late(&self, step: &str) -> bool {
        let late = || CLEANING.contains(&step) || step == TEST_STEP || step == TESTING;
        self.metro().is_some() && late()
    }

    /// The script that is run: one that cleans is told what not to touch.
    pub(super) fn metro_script(&self, step: &str, script: String) -> String {
        match self.metro().is_some() && CLEANING.contains(&step) {
            true => cleaning(&script),
            false => script,
        }
    }

    /// The step that makes what `steps/unpack` leaves, but source and snapshot; nothing if that is nothing.
    pub(super) fn metro_unpack(&self) -> Result<Option<StepRecipe>, PlanError> {
        let mut script = String::new();
        let line = |element: &str| self.text(element);
        let block = |element: &str| -> Result<Option<String>, PlanError> {
            let lines = self
                .elements
                .block(element)
                .map_err(|e| self.of_target(e))?;
            Ok(lines.map(|lines| lines.join("\n")))
        };
        let new = line("profile/format")?.is_none_or(|format| format == "new");
        let conf = match new {
            true => "files/make.conf.newprofile",
            false => "files/make.conf.oldprofile",
        };
        if let Some(text) = block(conf)? {
            write(&mut script, "/etc/portage/make.conf", &text);
        }
        let mut parents = Vec::new();
        for part in ["arch", "subarch", "build", "flavor"] {
            parents.extend(line(&format!("profile/{part}"))?);
        }
        if new && !parents.is_empty() {
            let path = "/etc/portage/make.profile/parent";
            // A seed may have a link there.
            script.push_str("[ ! -L /etc/portage/make.profile ] || rm /etc/portage/make.profile\n");
            write(&mut script, path, &parents.join("\n"));
        }
        if line("snapshot/source/type")?.as_deref() == Some("meta-repo") {
            let mut text = "[global]".to_owned();
            let global = [
                ("sync_base_url", "snapshot/source/sync_base_url"),
                ("release", "profile/release"),
            ];
            for (key, element) in global {
                if let Some(value) = line(element)? {
                    text.push_str(&format!("\n{key} = {value}"));
                }
            }
            if let Some(more) = block("snapshot/source/ego.conf")? {
                text.push_str(&format!("\n\n{more}"));
            }
            write(&mut script, "/etc/ego.conf", &text);
        }
        if let Some(text) = block("files/locale.gen")? {
            write(&mut script, "/etc/locale.gen", &text);
        }
        if script.is_empty() {
            return Ok(None);
        }
        let script = format!("#!/bin/sh -e\n{script}");
        let mut step = self.step(UNPACK, script)?;
        step.reads = Reads::Paths(Vec::new());
        step.reads_beside = Reads::Existing(Vec::new());
        Ok(Some(step))
    }

    /// Whether the test runs in the root that the target was built in.
    pub(super) fn tests_in_root(&self) -> Result<bool, PlanError> {
        Ok(self.metro().is_some() && self.root()? != "/")
    }

    /// Adds what Metro does beside the steps that elements define: what `steps/unpack` leaves, the test in the root, the
    /// cache of packages.
    pub(super) fn add_metro_steps(&self, steps: &mut Vec<StepRecipe>) -> Result<(), PlanError> {
        let is_there = |steps: &[StepRecipe], name: &str| steps.iter().any(|s| s.name == name);
        if !is_there(steps, UNPACK) {
            steps.splice(0..0, self.metro_unpack()?);
        }
        if self.tests_in_root()?
            && !is_there(steps, TESTING)
            && let Some(script) = self.script(TEST_STEP)?
        {
            let at = steps.iter().position(|step| step.name == "postclean");
            let test = self.step(TESTING, script)?;
            steps.insert(at.unwrap_or(steps.len()), test);
        }
        self.metro_impure(steps)
    }

    /// The cache of binary packages, where `metro/options` asks for it.
    pub(super) fn metro_impure(&self, steps: &mut [StepRecipe]) -> Result<(), PlanError> {
        let mut options = self.words("metro/options")?;
        options.extend(self.words("metro/options/stage")?);
        if !options.iter().any(|option| option == "cache/package") {
            return Ok(());
        }
        let TargetId {
            build,
            arch_desc,
            subarch,
            ..
        } = self.id;
        let cache = Impure {
            at: "/var/tmp/cache/package".to_owned(),
            folder: format!("package,{build},{arch_desc},{subarch}"),
        };
        for step in steps
            .iter_mut()
            .filter(|step| ["prerun", "run", "postrun"].contains(&&*step.name))
        {
            step.impure.push(cache.clone());
        }
        Ok(())
    }
}

/// What shells are told before they clean: a build's /dev, /proc and /sys are none of its root, and stay. Metro has
/// them gone by then, and its scripts remove what is below.
const KEEP: &str = "\
rm() { for arg; do shift; case $arg in /dev/*|//dev/*|/proc/*|//proc/*|/sys/*|//sys/*) ;; *) set -- \"$@\" \"$arg\";; esac; done; command rm \"$@\"; }
";

/// Lets a script that cleans leave alone what is not of the root; one that is not for a shell stays as it is.
fn cleaning(script: &str) -> String {
    let (first, rest) = match script.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => (first, rest),
        _ => return format!("#!/bin/sh -e\n{KEEP}{script}"),
    };
    let shell = first
        .split_whitespace()
        .next()
        .and_then(|path| path.rsplit('/').next());
    match shell {
        Some("sh" | "bash" | "#!sh" | "#!bash") => format!("{first}\n{KEEP}{rest}"),
        _ => script.to_owned(),
    }
}

/// Adds to a script the lines that write a file.
fn write(script: &mut String, path: &str, text: &str) {
    let mut end = "EOF".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    script.push_str(&format!(
        "mkdir -p {folder}\ncat > {path} <<'{end}'\n{}\n{end}\n",
        text.trim_end_matches('\n')
    ));
}

#[cfg(test)]
mod tests {
    use super::{KEEP, cleaning, write};
    use std::process::Command;

    #[test]
    fn shells_that_clean_keep_what_is_not_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a b");
        std::fs::write(&file, "").unwrap();
        for shell in ["sh", "bash"] {
            std::fs::write(&file, "").unwrap();
            let script = cleaning(&format!(
                "#!/bin/{shell}\nrm -rf //dev/* /proc/* '{}' && rm -f /dev/null\n",
                file.display()
            ));
            let ran = Command::new(shell).arg("-c").arg(&script).status().unwrap();
            assert!(ran.success() && !file.exists(), "{shell}");
        }
        assert!(std::path::Path::new("/dev/null").exists());
        assert_eq!(
            cleaning("#!/usr/bin/python\nprint(1)\n"),
            "#!/usr/bin/python\nprint(1)\n"
        );
        assert_eq!(
            cleaning("exit 0\n"),
            format!("#!/bin/sh -e\n{KEEP}exit 0\n")
        );
    }

    #[test]
    fn no_line_of_a_file_ends_it() {
        let mut script = String::new();
        write(&mut script, "/etc/a", "one\nEOF\nrm -rf /\nEOF_");
        assert_eq!(
            script,
            "mkdir -p /etc\ncat > /etc/a <<'EOF__'\none\nEOF\nrm -rf /\nEOF_\nEOF__\n"
        );
    }
}
