//! Specifications that ask for what cannot be fetched.

use crate::world::{sha256, spec, with};

#[test]
fn mistakes_are_found_before_anything_is_fetched() {
    let env = with("");
    let hash = sha256(b"a");
    let it = |text: &str| format!("[section fetch]\n: it\n[section fetch/it]\n{text}");
    let commit = "0123456789012345678901234567890123456789";
    for (text, expected) in [
        (it("url: http://h/a\n"), "has no `fetch/it/hash`"),
        (
            it("url: http://h/a\nhash: md5:00\n"),
            "`md5:00` is not ALGORITHM:HEX",
        ),
        (
            it("url: http://h/a\nhash: sha256:00\n"),
            "64 hexadecimal digits",
        ),
        (
            it(&format!("url: http://h/a\nhash: {hash} {hash}\n")),
            "there are two of sha256",
        ),
        (
            it(&format!("url: a/b\nhash: {hash}\n")),
            "metro.conf:17: `fetch/it/url` of b/a/s/t: `a/b`: it begins with none of",
        ),
        (
            it(&format!("url: file://a/b\nhash: {hash}\n")),
            "the path of a file begins with a slash",
        ),
        (
            it(&format!("url: file:///a/../../etc/b\nhash: {hash}\n")),
            "the path has `..`",
        ),
        (
            it(&format!("url: ftp://h/b\nhash: {hash}\n")),
            "nothing can be fetched that way",
        ),
        (
            it(&format!("url: https://u:secret@h/b\nhash: {hash}\n")),
            "`https://h/b`: a user name or password cannot be part of it",
        ),
        (
            it(&format!("url: mirror://none/b\nhash: {hash}\n")),
            "there is no list of mirrors `none`",
        ),
        (
            it(&format!("url: http://h/..\nhash: {hash}\n")),
            "`..` cannot be the name of a file",
        ),
        (
            it(&format!("url: http://h/b\nhash: {hash}\nsize: many\n")),
            "`many` is not a number of bytes",
        ),
        (
            it(&format!("url: git+https://h/b\nhash: {hash}\n")),
            "which commit is not said",
        ),
        (
            it("url: git+https://h/b\ncommit: main\n"),
            "not the whole hash of a commit",
        ),
        (
            it(&format!("url: https://h/b\ncommit: {commit}\n")),
            "not the address of a git repository",
        ),
        (
            it(&format!("url: git+ext::sh\ncommit: {commit}\n")),
            "it begins with none of",
        ),
        (
            "[section fetch]\n: ../it\n".to_owned(),
            "cannot name something to fetch",
        ),
        (
            "[section fetch]\n: it\npath: here\n[section fetch/it]\nhash: x\n".to_owned(),
            "`here` is not an absolute path",
        ),
    ] {
        spec(&env, &text);
        let told = env.run(&["fetch", "t-s"]).fails(2);
        assert!(told.contains(expected), "{text}\n{expected}\n{told}");
        assert!(!told.contains("secret"), "{told}");
    }
}
