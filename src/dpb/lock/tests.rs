//! Locks: their names and lines, who takes one, what is stale, and hostile ones.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::*;
use proptest::prelude::*;

fn path(name: &str) -> PkgPath {
    name.parse().unwrap()
}

fn locks(dir: &Path) -> Locks {
    Locks::open(&dir.join("locks"), "here").unwrap()
}

fn ours(taken: Taken) -> (Holding, Vec<String>) {
    match taken {
        Taken::Ours(holding, stale) => (*holding, stale),
        Taken::Theirs(found) => panic!("{found:?}"),
    }
}

fn theirs(taken: Taken) -> Found {
    match taken {
        Taken::Ours(..) => panic!("it was taken"),
        Taken::Theirs(found) => *found,
    }
}

fn gone() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn a_lock_has_its_name_its_mode_and_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    let (mut lock, stale) = ours(locks.take(&path("devel/make"), Some("lang/c")).unwrap());
    assert!(stale.is_empty());
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_288_697_669);
    for (key, value) in [
        ("mem", "4096"),
        ("tag", "java"),
        ("host", "yak"),
        ("pid", "7"),
    ] {
        lock.note(key, value).unwrap();
    }
    lock.moment("start", at).unwrap();
    lock.note("needed", "a-1 b-2\nstatus=0").unwrap();
    let file = dir.path().join("locks/devel.make");
    let pid = process::pid();
    let text = format!(
        "locked=devel/make\ndpb={pid} on here\nparent=lang/c\nmem=4096\ntag=java\nhost=yak\npid=7\n\
         start=1288697669 (Tue Nov  2 11:34:29 2010)\nneeded=a-1 b-2 status=0\n"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let plain = fs::metadata(dir.path()).map(|_| File::create(dir.path().join("x")).unwrap());
    let umasked = plain.unwrap().metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, umasked, "0666 under the umask");
    let read = locks.look("devel.make").unwrap().unwrap();
    assert!(!read.stale && !read.content.has_ended());
    assert_eq!(read.content.needed.len(), 3);
    assert_eq!(read.content.start, Some(1_288_697_669));
    lock.leave(256, Some("fake"), at).unwrap();
    let text = format!("{text}status=256\ntodo=fake\nend=1288697669 (Tue Nov  2 11:34:29 2010)\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let found = theirs(locks.take(&path("devel/make"), None).unwrap());
    assert!(found.content.has_ended() && !found.stale);
    assert_eq!(found.content.todo.as_deref(), Some("fake"));
}

#[test]
fn a_whole_path_has_a_second_lock_which_alone_stays_after_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    let static_one = path("devel/make,static");
    let (lock, _) = ours(locks.take(&static_one, None).unwrap());
    let names = |locks: &Locks| -> Vec<String> {
        locks
            .all()
            .unwrap()
            .into_iter()
            .map(|lock| lock.name)
            .collect()
    };
    assert_eq!(names(&locks), ["devel.make", "devel.make,static"]);
    assert_eq!(
        theirs(locks.take(&path("devel/make,shared"), None).unwrap()).name,
        "devel.make"
    );
    lock.leave(9, None, SystemTime::now()).unwrap();
    assert_eq!(names(&locks), ["devel.make,static"]);
    let left = locks.look("devel.make,static").unwrap().unwrap().content;
    assert_eq!(
        (left.status.as_deref(), left.todo.as_deref()),
        (Some("9"), Some("<nothing>"))
    );
    // Another flavor may be built.
    let (other, _) = ours(locks.take(&path("devel/make,shared"), None).unwrap());
    assert_eq!(
        theirs(locks.take(&static_one, None).unwrap()).name,
        "devel.make"
    );
    other.release().unwrap();
    assert_eq!(
        theirs(locks.take(&static_one, None).unwrap()).name,
        "devel.make,static"
    );
    assert_eq!(names(&locks), ["devel.make,static"]);
    fs::remove_file(locks.path("devel.make,static")).unwrap();
    ours(locks.take(&static_one, None).unwrap())
        .0
        .release()
        .unwrap();
    assert!(names(&locks).is_empty());
}

