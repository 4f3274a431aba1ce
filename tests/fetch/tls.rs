//! Files over https: who the server is has to be proven, and it cannot send on to one that need not prove it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{Answer, Server};
use crate::world::{fetched, file, noise, spec, with};

/// A web server that sends `/down` on to another address.
const SCRIPT: &str = "import http.server,ssl,sys\n\
class H(http.server.SimpleHTTPRequestHandler):\n\
\x20 def do_GET(self):\n\
\x20  if self.path=='/down':\n\
\x20   self.send_response(302);self.send_header('Location',sys.argv[2]+'/it.tar')\n\
\x20   self.send_header('Content-Length','0');self.end_headers();return\n\
\x20  super().do_GET()\n\
s=http.server.ThreadingHTTPServer(('127.0.0.1',int(sys.argv[1])),H)\n\
c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
c.load_cert_chain('leaf.pem','leaf.key')\n\
s.socket=c.wrap_socket(s.socket,server_side=True)\n\
s.serve_forever()\n";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes an authority and a certificate of this machine in `folder`; tells whether openssl is here.
fn certificates(folder: &Path) -> bool {
    fs::write(
        folder.join("ext"),
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let all = [
        format!("{new} -x509 -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"),
        format!("{new} -keyout leaf.key -out leaf.csr -subj /CN=server"),
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile ext"
            .to_owned(),
    ];
    all.iter().all(|arguments| {
        let made = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        made.is_ok_and(|status| status.success())
    })
}

#[test]
fn a_server_has_to_prove_who_it_is() {
    let content = noise(20, 10_000);
    let body = content.clone();
    let plain = Server::new(move |_, _| Answer::ok(&body));
    let env = with("");
    let folder = env.work().join("web");
    fs::create_dir(&folder).unwrap();
    if !certificates(&folder) {
        eprintln!("skipped: there is no openssl");
        return;
    }
    env.write("web/it.tar", &content);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let child = Command::new("python3")
        .args(["-c", SCRIPT, &port.to_string(), &plain.url])
        .current_dir(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let _server = Running(child);
    let until = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
    let url = |path: &str| format!("https://127.0.0.1:{port}/{path}");
    env.write("mstore.conf", "fetch/ca-file: web/ca.pem\n");
    let fetch = |more: &[&str]| env.run(&[&["fetch", "t-s"], more].concat());
    let trusting = ["--config", "mstore.conf"];
    // Down to plain http, though the content would be right.
    spec(&env, &file(&content, &[url("down")]));
    let told = fetch(&trusting).fails(3);
    assert!(told.contains("it sends on from https to http"), "{told}");
    assert!(plain.seen().is_empty());
    // An authority that nobody here knows.
    spec(&env, &file(&content, &[url("it.tar")]));
    let told = fetch(&[]).fails(3);
    assert!(told.contains("certificate"), "{told}");
    assert_eq!(fetched(&env)[0].1, None);
    let _ = fetch(&trusting).ok();
    assert_eq!(fetched(&env)[0].1.as_deref(), Some(&content[..]));
}
