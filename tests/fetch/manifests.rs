//! Source archives as the Manifests of a ports tree list them.

use std::fmt::Write as _;

use sha2::Digest as _;

use crate::environment::Environment;
use crate::server::{Answer, Server};
use crate::world::{fetched, noise, spec, with};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A line of a Manifest.
fn dist(name: &str, content: &[u8]) -> String {
    format!(
        "DIST {name} {} BLAKE2B {} SHA512 {}\n",
        content.len(),
        hex(&blake2::Blake2b512::digest(content)),
        hex(&sha2::Sha512::digest(content))
    )
}

/// Imports a tree with one package, whose Manifest has `text`.
fn snapshot(env: &Environment, text: &str) {
    env.write("tree/sys-libs/zlib/Manifest", text);
    env.write("tree/sys-libs/zlib/zlib-1.3.ebuild", "EAPI=8\n");
    let _ = env.run(&["snapshot", "import", "tree"]).ok();
}

fn section(url: &str, lines: &str) -> String {
    format!(
        "[section snapshot]\n: tree\nreads:\n[section fetch]\n: distfiles\npath: /var/cache/distfiles\n\
         [section fetch/distfiles]\nurl: mirror://gentoo\nmanifests: [\n{lines}\n]\n\
         [section mirror]\ngentoo: [\nhttp://127.0.0.1:9/\n{url}/distfiles/{{blake2b}}\n]\n"
    )
}

#[test]
fn archives_come_from_mirrors_with_all_their_digests() {
    let (one, two, patch) = (noise(1, 5000), noise(2, 7000), noise(3, 100));
    let bodies = [one.clone(), two.clone()];
    let server = Server::new(move |_, request| match request.path.as_str() {
        // What `b2sum` says of the names begins with these digits.
        "/distfiles/06/zlib-1.3.tar.xz" => Answer::ok(&bodies[0]),
        path if path.ends_with("/zlib-1.2.tar.xz") => Answer::ok(&bodies[1]),
        _ => Answer::status("404 Not Found"),
    });
    let mut text = String::from("AUX fix.patch 3 BLAKE2B 00 SHA512 00\n");
    text += &dist("zlib-1.2.tar.xz", &two);
    text += &dist("zlib-1.3.tar.xz", &one);
    text += &dist("zlib-1.3.tar.xz.asc", &patch);
    let env = with("");
    snapshot(&env, &text);
    spec(&env, &section(&server.url, "sys-libs/zlib *1.3.tar.xz"));
    let _ = env.run(&["fetch", "t-s"]).ok();
    let at = "/var/cache/distfiles/zlib-1.3.tar.xz".to_owned();
    assert_eq!(fetched(&env), [(at, Some(one))]);
    // More of the same package: what is there stays.
    let before = server.seen().len();
    spec(&env, &section(&server.url, "sys-libs/zlib *.tar.xz"));
    let told = env.run(&["fetch", "t-s", "--json"]).ok();
    assert!(
        told.contains(r#""fetched":1"#) && told.contains(r#""there":1"#),
        "{told}"
    );
    assert_eq!(server.seen().len(), before + 1);
    spec(&env, &section(&server.url, "sys-libs/zlib"));
    let told = env.run(&["fetch", "t-s"]).fails(3);
    assert!(
        told.contains("zlib-1.3.tar.xz.asc: it answers 404"),
        "{told}"
    );
}

#[test]
fn every_digest_counts() {
    let content = noise(4, 5000);
    let body = content.clone();
    let server = Server::new(move |_, _| Answer::ok(&body));
    let good = dist("a.tar", &content);
    let words: Vec<&str> = good.split_whitespace().collect();
    for at in [4, 6] {
        let mut words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let flipped = if words[at].starts_with('0') { "1" } else { "0" };
        words[at].replace_range(..1, flipped);
        let env = with("");
        snapshot(&env, &(words.join(" ") + "\n"));
        spec(&env, &section(&server.url, "sys-libs/zlib"));
        let told = env.run(&["fetch", "t-s"]).fails(3);
        assert!(
            told.contains(&format!("{} was expected", words[at])),
            "{told}"
        );
    }
}

#[test]
fn manifests_that_cannot_be_used() {
    let env = with("");
    snapshot(&env, "DIST ../../etc/passwd 1 SHA512 00\n");
    let url = "http://127.0.0.1:9";
    spec(&env, &section(url, "sys-libs/zlib"));
    let told = env.run(&["fetch", "t-s"]).fails(2);
    assert!(
        told.contains("sys-libs/zlib/Manifest: line 1: `../../etc/passwd` cannot be the name"),
        "{told}"
    );
    spec(&env, &section(url, "sys-libs/nosuch"));
    let told = env.run(&["fetch", "t-s"]).fails(2);
    assert!(
        told.contains("tree has no Manifest sys-libs/nosuch/Manifest"),
        "{told}"
    );
    assert!(told.contains("metro.conf:"), "{told}");
    snapshot(&env, &dist("a.tar", b"a"));
    spec(&env, &section(url, "sys-libs/zlib b*"));
    let told = env.run(&["fetch", "t-s"]).fails(2);
    assert!(told.contains("lists nothing called `b*`"), "{told}");
    assert!(told.contains("there is: a.tar"), "{told}");
    let mut many = String::new();
    for n in 0..4097 {
        write!(many, "{}", dist(&format!("a{n}"), b"a")).unwrap();
    }
    snapshot(&env, &many);
    spec(&env, &section(url, "sys-libs/zlib"));
    let told = env.run(&["fetch", "t-s"]).fails(2);
    assert!(told.contains("at most 4096"), "{told}");
}
