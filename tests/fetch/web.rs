//! Files over http, and from folders of this machine.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::server::{Answer, Request, Server};
use crate::world::{fetched, file, noise, partial, sha256, spec, with};

#[test]
fn a_file_is_fetched_once_wherever_it_comes_from() {
    let content = noise(1, 300_000);
    let body = content.clone();
    let server = Server::new(move |_, _| Answer::ok(&body));
    let env = with(&file(&content, &[format!("{}/a/it.tar", server.url)]));
    let plan = env.run(&["realise", "-n", "t-s"]).ok();
    assert!(
        plan.starts_with(&format!(
            "would fetch it.tar {} from http://",
            sha256(&content)
        )),
        "{plan}"
    );
    let told = env.run(&["fetch", "t-s", "--json"]).ok();
    assert!(told.contains(r#""fetched":1"#), "{told}");
    assert_eq!(
        fetched(&env),
        [("/mstore/fetch/it.tar".to_owned(), Some(content.clone()))]
    );
    assert!(partial(&env).is_empty());
    // Another address, and nobody there: it is the same content.
    spec(&env, &file(&content, &["http://127.0.0.1:9/it.tar".into()]));
    let told = env.run(&["fetch", "t-s", "--json"]).ok();
    assert!(told.contains(r#""fetched":0"#), "{told}");
    assert_eq!(server.seen().len(), 1);
    let log = env.run(&["log", "fetch:it.tar"]);
    assert!(log.stdout.contains("fetching http://"), "{}", log.all());
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
}

#[test]
fn mirrors_are_tried_in_order_and_what_is_wrong_leaves_nothing() {
    let content = noise(2, 10_000);
    let (good, bad) = (content.clone(), noise(3, 10_000));
    let wrong = bad.clone();
    let server = Server::new(move |_, request| match request.path.as_str() {
        "/bad" => Answer::tagged(request, "\"b\"", &wrong),
        "/long" => Answer {
            says: Some(20_000),
            ..Answer::ok(&good)
        },
        "/chunks" => Answer {
            chunked: true,
            ..Answer::ok(&[&good[..], b"more"].concat())
        },
        "/good" => Answer::ok(&good),
        _ => Answer::status("404 Not Found"),
    });
    let url = |path: &str| format!("{}/{path}", server.url);
    let urls = [
        url("bad"),
        url("none"),
        "http://127.0.0.1:9/it".into(),
        url("long"),
        url("chunks"),
    ];
    let section = file(&content, &urls) + "size: 10000\n";
    let env = with(&section);
    let told = env.run(&["fetch", "t-s"]).fails(3);
    for expected in [
        format!(
            "/bad: wrong hash: {} was expected, it has {}",
            sha256(&content),
            sha256(&bad)
        ),
        "/none: it answers 404 Not Found".into(),
        "http://127.0.0.1:9/it: nobody answers there".into(),
        "/long: it has 20000 bytes, and 10000 were expected".into(),
        "/chunks: it sends more than the 10000 bytes".into(),
    ] {
        assert!(told.contains(&expected), "{expected}\n{told}");
    }
    assert!(partial(&env).is_empty(), "{:?}", partial(&env));
    assert_eq!(fetched(&env)[0].1, None);
    // With one that has it, all is well.
    let urls = [&urls[..], &[url("good")]].concat();
    spec(&env, &(file(&content, &urls) + "size: 10000\n"));
    let _ = env.run(&["fetch", "t-s"]).ok();
    assert_eq!(fetched(&env)[0].1.as_deref(), Some(&content[..]));
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let content = noise(4, 2_000_000);
    let body = content.clone();
    let server = Server::new(move |number, request| Answer {
        // Never more than 700,000 bytes at a time.
        cut: (number < 3).then_some(700_000),
        ..Answer::tagged(request, "\"one\"", &body)
    });
    let env = with(&file(&content, &[format!("{}/it.tar", server.url)]));
    let _ = env.run(&["fetch", "t-s"]).ok();
    assert_eq!(fetched(&env)[0].1.as_deref(), Some(&content[..]));
    let seen = server.seen();
    assert!(seen.len() > 1);
    assert_eq!(seen[0].range, None);
    for request in &seen[1..] {
        assert!(request.range.is_some(), "{seen:?}");
        assert_eq!(request.if_range.as_deref(), Some("\"one\""), "{seen:?}");
    }
}

/// What came before is of another file than what comes now; a server that says so, and one that does not.
#[test]
fn a_file_that_changed_meanwhile_is_fetched_from_the_beginning() {
    for tells in [true, false] {
        let (old, content) = (noise(5, 500_000), noise(6, 500_000));
        let body = content.clone();
        let server = Server::new(move |number, request| match number {
            0 => Answer {
                cut: Some(200_000),
                ..Answer::tagged(request, "\"old\"", &old)
            },
            _ if tells => Answer::tagged(request, "\"new\"", &body),
            _ => Answer::tagged(request, "\"old\"", &body),
        });
        let env = with(&file(&content, &[format!("{}/it.tar", server.url)]));
        let _ = env.run(&["fetch", "t-s"]).ok();
        assert_eq!(fetched(&env)[0].1.as_deref(), Some(&content[..]), "{tells}");
    }
}

#[test]
fn a_fetch_that_is_killed_goes_on_later() {
    let content = noise(7, 3_000_000);
    let body = content.clone();
    let server = Server::new(move |number, request: &Request| Answer {
        hang: (number == 0).then_some(1_500_000),
        ..Answer::tagged(request, "\"one\"", &body)
    });
    let env = with(&file(&content, &[format!("{}/it.tar", server.url)]));
    let mut child = env.command(&["fetch", "t-s", "--quiet"]).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let came = partial(&env)
            .first()
            .map(|p| fs::metadata(p).unwrap().len());
        if came.is_some_and(|n| n >= 1_000_000) {
            break;
        }
        assert!(Instant::now() < until, "nothing comes");
        std::thread::sleep(Duration::from_millis(10));
    }
    // With SIGKILL: nothing of it can be tidied up.
    child.kill().unwrap();
    child.wait().unwrap();
    let _ = env.run(&["fetch", "t-s"]).ok();
    let seen = server.seen();
    let range = seen[1].range.as_deref().unwrap();
    let from: u64 = range["bytes=".len()..]
        .trim_end_matches('-')
        .parse()
        .unwrap();
    assert!(from >= 1_000_000, "{range}");
    assert_eq!(seen.len(), 2);
    assert_eq!(fetched(&env)[0].1.as_deref(), Some(&content[..]));
    assert!(partial(&env).is_empty());
}

#[test]
fn redirects_end_somewhere() {
    let content = noise(8, 1000);
    let body = content.clone();
    let server = Server::new(move |_, request| {
        let to = match request.path.as_str() {
            "/relative/a" => "b?c",
            "/relative/b?c" => "/there",
            "/there" => return Answer::ok(&body),
            "/file" => "file:///etc/passwd",
            "/user" => "http://name:secret@127.0.0.1/",
            "/nowhere" => return Answer::status("302 Found"),
            _ => "/round",
        };
        Answer::status(&format!("302 Found\r\nLocation: {to}"))
    });
    let url = |path: &str| format!("{}/{path}", server.url);
    let urls = [url("round"), url("file"), url("user"), url("nowhere")];
    let env = with(&file(&content, &urls));
    let told = env.run(&["fetch", "t-s"]).fails(3);
    assert!(told.contains("it sends on more than 8 times"), "{told}");
    assert!(told.contains("not a web server"), "{told}");
    assert!(told.contains("a user name or password"), "{told}");
    assert!(!told.contains("secret"), "{told}");
    assert!(told.contains("does not say where"), "{told}");
    spec(&env, &file(&content, &[url("relative/a")]));
    let _ = env.run(&["fetch", "t-s"]).ok();
    assert_eq!(fetched(&env)[0].1.as_deref(), Some(&content[..]));
}

#[test]
fn servers_that_are_too_slow_are_given_up() {
    let content = noise(9, 1_000_000);
    let body = content.clone();
    let server = Server::new(move |_, request| match request.path.as_str() {
        "/hangs" => Answer {
            hang: Some(1000),
            ..Answer::tagged(request, "\"one\"", &body)
        },
        _ => Answer {
            slow: Some(Duration::from_millis(20)),
            ..Answer::tagged(request, "\"one\"", &body)
        },
    });
    let urls = ["hangs", "drips"].map(|path| format!("{}/{path}", server.url));
    let env = with(&file(&content, &urls));
    env.write("mstore.conf", "fetch/timeout: 1\n");
    let began = Instant::now();
    let told = env
        .run(&["fetch", "t-s", "--config", "mstore.conf"])
        .fails(3);
    assert!(began.elapsed() < Duration::from_secs(30), "{told}");
    assert_eq!(
        told.matches("it does not go on in time").count(),
        2,
        "{told}"
    );
}

#[test]
fn without_a_network_everything_that_is_lacking_is_named() {
    let (one, two) = (noise(10, 1000), noise(11, 1000));
    let server = Server::new(|_, _| Answer::status("500 No"));
    let section = |name: &str, content: &[u8]| {
        format!(
            "[section fetch/{name}]\nhash: {}\nurl: {}/{name}.tar\n",
            sha256(content),
            server.url
        )
    };
    let env = with(&format!(
        "[section fetch]\n: one two\n{}{}",
        section("one", &one),
        section("two", &two)
    ));
    for command in [
        &["--offline", "realise", "t-s"],
        &["--offline", "fetch", "t-s"],
    ] {
        let told = env.run(command).fails(3);
        assert!(told.contains("these 2 things are not here"), "{told}");
        for content in [&one, &two] {
            assert!(told.contains(&sha256(content)), "{told}");
        }
        assert!(told.contains("/two.tar\n"), "{told}");
        assert!(told.contains("`mstore fetch TARGET --from DIR`"), "{told}");
    }
    assert!(server.seen().is_empty());
    // Brought in a folder: checked as if they came from elsewhere.
    env.write("usb/one.tar", &one);
    env.write("usb/two.tar", &one);
    let told = env
        .run(&["--offline", "fetch", "t-s", "--from", "usb"])
        .fails(3);
    assert!(
        told.contains(&format!(
            "usb/two.tar: wrong hash: {} was expected, it has {}",
            sha256(&two),
            sha256(&one)
        )),
        "{told}"
    );
    env.write("usb/two.tar", &two);
    let _ = env
        .run(&["--offline", "fetch", "t-s", "--from", "usb"])
        .ok();
    let all: Vec<_> = fetched(&env).into_iter().map(|f| f.1.unwrap()).collect();
    assert_eq!(all, [one, two]);
    assert!(server.seen().is_empty());
}

#[test]
fn files_of_this_machine() {
    let content = noise(12, 1000);
    let env = with("");
    let path = env.write("place/it.tar", &content);
    spec(
        &env,
        &file(&content, &[format!("file://{}", path.display())]),
    );
    // Needs no network.
    let _ = env.run(&["--offline", "fetch", "t-s"]).ok();
    assert_eq!(fetched(&env)[0].1.as_deref(), Some(&content[..]));
    // A pipe is not waited for.
    let pipe = env.work().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let other = noise(13, 10);
    spec(&env, &file(&other, &[format!("file://{}", pipe.display())]));
    let told = env.run(&["fetch", "t-s"]).fails(3);
    assert!(told.contains("it is not a file"), "{told}");
}

/// What was fetched stays while a target that is kept needs it, or for a while after it came.
#[test]
fn gc_keeps_what_is_needed() {
    let content = noise(14, 1000);
    let env = with("");
    let path = env.write("place/it.tar", &content);
    spec(
        &env,
        &file(&content, &[format!("file://{}", path.display())]),
    );
    let _ = env.run(&["fetch", "t-s"]).ok();
    let _ = env.run(&["gc"]).ok();
    assert_eq!(fetched(&env)[0].1.as_deref(), Some(&content[..]));
    let database = env.store().join("db/mstore.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    let changed = database.execute("UPDATE realisation SET started = 1000", []);
    assert_eq!(changed.unwrap(), 1);
    drop(database);
    let _ = env.run(&["gc"]).ok();
    assert_eq!(fetched(&env)[0].1, None);
}

/// Files of two sites, which are one server under two names; one of them never answers.
#[test]
fn a_site_that_hangs_keeps_no_other_waiting_and_from_each_one_thing_comes_at_a_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, seen) = (now.clone(), most.clone());
    let server = Server::new(move |_, request| {
        let number: u64 = request.path.trim_start_matches("/f").parse().unwrap_or(0);
        if number == 0 {
            return Answer {
                hang: Some(3),
                ..Answer::ok(b"never")
            };
        }
        let beside = running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.fetch_max(beside, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        running.fetch_sub(1, Ordering::SeqCst);
        Answer::ok(&noise(100 + number, 1000))
    });
    let other = server.url.replace("127.0.0.1", "localhost");
    let mut text = "[section fetch]\n: stuck f1 f2 f3 f4\n".to_owned();
    let stuck = sha256(b"never");
    text += &format!("[section fetch/stuck]\nhash: {stuck}\nfile: f0\nurl: {other}/f0\n");
    for n in 1..=4 {
        let hash = sha256(&noise(100 + n, 1000));
        text += &format!(
            "[section fetch/f{n}]\nhash: {hash}\nfile: f{n}\nurl: {}/f{n}\n",
            server.url
        );
    }
    let env = with(&text);
    env.write("mstore.conf", "fetch/timeout: 2\n");
    let ran = env.run(&["realise", "t-s", "-j1", "-k", "--config", "mstore.conf"]);
    assert_ne!(ran.status, Some(0), "{}", ran.all());
    assert_eq!(most.load(Ordering::SeqCst), 1, "{}", ran.all());
    // All of the other site came, though the first one hung until it was given up.
    let came = ran.stderr.matches("built fetch:f").count();
    assert_eq!(came, 4, "{}", ran.all());
}
