//! Processors that steps share: MAKEOPTS, and a jobserver that a real `make` speaks to.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mstore::build::cancel::CancelToken;
use mstore::build::processors::{Processors, Share};
use mstore::build::sandbox::{Job, Sandbox, Status};
use mstore::build::step::Builder;
use mstore::drv::StoreFacts;
use mstore_store::{ImportOptions, OpenOptions, Store};

use crate::schedule::step;
use crate::support::{Env, Outcome, Skip, job_in, succeed};

fn builder<'a>(
    store: &'a Store,
    facts: &'a StoreFacts,
    cancel: &'a CancelToken,
    processors: &Processors,
) -> Builder<'a> {
    Builder {
        store,
        facts,
        sandbox: Sandbox::new(),
        fetcher: &mstore::drv::fetcher::NoFetcher,
        cancel,
        processors: processors.clone(),
        slots: 1,
        limits: Default::default(),
        note: &|_| (),

        raw: &|_| (),
        anew: false,
        host: "here".into(),
    }
}

pub fn a_step_learns_its_share(env: &Env) -> Outcome {
    let dir = env.dir("share");
    let store = Store::open(&dir.join("store"), &OpenOptions::create()).unwrap();
    let seed = store.import_dir(&env.base, &ImportOptions::default());
    let seed = seed.unwrap().tree;
    let (facts, cancel) = (StoreFacts::new(store.clone()), CancelToken::new().unwrap());
    let processors = Processors::new(5);
    let builder = builder(&store, &facts, &cancel, &processors);
    let script = "echo $MAKEOPTS; test -p /mstore/jobs; test $(stat -c %a /mstore/jobs) = 666\n\
                  chmod 600 /mstore/jobs 2>/dev/null && echo changed; rm -f /mstore/jobs 2>/dev/null && echo removed\n\
                  exec 9<>/mstore/jobs; dd bs=1 count=COUNT <&9 2>/dev/null; echo\n";
    let run = |count: &str, again: bool| {
        let script = script.replace("COUNT", count);
        let step = step("share", seed, &script);
        let mut lines = Vec::new();
        let mut output = |line: &str| lines.push(line.to_owned());
        if again {
            builder.rebuild("x", &step, &mut output).unwrap();
        } else {
            builder.build("x", &step, &mut output).unwrap();
        }
        lines
    };
    assert_eq!(run("4", false), ["-j5", "++++"]);
    // With another step beside it. What that one was lent is not in use yet.
    let beside = processors.join(1, 0);
    assert_eq!(run("1", false), ["-j3", "+"]);
    drop(beside);
    // The second build of a check has more, in both ways.
    assert_eq!(run("5", true), ["-j6", "+++++"]);
    Ok(())
}

pub fn a_step_that_changes_nothing_gives_the_tree_of_its_seed(env: &Env) -> Outcome {
    let dir = env.dir("nothing");
    let store = Store::open(&dir.join("store"), &OpenOptions::create()).unwrap();
    // All its times are later than the steps' epoch.
    let seed = store.import_dir(&env.base, &ImportOptions::default());
    let seed = seed.unwrap().tree;
    let (facts, cancel) = (StoreFacts::new(store.clone()), CancelToken::new().unwrap());
    let processors = Processors::new(1);
    let builder = builder(&store, &facts, &cancel, &processors);
    let build = |script: &str| {
        let step = step("nothing", seed, script);
        let built = builder.build("x", &step, &mut |_| ()).unwrap();
        (built.tree, built.changed)
    };
    assert_eq!(build("true\n"), (seed, 0));
    // Nor does a temporary file make a difference where it leaves no trace.
    assert_eq!(build("echo > /tmp/x\n"), (seed, 0));
    assert_ne!(build("echo > /data/x\n").0, seed);
    Ok(())
}

