//! Hostile caches and peers: facts, records, packs; who decides what is believed.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mstore::share::SecretKey;
use mstore_store::transfer::{Fact, MAX_RECORD};
use mstore_store::{Hash, TreeHash};

use crate::Test;
use crate::place::{Place, Ran};
use crate::tally::Tally;

pub const ALL: &[Test] = &[
    (
        "facts_that_are_not_to_be_believed",
        facts_that_are_not_to_be_believed,
    ),
    ("packs_that_do_not_end", packs_that_do_not_end),
    (
        "what_is_written_is_bounded_by_what_is_signed",
        what_is_written_is_bounded_by_what_is_signed,
    ),
    ("the_receiver_decides", the_receiver_decides),
    ("a_traitor_among_the_keys", a_traitor_among_the_keys),
    (
        "old_facts_are_true_and_keys_can_be_withdrawn",
        old_facts_are_true_and_keys_can_be_withdrawn,
    ),
];

/// A store with a built target, keys, and caches of it.
struct World<'a> {
    place: &'a Place,
    tree: String,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl World<'_> {
    fn new<'a>(place: &'a Place, script: &str) -> World<'a> {
        place.targets(&[("a", "base", &[("one", script)])]);
        let tree = place.tree("a");
        for key in ["good", "second", "evil"] {
            let file = format!("{key}.key");
            place.run(&["key", "generate", key, "--out", &file]).ok();
        }
        World { place, tree }
    }

    fn store(&self, name: &str) -> String {
        text(&self.place.path(name))
    }

    /// Copies the target to a cache, signed by a key or by nobody.
    fn cache(&self, name: &str, key: Option<&str>) -> PathBuf {
        let file = key.map(|key| format!("{key}.key"));
        let mut arguments = vec![
            "copy", "--to", name, "--cache", "--steps", "--inputs", "a-s",
        ];
        if let Some(file) = &file {
            arguments.extend(["--sign", file]);
        }
        self.place.run(&arguments).ok();
        self.place.path(name)
    }

    fn public(&self, key: &str) -> String {
        let file = format!("{key}.key");
        self.place
            .run(&["key", "public", &file])
            .ok()
            .trim()
            .to_owned()
    }

    /// What a store that has the seed alone makes of some caches: built or taken, and what was said.
    fn reader(&self, caches: &[&str], keys: &[&str], need: usize) -> (Option<String>, Ran) {
        let reader = self.place.path("reader");
        if reader.exists() {
            mstore_store::remove_tree(&reader).unwrap();
        }
        let reader = text(&reader);
        let lock = fs::read_to_string(self.place.path("metro.lock")).unwrap();
        let mut copy = vec!["copy", "--store", &reader, "--from"];
        let from = text(&self.place.store());
        copy.push(&from);
        copy.extend(lock.lines().filter_map(|line| line.strip_prefix("tree: ")));
        // The seed is at hand for everybody: only results are fetched.
        copy.extend(["--root", "seed"]);
        self.place.run(&copy).ok();
        let mut config = format!(
            "caches: {}\n",
            (0..caches.len())
                .map(|n| format!("c{n}"))
                .collect::<Vec<_>>()
                .join(" ")
        );
        for (n, url) in caches.iter().enumerate() {
            config.push_str(&format!("[section cache/c{n}]\nurl: {url}\ntimeout: 2\n"));
        }
        let keys: Vec<String> = keys.iter().map(|key| self.public(key)).collect();
        config.push_str(&format!(
            "[section trust]\nkeys: [\n{}\n]\nneed: {need}\n",
            keys.join("\n")
        ));
        fs::write(self.place.path("reader.conf"), config).unwrap();
        let arguments = [
            "--config",
            "reader.conf",
            "--store",
            &reader,
            "realise",
            "a-s",
            "--json",
        ];
        let ran = self.place.run(&arguments);
        let line: Option<serde_json::Value> =
            serde_json::from_str(ran.stdout.lines().next().unwrap_or("")).ok();
        let taken = line.filter(|line| line["substituted"].as_u64() > Some(0));
        (
            taken.map(|line| line["tree"].as_str().unwrap().to_owned()),
            ran,
        )
    }

    fn sound(&self) -> bool {
        let reader = self.store("reader");
        let told = self.place.run(&["store", "verify", "--store", &reader]);
        told.status == Some(0)
    }
}

