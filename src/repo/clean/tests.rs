use super::*;
use crate::repo::layout::{CONTROL, LOCK};
use crate::repo::name::{Name, Place};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TODAY: i64 = 20_000;

fn managed() -> Managed {
    let name = |text: &str| Name::new(text).unwrap();
    Managed {
        place: Place {
            build: name("b"),
            arch: name("x"),
            subarch: name("s"),
        },
        own: true,
    }
}

fn day(age: i64) -> Date {
    Date::of_seconds((TODAY - age) * 86_400)
}

#[derive(Clone, Debug)]
struct Made {
    complete: bool,
    named: bool,
}

/// The rules again, one build after the other.
fn stays(made: &BTreeMap<i64, Made>, age: i64, settings: &Settings, held: bool) -> bool {
    let this = &made[&age];
    if this.complete {
        let newer = made
            .iter()
            .filter(|(other, made)| **other < age && made.complete);
        return newer.count() < settings.keep_num;
    }
    age < settings.stale_days || held || this.named
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn what_stays_is_what_the_rules_say(
        made in proptest::collection::btree_map(
            -2i64..30,
            (any::<bool>(), any::<bool>()).prop_map(|(complete, named)| Made { complete, named }),
            0..8,
        ),
        keep_num in 1usize..4,
        stale_days in 0i64..9,
        held: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let subarch = dir.path().join("b/x/s");
        fs::create_dir_all(subarch.join(CONTROL).join("version")).unwrap();
        for (age, made) in &made {
            let folder = subarch.join(day(*age).to_string());
            fs::create_dir(&folder).unwrap();
            if made.complete {
                fs::write(folder.join("stage3.tar.xz"), "").unwrap();
            }
            if made.named {
                let file = subarch.join(CONTROL).join(format!("version/{age}"));
                fs::write(file, format!("{}\n", day(*age))).unwrap();
            }
        }
        let lock = subarch.join(CONTROL).join(LOCK);
        if held {
            fs::write(&lock, std::process::id().to_string()).unwrap();
        }
        let settings = Settings { keep_num, stale_days, ..Settings::default() };
        let mirror = Mirror::open(dir.path()).unwrap();
        let machine = Machine::this();
        let found = scan_one(&mirror, managed()).unwrap();
        let mut steps = plan_subarch(&found, &settings, day(0), &machine);
        steps.retain(|step| step.goes);
        let gone: Vec<PathBuf> = steps.into_iter().map(|step| step.path).collect();
        let should: Vec<PathBuf> = made
            .keys()
            .filter(|age| !stays(&made, **age, &settings, held))
            .map(|age| Path::new("b/x/s").join(day(*age).to_string()))
            .collect();
        prop_assert_eq!(&gone, &should);

        let cleaned = clean_subarch(&mirror, &managed(), &settings, day(0), &machine, false);
        match cleaned {
            Cleaned::Removed(removed) => prop_assert_eq!(removed, should.clone()),
            Cleaned::InProgress(_) => prop_assert!(held && !should.is_empty()),
            Cleaned::Failed { detail, .. } => prop_assert!(false, "{}", detail),
        }
        let left = scan_one(&mirror, managed()).unwrap();
        let expected = made.len() - if held { 0 } else { should.len() };
        prop_assert_eq!(left.builds.len(), expected);
        prop_assert_eq!(lock.exists(), held);
    }
}
