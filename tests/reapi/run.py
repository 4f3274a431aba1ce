"""mstore behind real engines: BuildGrid with three `--bots` workers in network namespaces, and buildbox-casd.

After each case: the trees are those of a run on this machine, nothing is recorded that does not verify, and no process
is left at either end.

    MSTORE=PROGRAM python3 tests/reapi/run.py [CASE...] [--long] [--stock]

`mstore-worker` stands beside PROGRAM. --stock has all cases with workers that are not ours.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback

import page
from engine import HERE, SECRET, Casd, buildgrid_home, call, certificates, token, until
from rig import MSTORE, USER, Chain, Farm, Proxy, Run, Watch, Worker, World, is_static, trees


class Cases:
    def __init__(self):
        self.farm = Farm()
        self.workers = self.farm.workers
        self.w1, self.w2, self.w3 = self.workers
        self.grid = self.farm.grid
        # The same trees for every case: what differs is how long steps sleep, and that is no part of them.
        self.trees = World(self.farm, targets=8).local()

    def close(self):
        self.farm.close()

    def recover(self):
        """After a case that failed: as it was before."""
        for process in self.farm.here():
            os.kill(process.pid, signal.SIGKILL)
        for host in self.farm.hosts:
            host.mend()
        for worker in self.workers:
            worker.stop()
            until("nothing is left", lambda: not [worker.host.run("kill", "-9", str(p.pid)) for p in worker.host.left()], 20)

    def settle(self):
        self.farm.steps_are_over()
        self.farm.nothing_is_left()

    def crew(self, *workers, **more):
        for worker in workers or self.workers:
            worker.start(**more)

    def right(self, run, world, seconds=90.0):
        """Ends a run: everything is built and as it should be, each step counted once, and all of it verifies."""
        trees = run.ends(0, seconds)
        known = self.trees if world.usual else world.local()
        assert trees == {t: known[t] for t in trees} and len(trees) == len(world.targets), f"{trees}\n{known}"
        self.counted_once(world)
        world.ok("store", "verify")

    def counted_once(self, world):
        done = [name for name, _, outcome in world.history() if outcome == "ok"]
        assert sorted(done) == sorted(world.marks.values()), f"{done}\n{sorted(world.marks.values())}"
        hosts = {host for _, host, outcome in world.history() if outcome == "ok"}
        assert all(self.farm.engine.address in host for host in hosts), hosts
        failed = [row for row in world.history() if row[2] == "failed"]
        assert not failed, failed

    # The engines by themselves.

    def case_engine(self):
        """An action of a bare client goes through BuildGrid, by a worker that stages it and runs its command."""
        self.crew(self.w1, stock=True)
        found = self.farm.client("one", f"{self.farm.engine.address}:50051/main", "runner")
        assert found == {"status": 0, "exit": 0, "message": ""}, found

    def case_stock_worker(self):
        """A worker that knows nothing of mstore runs the worker's program, which travels with the action."""
        self.crew(self.w1, stock=True)
        world = World(self.farm, targets=2)
        self.right(world.start(), world)

    def case_casd(self):
        """buildbox-casd runs an action of a bare client; its sandbox has too little for ours: the machine's failure, not the step's."""
        casd = Casd(self.farm.dir / "casd", host=self.farm.engine.address, port=50060, enter=self.farm.engine.enter)
        try:
            found = self.farm.client("one", casd.address, "busybox")
            assert found == {"status": 0, "exit": 0, "message": ""}, found
            worker = os.path.join(os.path.dirname(MSTORE), "mstore-worker")
            assert is_static(worker), f"that sandbox has no libraries, so {worker} must be linked statically: make worker"
            world = World(self.farm, targets=1)
            run = world.start(url=f"reapi://{casd.address}")
            run.ends(3)
            for text in (casd.address, "its worker cannot build", "run the worker as root", "doc/remote-execution.md"):
                assert text in run.said(), f"lacks `{text}`:\n{run.said()}"
            assert "left no record" not in run.said(), run.said()
            assert not {outcome for _, _, outcome in world.history()} & {"ok", "failed"}, world.history()
        finally:
            casd.close()

    # (1) The same trees.

    def case_plain(self):
        world = World(self.farm, targets=8)
        self.crew()
        run = world.start()
        self.right(run, world)
        assert world.ok("log", "t0-s:a").endswith("t0:a begins\nt0:a ends\n"), world.ok("log", "t0-s:a")
        # What is known is asked of nobody.
        again = world.start()
        again.ends()
        assert again.built == 0, again.said()

    def case_chain(self):
        """Three stages, each on the one before: by root, then by an ordinary user at either end."""
        for user in (None, USER):
            world = Chain(self.farm, user=user)
            self.crew(self.w1, self.w2, user=user)
            found = world.start().ends()
            assert found == world.local() and len(found) == 3, found
            self.counted_once(world)
            self.w1.stop()
            self.w2.stop()
            if user is None:
                first = found
        assert found == first, "an ordinary user's trees are others"

    def case_ports(self):
        """A small tree of ports on what is captured from this machine: a root of some hundred MB travels, once."""
        self.ports(HERE.parent / "ports/tree", "misc/*", "misc/hello,loud")

    def case_many_ports(self):
        """A tree of 200 ports that need each other."""
        tree = self.farm.dir / "tree200"
        shutil.copytree(HERE.parent / "ports/tree", tree)
        for n in range(200):
            folder = tree / f"many/p{n}"
            folder.mkdir(parents=True)
            needs = " ".join(f"many/p{m}" for m in sorted({n // 2, n // 3, n - 1 - n % 7}) if 0 <= m < n)
            needs = f"depends/build: {needs}\n" if needs else ""
            work = f"mkdir -p /port/fake/usr/local/share/p\necho {n} > /port/fake/usr/local/share/p/p{n}\n"
            (folder / "port.spec").write_text(f"version: 1\n{needs}\n[section steps/port]\nconfigure:\nbuild:\nfake: [\n{work}]\n")
        self.ports(tree, "many/*")

    def ports(self, tree, *targets):
        words = ["--ports-tree", tree, "realise", *targets, "--json"]
        # Each captures its seed from this machine, and has a lock that names it.
        here = trees(World(self.farm, targets=0).ok(*words, "-q"))
        world = World(self.farm, targets=0)
        self.crew(jobs=2)
        proxy = Proxy(self.farm)
        try:
            proxy.rules()
            there = Run(world, [*words, "--executor", self.farm.proxied]).ends(0, 600)
            print(f"  {len(there)} targets: {proxy.counts()['calls']}")
        finally:
            proxy.close()
        assert there == here and len(there) >= len(targets), f"{there}\n{here}"
        world.ok("store", "verify")

    # (2) What breaks.

    def case_worker_killed(self):
        """A worker is killed with -9 in mid-run; another builds what it had."""
        world = World(self.farm, targets=3, seconds=2)
        self.crew()
        run = world.start()
        worker = run.runs_somewhere()
        worker.kill()
        until("its steps ended with it", lambda: not worker.host.steps(), 5)
        self.right(run, world)
        worker.start()

    def case_engine_restarted(self):
        """The engine is killed and comes back with its database: what ran goes on."""
        world = World(self.farm, targets=3, seconds=4)
        self.crew()
        watch = Watch(self.workers)
        run = world.start()
        run.runs_somewhere()
        self.grid.stop(signal.SIGKILL)
        time.sleep(1)
        self.grid.start()
        self.right(run, world)
        watch.end()

    def case_engine_emptied(self):
        """The engine comes back without its database and without its blobs: all is sent and executed again."""
        world = World(self.farm, targets=3, seconds=3)
        self.crew()
        run = world.start()
        run.runs_somewhere()
        self.grid.stop(signal.SIGKILL)
        self.grid.new_database()
        self.evict()
        self.grid.start()
        self.right(run, world)

    def empty(self):
        """Takes away all blobs of the engine; gives how many there were."""
        blobs = self.grid.blobs()
        for path in blobs:
            path.unlink()
        return len(blobs)

    def evict(self):
        assert self.empty(), "there was nothing to take away"

    @property
    def eviction(self):
        """The same as a command, which fails where there was nothing."""
        return f"find {self.grid.objects} -type f -delete -print | grep -q ."

    def case_evicted(self):
        """All blobs go: before an execution, while it is queued, while it runs, before the result is fetched."""
        proxy = Proxy(self.farm)
        try:
            # Before.
            world = World(self.farm, targets=2)
            self.crew(self.w1)
            proxy.rules({"method": "Execute", "run": self.eviction})
            self.right(world.start(url=self.farm.proxied), world)
            assert proxy.counts()["fired"] == ["Execute"]
            self.w1.stop()
            # While it is queued: nobody takes it yet.
            world = World(self.farm, targets=1)
            run = world.start(url=self.farm.proxied)
            until("it is queued", lambda: self.grid.jobs()["queued"], 20)
            self.evict()
            # A worker with an empty store needs them.
            self.crew(self.w2, store=self.w2.host.dir / "empty")
            self.right(run, world)
            if not Worker.stock:
                assert "any more" in self.w2.said(), f"it had all it needed:\n{self.w2.said()}"
            # While it runs.
            world = World(self.farm, targets=1, seconds=2)
            run = world.start(url=self.farm.proxied)
            run.runs_somewhere()
            self.evict()
            self.right(run, world)
            # After.
            for method in ("Read", "BatchReadBlobs"):
                world = World(self.farm, targets=1, big=True)
                before = self.grid.jobs()["completed"]
                proxy.rules({"method": method, "run": self.eviction})
                self.right(world.start(url=self.farm.proxied), world)
                assert proxy.counts()["fired"] == [method]
                assert self.grid.jobs()["completed"] == before + 3, "no step was executed again"
        finally:
            proxy.close()

    def case_result_evicted(self):
        """The action cache knows a result whose blobs are gone: it is not believed."""
        world = World(self.farm, targets=2)
        self.crew(self.w1)
        self.right(world.start(), world)
        before = self.grid.jobs()["completed"]
        self.evict()
        other = World(self.farm, targets=2, like=world)
        self.right(other.start(), other)
        assert self.grid.jobs()["completed"] > before, "nothing was executed again"

    def case_calls_fail(self):
        """Each kind of call fails once, as when a connection breaks off."""
        proxy = Proxy(self.farm)
        try:
            methods = ["GetCapabilities", "GetActionResult", "FindMissingBlobs", "BatchUpdateBlobs", "Write", "Execute", "Read", "BatchReadBlobs"]
            world = World(self.farm, targets=2, big=True)
            self.crew(self.w1, self.w2)
            self.empty()
            proxy.rules(*[{"method": m, "code": "UNAVAILABLE"} for m in methods])
            self.right(world.start(url=self.farm.proxied), world)
            fired = proxy.counts()["fired"]
            assert sorted(fired) == sorted(methods), fired
            # In the middle of a blob, and of what an operation says.
            world = World(self.farm, targets=1, big=True)
            proxy.rules({"method": "Read", "code": "UNAVAILABLE", "stop": 2_000_000}, {"method": "Execute", "code": "UNAVAILABLE", "stop": 1})
            self.right(world.start(url=self.farm.proxied), world)
            assert sorted(proxy.counts()["fired"]) == ["Execute", "Read"]
        finally:
            proxy.close()

    def case_broken(self):
        """In the middle of each kind of call the connection breaks and the cable is pulled."""
        proxy = Proxy(self.farm)
        self.crew(self.w1, self.w2)
        methods = ["GetCapabilities", "GetActionResult", "FindMissingBlobs", "BatchUpdateBlobs", "Write", "Execute", "BatchReadBlobs", "Read"]
        try:
            for method, when in [*[(m, "before") for m in methods], ("Execute", "first"), ("Read", "first")]:
                world = World(self.farm, targets=1, big=True)
                if method == "Write":
                    # It has the worker's program and the root already.
                    self.evict()
                proxy.rules({"method": method, "when": when, "run": proxy.hold})
                run = world.start(url=self.farm.proxied)
                until(lambda: f"{method} is called\n{run.said()}", proxy.held.exists, 40)
                proxy.close()
                self.farm.desk.cut()
                time.sleep(2)
                self.farm.desk.mend()
                proxy = Proxy(self.farm)
                self.right(run, world)
        finally:
            proxy.close()

    def case_cut(self):
        """mstore's cable is pulled while a step runs, and again without a word; the operation is waited for again."""
        world = World(self.farm, targets=2, seconds=6)
        self.crew(self.w1, self.w2)
        watch = Watch(self.workers)
        run = world.start()
        run.runs_somewhere()
        self.farm.desk.cut()
        time.sleep(3)
        self.farm.desk.mend()
        time.sleep(4)
        self.farm.desk.swallow()
        time.sleep(25)
        self.farm.desk.mend()
        self.right(run, world)
        watch.end()
        assert all(len(hosts) == 1 for hosts in watch.seen.values()), watch.seen

    def case_worker_cut(self):
        """A worker's cable is pulled for longer than the engine waits: another builds it, and the first gives up."""
        world = World(self.farm, targets=1, steps="a", seconds=12)
        self.crew(self.w1, self.w2)
        run = world.start()
        worker = run.runs_somewhere()
        worker.host.cut()
        other = self.w2 if worker is self.w1 else self.w1
        until("another builds it", lambda: other.host.steps(), 60)
        worker.host.mend()
        run.ends()
        self.counted_once(world)

    def case_disk(self):
        """The disk of a worker is full, in the middle of a step and before one: nobody's failure but the machine's."""
        small = self.w1.host.dir / "small"
        small.mkdir()
        self.w1.host.run("mount", "-t", "tmpfs", "-o", "size=120m", "small", small)
        try:
            world = World(self.farm, targets=2, seconds=3)
            self.crew(self.w1, store=small)
            run = world.start()
            run.runs_somewhere()
            self.w1.host.run("sh", "-c", f"dd if=/dev/zero of={small}/ballast bs=1M 2> /dev/null; true")
            until(lambda: f"the worker says so: {self.w1.said()}", lambda: "could not do" in self.w1.said(), 30)
            self.crew(self.w2)
            self.right(run, world)
            assert "no space" in self.w1.said().lower() or "is full" in self.w1.said(), self.w1.said()
            # With its disk still full it is given something again, and gives that back.
            self.w2.stop()
            given = self.w1.said().count("begins")
            world = World(self.farm, targets=1)
            run = world.start()
            until("it is given something", lambda: self.w1.said().count("begins") > given, 60)
            self.w1.host.run("rm", small / "ballast")
            self.right(run, world, 120)
        finally:
            self.w1.stop()
            self.w1.host.run("umount", small)

    # (3) Many, and people.

    def many(self, count):
        world = World(self.farm, targets=count, steps="a", seconds=0, tiny=True)
        run = world.start("--keep-going")
        until(lambda: f"{count} are queued: {self.grid.jobs()} {run.said()[-2000:]}", lambda: self.grid.jobs()["queued"] == count, 120)
        return world, run

    def queue(self, count):
        """So many are queued and nobody takes them. Ctrl-C takes them back; -9 does not, and the next run goes on."""
        self.grid.stop()
        self.grid.write_config(threads=count + 100)
        self.grid.new_database()
        self.grid.start()
        world, run = self.many(count)
        run.press()
        time.sleep(1)
        run.press()
        run.ends(130, 60)
        until(lambda: f"nothing is left in the queue: {self.grid.jobs()}", lambda: not self.grid.jobs()["queued"], 20)
        assert self.grid.jobs()["cancelled"] == count, self.grid.jobs()
        assert not world.history("outcome = 'ok'"), world.history()[:3]
        world, run = self.many(count)
        os.killpg(run.child.pid, signal.SIGKILL)
        run.child.wait()
        assert self.grid.jobs()["queued"] == count, self.grid.jobs()
        self.crew(self.w1, self.w2)
        began = time.monotonic()
        run = world.start()
        found = run.ends(0, 60 + count)
        print(f"  {count} queued steps on two workers: {time.monotonic() - began:.1f} s")
        assert len(found) == count and len(set(found.values())) == count, len(found)
        self.counted_once(world)
        jobs = self.grid.jobs()
        assert jobs["completed"] == count and not jobs["executing"], f"some were executed twice: {jobs}"

    def case_queue(self):
        self.queue(40)

    def case_thousand(self):
        self.queue(1000)

    def case_killed(self):
        """mstore is killed with -9 while steps run; the next run goes on with them."""
        world = World(self.farm, targets=2, seconds=5)
        self.crew(self.w1, self.w2)
        run = world.start()
        run.runs_somewhere()
        os.killpg(run.child.pid, signal.SIGKILL)
        run.child.wait()
        watch = Watch(self.workers)
        before = sum(self.grid.jobs().values())
        run = world.start()
        time.sleep(2)
        assert sum(self.grid.jobs().values()) == before, "what ran was begun again"
        self.right(run, world)
        watch.end()

    # What the manual says.

    def case_page(self):
        count, seconds = page.run()
        print(f"  {count} commands in {seconds:.0f} s")

    # (4) Who may.

    def reconfigured(self, tls=None, jwt=False, **limits):
        self.grid.stop()
        self.grid.write_config(tls, jwt, **limits)
        self.grid.start()

    def refused(self, world, *told, url=None):
        """A run ends with 3, tells what to do, and shows no secret."""
        run = world.start(url=url)
        run.ends(3, 60)
        for text in told:
            assert text in run.said(), f"lacks `{text}`:\n{run.said()}"
        assert SECRET not in run.said() and "eyJ" not in run.said(), run.said()
        assert not {outcome for _, _, outcome in world.history()} & {"ok", "failed"}, world.history()

    def case_tokens(self):
        """No token, a wrong one, one that has expired; one that expires while steps run and is renewed in its file."""
        self.reconfigured(jwt=True)
        try:
            world = World(self.farm, targets=2, seconds=4)
            file = world.dir / "token"
            self.refused(world, "reapi/token")
            world.conf.write_text(f"reapi/insecure: yes\nreapi/token: {file}\n")
            self.refused(world, str(file))
            for text in (token(secret="another"), token(-60)):
                file.write_text(text)
                self.refused(world, "token")
            file.write_text(token(6))
            good = self.farm.dir / "good-token"
            good.write_text(token())
            self.farm.conf.write_text(f"reapi/insecure: yes\nreapi/token: {good}\n")
            self.crew(self.w1, self.w2, env={"CLIENT_TOKEN": str(good)})
            run = world.start()
            run.runs_somewhere()
            file.write_text(token())
            self.right(run, world)
            secret = good.read_text()
            assert not [p for w in self.workers for p in w.host.processes() if secret in " ".join(p.words)]
            assert secret not in "".join(w.said() for w in self.workers)
        finally:
            self.farm.conf.write_text("reapi/insecure: yes\n")
            for worker in self.workers:
                worker.stop()
            self.reconfigured()

    def case_tls(self):
        """A wrong authority, plain words to a TLS port, a plain address beyond this machine; and then the right one."""
        names = (self.farm.engine.address,)
        tls = certificates(self.farm.dir / "right", *names)
        wrong = certificates(self.farm.dir / "wrong", *names)
        self.reconfigured(tls=tls)
        url = self.farm.url.replace("reapi://", "reapis://")
        try:
            world = World(self.farm, targets=2)
            world.conf.write_text("")
            self.refused(world, "reapi/insecure")
            self.refused(world, "reapi/ca", url=url)
            world.conf.write_text(f"reapi/ca: {wrong[0]}\n")
            self.refused(world, "reapi/ca", url=url)
            world.conf.write_text("reapi/insecure: yes\n")
            self.refused(world, "reapis://")
            world.conf.write_text(f"reapi/ca: {tls[0]}\n")
            self.farm.conf.write_text(f"reapi/ca: {tls[0]}\n")
            self.crew(self.w1, url=url, env={"CLIENT_CA": str(tls[0])})
            self.right(world.start(url=url), world)
        finally:
            self.farm.conf.write_text("reapi/insecure: yes\n")
            for worker in self.workers:
                worker.stop()
            self.reconfigured()

    # (5) What fails.

    def case_failed_step(self):
        """A step fails: counted, with its log; and again when it is asked again, since no failure comes from a cache."""
        world = World(self.farm, targets=2, script="[ $what != t0a ] || { echo it is broken; exit 7; }")
        self.crew(self.w1, self.w2)
        run = world.start("--keep-going")
        run.ends(1)
        assert "t0" in run.said() and "7" in run.said(), run.said()
        assert "it is broken" in world.ok("log", "t0-s:a")
        outcomes = sorted((name, outcome) for name, _, outcome in world.history())
        assert outcomes == [("t0:a", "failed"), ("t1:a", "ok"), ("t1:b", "ok")], outcomes
        # This engine keeps failures too, and would replay them.
        kept = self.farm.client("kept", f"{self.farm.engine.address}:50051/main", *self.grid.actions())
        assert 1 in kept.values(), kept
        before = sum(self.grid.jobs().values())
        other = World(self.farm, targets=2, script="[ $what != t0a ] || { echo it is broken; exit 7; }", like=world)
        run = other.start("--keep-going")
        run.ends(1)
        assert sum(self.grid.jobs().values()) == before + 1, "the failure was replayed, or more than it ran again"

    def case_time_limit(self):
        """A step over its own limit is a failure of the step. Who waits ends it, five minutes after its limit."""
        world = World(self.farm, targets=1, seconds=900, policy="[section policy]\ntimeout: 2\n")
        self.crew(self.w1)
        run = world.start()
        run.ends(1, 420)
        assert [outcome for _, _, outcome in world.history()] in (["timeout"], ["failed"]), world.history()
        assert "2 s" in run.said() or "timeout" in run.said() or "limit" in run.said(), run.said()

    def case_engine_limit(self):
        """The engine's limit is below ours: nobody's failure but the engine's, which is named."""
        self.reconfigured(execution=3600)
        try:
            world = World(self.farm, targets=1, seconds=60)
            self.crew(self.w1)
            run = world.start()
            run.ends(3, 120)
            assert "failed" not in {outcome for _, _, outcome in world.history()}, world.history()
            assert self.farm.engine.address in run.said() and "max-execution-timeout" in run.said(), run.said()
        finally:
            self.w1.stop()
            self.reconfigured()

    # (6) and (8): more than one.

    def case_same_action(self):
        """Another store with another history asks for the very same action: the engine knows its result."""
        world = World(self.farm, targets=3)
        self.crew(self.w1)
        self.right(world.start(), world)
        before = sum(self.grid.jobs().values())
        self.w1.stop()
        other = World(self.farm, targets=3, like=world, before=lambda w: w.import_noise())
        self.right(other.start(), other)
        assert sum(self.grid.jobs().values()) == before, "it was executed again"

    def case_two_schedulers(self):
        """Two at once on one instance: of different steps, and of the same ones."""
        worlds = [World(self.farm, targets=3, seconds=6, steps="a"), World(self.farm, targets=3, seconds=1)]
        worlds.append(World(self.farm, targets=3, seconds=6, steps="a", like=worlds[0]))
        self.crew(jobs=2)
        watch = Watch(self.workers)
        runs = [world.start() for world in worlds[:2]]
        until("all of the first are there", lambda: sum(self.grid.jobs().values()) >= 6, 40)
        # BuildGrid sees that an action is asked for twice, unless that is in one moment.
        runs.append(worlds[2].start())
        for run, world in zip(runs, worlds):
            self.right(run, world)
        watch.end()
        twice = {mark: hosts for mark, hosts in watch.seen.items() if len(hosts) > 1}
        assert not twice, f"built on two hosts: {twice}"

    # (7) Counted.

    def case_counts(self):
        """Calls, blobs and bytes of a root for the first time, of the same root again, of one file changed in the last
        step, and of a small result."""
        proxy = Proxy(self.farm)
        what = "BatchUpdateBlobs", "Write"

        def counted(world):
            proxy.rules()
            world.start(url=self.farm.proxied).ends()
            calls = proxy.counts()["calls"]
            none = {"calls": 0, "up": 0, "down": 0, "blobs": 0}
            up = [calls.get(name, none) for name in what]
            # A stream is one blob.
            blobs = up[0]["blobs"] + up[1]["calls"]
            return calls, blobs, sum(one["up"] for one in up)

        try:
            self.crew(self.w1)
            self.empty()
            seed = self.farm.big_seed()
            root = os.path.getsize(seed)
            world = World(self.farm, targets=1, steps="a", seed=seed)
            calls, _, up = counted(world)
            print(f"  a root of {root} bytes for the first time: {calls}")
            asked = calls["FindMissingBlobs"]
            assert asked["calls"] == 1 and asked["blobs"] < 40, asked
            program = os.path.getsize(os.path.join(os.path.dirname(MSTORE), "mstore-worker"))
            assert up < root + program + 100_000, up
            # The same root, from another store and for another step.
            world = World(self.farm, targets=1, steps="ab", seed=seed)
            calls, blobs, up = counted(world)
            print(f"  the same root again, and a step on that: {calls}")
            # For each step its action, its root folder and its job; for the second the folder of its bundles as well. What
            # lies between them the engine has had as a result.
            assert calls["FindMissingBlobs"]["calls"] == 2 and blobs == 3 + 4 and up < 16_000, (calls, blobs, up)
            assert "Write" not in calls and calls["BatchUpdateBlobs"]["calls"] == 2, calls
            # What it costs to have a result here: what the operation says, the record if that was not with it, and the
            # log with the bundle.
            down = [calls.get(name, {"calls": 0, "down": 0}) for name in ("Execute", "WaitExecution", "BatchReadBlobs", "Read")]
            assert sum(one["calls"] for one in down) <= 2 * 3 and sum(one["down"] for one in down) <= 2 * 65_536, calls
            # One file is changed between them, here: the layer of that step and the same small ones again.
            text = (world.dir / "t0.conf").read_text()
            changed = text.replace("echo t0a > /out/t0a", "echo changed > /out/t0a", 1)
            assert changed != text
            alone = changed.replace("chroot: a b\n", "chroot: a\n")
            assert alone != changed
            (world.dir / "t0.conf").write_text(alone)
            world.ok("realise", "*", "-q")
            (world.dir / "t0.conf").write_text(changed)
            calls, blobs, up = counted(world)
            print(f"  one file changed in what the last step begins with: {calls}")
            assert calls["FindMissingBlobs"]["calls"] == 1 and blobs == 1 + 4 and up < 64_000, (calls, blobs, up)
        finally:
            proxy.close()


# What takes too long for every change.
LONG = {"thousand", "worker_cut", "cut", "broken", "many_ports", "ports", "page", "disk"}


def main():
    if os.geteuid() != 0:
        sys.exit("tests/reapi must run as root")
    # Ended from outside, it takes everything down as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    names = [n.removeprefix("case_") for n in Cases.__dict__ if n.startswith("case_")]
    Worker.stock = "--stock" in sys.argv
    words = [w for w in sys.argv[1:] if w not in ("--long", "--stock")]
    wanted = [n for n in names if n in words or (not words and ("--long" in sys.argv or n not in LONG))]
    assert wanted and len(wanted) >= len(words), f"cases are {' '.join(names)}"
    cases, failed = Cases(), []
    print(f"engine and hosts are up ({time.monotonic() - began:.1f} s)", flush=True)
    try:
        for name in wanted:
            since = time.monotonic()
            try:
                getattr(cases, f"case_{name}")()
                cases.settle()
                print(f"ok {name} ({time.monotonic() - since:.1f} s)", flush=True)
            except Exception:
                failed.append(name)
                print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
                cases.recover()
        print(f"{len(wanted) - len(failed)} of {len(wanted)} cases held in {time.monotonic() - began:.0f} s")
    finally:
        if not os.environ.get("KEEP"):
            cases.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