/// The files of facts in a cache.
fn facts(cache: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in ["realisations", "derivations"] {
        let list = fs::read_dir(cache.join(folder)).unwrap();
        all.extend(list.map(|entry| entry.unwrap().path()));
    }
    all.sort();
    all
}

/// Changes every fact of a cache.
fn change(cache: &Path, with: impl Fn(Fact) -> Vec<u8>) {
    for path in facts(cache) {
        let fact = Fact::decode(&fs::read(&path).unwrap()).unwrap();
        fs::write(&path, with(fact)).unwrap();
    }
}

fn facts_that_are_not_to_be_believed(place: &Place, tally: &Tally) -> Option<&'static str> {
    let world = World::new(place, "echo result > /result");
    let good = world.cache("good-cache", Some("good"));
    let (taken, ran) = world.reader(&["good-cache"], &["good"], 1);
    tally.held(
        "an honest cache is used",
        taken.as_ref() == Some(&world.tree),
        &ran.stderr,
    );
    let another = TreeHash(Hash::of(b"another tree"));
    let long = |fact: Fact, len: usize| {
        let none = Fact {
            record: None,
            ..fact
        }
        .encode();
        let len_bytes = u32::try_from(len).unwrap().to_be_bytes();
        // The last member is nothing, and becomes so many bytes.
        let head = none.strip_suffix(b"\xf6").unwrap();
        [head, b"\x5a", &len_bytes, &vec![b'J'; len]].concat()
    };
    type Change<'a> = Box<dyn Fn(Fact) -> Vec<u8> + 'a>;
    let changes: Vec<(&str, Change<'_>)> = vec![
        (
            "another tree",
            Box::new(|mut fact| {
                fact.realisation.tree = another;
                fact.encode()
            }),
        ),
        (
            "another key",
            Box::new(|mut fact| {
                fact.realisation.key = Hash::of(b"another");
                fact.encode()
            }),
        ),
        (
            "another derivation",
            Box::new(|mut fact| {
                fact.realisation.drv = Hash::of(b"another");
                fact.encode()
            }),
        ),
        (
            "another name",
            Box::new(|mut fact| {
                fact.realisation.name = "b/a/s/b:one".into();
                fact.encode()
            }),
        ),
        (
            "no signature",
            Box::new(|mut fact| {
                fact.signatures.clear();
                fact.encode()
            }),
        ),
        (
            "a signature of nothing",
            Box::new(|mut fact| {
                fact.signatures[0].bytes = [0; 64];
                fact.encode()
            }),
        ),
        (
            "another's name at a signature",
            Box::new(|mut fact| {
                SecretKey::read(&place.path("evil.key"))
                    .unwrap()
                    .sign(&mut fact);
                fact.signatures.retain(|vouch| vouch.signer == "evil");
                fact.signatures[0].signer = "good".into();
                fact.encode()
            }),
        ),
        ("a record of 60 MiB", Box::new(|fact| long(fact, 60 << 20))),
        (
            "a record one byte too long",
            Box::new(|fact| long(fact, MAX_RECORD + 1)),
        ),
        (
            "half a fact",
            Box::new(|fact| {
                let bytes = fact.encode();
                bytes[..bytes.len() / 2].to_vec()
            }),
        ),
        ("rubbish", Box::new(|_| vec![0x9f; 3000])),
        ("nothing", Box::new(|_| Vec::new())),
        ("nesting", Box::new(|_| vec![0x81; 1 << 20])),
    ];
    let kept: Vec<(PathBuf, Vec<u8>)> = facts(&good)
        .into_iter()
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    for (what, with) in &changes {
        change(&good, with);
        let began = Instant::now();
        let (taken, ran) = world.reader(&["good-cache"], &["good"], 1);
        let told = format!("{taken:?} {}", ran.stderr);
        let held = taken.is_none() && ran.status == Some(0) && !told.contains("panicked");
        let built = ran.stdout.contains(&world.tree);
        tally.held(
            what,
            held && built && began.elapsed() < Duration::from_secs(60),
            told,
        );
        for (path, bytes) in &kept {
            fs::write(path, bytes).unwrap();
        }
    }
    // Facts of a key that is not trusted, of nobody; facts that answer another question.
    // The store keeps what it signed itself, so that signatures of others are taken out again.
    for (cache, signer) in [("evil-cache", "evil"), ("plain-cache", "nobody")] {
        let cache = world.cache(cache, Some("evil"));
        change(&cache, |mut fact| {
            fact.signatures.retain(|vouch| vouch.signer == signer);
            fact.encode()
        });
    }
    for cache in ["evil-cache", "plain-cache"] {
        let (taken, ran) = world.reader(&[cache], &["good"], 1);
        tally.held(cache, taken.is_none() && ran.status == Some(0), &ran.stderr);
    }
    let both = [
        ("a", "base", &[("one", "echo result > /result")][..]),
        ("b", "base", &[("one", "echo other > /result")][..]),
    ];
    place.targets(&both);
    place.tree("b");
    let sign = [
        "copy", "--to", "b-cache", "--cache", "b-s", "--sign", "good.key",
    ];
    place.run(&sign).ok();
    let other = facts(&place.path("b-cache"));
    let step = other.iter().map(|path| fs::read(path).unwrap());
    let step = step.max_by_key(Vec::len).unwrap();
    for (path, _) in &kept {
        fs::write(path, &step).unwrap();
    }
    let (taken, ran) = world.reader(&["good-cache"], &["good"], 1);
    tally.held(
        "facts of other keys",
        taken.is_none() && ran.status == Some(0),
        &ran.stderr,
    );
    // A record is not signed: one that is not of the key goes no further, and the fact counts.
    for (path, bytes) in &kept {
        let mut fact = Fact::decode(bytes).unwrap();
        fact.record = Some(vec![b'J'; MAX_RECORD]);
        fs::write(path, fact.encode()).unwrap();
    }
    let (taken, ran) = world.reader(&["good-cache"], &["good"], 1);
    tally.held("a fact with a foreign record", taken.is_some(), &ran.stderr);
    let db = place.path("reader/db");
    for entry in fs::read_dir(db).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let junk = bytes.windows(64).any(|w| w == [b'J'; 64]);
        tally.held("its record is not kept", !junk, "it is in the database");
    }
    tally.held("the store is sound", world.sound(), "it is not");
    None
}

