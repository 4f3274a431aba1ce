//! Binary caches: in folders, on web servers that know ranges and that do not, hostile ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::environment::Environment;
use crate::support::{has, import, must, number, program, skip};

/// A process that is ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn wait_for(port: u16) {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Python's own web server, which knows no ranges.
fn python(folder: &Path) -> Option<(Server, String)> {
    let python = program("python3")?;
    let port = free_port();
    let child = Command::new(python)
        .args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            &port.to_string(),
        ])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    wait_for(port);
    Some((server, format!("http://127.0.0.1:{port}")))
}

/// `mstore serve`, and where it listens.
fn serve(env: &Environment, store: &Path) -> (Server, String) {
    let store = store.display().to_string();
    let mut child = env
        .command(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--json",
            "--store",
            &store,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    (Server(child), value["url"].as_str().unwrap().to_owned())
}

/// A cache of one sample, besides the store it is made from.
fn cache(env: &Environment, seed: u64) -> (std::path::PathBuf, mstore_store::TreeHash) {
    let from = env.work().join("from");
    let tree = import(&from, seed);
    let from = from.display().to_string();
    let text = tree.to_string();
    env.run(&["copy", "--store", &from, "--to", "cache", "--cache", &text])
        .ok();
    (env.work().join("cache"), tree)
}

fn verify(env: &Environment) {
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
}

#[test]
fn a_cache_in_a_folder_gets_only_what_it_lacks_and_gives_it_back() {
    let env = Environment::new();
    let (folder, tree) = cache(&env, 1);
    let from = env.work().join("from").display().to_string();
    let text = tree.to_string();
    let again = env
        .run(&["copy", "--store", &from, "--to", "cache", &text, "--json"])
        .ok();
    assert_eq!(number(&again, "objects"), 0);
    let files = |what: &str| fs::read_dir(folder.join(what)).unwrap().count();
    let before = files("packs");
    let second = import(&env.work().join("from"), 1 << 20).to_string();
    env.run(&["copy", "--store", &from, "--to", "cache", &second, "-n"])
        .ok();
    assert_eq!(files("packs"), before, "a dry run writes nothing");
    let more = env
        .run(&["copy", "--store", &from, "--to", "cache", &second, "--json"])
        .ok();
    assert!(number(&more, "bytes") > 6_000_000);
    assert_eq!(files("trees"), 2);
    let back = env.run(&["copy", "--from", "cache", &text, "--json"]).ok();
    assert!(
        number(&back, "bytes") < 7_500_000,
        "only what this tree needs"
    );
    let none = env.run(&["copy", "--from", "cache", &text, "--json"]).ok();
    assert_eq!(number(&none, "bytes"), 0);
    verify(&env);
    // Two stores that write the same make the same files.
    env.run(&["copy", "--to", "other", "--cache", &text]).ok();
    assert!(has(&env.store(), tree));
}

#[test]
fn a_cache_on_a_server_without_ranges() {
    let env = Environment::new();
    let (folder, tree) = cache(&env, 1);
    let Some((_server, url)) = python(&folder) else {
        return skip("cache on a plain server", "python3");
    };
    let text = tree.to_string();
    let got = env.run(&["copy", "--from", &url, &text, "--json"]).ok();
    assert!(number(&got, "bytes") > 6_000_000);
    assert!(has(&env.store(), tree));
    verify(&env);
    let again = env.run(&["copy", "--from", &url, &text, "--json"]).ok();
    assert_eq!(number(&again, "bytes"), 0);
}

#[test]
fn a_store_served_live_gives_ranges_and_nothing_else() {
    let env = Environment::new();
    let far = env.work().join("far");
    let first = import(&far, 1);
    let (mut server, url) = serve(&env, &far);
    let text = first.to_string();
    env.run(&["copy", "--from", &url, &text]).ok();
    verify(&env);
    // What is added while it runs is there; only that travels.
    let dir = tempfile::tempdir().unwrap();
    crate::support::sample(dir.path(), 1);
    fs::write(dir.path().join("d1/e1/new"), "new").unwrap();
    let store = mstore_store::Store::open(&far, &mstore_store::OpenOptions::create()).unwrap();
    let second = store
        .import_dir(dir.path(), &mstore_store::ImportOptions::snapshot())
        .unwrap()
        .tree
        .to_string();
    let more = env.run(&["copy", "--from", &url, &second, "--json"]).ok();
    assert!(number(&more, "bytes") < 10_000, "{more}");
    verify(&env);
    let address = url.strip_prefix("http://").unwrap();
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    for path in [
        "/../format",
        "/packs/../format",
        "/packs/../../etc/passwd.pack",
        "//etc/passwd",
        "/packs/%2e%2e/format",
        "/db/mstore.sqlite",
        "/packs/",
        "/trees/../mstore-cache",
        "/realisations/x",
        "",
        "*",
    ] {
        let line = ask(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert!(
            line.contains("404") || line.contains("400"),
            "{path}: {line}"
        );
    }
    assert!(ask("POST /mstore-cache HTTP/1.1\r\n\r\n").contains("405"));
    assert!(ask("GET /mstore-cache HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345").contains("400"));
    assert!(ask("nonsense\r\n\r\n").contains("400"));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    assert!(ask(&long).contains("431"));
    let range = |range: &str| {
        ask(&format!(
            "GET /mstore-cache HTTP/1.1\r\nRange: {range}\r\nConnection: close\r\n\r\n"
        ))
    };
    assert!(range("bytes=0-3").contains("206"));
    assert!(range("bytes=5-3").contains("200"));
    assert!(range("bytes=99999-").contains("416"));
    // Those who say nothing, or stop in the middle, are in nobody's way.
    let _lazy: Vec<TcpStream> = (0..20)
        .map(|at| {
            let mut stream = TcpStream::connect(address).unwrap();
            let half = if at % 2 == 0 {
                ""
            } else {
                "GET /packs/x HTTP/1.1\r\nX:"
            };
            stream.write_all(half.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert!(range("bytes=0-3").contains("206"));
    // It ends on a signal, and says what it did.
    let pid = rustix::process::Pid::from_child(&server.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    server
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert!(server.0.wait().unwrap().success());
    assert!(number(&rest, "requests") > 10, "{rest}");
}

#[test]
fn tls_with_a_private_authority() {
    let (Some(openssl), Some(python)) = (program("openssl"), program("python3")) else {
        return skip("TLS", "openssl or python3");
    };
    let env = Environment::new();
    let (folder, tree) = cache(&env, 1);
    let keys = env.work().join("keys");
    fs::create_dir(&keys).unwrap();
    fs::write(
        keys.join("ext"),
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    let run = |arguments: &str| {
        must(
            Command::new(&openssl)
                .args(arguments.split_whitespace())
                .current_dir(&keys),
        );
    };
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    run(&format!(
        "{new} -x509 -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
    ));
    run(&format!(
        "{new} -keyout leaf.key -out leaf.csr -subj /CN=cache"
    ));
    run(
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile ext",
    );
    run(&format!(
        "{new} -keyout other.key -out other.csr -subj /CN=cache"
    ));
    fs::write(
        keys.join("other.ext"),
        "subjectAltName=DNS:cache.example.org,IP:127.0.0.2\n",
    )
    .unwrap();
    run(
        "x509 -req -in other.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out other.pem -days 2 -extfile other.ext",
    );
    // Valid once, and valid later: nothing else is wrong with them.
    fs::write(
        keys.join("ca.conf"),
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=number\nnew_certs_dir=.\ncertificate=ca.pem\n\
         private_key=ca.key\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n",
    )
    .unwrap();
    fs::write(keys.join("number"), "77\n").unwrap();
    for (name, from, to) in [
        ("expired", "20200101000000Z", "20200201000000Z"),
        ("early", "20480101000000Z", "20480201000000Z"),
    ] {
        // One name may be certified once in a list.
        fs::write(keys.join("index"), "").unwrap();
        fs::copy(keys.join("leaf.key"), keys.join(format!("{name}.key"))).unwrap();
        run(&format!(
            "ca -batch -notext -config ca.conf -in leaf.csr -out {name}.pem -extfile ext -startdate {from} -enddate {to}"
        ));
    }
    let script = "import http.server,ssl,sys\n\
        s=http.server.ThreadingHTTPServer(('127.0.0.1',int(sys.argv[1])),http.server.SimpleHTTPRequestHandler)\n\
        c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
        c.load_cert_chain(sys.argv[2]+'.pem',sys.argv[2]+'.key')\n\
        s.socket=c.wrap_socket(s.socket,server_side=True)\n\
        s.serve_forever()\n";
    let listen = |name: &str| {
        let port = free_port();
        let child = Command::new(&python)
            .args(["-c", script, &port.to_string()])
            .arg(keys.join(name))
            .current_dir(&folder)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server(child);
        wait_for(port);
        (server, port)
    };
    let (_server, port) = listen("leaf");
    // The authority is known, and the certificate is another host's, the authority's own, of the past or of
    // the future.
    for (wrong, why) in [
        ("other", "not valid for"),
        ("ca", "certificate"),
        ("expired", "expired"),
        ("early", "not valid yet"),
    ] {
        let (_server, port) = listen(wrong);
        let url = format!("https://127.0.0.1:{port}");
        let text = tree.to_string();
        let refused = env.run(&["copy", "--from", &url, &text, "--ca-file", "keys/ca.pem"]);
        let refused = refused.fails(3).to_lowercase();
        assert!(refused.contains("certificate"), "{wrong}: {refused}");
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
    let url = format!("https://127.0.0.1:{port}");
    let text = tree.to_string();
    let strange = env.run(&["copy", "--from", &url, &text]).fails(3);
    assert!(strange.to_lowercase().contains("certificate"), "{strange}");
    env.run(&["copy", "--from", &url, &text, "--ca-file", "keys/ca.pem"])
        .ok();
    assert!(has(&env.store(), tree));
    // The usual variable does as well.
    let other = env.work().join("other").display().to_string();
    let output = env
        .command(&["copy", "--store", &other, "--from", &url, &text])
        .env("SSL_CERT_FILE", keys.join("ca.pem"))
        .output()
        .unwrap();
    env.finish(output).ok();
}

type Meddle = dyn Fn(&str, &[u8]) -> Option<Vec<u8>> + Send + Sync;

/// A web server for a folder, without ranges, that may answer something else.
fn hostile(folder: &Path, ranges: bool, meddle: Arc<Meddle>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (folder, meddle) = (folder.clone(), meddle.clone());
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = BTreeMap::new();
                let mut first = String::new();
                reader.read_line(&mut first).ok()?;
                let mut line = String::new();
                while reader.read_line(&mut line).ok()? > 2 {
                    let (name, value) = line.split_once(':')?;
                    head.insert(name.to_lowercase(), value.trim().to_owned());
                    line.clear();
                }
                let path = first.split(' ').nth(1)?.trim_start_matches('/').to_owned();
                let body = fs::read(folder.join(&path)).unwrap_or_default();
                let answer = meddle(&path, &body).unwrap_or_else(|| {
                    let range = head.get("range").filter(|_| ranges);
                    let range = range.and_then(|r| r.strip_prefix("bytes=")?.split_once('-'));
                    if body.is_empty() {
                        return b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
                    }
                    let (status, part) = match range {
                        Some((a, b)) => {
                            let (a, b): (usize, usize) = (a.parse().unwrap(), b.parse().unwrap());
                            let range = format!("206 Part\r\nContent-Range: bytes {a}-{b}/{}", body.len());
                            (range, &body[a..=b])
                        }
                        None => ("200 OK".into(), &body[..]),
                    };
                    let mut all = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        part.len()
                    )
                    .into_bytes();
                    all.extend_from_slice(part);
                    all
                });
                if answer.is_empty() {
                    // Says nothing for a long time.
                    std::thread::sleep(Duration::from_secs(120));
                }
                stream.write_all(&answer).ok()
            });
        }
    });
    url
}

fn ok(body: &[u8]) -> Option<Vec<u8>> {
    let mut all = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    all.extend_from_slice(body);
    Some(all)
}

#[test]
fn hostile_caches_are_refused_in_time_and_leave_nothing() {
    let env = Environment::new();
    let (folder, tree) = cache(&env, 1);
    let text = tree.to_string();
    let flip = |at: fn(usize) -> usize| {
        move |body: &[u8]| {
            let mut body = body.to_vec();
            let at = at(body.len());
            body[at] ^= 1;
            ok(&body)
        }
    };
    fn on(
        what: &'static str,
        change: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Arc<Meddle> {
        Arc::new(move |path, body| {
            let (folder, suffix) = what.split_once('*').unwrap();
            (path.starts_with(folder) && path.ends_with(suffix)).then(|| change(body))?
        })
    }
    let status = |line: &'static str| {
        move |_: &[u8]| {
            Some(
                format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into(),
            )
        }
    };
    let cases: Vec<(&str, bool, Arc<Meddle>)> = vec![
        (
            "page instead of a cache",
            false,
            on("mstore-cache*", |_| ok(b"<html>hello</html>")),
        ),
        (
            "newer cache",
            false,
            on("mstore-cache*", |_| ok(b"mstore cache\nformat 9\n")),
        ),
        ("500", false, on("trees/*", status("500 Oops"))),
        (
            "500 for packs",
            true,
            on("packs/*.pack", status("500 Oops")),
        ),
        ("404 for packs", true, on("packs/*.pack", status("404 No"))),
        (
            "404 for indexes",
            true,
            on("packs/*.index", status("404 No")),
        ),
        (
            "flipped bit in a listing",
            false,
            on("trees/*", flip(|n| n / 2)),
        ),
        (
            "flipped bit in an index",
            false,
            on("packs/*.index", flip(|n| n / 2)),
        ),
        (
            "flipped bit early in a pack",
            false,
            on("packs/*.pack", flip(|_| 100)),
        ),
        (
            "flipped bit late in a pack",
            false,
            on("packs/*.pack", flip(|n| n / 3)),
        ),
        (
            "short pack",
            false,
            on("packs/*.pack", |b| ok(&b[..b.len() / 2])),
        ),
        (
            "long pack",
            false,
            on("packs/*.pack", |b| ok(&[b, b].concat())),
        ),
        (
            "promised more than came",
            false,
            on("packs/*.pack", |b| {
                let mut all = ok(b).unwrap();
                all.truncate(all.len() / 2);
                Some(all)
            }),
        ),
        (
            "another range",
            true,
            on("packs/*.pack", |b| {
                let head = "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-9/20\r\nContent-Length: 10\r\n\r\n";
                Some([head.as_bytes(), &b[..10]].concat())
            }),
        ),
        (
            "endless listing",
            false,
            on("trees/*", |_| ok(&vec![0x81; 20 << 20])),
        ),
        (
            "escape in a listing",
            false,
            on("trees/*", |_| {
                // [1, [["../../x", false, 1104, 16, 0]], 0, 0] in CBOR.
                let mut bytes = vec![0x84, 1, 0x81, 0x85, 0x67];
                bytes.extend_from_slice(b"../../x");
                bytes.extend_from_slice(&[0xf4, 0x19, 0x04, 0x50, 0x10, 0, 0, 0]);
                ok(&bytes)
            }),
        ),
        (
            "silence at the start",
            false,
            on("mstore-cache*", |_| Some(Vec::new())),
        ),
        (
            "silence in packs",
            true,
            on("packs/*.pack", |_| Some(Vec::new())),
        ),
        (
            "a head that goes on for ever",
            false,
            on("trees/*", |_| {
                Some(format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(1 << 18)).into())
            }),
        ),
    ];
    for (number, (what, ranges, meddle)) in cases.into_iter().enumerate() {
        let url = hostile(&folder, ranges, meddle);
        let store = env
            .work()
            .join(format!("store{number}"))
            .display()
            .to_string();
        let began = Instant::now();
        let ran = env.run(&[
            "copy",
            "--store",
            &store,
            "--from",
            &url,
            &text,
            "--timeout",
            "2",
        ]);
        let took = began.elapsed();
        assert_eq!(ran.status, Some(3), "{what}: {}", ran.all());
        assert!(ran.stderr.contains("error:"), "{what}: {}", ran.all());
        assert!(took < Duration::from_secs(20), "{what}: {took:?}");
        assert!(!has(Path::new(&store), tree), "{what}");
        let verified = env.run(&["store", "verify", "--store", &store]).ok();
        assert!(verified.contains("no fault"), "{what}: {verified}");
        // What arrived before is of use.
        env.run(&["copy", "--store", &store, "--from", "cache", &text])
            .ok();
    }
}

#[test]
fn an_interrupted_copy_fetches_the_rest() {
    let env = Environment::new();
    let (folder, tree) = cache(&env, 1);
    let text = tree.to_string();
    // The connection breaks after the first megabytes of contents.
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let meddle: Arc<Meddle> = Arc::new(move |path, body| {
        let large = path.ends_with(".pack") && body.len() > 1 << 20;
        (large && counter.fetch_add(1, Ordering::Relaxed) >= 1).then(|| {
            b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
        })
    });
    let url = hostile(&folder, true, meddle);
    let arguments = ["copy", "--from", &url, &text, "--json", "-j", "1"];
    let _ = env.run(&arguments).fails(3);
    let packs = fs::read_dir(env.store().join("packs")).unwrap().count();
    assert!(packs > 0, "what arrived stays");
    let rest = env.run(&["copy", "--from", "cache", &text, "--json"]).ok();
    // All but the large file had come.
    assert!(number(&rest, "bytes") < 6_400_000, "{rest}");
    verify(&env);
}

#[test]
fn a_repair_fetches_again_what_is_damaged_and_no_more() {
    let env = Environment::new();
    let (folder, tree) = cache(&env, 1);
    let text = tree.to_string();
    env.run(&["copy", "--from", "cache", &text, "--root", "kept"])
        .ok();
    let damage = || {
        for entry in fs::read_dir(env.store().join("packs")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            if bytes.len() > 1 << 20 {
                bytes[5000..5100].fill(0);
                fs::write(path, bytes).unwrap();
            }
        }
    };
    damage();
    let config = format!(
        "caches: main\n[section cache/main]\nurl: {}\n",
        folder.display()
    );
    env.write("mstore.conf", config);
    let repair = [
        "store",
        "verify",
        "--repair",
        "--json",
        "--config",
        "mstore.conf",
    ];
    let ran = env.run(&repair);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["refetched"][0], text, "{}", ran.all());
    verify(&env);
    assert!(has(&env.store(), tree));
    env.run(&["gc"]).ok();
    assert!(has(&env.store(), tree), "its root is there again");
    // Without a cache it is forgotten.
    damage();
    let _ = env.run(&["store", "verify", "--repair"]).fails(1);
    assert!(!has(&env.store(), tree));
    verify(&env);
}