#[test]
fn stale_is_only_what_has_not_ended_and_whose_process_is_gone_here() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    let me = process::pid();
    let gone = gone();
    for (text, stale) in [
        (format!("locked=a/b\ndpb={gone} on here\n"), true),
        (format!("locked=a/b\ndpb={me} on here\n"), false),
        (format!("locked=a/b\ndpb={gone} on elsewhere\n"), false),
        (
            format!("locked=a/b\ndpb={gone} on here\nend=5 (then)\n"),
            false,
        ),
        (format!("locked=a/b\ndpb={gone} on here\nstatus=0\n"), false),
        (
            format!("locked=a/b\ndpb={gone} on here\nerror=fetch by hand\n"),
            false,
        ),
        ("locked=a/b\n".to_owned(), false),
        (String::new(), false),
        (
            format!("from=later\ndpb={gone} on here\nversion=99\n"),
            true,
        ),
        ("dpb=0 on here\n".to_owned(), true),
        ("dpb=x on here\n".to_owned(), false),
    ] {
        let file = locks.path("a.b");
        fs::write(&file, &text).unwrap();
        assert_eq!(locks.look("a.b").unwrap().unwrap().stale, stale, "{text:?}");
        match locks.take(&path("a/b"), None).unwrap() {
            Taken::Ours(lock, over) => {
                assert!(stale && over == ["a.b"], "{text:?}");
                lock.release().unwrap();
            }
            Taken::Theirs(_) => {
                assert!(!stale, "{text:?}");
                assert_eq!(fs::read_to_string(&file).unwrap(), text);
                fs::remove_file(&file).unwrap();
            }
        }
        assert!(!file.exists());
    }
    // The number of this process, in a lock that is older than it.
    let file = locks.path("a.b");
    fs::write(&file, format!("dpb={me} on here\n")).unwrap();
    let old = SystemTime::now() - Duration::from_secs(400 * 86400);
    File::open(&file).unwrap().set_modified(old).unwrap();
    assert!(locks.look("a.b").unwrap().unwrap().stale);
}

#[test]
fn hostile_locks_are_named_and_nothing_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    let name = "devel.make";
    let file = locks.path(name);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = || {
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap()
    };
    let hostile: [(&str, &dyn Fn()); 6] = [
        ("pipe", &fifo),
        ("link", &|| symlink("/dev/zero", &file).unwrap()),
        ("link to a file", &|| symlink("/etc/passwd", &file).unwrap()),
        ("huge", &|| {
            File::create(&file).unwrap().set_len(10 << 30).unwrap()
        }),
        ("binary", &|| {
            fs::write(&file, b"locked=\xff\xfe\0").unwrap()
        }),
        ("folder", &|| fs::create_dir(&file).unwrap()),
    ];
    for (what, make) in hostile {
        make();
        for error in [
            locks.all().unwrap_err(),
            locks.look(name).unwrap_err(),
            locks
                .take(&path("devel/make"), None)
                .map(|_| ())
                .unwrap_err(),
        ] {
            assert!(
                error.to_string().contains(&*file.to_string_lossy()),
                "{what}: {error}"
            );
        }
        assert!(locks.stands(name) && !locks.stands("other"));
        let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
    }
    // Hidden files are none.
    fs::write(locks.path(".nfs0001"), b"\xff").unwrap();
    assert!(locks.all().unwrap().is_empty());
}

#[test]
fn of_many_that_take_a_lock_one_has_it_also_when_it_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    let gone = gone();
    let holders = std::sync::atomic::AtomicUsize::new(0);
    let taken = std::sync::atomic::AtomicUsize::new(0);
    use std::sync::atomic::Ordering::SeqCst;
    for round in 0..40 {
        if round % 2 == 0 {
            fs::write(
                locks.path("a.b"),
                format!("locked=a/b\ndpb={gone} on here\n"),
            )
            .unwrap();
        }
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let (path, locks) = (path("a/b,x"), locks.clone());
                    if let Taken::Ours(lock, _) = locks.take(&path, None).unwrap() {
                        assert_eq!(holders.fetch_add(1, SeqCst), 0);
                        std::thread::sleep(Duration::from_micros(200));
                        holders.fetch_sub(1, SeqCst);
                        taken.fetch_add(1, SeqCst);
                        lock.release().unwrap();
                    }
                });
            }
        });
        assert!(locks.all().unwrap().is_empty());
    }
    assert!(taken.load(SeqCst) >= 40);
}

#[test]
fn what_a_person_removed_is_not_removed_from_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    let (first, _) = ours(locks.take(&path("a/b"), None).unwrap());
    fs::remove_file(locks.path("a.b")).unwrap();
    let (second, _) = ours(locks.take(&path("a/b"), None).unwrap());
    first.release().unwrap();
    assert!(locks.stands("a.b"));
    second.release().unwrap();
    assert!(!locks.stands("a.b"));
}

#[test]
fn a_host_that_is_set_up_has_a_lock() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    let host = locks.take_host("me@yak/x").unwrap().unwrap();
    assert!(locks.stands("host:me@yakx"));
    assert!(locks.take_host("me@yakx").unwrap().is_none());
    host.remove().unwrap();
    assert!(locks.all().unwrap().is_empty());
}

proptest! {
    #[test]
    fn any_text_is_a_lock_and_what_is_not_known_is_passed_over(text in "([a-z]{1,6}=?[ -~]{0,12}\n?){0,8}") {
        let lock = LockFile::parse(&text);
        let ended = ["end=", "status=", "error="];
        let says = text.lines().any(|line| ended.iter().any(|key| line.starts_with(key)));
        prop_assert_eq!(lock.has_ended(), says);
    }
}