/// What a web server without ranges sends of packs.
#[derive(Clone, Copy)]
enum Packs {
    /// Other bytes, as many as are taken, after a head with these lines.
    Endless(&'static str),
    /// What they are, as a whole.
    Whole,
}

/// A web server without ranges for a folder, and the bytes of packs that it has sent.
fn rangeless(folder: &Path, packs: Packs) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (folder, sent) = (folder.to_owned(), Arc::new(AtomicU64::new(0)));
    let count = sent.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (folder, count) = (folder.clone(), count.clone());
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut stream = stream?;
                let mut reader = BufReader::new(stream.try_clone()?);
                let mut first = String::new();
                reader.read_line(&mut first)?;
                let mut line = String::new();
                while reader.read_line(&mut line)? > 2 {
                    line.clear();
                }
                let path = first.split(' ').nth(1).unwrap_or_default();
                let path = path.trim_start_matches('/');
                if path.ends_with(".pack")
                    && let Packs::Endless(length) = packs
                {
                    write!(
                        stream,
                        "HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n"
                    )?;
                    loop {
                        stream.write_all(&[0; 65536])?;
                        count.fetch_add(65536, Ordering::Relaxed);
                    }
                }
                let (status, body) = match fs::read(folder.join(path)) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 No", Vec::new()),
                };
                let len = body.len();
                if path.ends_with(".pack") {
                    count.fetch_add(len as u64, Ordering::Relaxed);
                }
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
                )?;
                stream.write_all(&body)
            });
        }
    });
    (url, sent)
}