/// Names stay until it was tried to fetch their trees: a repair that ends in between loses none.
#[test]
fn a_repair_that_is_killed_while_it_fetches_keeps_the_roots() {
    let env = Environment::new();
    let (folder, tree) = cache(&env, 1);
    let text = tree.to_string();
    env.run(&["copy", "--from", "cache", &text, "--root", "kept"])
        .ok();
    for entry in fs::read_dir(env.store().join("packs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() > 1 << 20 {
            bytes[5000..5100].fill(0);
            fs::write(path, bytes).unwrap();
        }
    }
    let repair = ["store", "verify", "--repair", "--config", "mstore.conf"];
    let config = |url: &str| {
        let text = format!("caches: main\n[section cache/main]\nurl: {url}\ntimeout: 60\n");
        env.write("mstore.conf", text);
    };
    // A cache that takes the call and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    config(&format!("http://{}", silent.local_addr().unwrap()));
    let mut command = env.command(&repair);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let called = silent.accept().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    drop(called);
    assert!(!has(&env.store(), tree));
    assert!(env.run(&["store", "root", "list"]).ok().contains("kept"));
    config(&folder.display().to_string());
    let ran = env.run(&repair);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    assert!(ran.stdout.contains("fetched 1 tree again"), "{}", ran.all());
    assert!(!ran.stdout.contains("forgot"), "{}", ran.all());
    verify(&env);
    assert!(env.run(&["store", "root", "list"]).ok().contains("kept"));
    assert!(has(&env.store(), tree));
    // A cache that answers and has nothing: now it is forgotten.
    fs::create_dir(env.work().join("empty")).unwrap();
    for entry in fs::read_dir(env.store().join("packs")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    config(&env.work().join("empty").display().to_string());
    let ran = env.run(&repair);
    assert!(ran.stdout.contains("forgot gc root kept"), "{}", ran.all());
    verify(&env);
}
