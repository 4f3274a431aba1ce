"""A mirror, a store and specifications with tiny stages, and the program run on them.

Tests are functions called test_...; `main` runs them. MSTORE is the program.
"""

import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

MSTORE = os.path.abspath(os.environ["MSTORE"])
TOOLS = ["sh", "cat", "mkdir", "sleep", "rm"]


def make_seed(to):
    """A root file system with a shell, of this machine's programs."""
    for folder in ["bin", "tmp", "etc"]:
        (to / folder).mkdir(parents=True)
    (to / "tmp").chmod(0o1777)
    (to / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    for tool in TOOLS:
        found = os.path.realpath(shutil.which(tool))
        listed = subprocess.run(["ldd", found], stdout=subprocess.PIPE, text=True).stdout
        for word in listed.split():
            if word.startswith("/") and not (to / word[1:]).exists():
                (to / word[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, to / word[1:])
        shutil.copy(found, to / "bin" / tool)


class World:
    """A home, a store, a mirror, and a folder with specifications."""

    def __init__(self, builds="b", arches="a", subarches="s t", targets="stage1 stage2 stage3 openvz", seed=None):
        # Not below /tmp everywhere: overlayfs does not take every file system.
        self.dir = Path(tempfile.mkdtemp(prefix="mstore-mirror-", dir="/var/tmp"))
        self.home, self.work, self.mirror = (self.dir / n for n in ("home", "work", "mirror"))
        for folder in (self.home, self.work, self.mirror):
            folder.mkdir()
        self.store = self.dir / "store"
        self.names = builds, arches, subarches
        self.scripts = {}
        # What targets start from, where it is not what is usual.
        self.sources = {}
        self.more = ""
        self.targets = targets.split()
        self.seed = seed or self.dir / "seed"
        if not seed:
            make_seed(self.seed)
        self.specs()
        self.buildbot()
        for build in builds.split():
            for arch in arches.split():
                for subarch in subarches.split():
                    (self.mirror / build / arch / subarch).mkdir(parents=True)
        self.ok("seed", "import", str(self.seed), "--name", "base")

    def close(self):
        for _ in range(3):
            subprocess.run(["rm", "-rf", str(self.dir)])
            if not self.dir.exists():
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def script(self, target, text):
        """The script of a target from now on."""
        self.scripts[target] = text
        self.specs()

    def specs(self):
        builds, arches, subarches = self.names
        lists = "".join(f"subarches/{a}: {subarches}\n" for a in arches.split())
        write(
            self.work / "metro.conf",
            f"[section list]\nbuilds: {builds}\narches: {arches}\n{lists}targets: {' '.join(self.targets)}\n"
            f"[section target]\nplatform: {platform.machine()}\ncompression: gz\n"
            "[section subarch]\nCHOST: x86_64-pc-linux-gnu\nCFLAGS: -O2 -march=$[target/subarch]\n"
            f"[section path]\nmirror: {self.mirror}\n{self.more}\n[collect ./$[target:zap].conf]\n",
        )
        before = None
        for target in self.targets:
            source = f": {before}" if before else ": seed\nseed: base"
            if target in ("openvz", "lxd"):
                source = ": stage3"
            elif target == "stage3-freshen":
                source = ": seed\nseed: base"
            else:
                before = target
            source = self.sources.get(target, source)
            text = self.scripts.get(target, f'echo "{target} of $[target/build] $[target/subarch]" > /{target}')
            write(
                self.work / f"{target}.conf",
                f"[section target]\nclass: {target.removesuffix('-freshen')}\n[section source]\n{source}\n[section steps]\nchroot: run\n"
                f"[section steps/chroot]\nrun: [\n#!/bin/sh\nset -e\n{text}\n]\n",
            )

    def buildbot(self, more="", **names):
        builds, arches, subarches = self.names
        lines = [
            f"{name} = {tuple(value.split())!r}"
            for name, value in {"builds": builds, "arches": arches, "subarches": subarches, **names}.items()
        ]
        write(self.home / ".buildbot", "\n".join(lines) + "\n" + more)

    def environment(self):
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": str(self.home),
            "MSTORE_STORE": str(self.store),
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }

    def start(self, *words, program=MSTORE, **more):
        return subprocess.Popen(
            [program, *words], cwd=self.work, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
        )

    def run(self, *words, **more):
        child = self.start(*words, **more)
        out, err = child.communicate()
        return subprocess.CompletedProcess(words, child.returncode, out, err)

    def ok(self, *words, **more):
        done = self.run(*words, **more)
        assert done.returncode == 0, told(done)
        return done.stdout

    def fails(self, status, *words):
        done = self.run(*words)
        assert done.returncode == status, told(done)
        return done.stderr

    def repo(self, today, *words):
        return self.run("repo", "--today", today, *words)

    def path(self, *parts):
        return self.mirror.joinpath(*parts)

    def text(self, *parts):
        return self.path(*parts).read_text()

    def names_in(self, *parts):
        return sorted(os.listdir(self.path(*parts)))


def write(path, text):
    """In one moment: runs may be reading it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


def told(done):
    return f"{done.args} status {done.returncode}\n{done.stdout}\n{done.stderr}"


def same(found, wanted):
    assert found == wanted, f"\nfound  {found!r}\nwanted {wanted!r}"


def wait_for(what, seconds=60):
    until = time.time() + seconds
    while time.time() < until:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it took too long")


def entries(top):
    """Every path below a folder with what it is: mode, link target or content."""
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            if stat.S_ISLNK(info.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                what = Path(path).read_bytes()
            else:
                what = "folder"
            found[os.path.relpath(path, top)] = what
    return found


def main(functions):
    """Runs the tests of a file, or those whose names have one of the words of the command line in them."""
    words = sys.argv[1:]
    failed = []
    for name, test in list(functions.items()):
        if not name.startswith("test_") or (words and not any(word in name for word in words)):
            continue
        began = time.time()
        try:
            test()
        except BaseException:
            traceback.print_exc()
            failed.append(name)
            print(f"{name} ... FAILED", flush=True)
            if isinstance(sys.exc_info()[1], KeyboardInterrupt):
                break
        else:
            print(f"{name} ... ok ({time.time() - began:.1f} s)", flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