fn packs_that_do_not_end(place: &Place, tally: &Tally) -> Option<&'static str> {
    let world = World::new(place, "echo result > /result");
    let cache = world.cache("cache", Some("good"));
    for length in [
        "",
        "Content-Length: 1125899906842624\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let (url, sent) = rangeless(&cache, Packs::Endless(length));
        let began = Instant::now();
        let (taken, ran) = world.reader(&[&url], &["good"], 1);
        let sent = sent.load(Ordering::Relaxed);
        let held = taken.is_none() && ran.status == Some(0) && ran.stdout.contains(&world.tree);
        let told = format!("{sent} bytes, {}", ran.stderr);
        // A pack of the seed and what lies in sockets, not what the server would send.
        tally.held(
            format!("a body that does not end {length:?}"),
            held && sent < 256 << 20,
            told,
        );
        tally.held(
            "in time",
            began.elapsed() < Duration::from_secs(60),
            "too late",
        );
        let left = fs::read_dir(place.path("reader/tmp")).unwrap().count();
        tally.held("nothing is left", left == 0, left);
    }
    // The same objects, said to lie in a file of half a terabyte: only the foot of the index tells, which its own
    // hash does not cover.
    const SHIFT: u64 = 1 << 39;
    for entry in fs::read_dir(cache.join("packs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 48;
        let index = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        bytes[at..at + 8].copy_from_slice(&(index + SHIFT).to_le_bytes());
        fs::write(&path, bytes).unwrap();
    }
    type Listing = (u32, Vec<(String, bool, u64, u64, u64)>, u64, u64);
    for entry in fs::read_dir(cache.join("trees")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let (format, mut packs, objects, sum): Listing =
            mstore_store::codec::decode(&bytes, 1 << 20).unwrap();
        for pack in &mut packs {
            pack.2 += SHIFT;
            pack.3 += SHIFT;
        }
        fs::write(
            &path,
            mstore_store::codec::encode(&(format, packs, objects, sum)),
        )
        .unwrap();
    }
    let (url, sent) = rangeless(&cache, Packs::Endless(""));
    let (taken, ran) = world.reader(&[&url], &["good"], 1);
    let told = format!("{} bytes, {}", sent.load(Ordering::Relaxed), ran.stderr);
    let held = taken.is_none() && ran.status == Some(0) && told.contains("does not tell of all");
    tally.held(
        "a pack of half a terabyte",
        held && sent.load(Ordering::Relaxed) == 0,
        told,
    );
    tally.held("the store is sound", world.sound(), "it is not");
    None
}

/// A program in the place of ssh.
/// Bytes of all files below a folder.
fn bytes(folder: &Path) -> u64 {
    let list = fs::read_dir(folder).into_iter().flatten().flatten();
    list.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes(&entry.path()),
        _ => entry.metadata().map_or(0, |meta| meta.len()),
    })
    .sum()
}

fn what_is_written_is_bounded_by_what_is_signed(
    place: &Place,
    tally: &Tally,
) -> Option<&'static str> {
    const JUNK: u64 = 40 << 20;
    let world = World::new(place, "echo result > /result");
    // A pack in which little is wanted lies among much that nobody asked for.
    let junk = format!("head -c {JUNK} /dev/urandom > /junk");
    place.targets(&[
        ("a", "base", &[("one", "echo result > /result")][..]),
        ("b", "base", &[("one", junk.as_str())][..]),
    ]);
    place.tree("b");
    let arguments = [
        "copy", "--to", "cache", "--cache", "--steps", "--sign", "good.key",
    ];
    place.run(&[&arguments[..], &["a-s", "b-s"]].concat()).ok();
    let cache = place.path("cache");
    let (url, sent) = rangeless(&cache, Packs::Whole);
    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let tmp = place.path("reader/tmp");
    let (taken, ran) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(bytes(&tmp), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let got = world.reader(&[&url], &["good"], 1);
        done.store(true, Ordering::Relaxed);
        got
    });
    let (sent, most) = (sent.load(Ordering::Relaxed), most.load(Ordering::Relaxed));
    let told = format!("{sent} bytes came, {most} lay in tmp: {}", ran.stderr);
    tally.held("all of the pack came", sent >= JUNK, &told);
    tally.held("the result is taken", taken.is_some(), &told);
    // The seed has a few megabytes.
    tally.held("little of it is written", most < JUNK / 2, &told);
    let left = bytes(&place.path("reader"));
    tally.held("little of it is kept", left < JUNK / 2, left);
    tally.held("the store is sound", world.sound(), "it is not");
    None
}

