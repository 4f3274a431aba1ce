"""A farm of four hosts with everything that happens to farms: cut cables, killed daemons, full disks, wrong clocks.

After each case: the trees are those of a run on this machine, no step ran on two machines at once, each step is counted
once, and no process is left at either end.

    MSTORE=PROGRAM python3 tests/farm/run.py [CASE...] [--storm SECONDS [SEED]]
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from farm import MSTORE, Farm, Run, World, call, until

# The protocol's silences, in seconds: a worker gives up first, so that nothing is built twice at once.
WORKER, SCHEDULER = 20, 30


class Cases:
    def __init__(self):
        self.farm = Farm()
        self.h1, self.h2, self.h3, self.h4 = self.farm.machines
        # STARTUP is the same path on every host; what it does there is the matter of a case.
        self.startup = self.farm.dir / "startup"
        self.startup.write_text(
            f'#!/bin/sh\nname=$(cat /proc/sys/kernel/hostname)\necho . >> {self.farm.dir}/started-$name\n'
            f'[ ! -e {self.farm.dir}/fails-$name ] || {{ echo the disk of $name is not mounted >&2; exit 3; }}\n'
        )
        self.startup.chmod(0o755)
        # The same trees for every case: what differs is how long steps sleep, and that is no part of them.
        self.trees = self.local()

    def local(self):
        world = World(self.farm, targets=8, seconds=0)
        lines = world.ok("realise", "*", "--json", "-q", "-j", "8").splitlines()
        lines = [json.loads(line) for line in lines if line.startswith("{")]
        return {line["target"]: line["tree"] for line in lines}

    def close(self):
        self.farm.close()

    def settle(self, machines=None, seconds=10.0):
        self.farm.nothing_is_left(machines, seconds)

    def right(self, run, world, status=0, seconds=60.0):
        """Ends a run: everything is built, once, and as it should be."""
        trees = run.ends(status, seconds)
        assert trees == {t: self.trees[t] for t in trees} and len(trees) == len(world.targets), f"{trees}\n{self.trees}"
        assert run.built == len(world.marks), f"{run.built} of {len(world.marks)} are counted\n{run.said()}"
        done = [name for name, _, outcome in world.history() if outcome == "ok"]
        assert sorted(done) == sorted(world.marks.values()), done
        return trees

    # Nothing happens.

    def case_plain(self):
        world = World(self.farm, targets=8, seconds=0)
        greeted = self.greeted()
        world.hosts(f"STARTUP={self.startup}", "h1 jobs=2", "h2 jobs=2 sf=2 memory=1G timeout=600", "h3 jobs=1", "h4 arch=aarch64")
        run = world.start()
        self.right(run, world)
        said = run.said()
        assert "it is a machine of x86_64, and the hosts file says aarch64" in said, said
        most = run.watch.most
        assert most["h1"] <= 2 and most["h2"] <= 2 and most["h3"] <= 1 and most["h4"] == 0, most
        used = {host for _, host, _ in world.history()}
        assert used == {"h1", "h2", "h3"}, used
        for name in used:
            assert (self.farm.dir / f"started-{name}").exists(), name
            assert f"host {name}: sent" in said and f"host {name}: sent 0 B" not in said, said
        # STARTUP, the worker, and one that all trees go through.
        greeted = [now - before for before, now in zip(greeted, self.greeted())]
        assert greeted[0] == greeted[2] == 3, greeted
        # One that takes too few sessions gets some more.
        assert greeted[1] <= 5, greeted
        assert world.ok("log", "t0-s:a").endswith("t0:a begins\nt0:a ends\n")
        # What is known is asked of nobody.
        again = world.start()
        again.ends()
        assert again.built == 0 and "is ready" not in again.said(), again.said()

    # Networks.

    def case_cut(self):
        """Two hosts of three go away without a word, in two ways."""
        world = World(self.farm, targets=3, seconds=WORKER + 2, last=0)
        world.hosts("h1 jobs=1", "h2 jobs=1", "h3 jobs=1")
        run = world.start()
        for machine in (self.h1, self.h2, self.h3):
            run.runs_on(machine)
        began = time.monotonic()
        self.h1.cut()
        self.h3.swallow()
        # A worker that hears nothing ends what runs and goes, long before its work runs elsewhere.
        for machine in (self.h1, self.h3):
            until(f"nothing runs there: {machine.left()}", lambda: not machine.steps(), WORKER + 5)
            self.program_is_gone(machine, 5)
        assert time.monotonic() - began < SCHEDULER, "the workers heard nothing for too long"
        run.hears("is lost: nothing was heard", 2, SCHEDULER + 10)
        self.h1.mend()
        self.h3.mend()
        # They come back by themselves, in time for the work that they lost.
        self.right(run, world, seconds=60)
        lost = [host for _, host, outcome in world.history() if outcome != "ok"]
        assert set(lost) == {"h1", "h3"} and "will run again" in run.said(), world.history()
        self.settle()

    def greeted(self):
        """How many connections each host has taken so far."""
        return [(m.dir / "sshd.log").read_text().count("Accepted publickey") for m in self.farm.machines]

    def program_is_gone(self, machine, seconds):
        until(f"no mstore on {machine.name}: {machine.left()}", lambda: not [p for p in machine.left() if "mstore" in p.words[0]], seconds)

    def case_sshd(self):
        """Every sshd of a host is killed; it comes back later."""
        world = World(self.farm, targets=4, seconds=2)
        world.hosts("h1 jobs=1", "h2 jobs=1")
        run = world.start()
        run.runs_on(self.h1)
        self.h1.kill_sshd()
        run.hears("is lost")
        self.program_is_gone(self.h1, 5)
        run.hears("Connection refused")
        self.h1.start_sshd()
        run.hears("host h1 is ready", 2)
        self.right(run, world)
        assert [n for n, h, o in world.history() if h == "h1" and o == "ok"], world.history()

    def case_slow(self):
        """A host behind a thin line: what it lacks travels, once, and nothing is taken for dead meanwhile."""
        world = World(self.farm, targets=2, seconds=0)
        self.h4.slow("3mbit")
        try:
            world.hosts("h4 jobs=2")
            run = world.start()
            self.right(run, world, seconds=90)
            first = self.sent(run)
            assert "is lost" not in run.said() and first > 500_000, run.said()
            # Other steps on the same seed.
            world = World(self.farm, targets=2, seconds=0)
            world.hosts("h4 jobs=2")
            run = world.start()
            self.right(run, world, seconds=60)
            assert self.sent(run) < 100_000, run.said()
        finally:
            self.h4.slow(None)

    def sent(self, run):
        """Bytes that a run says it sent."""
        factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
        total = 0
        for line in run.said().splitlines():
            if ": sent " in line:
                number, unit = line.split(": sent ")[1].split(",")[0].split()
                total += float(number) * factor[unit]
        return total

    # Machines.

    def case_disk(self):
        """The disk of a host is full in the middle of a step."""
        self.h3.store = self.h3.dir / "small"
        self.h3.small_store("300m")
        world = World(self.farm, targets=2, seconds=2)
        world.hosts("h2 jobs=1 sf=0.5", "h3 jobs=1")
        run = world.start()
        run.runs_on(self.h3)
        ballast = self.h3.store / "ballast"
        self.h3.run("sh", "-c", f"dd if=/dev/zero of={ballast} bs=1M 2> /dev/null; true")
        run.hears("will run again")
        run.hears("MB are free where its store is")
        self.h3.run("rm", ballast)
        self.right(run, world)
        assert "failed" not in [o for _, _, o in world.history()], world.history()

    def case_unfit(self):
        """Another version, a clock that is an hour off, a STARTUP that fails: each is told, and joins when mended."""
        world = World(self.farm, targets=6, seconds=0)
        world.hosts(f"STARTUP={self.startup}", "h1 jobs=1", "h2 jobs=1", "h3 jobs=1")
        hello = cbor({"hello": {"protocol": 2, "program": "0.0.9"}})
        octal = "".join(f"\\{b:03o}" for b in len(hello).to_bytes(4, "little") + hello)
        self.h1.set_program(f"#!/bin/sh\nprintf '{octal}'\ncat > /dev/null\n")
        library = next(p for p in (f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketime.so.1",) if os.path.exists(p))
        self.h2.set_program(f"#!/bin/sh\nexport LD_PRELOAD={library} FAKETIME=+1h DONT_FAKE_MONOTONIC=1\nexec {MSTORE} \"$@\"\n")
        (self.farm.dir / "fails-h3").write_text("")
        run = world.start()
        run.hears("its mstore is version 0.0.9")
        run.hears("its clock is 3600 s apart")
        run.hears("the disk of h3 is not mounted")
        time.sleep(1)
        assert not world.history(), world.history()
        self.h1.set_program(None)
        run.hears("host h1 is ready")
        self.h2.set_program(None)
        (self.farm.dir / "fails-h3").unlink()
        self.right(run, world)
        assert {h for _, h, _ in world.history()} <= {"h1", "h2", "h3"}

    def case_worker(self):
        """A worker is killed with -9, twice on the same host."""
        world = World(self.farm, targets=4, seconds=2)
        world.hosts("h1 jobs=2", "h2 jobs=1")
        run = world.start()
        run.runs_on(self.h1)
        self.h1.kill_worker()
        run.hears("is lost")
        until("its steps ended with it", lambda: not self.h1.steps(), 5)
        run.hears("host h1 is ready", 2)
        self.right(run, world)
        assert "will run again" in run.said()

    def case_stopped(self):
        """A host is stopped by a file: what runs there is finished, nothing more starts, until the file is gone."""
        world = World(self.farm, targets=4, seconds=2)
        world.hosts("h1 jobs=1", "h2 jobs=1")
        logs = world.dir / "logs"
        logs.mkdir()
        (logs / "h2-stop").write_text("")
        run = world.start("--log-dir", "logs")
        run.hears("host h2 takes no more jobs")
        run.runs_on(self.h1)
        (logs / "h1-stop").write_text("")
        run.hears("host h1 takes no more jobs")
        run.hears("built ")
        time.sleep(2)
        assert not self.h1.steps() and not self.h2.steps(), run.said()
        assert {(h, o) for _, h, o in world.history()} == {("h1", "ok")}, world.history()
        (logs / "h2-stop").unlink()
        run.runs_on(self.h2)
        (logs / "h1-stop").unlink()
        self.right(run, world)

    # People.

    def case_interrupt_once(self):
        """Ctrl-C: what runs ends in its time, nothing else starts."""
        world = World(self.farm, targets=4, seconds=4, last=1)
        world.hosts("h1 jobs=1", "h2 jobs=1")
        run = world.start()
        run.runs_on(self.h1)
        run.runs_on(self.h2)
        run.press()
        run.hears("nothing more starts")
        begun = run.said().split("nothing more starts")[0].count("building ")
        run.ends(130)
        history = world.history()
        assert [o for _, _, o in history] == ["ok"] * begun and run.built == begun, f"{history}\n{run.said()}"
        assert run.said().count("building ") == begun, run.said()
        self.settle()
        # What was finished is not built again.
        run = world.start()
        run.ends()
        assert run.built == len(world.marks) - begun, run.built
        done = [n for n, _, o in world.history() if o == "ok"]
        assert sorted(done) == sorted(world.marks.values())

    def case_interrupt_twice(self):
        """Ctrl-C twice: everything ends at once, everywhere."""
        world = World(self.farm, targets=4, seconds=60)
        world.hosts("h1 jobs=2", "h2 jobs=2")
        run = world.start()
        run.runs_on(self.h1)
        run.runs_on(self.h2)
        run.press()
        run.hears("again")
        time.sleep(0.5)
        began = time.monotonic()
        run.press()
        run.ends(130, 10)
        assert time.monotonic() - began < 8
        self.settle(seconds=3)
        assert {o for _, _, o in world.history()} == {"interrupted"}, world.history()

    def case_interrupt_cut(self):
        """Ctrl-C twice while a host cannot be reached: nothing is waited for."""
        world = World(self.farm, targets=2, seconds=60)
        world.hosts("h1 jobs=1", "h2 jobs=1", "h3 jobs=1")
        self.h3.swallow()
        run = world.start()
        run.runs_on(self.h1)
        run.runs_on(self.h2)
        self.h1.swallow()
        time.sleep(1)
        run.press()
        time.sleep(0.5)
        began = time.monotonic()
        run.press()
        run.ends(130, 15)
        assert time.monotonic() - began < 8, time.monotonic() - began
        self.program_is_gone(self.h1, WORKER + 8)
        for machine in (self.h1, self.h3):
            machine.mend()
        self.settle(seconds=30)

    def case_killed(self):
        """The scheduler is killed with -9: the hosts notice, and the next run goes on."""
        world = World(self.farm, targets=3, seconds=2)
        world.hosts("h1 jobs=2", "h2 jobs=2")
        run = world.start()
        run.runs_on(self.h1)
        run.runs_on(self.h2)
        os.kill(run.child.pid, signal.SIGKILL)
        run.child.communicate()
        run.watch.end()
        self.settle(seconds=5)
        run = world.start()
        run.ends()
        done = [n for n, _, o in world.history() if o == "ok"]
        assert sorted(done) == sorted(world.marks.values()), done

    # Two at once.

    def case_two_stores(self):
        """Two schedulers with stores of their own and the same hosts."""
        worlds = [World(self.farm, targets=3, seconds=1) for _ in range(2)]
        for world in worlds:
            world.hosts("h1 jobs=2", "h2 jobs=2")
        runs = [world.start() for world in worlds]
        for run, world in zip(runs, worlds):
            self.right(run, world)

    def case_one_store(self):
        """Two schedulers with one store and the same hosts: each step is built once."""
        world = World(self.farm, targets=4, seconds=1)
        world.hosts("h1 jobs=2", "h2 jobs=2")
        runs = [world.start(), world.start()]
        trees = [run.ends() for run in runs]
        assert trees[0] == trees[1] == {t: self.trees[t] for t in trees[0]} and len(trees[0]) == len(world.targets)
        done = [n for n, _, o in world.history() if o == "ok"]
        assert sorted(done) == sorted(world.marks.values()), world.history()


    def case_one_ledger(self):
        """Two schedulers with stores of their own, the same hosts and the same locks: no target is built twice at once."""
        world = World(self.farm, targets=3, seconds=1)
        other = World(self.farm, targets=1).store
        world.hosts("h1 jobs=2", "h2 jobs=2")
        runs = [world.start("--log-dir", "logs"), world.start("--log-dir", "logs", store=other)]
        trees = [run.ends() for run in runs]
        assert trees[0] == trees[1] == {t: self.trees[t] for t in trees[0]} and len(trees[0]) == len(world.targets)

    # What the manual says.

    def case_page(self):
        """A farm of two hosts, as doc/cluster.md has it: its commands, its file, what it shows."""
        page = Path(__file__).parents[2] / "doc/cluster.md"
        blocks = [[]]
        for line in page.read_text().splitlines():
            if line.startswith("    "):
                blocks[-1].append(line[4:])
            elif line and blocks[-1]:
                blocks.append([])
        file = next(block for block in blocks if block and block[0].startswith("#"))
        session = next(block for block in blocks if block and block[0].startswith("$ mstore realise"))
        world = World(self.farm, targets=8, seconds=3, last=1)
        # Its hosts are two of ours (ssh_config), which have another user and another processor.
        text = "\n".join(file).replace("builder@", "root@").replace("/srv/store", str(self.h2.store))
        text = text.replace("aarch64", os.uname().machine)
        (world.dir / "hosts").write_text(text + "\n")
        for host in ("root@big.example.org", "arm1"):
            ssh = ["nsenter", f"--net=/run/netns/{self.farm.hub}", "ssh", "-F", f"{self.farm.dir}/ssh_config", host]
            assert call(*ssh, "mstore", "--version") == call(MSTORE, "--version")
        words = session[0].removeprefix("$ mstore ").replace("'", "").split()
        run = Run(world, [*words, "--json"], world.store)
        self.right(run, world)
        said = run.said()
        for line in session[1:]:
            if line.startswith("host "):
                begin = line.replace("builder@", "root@").split(":")[0]
                assert begin in said, f"{begin}\n{said}"
        used = {host for _, host, _ in world.history()}
        # One of them may have come when all was begun, or be too slow to be needed.
        assert len(used) >= 2, used


class Storm:
    """Everything at once, at random, for a while: `--storm SECONDS`."""

    def __init__(self, cases, seconds, seed):
        self.cases, self.random = cases, random.Random(seed)
        self.end = time.monotonic() + seconds
        self.worlds = self.faults = 0

    def run(self):
        while time.monotonic() < self.end:
            self.round()
        print(f"ok storm: {self.worlds} runs, {self.faults} faults", flush=True)

    def round(self):
        farm, rng = self.cases.farm, self.random
        world = World(farm, targets=8, seconds=rng.choice([0, 1, 3]))
        self.worlds += 1
        world.hosts(*[f"{m.name} jobs={rng.randint(1, 3)}" for m in farm.machines])
        # A step that is lost three times ends a run, which is given again then, as after a kill.
        run = world.start()
        while True:
            if run.child.poll() is not None:
                run.child.communicate()
                run.watch.end()
                if run.child.returncode == 0:
                    break
                assert run.child.returncode in (3, -signal.SIGKILL), run.said()
                assert "was lost 3 times" in run.said() or run.child.returncode != 3, run.said()
                run = world.start()
            time.sleep(rng.random() * 2)
            self.fault(rng.choice(farm.machines), run)
        for machine in farm.machines:
            machine.mend()
        done = [name for name, _, outcome in world.history() if outcome == "ok"]
        assert sorted(done) == sorted(world.marks.values()), done
        lines = world.ok("realise", "*", "--json").splitlines()
        trees = {line["target"]: line["tree"] for line in map(json.loads, lines)}
        assert trees == self.cases.trees, trees
        self.cases.settle(seconds=60)

    def fault(self, machine, run):
        self.faults += 1
        kind = self.random.choice(["cut", "swallow", "worker", "sshd", "slow", "mend", "mend", "mend", "kill"])
        if kind in ("cut", "swallow"):
            getattr(machine, kind)()
        elif kind == "mend":
            for other in self.cases.farm.machines:
                other.mend()
        elif kind == "slow":
            machine.slow("2mbit")
            time.sleep(2)
            machine.slow(None)
        elif kind == "kill" and self.random.random() < 0.3:
            run.child.kill()
        elif kind == "sshd":
            machine.kill_sshd()
            time.sleep(self.random.random())
            machine.start_sshd()
        elif [p for p in machine.processes() if machine.is_worker(p)]:
            try:
                machine.kill_worker()
            except AssertionError:
                # It went by itself.
                pass


def cbor(value):
    """Short maps, texts and numbers as CBOR."""
    head = lambda kind, n: bytes([kind << 5 | n]) if n < 24 else bytes([kind << 5 | 24, n])
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    if isinstance(value, str):
        return head(3, len(value)) + value.encode()
    return head(0, value)


def main():
    if os.geteuid() != 0:
        sys.exit("tests/farm must run as root")
    began = time.monotonic()
    cases = Cases()
    failed = []
    try:
        names = [n.removeprefix("case_") for n in dir(Cases) if n.startswith("case_")]
        order = sorted(names, key=lambda n: Cases.__dict__[f"case_{n}"].__code__.co_firstlineno)
        words = sys.argv[1:]
        if "--storm" in words:
            at = words.index("--storm")
            seconds, seed = int(words[at + 1]), int((words[at + 2 :] or ["1"])[0])
            Storm(cases, seconds, seed).run()
            return
        wanted = [n for n in order if not words or n in words]
        assert wanted, f"cases are {' '.join(order)}"
        for name in wanted:
            since = time.monotonic()
            try:
                getattr(cases, f"case_{name}")()
                cases.settle()
                print(f"ok {name} ({time.monotonic() - since:.1f} s)", flush=True)
            except Exception:
                failed.append(name)
                print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
                for machine in cases.farm.machines:
                    machine.set_program(None)
                    machine.mend()
                for process in cases.farm.here():
                    os.kill(process.pid, signal.SIGKILL)
                cases.settle(seconds=40)
        print(f"{len(wanted) - len(failed)} of {len(wanted)} cases held in {time.monotonic() - began:.0f} s")
    finally:
        if not os.environ.get("KEEP"):
            cases.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
