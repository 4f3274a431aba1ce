"""A farm behind an engine: network namespaces for the engine, for three workers and for mstore.

MSTORE is the program, with `mstore-worker` beside it; must be started by root. Needs iproute2, util-linux, postgresql.
"""

import json
import os
import platform
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from engine import HERE, BuildGrid, buildgrid_home, call, patience, until

sys.path.insert(0, str(HERE.parent / "farm"))
from farm import MSTORE, TOOLS, make_seed, processes  # noqa: E402

NET = "10.78.0"
PORT = 50051
# An ordinary user, with ranges of subordinate ids.
USER = "mstore-test"


def is_static(program):
    """Whether a program needs no dynamic linker."""
    data = Path(program).read_bytes()
    start, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    return all(struct.unpack_from("<I", data, start + n * size)[0] != 3 for n in range(count))


class Host:
    """A machine: namespaces for network, processes and mounts. Ends with all that runs in it."""

    def __init__(self, farm, name, number):
        self.farm, self.name, self.address = farm, name, f"{NET}.{number}"
        self.dir = farm.dir / name
        self.dir.mkdir()
        self.net, self.port = f"{farm.tag}{name}", f"{farm.tag}p{name}"
        call("ip", "netns", "add", self.net)
        call("ip", "link", "add", self.port, "netns", farm.hub, "type", "veth", "peer", "name", "eth", "netns", self.net)
        call("ip", "-n", farm.hub, "link", "set", self.port, "master", "sw", "up")
        call("ip", "-n", self.net, "address", "add", f"{self.address}/24", "dev", "eth")
        call("ip", "-n", self.net, "link", "set", "lo", "up")
        call("ip", "-n", self.net, "link", "set", "dev", "eth", "up")
        outer = ["ip", "netns", "exec", self.net, "unshare", "--mount", "--uts", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        script = f"hostname {name}; echo up; while :; do sleep 86400 & wait; done"
        self.outer = subprocess.Popen([*outer, "bash", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self.outer.stdout.readline() == "up\n"
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        self.init = int(until("the host runs", lambda: children.read_text().split())[0])
        self.proc = Path(f"/proc/{self.init}/root/proc")

    @property
    def enter(self):
        """The words that start a program there."""
        return ["nsenter", "-t", str(self.init), "-n", "-m", "-p", "-u", "-i"]

    def run(self, *words):
        return call(*self.enter, *words)

    def processes(self):
        try:
            return processes(self.proc)
        except FileNotFoundError:
            return []

    def steps(self):
        """The marks of the steps that run there."""
        return [p.mark for p in self.processes() if p.mark]

    def left(self):
        """What runs there beside the host itself."""
        return [p for p in self.processes() if p.pid != 1 and p.words != ["sleep", "86400"]]

    def kill(self, which, how="-9"):
        pids = [str(p.pid) for p in self.processes() if which(p)]
        assert pids, f"there is nothing to kill on {self.name}: {self.processes()}"
        self.run("kill", how, *pids)

    def cut(self):
        """Pulls the cable."""
        call("ip", "-n", self.net, "link", "set", "dev", "eth", "down")

    def swallow(self):
        """Lets nothing through any more, without a word."""
        call("bridge", "-n", self.farm.hub, "link", "set", "dev", self.port, "state", "0")

    def mend(self):
        call("ip", "-n", self.net, "link", "set", "dev", "eth", "up")
        call("bridge", "-n", self.farm.hub, "link", "set", "dev", self.port, "state", "3")

    def slow(self, rate):
        """Lets only so many bits a second through, either way; None is no limit."""
        for space, device in [(self.farm.hub, self.port), (self.net, "eth")]:
            if rate:
                call("tc", "-n", space, "qdisc", "add", "dev", device, "root", "tbf", "rate", rate, "burst", "64kb", "latency", "300ms")
            else:
                call("tc", "-n", space, "qdisc", "del", "dev", device, "root")

    def close(self):
        self.outer.kill()
        self.outer.wait()
        subprocess.run(["ip", "netns", "del", self.net])


class Worker:
    """A worker on a host: `mstore worker --bots` with a store of its own, or one that is not ours (`runner` of client.py),
    as engines bring. `user` runs it as somebody else than root."""

    # Which of them, where a case does not say.
    stock = False

    def __init__(self, farm, number):
        self.farm, self.name = farm, f"w{number}"
        self.host = Host(farm, self.name, number)
        self.store = self.host.dir / "store"
        self.log = self.host.dir / "log"
        self.child = None

    def start(self, url=None, user=None, jobs=1, store=None, env=None, stock=None):
        assert not self.child, f"{self.name} runs"
        url = url or self.farm.url
        if self.stock if stock is None else stock:
            words = [str(buildgrid_home() / "bin/python"), str(HERE / "client.py"), "runner", url.split("://")[1], self.name]
        else:
            store = store or (self.host.dir / f"store-{user}" if user else self.store)
            store.mkdir(exist_ok=True)
            if user:
                call("chown", f"{user}:", store)
            words = [MSTORE, "--store", str(store), "worker", "--bots", url, "-j", str(jobs)]
        if user:
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *words]
        settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.host.dir), "MSTORE_CONFIG": str(self.farm.conf), "TMPDIR": "/var/tmp", **(env or {})}
        self.child = subprocess.Popen(
            [*self.host.enter, *words], stdin=subprocess.DEVNULL, stdout=open(self.log, "a"), stderr=open(self.log, "a"), env=settings, start_new_session=True
        )

    def is_worker(self, process):
        return "--bots" in process.words or "runner" in process.words

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self):
        """-9, to the worker alone: what it started has to end with it."""
        self.host.kill(self.is_worker)
        self.child.wait()
        self.child = None

    def stop(self, seconds=20):
        """SIGTERM, and waits for its end; gives its exit status."""
        if not self.child:
            return None
        try:
            # It may have gone by itself, and one that was just started is not there yet.
            until(lambda: f"{self.name} is there: {self.host.processes()}", lambda: self.child.poll() is not None or any(map(self.is_worker, self.host.processes())), seconds)
            try:
                self.host.kill(self.is_worker, "-TERM")
            except AssertionError:
                pass
            status = self.child.wait(patience(seconds))
        finally:
            if self.child.poll() is None:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
            self.child = None
        return status

    def close(self):
        if self.child and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
        self.host.close()
        if self.child:
            self.child.wait()