fn ssh(place: &Place, name: &str, script: &str) -> String {
    let path = place.path(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    text(&path)
}

fn the_receiver_decides(place: &Place, tally: &Tally) -> Option<&'static str> {
    let world = World::new(place, "echo result > /result");
    let there = world.store("there");
    let program = place
        .command(&[])
        .get_program()
        .to_str()
        .unwrap()
        .to_owned();
    let conf = place.path("there.conf");
    fs::write(
        &conf,
        format!("[section trust]\nkeys: [\n{}\n]\n", world.public("good")),
    )
    .unwrap();
    let serve = format!(
        "MSTORE_CONFIG={} exec {program} --store {there} serve --stdio",
        conf.display()
    );
    let forced = ssh(place, "forced", &serve);
    let careless = ssh(place, "careless", &format!("{serve} --trust-unsigned"));
    let reading = ssh(place, "reading", &format!("{serve} --read-only"));
    let last = "for last; do :; done";
    let open = ssh(
        place,
        "open",
        &format!(
            "{last}; MSTORE_CONFIG={} eval \"exec $last --store {there}\"",
            conf.display()
        ),
    );
    let push = |ssh: &str, more: &[&str]| {
        let to = [
            "copy",
            "--to",
            "ssh://there",
            "--ssh",
            ssh,
            "--remote-program",
            &program,
            "a-s",
        ];
        place.run(&[&to[..], more].concat())
    };
    let has = || {
        let ran = place.run(&["--store", &there, "realise", "-n", "--no-substitute", "a-s"]);
        let out = format!("{}{}", ran.stdout, ran.stderr);
        // A store without so much as the seed says that it lacks it.
        ran.status == Some(0) && (!out.contains("build") || out.contains("up to date"))
    };
    let refused = |what: &str, ran: Ran, tells: &str| {
        let told = format!("{} {}", ran.stdout, ran.stderr);
        tally.held(what, ran.status == Some(3) && told.contains(tells), &told);
    };
    refused("unsigned", push(&forced, &[]), "is not signed");
    refused(
        "unsigned, and the sender would like it",
        push(&forced, &["--trust-unsigned"]),
        "is not signed",
    );
    refused(
        "signed by a stranger",
        push(&forced, &["--sign", "evil.key"]),
        "who is not trusted here",
    );
    refused(
        "an ordinary login, without asking for it",
        push(&open, &[]),
        "signed by",
    );
    refused(
        "read-only",
        push(&reading, &["--sign", "good.key"]),
        "--read-only",
    );
    refused(
        "read-only, a tree alone",
        {
            let to = [
                "copy",
                "--to",
                "ssh://there",
                "--ssh",
                &reading,
                &world.tree,
                "--root",
                "x",
            ];
            place.run(&to)
        },
        "--read-only",
    );
    tally.held("nothing was taken", !has(), "it was");
    let signed = push(&forced, &["--sign", "good.key"]);
    tally.held(
        "signed by a trusted key",
        signed.status == Some(0) && has(),
        signed.stderr,
    );
    mstore_store::remove_tree(Path::new(&there)).unwrap();
    let asked = push(&open, &["--trust-unsigned"]);
    tally.held(
        "whoever may run any command may say so",
        asked.status == Some(0),
        asked.stderr,
    );
    mstore_store::remove_tree(Path::new(&there)).unwrap();
    let believed = push(&careless, &[]);
    tally.held(
        "a receiver that was started so",
        believed.status == Some(0),
        believed.stderr,
    );
    // From a store that is served for reading everything can be copied.
    let back = world.store("back");
    let from = [
        "copy",
        "--store",
        &back,
        "--from",
        "ssh://there",
        "--ssh",
        &reading,
        &world.tree,
        "--root",
        "x",
    ];
    let got = place.run(&from);
    tally.held(
        "reading from one served --read-only",
        got.status == Some(0),
        got.stderr,
    );
    None
}

