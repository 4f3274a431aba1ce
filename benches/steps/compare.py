#!/usr/bin/env python3
"""What steps cost beyond themselves, and how they share the processors of this machine.

    compare.py --work DIR [--mstore FILE] [--before FILE] [--only jobs,root,chain] [--runs 3]
               [--entries 12000] [--steps 200] [--check]

jobs   Four stages of the standard distribution at `-j2`, beside the most that can be asked: the longer of
       the critical path (the slowest of them, alone in a store of its own) and half of the processor time.
       The four share the stages below them, a chain in which one step runs at a time: what can be reached
       with it is the time of that chain alone and half of the processor time of the rest, printed too.
root   One changed file on a root of 12,000 entries: `realise` as a whole process, beside the same step on a
       root of a few entries, and one walk through the root that looks at every entry.
chain  200 steps in a row on that root, each with a file of its own: the slowest, beside the median.

`--before` is another mstore (an older build), which gets rows of its own.  `--check` ends with status 1
when a goal is missed.  Contenders take turns, run by run; of each figure the best of all runs counts, since
other work on the machine only makes it worse.  Run it as root on a machine with nothing else to do; a build
is as fast as the disk under DIR, which must have a file system with `user.*` attributes.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../graph"))
import generate  # noqa: E402  (the seed with nothing but a shell)

STAGES = ["stage3-corei7", "stage3-core2_64", "stage3-generic_64", "stage3-nocona"]
# What all of them are built on.
BELOW = "stage2-corei7"
# Beyond the step itself and one walk through the layers, in seconds.
BEYOND = 0.040
# A step of a chain may take this much, or three times the median.
CHAIN = 0.100


class Run:
    """One process: wall seconds, processor seconds, what it printed."""

    def __init__(self, argv, cwd):
        start = time.perf_counter()
        child = subprocess.Popen(
            argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        # Neither stream fills a pipe: a run prints a few lines a step.
        self.err = child.stderr.read()
        self.out = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = status
        self.wall = time.perf_counter() - start
        self.cpu = used.ru_utime + used.ru_stime
        if status:
            sys.exit(f"failed: {' '.join(argv)} (in {cwd})\n{self.err}")


class Bench:
    def __init__(self, args):
        self.args = args
        self.tools = {"mstore": os.path.abspath(args.mstore)}
        if args.before:
            self.tools = {"before": os.path.abspath(args.before), **self.tools}
        self.missed = []

    def folder(self, name):
        path = os.path.join(self.args.work, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path

    def run(self, who, store, spec, *words):
        return Run([self.tools[who], "--store", store, *words], spec)

    def goal(self, who, holds, text):
        verdict = "kept" if holds else "MISSED"
        print(f"  {who}: {text}: {verdict}", flush=True)
        if who == "mstore" and not holds:
            self.missed.append(text)

    # Processors.

    def jobs(self):
        print(f"jobs: {' '.join(STAGES)} at -j2")
        for who in self.tools:
            alone = together = None
            for _ in range(self.args.runs):
                empty = self.folder("jobs-spec")
                each = max(
                    (self.run(who, self.folder("jobs-store"), self.folder("jobs-spec"), "realise", "-j2", name) for name in STAGES),
                    key=lambda run: run.wall,
                )
                all_of_them = self.run(who, self.folder("jobs-store"), empty, "realise", "-j2", *STAGES)
                alone = min(filter(None, [alone, each.wall]))
                if together is None or all_of_them.wall < together.wall:
                    together = all_of_them
            below = self.run(who, self.folder("jobs-store"), self.folder("jobs-spec"), "realise", "-j2", BELOW)
            reachable = below.wall + (together.cpu - below.cpu) / 2
            least = max(alone, together.cpu / 2)
            print(
                f"  {who}: {together.wall:.2f} s; critical path {alone:.2f} s, half of the processor time"
                f" {together.cpu / 2:.2f} s: {together.wall / least:.2f} times the longer;"
                f" {together.wall / reachable:.2f} times the {reachable:.2f} s that the shared chain leaves"
            )
            self.goal(who, together.wall <= 1.1 * least, "within 1.1 times")

    # Roots.

    def big_root(self, entries):
        root = os.path.join(self.args.work, f"root-{entries}")
        if os.path.isdir(root):
            return root
        generate.seed(root)
        for n in range(entries // 101):
            folder = os.path.join(root, f"usr/share/d{n}")
            os.makedirs(folder)
            for m in range(100):
                with open(os.path.join(folder, f"file{m}"), "w", encoding="ascii") as file:
                    file.write(f"{n} {m}\n" * (1 + (n * 100 + m) % 400))
        return root

    def spec(self, name, root, who, scripts):
        """A target `t0-a0` of these steps, and a store with its seed."""
        folder, store = self.folder(f"{name}-spec-{who}"), self.folder(f"{name}-store-{who}")
        self.write_spec(folder, scripts)
        self.run(who, store, folder, "seed", "import", root, "--name", "bench")
        return folder, store

    def write_spec(self, folder, scripts):
        lines = [
            "[section list]\nbuilds: bench\narches: x86-64bit\nsubarches/x86-64bit: a0\ntargets: t0",
            f"[section target]\nplatform: {os.uname().machine}",
            "[section source]\n: seed\nseed: bench",
            "[section steps]\nchroot: " + " ".join(f"s{n}" for n in range(len(scripts))),
            "[section steps/chroot]",
        ]
        for n, script in enumerate(scripts):
            lines.append(f"s{n}: [\n{script}\n]")
        with open(os.path.join(folder, "metro.conf"), "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")

    def changed_file(self, who, root, name):
        """Seconds of `realise` for one changed file, best of many."""
        folder, store = self.spec(name, root, who, ["echo 0 > /changed"])
        self.run(who, store, folder, "realise", "t0-a0")
        best = None
        for n in range(1, 5 * self.args.runs):
            self.write_spec(folder, [f"echo {n} > /changed"])
            wall = self.run(who, store, folder, "realise", "t0-a0").wall
            best = min(filter(None, [best, wall]))
        written = sum(self.size(os.path.join(store, part)) for part in ("checkouts", "layers", "links", "views"))
        return best, written

    @staticmethod
    def size(folder):
        sum_ = 0
        for top, folders, files in os.walk(folder):
            for name in folders + files:
                sum_ += os.lstat(os.path.join(top, name)).st_blocks * 512
        return sum_

    @staticmethod
    def walk(root):
        best = None
        for _ in range(5):
            start = time.perf_counter()
            # One that is written in C: `-size` looks at every entry.
            subprocess.run(["find", root, "-size", "-0"], stdout=subprocess.DEVNULL, check=True)
            best = min(filter(None, [best, time.perf_counter() - start]))
        return best

    def root(self):
        large, small = self.big_root(self.args.entries), self.big_root(0)
        walk = self.walk(large)
        print(f"root: one changed file on {self.args.entries} entries; a walk through them takes {walk * 1000:.0f} ms")
        for who in self.tools:
            itself, _ = self.changed_file(who, small, "small")
            whole, written = self.changed_file(who, large, "large")
            print(
                f"  {who}: {whole * 1000:.0f} ms as a whole, {itself * 1000:.0f} ms on a root of a few entries;"
                f" {written / 1e6:.0f} MB written out"
            )
            self.goal(who, whole <= itself + walk + BEYOND, f"within {BEYOND * 1000:.0f} ms and one walk")

    def chain(self):
        root = self.big_root(self.args.entries)
        print(f"chain: {self.args.steps} steps in a row on {self.args.entries} entries, best of {self.args.runs} runs")
        scripts = [f"echo {n} > /file{n}" for n in range(self.args.steps)]
        for who in self.tools:
            best = {}
            roots = 0
            for _ in range(self.args.runs):
                folder, store = self.spec("chain", root, who, scripts)
                self.run(who, store, folder, "realise", "-j1", "t0-a0")
                for name in scripts_names(len(scripts)):
                    told = self.run(who, store, folder, "log", "--attempts", "--json", f"t0-a0:{name}").out
                    seconds = json.loads(told)[0]["seconds"]
                    best[name] = min(best.get(name, seconds), seconds)
                roots = len(os.listdir(os.path.join(store, "checkouts")))
            # The first writes out the seed.
            rest = [best[name] for name in scripts_names(len(scripts))[1:]]
            median, slowest = statistics.median(rest), max(rest)
            print(
                f"  {who}: median {median * 1000:.0f} ms, slowest {slowest * 1000:.0f} ms; {roots} roots written out"
            )
            self.goal(who, slowest <= max(3 * median, CHAIN), "slowest within 3 medians or 100 ms")


def scripts_names(count):
    return [f"s{n}" for n in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--mstore", default=os.path.join(HERE, "../../target/release/mstore"))
    parser.add_argument("--before")
    parser.add_argument("--only", default="jobs,root,chain")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--entries", type=int, default=12_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    args.work = os.path.abspath(args.work)
    os.makedirs(args.work, exist_ok=True)
    bench = Bench(args)
    for part in args.only.split(","):
        {"jobs": bench.jobs, "root": bench.root, "chain": bench.chain}[part]()
    if args.check and bench.missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