class Farm:
    """An engine and three workers. The limits are BuildGrid's, see engine.py."""

    def __init__(self, **limits):
        self.dir = Path(tempfile.mkdtemp(prefix="mstore-reapi-", dir="/var/tmp"))
        self.dir.chmod(0o755)
        self.tag = f"mr{os.getpid() % 100000}"
        self.hub = f"{self.tag}hub"
        self.hosts, self.workers, self.grid, self.number = [], [], None, 0
        try:
            self.build(limits)
        except BaseException:
            self.close()
            raise

    def build(self, limits):
        self.conf = self.dir / "mstore.conf"
        self.conf.write_text("reapi/insecure: yes\n")
        call("ip", "netns", "add", self.hub)
        call("ip", "-n", self.hub, "link", "add", "name", "sw", "type", "bridge")
        for device in ["lo", "sw"]:
            call("ip", "-n", self.hub, "link", "set", device, "up")
        self.engine = Host(self, "e", 100)
        self.hosts.append(self.engine)
        # mstore's end: only its network is its own.
        self.desk = Host(self, "m", 200)
        self.hosts.append(self.desk)
        for number in range(1, 4):
            worker = Worker(self, number)
            self.workers.append(worker)
            self.hosts.append(worker.host)
        make_seed(self.dir / "seed", [*TOOLS, "chmod", "chown", "ln", "rm"])
        call("tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C", self.dir / "seed", "-cf", self.dir / "seed.tar", ".")
        if subprocess.run(["id", USER], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            call("useradd", "--create-home", "--home-dir", f"/var/tmp/{USER}", USER)
        self.grid = self.new_grid(**limits)

    def big_seed(self):
        """The seed with 12 MB that no compression makes smaller."""
        folder = self.dir / "big-seed"
        if not folder.exists():
            shutil.copytree(self.dir / "seed", folder)
            (folder / "noise").write_bytes(random.Random(1).randbytes(12_000_000))
            call("tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C", folder, "-cf", self.dir / "big-seed.tar", ".")
        return self.dir / "big-seed.tar"

    def new_grid(self, **more):
        """A BuildGrid on the engine's host, with nothing in it."""
        self.number += 1
        more = {"interval": 0.1, "host": self.engine.address, "port": PORT, "enter": self.engine.enter, **more}
        return BuildGrid(self.dir / f"grid{self.number}", **more)

    @property
    def url(self):
        return f"reapi://{self.engine.address}:{PORT}/main"

    @property
    def proxied(self):
        """The same, through the proxy."""
        return f"reapi://{self.engine.address}:{PORT + 1}/main"

    def client(self, *words):
        """The bare client, at mstore's place in the network; gives what it prints."""
        words = [buildgrid_home() / "bin/python", HERE / "client.py", *words]
        return json.loads(call("nsenter", f"--net=/run/netns/{self.desk.net}", *words))

    def here(self):
        """What runs at mstore's end."""
        ours = os.stat(f"/run/netns/{self.desk.net}").st_ino
        found = []
        for process in processes(Path("/proc")):
            if process.words == ["sleep", "86400"] or process.pid == self.desk.init or process.pid == self.desk.outer.pid:
                continue
            try:
                if os.stat(f"/proc/{process.pid}/ns/net").st_ino == ours:
                    found.append(process)
            except OSError:
                pass
        return found

    def steps_are_over(self, seconds=10.0):
        """No step runs anywhere, and nothing at mstore's end."""
        until(lambda: f"nothing is left here: {self.here()}", lambda: not self.here(), seconds)
        for worker in self.workers:
            until(lambda: f"no step runs on {worker.name}: {worker.host.left()}", lambda: not worker.host.steps(), seconds)

    def nothing_is_left(self, seconds=10.0):
        """Workers are ended, and no process is left on their hosts, no mount and no folder of a step."""
        for worker in self.workers:
            worker.stop()
            until(lambda: f"nothing is left on {worker.name}: {worker.host.left()}", lambda: not worker.host.left(), seconds)
            mounts = worker.host.run("cat", "/proc/self/mounts")
            assert str(worker.store) not in mounts.replace(f"small {worker.store} ", ""), mounts

    def close(self):
        for worker in self.workers:
            worker.close()
        if self.grid:
            self.grid.close()
        if self.hosts:
            for process in self.here():
                os.kill(process.pid, signal.SIGKILL)
            self.engine.close()
            self.desk.close()
        subprocess.run(["ip", "netns", "del", self.hub])
        for _ in range(3):
            subprocess.run(["rm", "-rf", str(self.dir)], stderr=subprocess.DEVNULL)


class Proxy:
    """proxy.py, on the engine's host."""

    def __init__(self, farm):
        # It keeps the call that meets it for as long as the file is there.
        self.held = farm.dir / "held"
        self.held.unlink(missing_ok=True)
        self.hold = f"touch {self.held}; while [ -e {self.held} ]; do sleep 0.05; done"
        words = [buildgrid_home() / "bin/python", HERE / "proxy.py", f"{farm.engine.address}:{PORT + 1}", f"{farm.engine.address}:{PORT}"]
        self.child = subprocess.Popen(
            [*farm.engine.enter, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(farm.dir / "proxy.log", "a"), text=True, start_new_session=True
        )
        self.read()

    def read(self):
        return json.loads(self.child.stdout.readline())

    def ask(self, **words):
        self.child.stdin.write(json.dumps(words) + "\n")
        self.child.stdin.flush()
        return self.read()

    def counts(self):
        return self.ask(counts=True)

    def rules(self, *rules):
        self.counts()
        self.ask(rules=list(rules))

    def close(self):
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


class World:
    """Specifications with a store of mstore's: TARGETS of steps named by STEPS, which sleep SECONDS (a mark that is its
    own, so that it is found among processes) and then make files of every kind that a tree may hold."""

    number = 0
    SCRIPT = """\
mkdir -p /out
echo {what} > /out/{what}
ln /out/{what} /out/{what}.hard
ln -s /out/{what} /out/{what}.link
chown 12:34 /out/{what}.hard
chmod 4755 /out/{what}
dd if=/bin/dd of=/out/{what}.data bs=1000 count=40 skip={n} 2> /dev/null
"""

    # Another 12 MB that no compression makes smaller, and the same everywhere.
    BIG = "{{ dd bs=1 count={n} of=/dev/null; cat; }} < /noise > /out/big 2> /dev/null\n"

    # The least that is a step of its own.
    TINY = "echo {what} > /{what}\n"

    def __init__(self, farm, targets=4, seconds=0, steps="ab", store=None, script="", policy="", user=None, like=None, tiny=False, big=False, before=None, seed=None):
        World.number += 1
        self.farm, self.number, self.user = farm, World.number, user
        # Whether its trees are those that all worlds make.
        self.usual = steps == "ab" and not (big or tiny or seed)
        self.seed = seed or (farm.big_seed() if big else farm.dir / "seed.tar")
        self.dir = farm.dir / f"world{self.number}"
        self.dir.mkdir()
        self.store = store or self.dir / "store"
        self.conf = self.dir / "mstore.conf"
        self.conf.write_text("reapi/insecure: yes\n")
        # Steps are told apart by how long they sleep: those of a world like another are the same steps.
        self.kind = like.kind if like else self.number
        self.targets, self.marks = self.named(targets), {}
        head = f"[section list]\nbuilds: b\narches: a\nsubarches/a: s\ntargets: {' '.join(self.targets) or 'none'}\n"
        self.write("metro.conf", f"{head}[section target]\nplatform: {platform.machine()}\n[collect ./$[target:zap].conf]\n")
        for n, target in enumerate(self.targets):
            text = f"{self.source(n)}{policy}[section steps]\nchroot: {' '.join(steps)}\n[section steps/chroot]\n"
            for s, step in enumerate(steps):
                mark = f"{seconds}.{self.kind % 100:02d}{(n * len(steps) + s) % 100:02d}"
                # The least does not even sleep, and is a step of its own all the same.
                wait = ":" if tiny else "sleep"
                if tiny:
                    mark = f"{self.kind}.{n}.{s}"
                what = f"{target}{step}"
                self.marks[what] = f"{target}:{step}"
                work = (self.TINY if tiny else self.SCRIPT).format(what=what, n=n % 60)
                if big:
                    work += self.BIG.format(n=n * len(steps) + s + 1)
                text += f"{step}: [\nset -e\nwhat={what}\necho {target}:{step} begins\n{script}\n{wait} {mark}\n{work}echo {target}:{step} ends\n]\n"
            self.write(f"{target}.conf", text)
        if user:
            call("chown", "-R", f"{user}:", self.dir)
        if before:
            before(self)
        if not store:
            self.ok("seed", "import", self.seed, "--name", "base")

    def named(self, targets):
        return [f"t{n}" for n in range(targets)]

    def source(self, n):
        return "[section source]\nseed: base\n"

    def import_noise(self):
        """Something else that the store has had before, in packs of their own."""
        noise = self.dir / "noise"
        shutil.copytree(self.farm.dir / "seed", noise)
        (noise / "etc/more").write_text("more\n")
        self.ok("seed", "import", noise, "--name", "other")

    def write(self, name, text):
        (self.dir / name).write_text(text)

    def environment(self):
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.dir), "SHELL": "/bin/sh", "MSTORE_STORE": str(self.store),
            "MSTORE_CONFIG": str(self.conf), "TMPDIR": "/var/tmp",
        }

    def words(self, *words):
        words = [f"--net=/run/netns/{self.farm.desk.net}", MSTORE, *map(str, words)]
        if self.user:
            words[1:1] = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
        return ["nsenter", *words]

    def ok(self, *words):
        return call(*self.words(*words), cwd=self.dir, env=self.environment())

    def local(self):
        """The trees as this machine builds them, in a store of its own."""
        store = ["--store", self.dir / "local"]
        self.ok(*store, "seed", "import", self.seed, "--name", "base")
        return trees(self.ok(*store, "realise", "*", "--json", "-q", "-j", "2"))

    def start(self, *more, what=None, url=None):
        return Run(self, ["realise", *(what or ["*"]), "--json", "--executor", url or self.farm.url, *more])

    def history(self, where="1"):
        """The attempts: step, host, outcome."""
        base = sqlite3.connect(f"file:{self.store}/db/mstore.sqlite?mode=ro", uri=True)
        rows = base.execute(f"SELECT name, host, outcome FROM history WHERE kind = 'step' AND {where} ORDER BY id").fetchall()
        base.close()
        return [(name.rsplit("/", 1)[1], host, outcome) for name, host, outcome in rows]


