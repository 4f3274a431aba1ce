#!/usr/bin/env python3
"""mstore behind BuildGrid beside a bare client of the same BuildGrid, in one run: seconds, ratios, calls and bytes.

    MSTORE=target/release/mstore benches/reapi/compare.py [--queued N] [--mib N] [--root TAR] [--floor] [--check]

Needs root, as tests/reapi does, whose rig it uses. --root names an archive with a root file system for the lines about
one; --floor measures the engine alone; --check fails where a count (not a time) misses its target. README.md beside
this tells of the lines.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ.setdefault("MSTORE", str(HERE.parents[1] / "target/release/mstore"))
sys.path.insert(0, str(HERE.parents[1] / "tests/reapi"))
from engine import buildgrid_home, call  # noqa: E402
from engine import HERE as RIG  # noqa: E402
from rig import Farm, Proxy, World  # noqa: E402

MISSED = []


def show(what, floor, ours=None, target=None, unit="s"):
    """One line: the engine's own, mstore's, what lies between, and what that should be at the most."""
    value = lambda v: "" if v is None else f"{v:.3f} {unit}" if unit == "s" else f"{v:.0f} {unit}"
    between = f"x {ours / floor:.2f}" if floor and ours is not None else ""
    print(f"{what:<44} {value(floor):>12} {value(ours):>12} {between:>9}  {target or ''}", flush=True)


def counted(what, ours, most, unit):
    ok = ours <= most
    print(f"{what:<44} {'':>12} {ours:>9} {unit:<6} {'' if ok else 'MISSED':>5}  at most {most}", flush=True)
    if not ok:
        MISSED.append(what)


class Floor:
    """The bare client, with workers that answer at once."""

    def __init__(self, farm):
        self.farm, self.target = farm, f"{farm.engine.address}:50051/main"
        self.workers = []

    def work(self):
        for worker in self.farm.workers[:2]:
            words = [*worker.host.enter, buildgrid_home() / "bin/python", RIG / "client.py", "worker", self.target, worker.name]
            child = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True, start_new_session=True)
            assert child.stdout.readline() == "ready\n"
            self.workers.append(child)

    def rest(self):
        for child in self.workers:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        self.workers = []

    def __call__(self, *words):
        return self.farm.client(words[0], self.target, *map(str, words[1:]))


def cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def took(world, *more, url=None):
    """Wall and processor seconds of a run."""
    before, began = cpu(), time.monotonic()
    world.start(*more, url=url).ends(seconds=600)
    return time.monotonic() - began, cpu() - before


def trivial(farm, alone, times=8):
    walls, cpus = [], []
    for _ in range(times):
        wall, used = took(World(farm, targets=1, steps="a", tiny=True))
        walls.append(wall)
        cpus.append(used)
    # What a run costs where nothing is to be done: reading specifications, opening the store.
    world = World(farm, targets=1, steps="a", tiny=True)
    took(world)
    idle, idle_cpu = min(took(world) for _ in range(5))
    middle = lambda values: sorted(values)[len(values) // 2]
    show("trivial node, whole run", alone, middle(walls))
    show("  less a run with nothing to do", alone, middle(walls) - idle, f"{alone + 0.015:.3f} s, and 30 ms of the worker: {alone + 0.045:.3f} s")
    show("  the same, best of all", alone, min(walls) - idle)
    show("  processor time of mstore", None, middle(cpus) - idle_cpu, "5 ms")


def queued(farm, alone, count):
    world = World(farm, targets=count, steps="a", tiny=True)
    wall, used = took(world)
    show(f"{count} queued trivial nodes, two workers", alone, wall, "x 1.15")
    show("  processor time of mstore, each", None, used / count, "5 ms")


def evict(farm):
    """Everything goes from the engine's storage; workers keep their stores."""
    for path in farm.grid.blobs():
        path.unlink()


def least(make, times=3):
    """The best of some runs of worlds that are made anew."""
    return min(took(make())[0] for _ in range(times))


def transfers(farm, mib, found, small):
    """Files that no compression makes smaller, to the engine as inputs and back as results. What a run with next to nothing
    in it takes is taken away."""
    tiny = lambda **more: World(farm, targets=1, steps="a", tiny=True, **more)
    base = least(tiny)
    known = tiny()
    took(known)
    cached = least(lambda: tiny(like=known))
    folder = farm.dir / "more"
    call("cp", "-a", farm.dir / "seed", folder)
    (folder / "big").write_bytes(os.urandom(mib << 20))
    inputs(farm, folder, base, f"{mib} MiB in an input", found["up_pieces"])
    (folder / "big").unlink()
    (folder / "small").mkdir()
    for n in range(10_000):
        (folder / f"small/{n}").write_bytes(os.urandom(2048))
    inputs(farm, folder, base, "10,000 files of 2 KiB in an input", small["up"])
    call("rm", "-rf", folder / "small")
    script = f"dd if=/dev/urandom of=/big bs=1048576 count={mib} 2> /dev/null"
    results(farm, None, script, base, cached, f"{mib} MiB in a result", found["down_pieces"])
    with open(folder / "lines", "w") as file:
        file.writelines(os.urandom(1023).hex() + "\n" for _ in range(10_000))
    script = "mkdir /small; n=0; while read -r line; do echo $line > /small/$n; n=$((n + 1)); done < /lines"
    results(farm, folder, script, base, cached, "10,000 files of 2 KiB in a result", small["down"])


