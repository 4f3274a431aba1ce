//! Ports that cannot be built: each is told of by its file and line, and keeps no other from being built.

use crate::place::Place;

const FINE: &str = "version: 1\n[section steps/port]\nconfigure:\nbuild:\nfake: [\nmkdir -p /port/fake/usr/local\n]\n";

#[test]
fn what_is_wrong_with_a_port_is_told_by_file_and_line() {
    let place = Place::empty();
    place.write("ports.conf", "ports/base: none\n");
    for (text, said) in [
        (
            "comment: x\n",
            "tree/a/b/port.spec:1: `version` of a/b: it is not defined",
        ),
        (
            "version: 1\n\ndistfiles: [\nx.tar https://h/\n]\n",
            "tree/a/b/port.spec:3: `distfiles` of a/b: x.tar has no hash",
        ),
        (
            "version: 1\ndistfiles: ../x sha256:00 https://h/\n",
            "port.spec:2: `distfiles` of a/b: `../x` cannot be the name of a file",
        ),
        (
            "version: 1\ndistfiles: x sha256:00 https://h/\n",
            "port.spec:2: `distfiles` of a/b: x: a sha256 has 64 hexadecimal digits, not `00`",
        ),
        (
            "version: 1\ndepends/lib: ../../x\n",
            "port.spec:2: `depends/lib` of a/b: `../../x` is not a pkgpath",
        ),
        (
            "version: 1\ndepends/run: c/d\n",
            "port.spec:2: `depends/run` of a/b: nothing provides `c/d`",
        ),
        (
            "version: 1\ndepends/run: a/b\n",
            "port.spec:2: `depends/run` of a/b: ports need each other: a/b -> a/b",
        ),
        (
            "version: 1\nplist/doc: share\n",
            "port.spec:2: `plist/doc` of a/b: there is no subpackage -doc",
        ),
        (
            "version: 1\nsubpackages: doc\nplist/doc: ../etc\n",
            "port.spec:3: `plist/doc` of a/b: `../etc` has an empty name, . or .. in it",
        ),
        (
            "version: 1\nsubpackages: doc\n",
            "`plist/doc` of a/b: the subpackage -doc has no packing list",
        ),
        (
            "version: 1\nflavor: x\n",
            "port.spec:2: `flavor` of a/b: `x` is not among `flavors`",
        ),
        (
            "version: 1\nsteps/port/install: x\n",
            "port.spec:2: `steps/port/install` of a/b: a port has no step install",
        ),
        ("version: 1\nport/name: x\n", "port.spec:2"),
        ("version: $[nothing]\n", "port.spec:1"),
        ("version: 1\nversion: 2\n", "port.spec:2"),
        ("nonsense\n", "port.spec:1"),
    ] {
        place.write("a/b/port.spec", text);
        let told = place.run(&["show", "a/b"]).fails(2);
        assert!(told.contains(said), "{text}\n{told}\nlacks {said}");
        let listed = place.run(&["list", "--ports"]).ok();
        assert!(listed.starts_with("! a/b: "), "{listed}");
    }
    let flavors: String = (0..10_000).map(|n| format!(" f{n}")).collect();
    place.write("a/b/port.spec", &format!("version: 1\nflavors:{flavors}\n"));
    let told = place.run(&["show", "a/b"]).fails(2);
    assert!(
        told.contains("`flavors` of a/b: there are more than 64"),
        "{told}"
    );
    let told = place.run(&["show", "a/b,"]).fails(2);
    assert!(told.len() < 1000, "{told}");
    place.write("a/b/port.spec", FINE);
    assert!(
        place
            .run(&["show", "a/b,x"])
            .fails(2)
            .contains("`x` is not a flavor of it; it has none")
    );
    assert!(
        place
            .run(&["show", "a/b,-x"])
            .fails(2)
            .contains("a/b has no subpackage -x")
    );
    for same in ["a/b", "a/b,", "a/b,-main"] {
        let _ = place.run(&["show", same]).ok();
    }
    let _ = place.run(&["show", "../../x"]).fails(2);
}

#[test]
fn ports_in_a_circle_are_named_and_links_are_not_followed() {
    let place = Place::empty();
    place.write("ports.conf", "ports/base: none\n");
    for (name, needs) in [
        ("a/one", "a/two"),
        ("a/two", "a/three"),
        ("a/three", "a/one"),
        ("a/four", "a/one"),
    ] {
        place.write(
            &format!("{name}/port.spec"),
            &format!("{FINE}[section depends]\nlib: {needs}\n"),
        );
    }
    place.write("a/fine/port.spec", FINE);
    place.write("a/.hidden/port.spec", "nonsense");
    place.write("a/with blank/port.spec", FINE);
    let tree = place.path("tree");
    std::os::unix::fs::symlink(".", tree.join("loop")).unwrap();
    std::os::unix::fs::symlink("..", tree.join("a/up")).unwrap();
    std::fs::create_dir(tree.join("a/dir")).unwrap();
    std::fs::create_dir(tree.join("a/dir/port.spec")).unwrap();
    let listed = place.run(&["list", "--ports"]).ok();
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(
        lines,
        [
            "! a/dir: port.spec is not a file",
            "a/fine  1",
            "! a/four: HERE/tree/a/four/port.spec:9: it needs a/one, which is not built",
            "! a/one: HERE/tree/a/one/port.spec:9: it needs a/two, which is not built",
            "! a/three: HERE/tree/a/three/port.spec:9: `depends/lib` of a/three: ports need each other: a/one -> a/two -> a/three -> a/one",
            "! a/two: HERE/tree/a/two/port.spec:9: it needs a/three, which is not built",
            "! a/with blank: `a/with blank` is not a pkgpath: `with blank` is not the name of a folder of letters, digits and . _ + - that begins with a letter or digit",
        ]
    );
    assert!(
        place
            .run(&["show", "loop/a"])
            .fails(2)
            .contains("no build is called `loop`")
    );
    let _ = place.run(&["show", "a/fine"]).ok();
}