class Chain(World):
    """Three stages of one step each, every one on the one before."""

    def __init__(self, farm, user=None):
        super().__init__(farm, targets=3, steps="a", user=user)

    def named(self, targets):
        return [f"stage{n + 1}" for n in range(targets)]

    def source(self, n):
        return super().source(n) if n == 0 else f"source: stage{n}\n"


def trees(out):
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {line["target"]: line["tree"] for line in lines if "tree" in line}


class Run:
    """A run of mstore."""

    def __init__(self, world, words):
        self.world = world
        self.err = world.dir / f"err{time.monotonic_ns()}"
        self.out = world.dir / f"out{time.monotonic_ns()}"
        # In a group of its own, as at a terminal: what Ctrl-C reaches there is all of it.
        self.child = subprocess.Popen(
            world.words(*words), cwd=world.dir, stdin=subprocess.DEVNULL, env=world.environment(),
            stdout=open(self.out, "w"), stderr=open(self.err, "w"), process_group=0,
        )

    def said(self):
        return self.err.read_text(errors="replace")

    def hears(self, text, times=1, seconds=30.0):
        def heard():
            assert self.child.poll() is None or self.said().count(text) >= times, f"it ended without `{text}`:\n{self.said()}"
            return self.said().count(text) >= times

        until(lambda: f"`{text}`\n{self.said()}", heard, seconds)

    def runs_somewhere(self, seconds=40.0):
        """Waits until a step runs; gives the worker."""

        def found():
            assert self.child.poll() is None, f"it ended:\n{self.said()}"
            return next((w for w in self.world.farm.workers if w.host.steps()), None)

        return until(lambda: f"a step runs\n{self.said()}\n{[w.said()[-800:] for w in self.world.farm.workers]}", found, seconds)

    def press(self, how=signal.SIGINT):
        os.killpg(self.child.pid, how)

    def ends(self, status=0, seconds=90.0):
        """Waits for its end; gives the tree of every target."""
        seconds = patience(seconds)
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
            workers = "".join(f"--- {w.name}\n{w.said()[-1500:]}\n" for w in self.world.farm.workers)
            raise AssertionError(f"it does not end within {seconds} s:\n{self.said()[-4000:]}\n{workers}") from None
        assert self.child.returncode == status, f"status {self.child.returncode}:\n{self.said()[-4000:]}"
        out = self.out.read_text()
        found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        self.built = next((line["built"] for line in found if "built" in line), 0)
        return trees(out)


class Watch(threading.Thread):
    """Looks all the time at what runs where: which step, on which hosts, and whether on two at once."""

    def __init__(self, workers):
        super().__init__(daemon=True)
        self.workers, self.over = workers, False
        self.twice, self.seen = [], {}
        self.start()

    def run(self):
        before = {}
        while not self.over:
            now = {}
            for worker in self.workers:
                for process in worker.host.processes():
                    if process.mark:
                        now.setdefault(process.mark, set()).add((worker.name, process.pid))
                        self.seen.setdefault(process.mark, set()).add(worker.name)
            for mark, where in now.items():
                # Hosts are looked at one after the other: both were there in both rounds, so both at once.
                if len({name for name, _ in where & before.get(mark, set())}) > 1:
                    self.twice.append((mark, sorted(where)))
            before = now
            time.sleep(0.05)

    def end(self):
        self.over = True
        self.join()
