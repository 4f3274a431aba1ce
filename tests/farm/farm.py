"""Four machines of a farm on one: network namespaces behind a bridge, each with an sshd, processes and a store of its own.

The scheduler runs in a namespace of its own beside them, so nothing of this machine's network is touched. MSTORE is
the program; it must be started by root. Needs iproute2, openssh-server, util-linux.
"""

import json
import os
import platform
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from pathlib import Path

MSTORE = os.path.abspath(os.environ["MSTORE"])
TOOLS = ["sh", "cat", "mkdir", "sleep", "dd"]
NET = "10.77.0"
# What a step of a case is known by on every machine: how long it sleeps.
MARK = re.compile(r"^\d+\.\d{4}$")


def call(*words, **more):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    assert done.returncode == 0, f"{shlex.join(map(str, words))}: {done.stdout}"
    return done.stdout


def until(what, is_so, seconds=30.0):
    """Waits until something is so; gives what it is."""
    end = time.monotonic() + seconds
    while True:
        found = is_so()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.03)


def make_seed(to, tools=TOOLS):
    """A root file system with a shell, of this machine's programs."""
    for folder in ["bin", "tmp", "etc"]:
        (to / folder).mkdir(parents=True)
    (to / "tmp").chmod(0o1777)
    (to / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    for tool in tools:
        found = os.path.realpath(shutil.which(tool))
        listed = subprocess.run(["ldd", found], stdout=subprocess.PIPE, text=True).stdout
        for word in listed.split():
            if word.startswith("/") and not (to / word[1:]).exists():
                (to / word[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, to / word[1:])
        shutil.copy(found, to / "bin" / tool)


class Process:
    """A process of a host, by its number outside."""

    def __init__(self, pid, words):
        self.pid, self.words = pid, words

    @property
    def mark(self):
        words = self.words
        return words[1] if len(words) == 2 and words[0].endswith("sleep") and MARK.match(words[1]) else None

    def __repr__(self):
        return f"{self.pid}: {' '.join(self.words)}"


def processes(proc):
    """The processes that a proc file system shows, by their numbers there."""
    found = []
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                line = (proc / name / "cmdline").read_bytes()
            except OSError:
                continue
            words = line.rstrip(b"\0").decode(errors="replace").split("\0")
            if line:
                found.append(Process(int(name), words))
    return found


class Machine:
    """A host: namespaces for network, processes, mounts and name, and an sshd in them."""

    def __init__(self, farm, number):
        self.farm, self.number = farm, number
        self.name = f"h{number}"
        self.dir = farm.dir / self.name
        (self.dir / "bin").mkdir(parents=True)
        self.store = self.dir / "store"
        self.set_program(None)
        self.net = f"{farm.tag}{self.name}"
        self.port = f"{farm.tag}p{number}"
        call("ip", "netns", "add", self.net)
        call("ip", "link", "add", self.port, "netns", farm.hub, "type", "veth", "peer", "name", "eth", "netns", self.net)
        call("ip", "-n", farm.hub, "link", "set", self.port, "master", "sw", "up")
        call("ip", "-n", self.net, "address", "add", f"{NET}.{number}/24", "dev", "eth")
        call("ip", "-n", self.net, "link", "set", "lo", "up")
        call("ip", "-n", self.net, "link", "set", "dev", "eth", "up")
        # The first process of the host: what its children leave behind is its own.
        script = f"mount -t tmpfs run /run; mkdir /run/sshd; hostname {self.name}; echo up; while :; do sleep 86400 & wait; done"
        outer = ["ip", "netns", "exec", self.net, "unshare", "--mount", "--uts", "--pid", "--ipc", "--fork", "--kill-child"]
        self.outer = subprocess.Popen([*outer, "--mount-proc", "bash", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self.outer.stdout.readline() == "up\n"
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        self.init = int(until("the host runs", lambda: children.read_text().split())[0])
        self.proc = Path(f"/proc/{self.init}/root/proc")
        config = self.dir / "sshd_config"
        config.write_text(
            f"SetEnv PATH={self.dir}/bin:/usr/sbin:/usr/bin:/sbin:/bin MSTORE_CONFIG={farm.dir}/mstore.conf "
            f"MSTORE_STORE={self.store}\n"
            f"ListenAddress {NET}.{number}\nHostKey {farm.dir}/host\nAuthorizedKeysFile {farm.dir}/user.pub\nStrictModes no\n"
            "UsePAM no\nPasswordAuthentication no\nPidFile none\nMaxStartups 100\n"
            # One host takes few sessions over one connection.
            f"MaxSessions {2 if number == 2 else 100}\n"
        )
        self.start_sshd()

    def inside(self, *words, **more):
        """Starts a program on the host."""
        enter = ["nsenter", "-t", str(self.init), "-n", "-m", "-p", "-u", "-i"]
        return subprocess.Popen([*enter, *map(str, words)], stdin=subprocess.DEVNULL, **more)

    def run(self, *words):
        child = self.inside(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = child.communicate()[0]
        assert child.returncode == 0, said
        return said

    def start_sshd(self):
        log = open(self.dir / "sshd.log", "a")
        self.inside("/usr/sbin/sshd", "-D", "-e", "-f", self.dir / "sshd_config", stderr=log)
        until(f"sshd of {self.name}", lambda: [p for p in self.processes() if "listener" in p.words[0]])

    def kill_sshd(self):
        """All of them, at once: the one that listens and those of connections."""
        self.kill(lambda process: process.words[0].startswith(("sshd:", "/usr/sbin/sshd")))

    def kill(self, which):
        pids = [str(p.pid) for p in self.processes() if which(p)]
        assert pids, f"there is nothing to kill on {self.name}: {self.processes()}"
        self.run("kill", "-9", *pids)

    def is_worker(self, process):
        return os.path.basename(process.words[0]) == "mstore" and "worker" in process.words

    def kill_worker(self):
        self.kill(self.is_worker)

    def processes(self):
        try:
            return processes(self.proc)
        except FileNotFoundError:
            # The farm is being taken down.
            return []

    def steps(self):
        """The marks of the steps that run there."""
        return [p.mark for p in self.processes() if p.mark]

    def left(self):
        """What runs there beside the host itself and an sshd that waits."""
        own = lambda p: p.pid == 1 or p.words == ["sleep", "86400"] or "listener" in p.words[0]
        return [p for p in self.processes() if not own(p)]

    def set_program(self, script):
        """What `mstore` is there: the program, or a script in its place."""
        path, new = self.dir / "bin/mstore", self.dir / "bin/new"
        if script is None:
            os.symlink(MSTORE, new)
        else:
            new.write_text(script)
            new.chmod(0o755)
        os.rename(new, path)

    def cut(self):
        """Pulls the cable."""
        call("ip", "-n", self.net, "link", "set", "dev", "eth", "down")

    def swallow(self):
        """Lets nothing through any more, without a word: the port of the bridge is switched off, the cable is not."""
        call("bridge", "-n", self.farm.hub, "link", "set", "dev", self.port, "state", "0")

    def mend(self):
        call("ip", "-n", self.net, "link", "set", "dev", "eth", "up")
        call("bridge", "-n", self.farm.hub, "link", "set", "dev", self.port, "state", "3")

    def slow(self, rate):
        """Lets only so many bits a second through, either way; None is no limit."""
        for space, device in [(self.farm.hub, self.port), (self.net, "eth")]:
            if rate:
                call("tc", "-n", space, "qdisc", "add", "dev", device, "root", "tbf", "rate", rate, "burst", "16kb", "latency", "300ms")
            else:
                call("tc", "-n", space, "qdisc", "del", "dev", device, "root")

    def small_store(self, size):
        """Puts a small file system where the store is to be."""
        self.store.mkdir()
        self.run("mount", "-t", "tmpfs", "-o", f"size={size}", "small", self.store)

    def close(self):
        self.outer.kill()
        self.outer.wait()
        subprocess.run(["ip", "netns", "del", self.net])


class Watch(threading.Thread):
    """Looks all the time at what runs where: which step, on which machines, and how many at a time."""

    def __init__(self, machines):
        super().__init__(daemon=True)
        self.machines, self.over = machines, False
        self.twice, self.most, self.seen = [], {}, {}
        self.start()

    def run(self):
        before = {}
        while not self.over:
            now = {}
            for machine in self.machines:
                steps = [(p.mark, machine.name, p.pid) for p in machine.processes() if p.mark]
                self.most[machine.name] = max(self.most.get(machine.name, 0), len(steps))
                for mark, name, pid in steps:
                    now.setdefault(mark, set()).add((name, pid))
                    self.seen.setdefault(mark, set()).add(name)
            for mark, where in now.items():
                # Machines are looked at one after the other: both were there in both rounds, so both at once.
                if len(where & before.get(mark, set())) > 1:
                    self.twice.append((mark, sorted(where)))
            before = now
            time.sleep(0.04)

    def end(self):
        self.over = True
        self.join()
        assert not self.twice, f"built twice at once: {self.twice[:3]}"


class Farm:
    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="mstore-farm-", dir="/var/tmp"))
        self.dir.chmod(0o755)
        self.tag = f"mf{os.getpid()}"
        self.hub = f"{self.tag}hub"
        self.machines = []
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def build(self):
        for key in ["host", "user"]:
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.dir / key)
        (self.dir / "mstore.conf").write_text("")
        call("ip", "netns", "add", self.hub)
        call("ip", "-n", self.hub, "link", "add", "name", "sw", "type", "bridge")
        call("ip", "-n", self.hub, "address", "add", f"{NET}.254/24", "dev", "sw")
        for device in ["lo", "sw"]:
            call("ip", "-n", self.hub, "link", "set", device, "up")
        for number in range(1, 5):
            self.machines.append(Machine(self, number))
        key = (self.dir / "host.pub").read_text()
        (self.dir / "known").write_text("".join(f"{NET}.{m.number} {key}" for m in self.machines))
        hosts = "".join(f"Host {m.name}\n  HostName {NET}.{m.number}\n" for m in self.machines)
        (self.dir / "ssh_config").write_text(
            # The names of doc/cluster.md.
            f"{hosts}Host big.example.org\n  HostName {NET}.1\nHost arm1\n  HostName {NET}.2\nHost *\n  IdentityFile {self.dir}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.dir}/known\n  BatchMode yes\n"
        )
        make_seed(self.dir / "seed")

    def close(self):
        for machine in self.machines:
            machine.close()
        for process in self.here():
            os.kill(process.pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.hub])
        for _ in range(3):
            subprocess.run(["rm", "-rf", str(self.dir)])

    def here(self):
        """What runs at the scheduler's end."""
        ours = os.stat(f"/run/netns/{self.hub}").st_ino
        found = []
        for process in processes(Path("/proc")):
            try:
                if os.stat(f"/proc/{process.pid}/ns/net").st_ino == ours:
                    found.append(process)
            except OSError:
                pass
        return found

    def nothing_is_left(self, machines=None, seconds=10.0):
        """Neither here nor there."""
        until(f"nothing is left here: {self.here()}", lambda: not self.here(), seconds)
        for machine in machines or self.machines:
            until(f"nothing is left on {machine.name}: {machine.left()}", lambda: not machine.left(), seconds)


class World:
    """Specifications, with a store of the scheduler's: TARGETS of two steps each, which sleep SECONDS (the second one
    LAST) and then make a file."""

    number = 0

    def __init__(self, farm, targets=4, seconds=1, last=None, store=None, script=""):
        World.number += 1
        self.farm, self.number = farm, World.number
        self.dir = farm.dir / f"world{self.number}"
        self.dir.mkdir()
        self.store = store or self.dir / "store"
        self.targets = [f"t{n}" for n in range(targets)]
        head = f"[section list]\nbuilds: b\narches: a\nsubarches/a: s\ntargets: {' '.join(self.targets)}\n"
        (self.dir / "metro.conf").write_text(
            f"{head}[section target]\nplatform: {platform.machine()}\n[collect ./$[target:zap].conf]\n"
        )
        self.marks = {}
        for n, target in enumerate(self.targets):
            text = "[section source]\nseed: base\n[section steps]\nchroot: a b\n[section steps/chroot]\n"
            for s, step in enumerate("ab"):
                # How long it sleeps makes a key of its own, and the same tree.
                mark = f"{seconds if s == 0 or last is None else last}.{self.number:02d}{n}{s}"
                self.marks[mark] = f"{target}:{step}"
                text += (
                    f"{step}: [\nset -e\necho {target}:{step} begins\n{script}\nsleep {mark}\nmkdir -p /out\n"
                    f"dd if=/bin/dd of=/out/{target}{step} bs=1000 count=40 skip={n} 2> /dev/null\n"
                    f"echo {target}{step} >> /out/{target}{step}\necho {target}:{step} ends\n]\n"
                )
            (self.dir / f"{target}.conf").write_text(text)
        self.ok("seed", "import", farm.dir / "seed", "--name", "base")

    def environment(self):
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.farm.dir),
            "SHELL": "/bin/sh",
            "MSTORE_STORE": str(self.store),
            "MSTORE_CONFIG": str(self.farm.dir / "mstore.conf"),
            "MSTORE_SSH": f"ssh -F {self.farm.dir}/ssh_config",
            "TMPDIR": str(self.farm.dir),
        }

    def ok(self, *words):
        return call(MSTORE, *words, cwd=self.dir, env=self.environment())

    def hosts(self, *lines):
        """Writes the hosts file: lines whose first words are names of machines."""
        text = []
        for line in lines:
            name, _, rest = line.partition(" ")
            small = [m for m in self.farm.machines if m.name == name and m.store != m.dir / "store"]
            text.append(f"ssh://{name}{small[0].store} {rest}" if small else line)
        (self.dir / "hosts").write_text("\n".join(text) + "\n")

    def start(self, *more, store=None):
        return Run(self, ["realise", "*", "--json", "--hosts", "hosts", *more], store or self.store)

    def history(self, where="1"):
        """The attempts: step, host, outcome."""
        base = sqlite3.connect(f"file:{self.store}/db/mstore.sqlite?mode=ro", uri=True)
        rows = base.execute(f"SELECT name, host, outcome FROM history WHERE kind = 'step' AND {where} ORDER BY id")
        rows = [(name.rsplit("/", 1)[1], re.sub(r"^ssh://(h\d).*", r"\1", host), outcome) for name, host, outcome in rows]
        base.close()
        return rows