fn a_traitor_among_the_keys(place: &Place, tally: &Tally) -> Option<&'static str> {
    let world = World::new(place, "echo result > /result");
    let keys = ["good", "second", "evil"];
    let sign = |fact: &mut Fact, key: &str| {
        SecretKey::read(&place.path(&format!("{key}.key")))
            .unwrap()
            .sign(fact);
    };
    let honest = world.cache("honest", Some("good"));
    change(&honest, |mut fact| {
        sign(&mut fact, "second");
        fact.encode()
    });
    // The traitor has one key of three, and says that the result is its seed.
    let lie = fs::read_to_string(place.path("metro.lock")).unwrap();
    let lie: TreeHash = lie
        .lines()
        .find_map(|line| line.strip_prefix("tree: "))
        .unwrap()
        .parse()
        .unwrap();
    let traitor = world.cache("traitor", Some("good"));
    let truth: Vec<(PathBuf, Vec<u8>)> = facts(&traitor)
        .into_iter()
        .map(|p| (p.clone(), fs::read(p).unwrap()))
        .collect();
    type Lie<'a> = (&'a str, &'a dyn Fn(Fact) -> Fact);
    let lies: [Lie<'_>; 5] = [
        ("signs a lie alone", &|mut fact| {
            fact.realisation.tree = lie;
            fact.signatures.clear();
            sign(&mut fact, "evil");
            fact
        }),
        ("puts the signatures of the truth to a lie", &|mut fact| {
            fact.realisation.tree = lie;
            sign(&mut fact, "evil");
            fact
        }),
        ("signs twice", &|mut fact| {
            fact.realisation.tree = lie;
            fact.signatures.clear();
            sign(&mut fact, "evil");
            let mut again = fact.signatures[0].clone();
            again.bytes[0] ^= 1;
            fact.signatures.push(again);
            fact.signatures.sort();
            fact
        }),
        ("signs in another's name", &|mut fact| {
            fact.realisation.tree = lie;
            fact.signatures.clear();
            sign(&mut fact, "evil");
            let mut again = fact.signatures[0].clone();
            again.signer = "second".into();
            fact.signatures.push(again);
            fact.signatures.sort();
            fact
        }),
        ("withholds a signature", &|fact| fact),
    ];
    for (what, with) in lies {
        for (path, bytes) in &truth {
            let fact = with(Fact::decode(bytes).unwrap());
            fs::write(path, fact.encode()).unwrap();
        }
        // Asked alone it is refused; asked before an honest one it is in nobody's way.
        let (taken, ran) = world.reader(&["traitor"], &keys, 2);
        tally.held(
            what,
            taken.is_none() && ran.stdout.contains(&world.tree),
            &ran.stderr,
        );
        let (taken, ran) = world.reader(&["traitor", "honest"], &keys, 2);
        tally.held(what, taken.as_ref() == Some(&world.tree), &ran.stderr);
    }
    // Two traitors of three are believed: that is what 2 of 3 means.
    for (path, bytes) in &truth {
        let mut fact = Fact::decode(bytes).unwrap();
        sign(&mut fact, "evil");
        fs::write(path, fact.encode()).unwrap();
    }
    let (taken, ran) = world.reader(&["traitor"], &keys, 2);
    tally.held("two of three", taken.is_some(), &ran.stderr);
    let (taken, ran) = world.reader(&["honest"], &keys, 3);
    tally.held("three of three", taken.is_none(), &ran.stderr);
    None
}

fn old_facts_are_true_and_keys_can_be_withdrawn(
    place: &Place,
    tally: &Tally,
) -> Option<&'static str> {
    // A step that comes out otherwise every time.
    let world = World::new(place, "head -c 16 /dev/urandom > /result");
    world.cache("old", Some("good"));
    place.run(&["realise", "--rebuild", "a-s"]).ok();
    let new = place.tree("a");
    assert_ne!(new, world.tree, "the step gives the same result twice");
    world.cache("new", Some("second"));
    // Who serves an old fact keeps the newer one from a reader: both are what the key really gave.
    let (taken, ran) = world.reader(&["old", "new"], &["good", "second"], 1);
    tally.held(
        "an old fact is taken",
        taken.as_ref() == Some(&world.tree),
        &ran.stderr,
    );
    tally.held("what it names is whole", world.sound(), "it is not");
    // A key that is withdrawn takes all that it signed with it.
    let (taken, ran) = world.reader(&["old", "new"], &["second"], 1);
    tally.held("a withdrawn key", taken.as_ref() == Some(&new), &ran.stderr);
    // An old fact says nothing about a recipe that has changed.
    place.targets(&[("a", "base", &[("one", "head -c 17 /dev/urandom > /result")])]);
    let (taken, ran) = world.reader(&["old", "new"], &["good", "second"], 1);
    tally.held(
        "another recipe",
        taken.is_none() && ran.status == Some(0),
        &ran.stderr,
    );
    None
}