/// Brings `make` and what it loads into a layer.
fn layer_with_make(to: &Path) -> Result<(), Skip> {
    let skip = || Skip("GNU make 4.2 or later is not on this machine".into());
    let make = Path::new("/usr/bin/make");
    let version = Command::new(make).arg("--version").output();
    let version = version.map_err(|_| skip())?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let number = version.strip_prefix("GNU Make ").unwrap_or_default();
    let number: Vec<u32> = number
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse().ok())
        .take(2)
        .collect();
    if number < vec![4, 2] {
        return Err(skip());
    }
    let listed = Command::new("ldd").arg(make).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = listed.split_whitespace().filter(|w| w.starts_with('/'));
    for file in libraries.chain(["/usr/bin/make"]) {
        let place = to.join(file.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(file, place).unwrap();
    }
    // As the standard ports do: the path where this make knows it, descriptors otherwise.
    let auth = match number >= vec![4, 4] {
        true => "fifo:/mstore/jobs",
        false => "9,9",
    };
    fs::write(to.join("auth"), auth).unwrap();
    let rules = "jobs := 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\nall: $(jobs)\n\
                 $(jobs):\n\t@echo begin; sleep 0.2; echo end\n";
    fs::write(to.join("Makefile"), rules).unwrap();
    Ok(())
}

/// How many recipes of each make run, how many there were at a time, and how many have ended. (The two logs
/// are read apart: of both together they do not tell.)
#[derive(Default)]
struct Count {
    now: [usize; 2],
    most: [usize; 2],
    ended: [usize; 2],
}

impl Count {
    fn take_in(&mut self, who: usize, text: &[u8]) {
        for line in String::from_utf8_lossy(text).lines() {
            match line {
                "begin" => self.now[who] += 1,
                // Between its last words and its end make may start the next one.
                "end" => {
                    self.now[who] -= 1;
                    self.ended[who] += 1;
                }
                other => panic!("make says: {other}"),
            }
            self.most[who] = self.most[who].max(self.now[who]);
        }
    }
}

fn make_job(env: &Env, layer: &Path, name: &str, share: &Share) -> Job {
    let script = "exec 9<>/mstore/jobs; exec make --jobserver-auth=$(cat /auth)\n";
    let mut job = job_in(&env.base, &env.dir(name), script);
    job.layers.insert(0, layer.to_owned());
    job.jobserver = Some(share.jobserver());
    job
}

pub fn makes_in_two_sandboxes_share_the_processors(env: &Env) -> Outcome {
    let layer = env.dir("make");
    layer_with_make(&layer)?;
    let processors = Processors::new(4);
    let count = Mutex::new(Count::default());
    let cancel = CancelToken::new().unwrap();
    let never = CancelToken::new().unwrap();
    let run = |who: usize, cancel: &CancelToken| {
        let share = processors.join(1, 0);
        let job = make_job(env, &layer, ["make-0", "make-1"][who], &share);
        let mut log = |text: &[u8]| count.lock().unwrap().take_in(who, text);
        let finished = Sandbox::new().run(&job, &mut log, cancel).unwrap();
        finished.status
    };
    let wait = |what: &str, holds: &dyn Fn(&Count) -> bool| {
        let end = Instant::now() + Duration::from_secs(50);
        while !holds(&count.lock().unwrap()) {
            assert!(Instant::now() < end, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    };
    let statuses = thread::scope(|scope| {
        let first = scope.spawn(|| run(0, &cancel));
        wait("one alone has all processors", &|c| c.most[0] == 4);
        let second = scope.spawn(|| run(1, &never));
        wait("the second gets some", &|c| c.ended[1] > 0);
        // Killed in the middle: what it held must come back.
        cancel.cancel();
        let first = first.join().unwrap();
        count.lock().unwrap().now[0] = 0;
        [first, second.join().unwrap()]
    });
    assert_eq!(statuses, [Status::Cancelled, Status::Exited(0)]);
    let count = count.into_inner().unwrap();
    assert_eq!((count.most[1], count.ended[1]), (4, 16));
    // The next step finds nothing missing.
    let share = processors.join(1, 0);
    assert_eq!(share.jobs(), 4);
    let log = succeed(&Job {
        script: b"exec 9<>/mstore/jobs; dd bs=1 count=3 <&9 2>/dev/null\n".to_vec(),
        ..make_job(env, &layer, "make-2", &share)
    });
    assert_eq!(log, "+++");
    Ok(())
}