class Run:
    """A run of the scheduler."""

    def __init__(self, world, words, store):
        self.world = world
        self.err = world.dir / f"err{time.monotonic_ns()}"
        self.watch = Watch(world.farm.machines)
        net = f"--net=/run/netns/{world.farm.hub}"
        # In a group of its own, as at a terminal: what Ctrl-C reaches there is all of it.
        self.child = subprocess.Popen(
            ["nsenter", net, MSTORE, *words], cwd=world.dir, stdin=subprocess.DEVNULL,
            env={**world.environment(), "MSTORE_STORE": str(store)}, stdout=subprocess.PIPE, stderr=open(self.err, "w"), text=True, process_group=0,
        )

    def said(self):
        return self.err.read_text()

    def hears(self, text, times=1, seconds=30.0):
        def heard():
            assert self.child.poll() is None or self.said().count(text) >= times, f"it ended without `{text}`:\n{self.said()}"
            return self.said().count(text) >= times

        try:
            until(f"`{text}`", heard, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None

    def runs_on(self, machine, seconds=30.0):
        """Waits until a step runs on a machine."""
        until(f"a step runs on {machine.name}\n{self.said()}", lambda: machine.steps(), seconds)

    def press(self, how=signal.SIGINT):
        os.killpg(self.child.pid, how)

    def ends(self, status=0, seconds=60.0):
        """Waits for its end; gives the tree of every target."""
        try:
            out = self.child.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            self.child.kill()
            raise AssertionError(f"it does not end within {seconds} s:\n{self.said()}") from None
        finally:
            self.watch.over = True
        assert self.child.returncode == status, f"status {self.child.returncode}:\n{self.said()}"
        self.watch.end()
        lines = [json.loads(line) for line in out.splitlines()]
        lines = [line for line in lines if "target" in line]
        self.built = lines[0]["built"] if lines else 0
        return {line["target"]: line["tree"] for line in lines}