def inputs(farm, seed, base, what, floor):
    world = World(farm, targets=1, steps="a", tiny=True, seed=seed)
    show(f"{what}: cut, sent, joined", floor, took(world)[0] - base)
    # The worker has it and the engine does not: all of it is sent, and nothing else is done.
    times = []
    for _ in range(3):
        evict(farm)
        times.append(took(World(farm, targets=1, steps="a", tiny=True, store=world.store))[0] - base)
    show("  sent alone", floor, min(times), "x 1.2")


def results(farm, seed, script, base, cached, what, floor):
    world = World(farm, targets=1, steps="a", tiny=True, seed=seed, script=script)
    show(f"{what}: made, cut, sent, fetched, joined", floor, took(world)[0] - base)
    # Another store asks for the same: the engine has the result.
    fetched = least(lambda: World(farm, targets=1, steps="a", tiny=True, seed=seed, script=script, like=world)) - cached
    show("  fetched and joined alone", floor, fetched, "x 1.2")


def root(farm, proxy, archive, pieces):
    """A root file system for the first time, again, and with one file changed: bytes and calls counted by a proxy, then the
    same without it, timed. `pieces` is what a MiB takes in pieces of 16 MiB."""
    tiny = lambda **more: World(farm, targets=1, steps="a", tiny=True, **more)
    base = least(tiny)
    first = tiny(seed=archive)
    kb = counted_run(farm, proxy, first)
    counted("a root for the first time: sent", kb["up"] // 1000, 150_000, "kB")
    counted("  FindMissingBlobs", kb["asked"], 1, "calls")
    again = tiny(store=first.store)
    kb = counted_run(farm, proxy, again)
    counted("the same root again: sent", kb["sent"] // 1000, 16, "kB")
    counted("  blobs of its bundles", kb["blobs"] - 3, 0, "blobs")
    counted("  FindMissingBlobs", kb["asked"], 1, "calls")
    counted("  its result: fetched", kb["down"] // 1000, 64, "kB")
    counted("  calls for that", kb["fetches"], 3, "calls")
    # The step before changes one file, here; the one after that starts there.
    chain = World(farm, targets=1, steps="ab", tiny=True, store=first.store)
    path = chain.dir / "t0.conf"
    text = path.read_text()
    path.write_text(text.replace("chroot: a b\n", "chroot: a\n"))
    chain.ok("realise", "*", "-q")
    path.write_text(text)
    kb = counted_run(farm, proxy, chain)
    counted("one file changed in the step before: bundles sent", kb["blobs"] - 4, 1, "blobs")
    counted("  FindMissingBlobs", kb["asked"], 1, "calls")
    sent = sum(path.stat().st_size for path in farm.grid.blobs())
    evict(farm)
    show("a root that the engine lacks, known here", pieces * sent / (1 << 20), took(tiny(store=first.store))[0] - base, "1.0 s")
    show("  the same root again", None, least(lambda: tiny(store=first.store)) - base, "0.005 s")


def counted_run(farm, proxy, world):
    """A run through the proxy, in numbers."""
    proxy.counts()
    world.start(url=farm.proxied).ends(seconds=600)
    calls = proxy.counts()["calls"]
    print(f"    {json.dumps(calls)}")
    one = lambda name: calls.get(name, {"calls": 0, "up": 0, "down": 0, "blobs": 0})
    fetches = [one(name) for name in ("Execute", "WaitExecution", "BatchReadBlobs", "Read")]
    return {
        "up": sum(each["up"] for each in calls.values()),
        "sent": one("Write")["up"] + one("BatchUpdateBlobs")["up"],
        "blobs": one("Write")["calls"] + one("BatchUpdateBlobs")["blobs"],
        "asked": one("FindMissingBlobs")["calls"],
        "down": sum(each["down"] for each in fetches),
        "fetches": sum(each["calls"] for each in fetches),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--mib", type=int, default=100)
    parser.add_argument("--interval", type=float, default=0.02, help="BuildGrid's interval between assignments, 1.0 as it comes")
    parser.add_argument("--root")
    parser.add_argument("--floor", action="store_true")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("benches/reapi needs root")
    farm = Farm(interval=given.interval, threads=given.queued + 200)
    proxy = None
    try:
        floor = Floor(farm)
        print(f"{'':<44} {'engine':>12} {'mstore':>12}")
        for count, seconds in floor("missing").items():
            show(f"FindMissingBlobs of {count}", seconds)
        found, small = floor("bytes", given.mib), floor("small")
        for name, what in [("up", "up, one blob"), ("down", "down, one blob"), ("up_pieces", "up, pieces of 16 MiB"), ("down_pieces", "down, pieces of 16 MiB")]:
            show(f"{given.mib} MiB {what}", found[name])
        show("10,000 blobs of 2 KiB up", small["up"])
        show("10,000 blobs of 2 KiB down", small["down"])
        floor.work()
        alone, many = floor("trivial")["seconds"], floor("queued", given.queued)["seconds"]
        floor.rest()
        show("trivial action", alone)
        show(f"{given.queued} queued trivial actions, two workers", many)
        if given.floor:
            return
        for worker in farm.workers[:2]:
            worker.start()
        # Both have the root of the trivial steps.
        took(World(farm, targets=4, steps="a", tiny=True))
        trivial(farm, alone)
        queued(farm, many, given.queued)
        transfers(farm, given.mib, found, small)
        if given.root:
            proxy = Proxy(farm)
            root(farm, proxy, given.root, found["up_pieces"] / given.mib)
    finally:
        if proxy:
            proxy.close()
        farm.close()
    if given.check and MISSED:
        sys.exit(f"missed: {', '.join(MISSED)}")


if __name__ == "__main__":
    main()
