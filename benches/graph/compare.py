#!/usr/bin/env python3
"""Graphs of N trivial steps: planned, built, and looked at again with nothing to do, beside ninja and Nix.

    compare.py --work DIR [--mstore FILE] [--before FILE] [--nodes 1000,10000] [--runs 7]
               [--only plan,graph,build,noop,one,attempts] [--jobs N] [--check]

Every figure is a whole process, from `execve` to its end, with the page cache warm; contenders take
turns, run by run.  `--before` is another mstore (an older build), which gets rows of its own and a
column of ratios.  ninja and nix-instantiate have rows where they are installed.  Goals that are missed are told at the end.  `--check` ends with status 1 when a figure is
so far from its goal that it must have begun to grow with what exists, whatever the machine: a run with
nothing to do that takes FAR times as long as ninja by the clock and the processor, or a last thousand of
steps with FAR times the median of the first.  DIR must lie on a file system with a journal: see
../store/README.md.  Needs root, as a sandbox with one user does.
"""
import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))

FAR = 3

GOALS = {
    # what: (nodes or None for all, seconds, MiB)
    "plan, nothing built": (100_000, 1.0, 250),
    "graph '*'": (100_000, 3.0, None),
}


class Run:
    """One process: wall seconds, processor seconds, MiB, status."""

    def __init__(self, argv, cwd, lines=None):
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        start = time.perf_counter()
        if lines is None:
            child = subprocess.Popen(argv, cwd=cwd, stderr=subprocess.DEVNULL, **quiet)
        else:
            child = subprocess.Popen(argv, cwd=cwd, stderr=subprocess.PIPE, text=True, **quiet)
            for line in child.stderr:
                lines.append((time.perf_counter() - start, line))
        _, status, used = os.wait4(child.pid, 0)
        self.wall = time.perf_counter() - start
        self.cpu = used.ru_utime + used.ru_stime
        self.rss = used.ru_maxrss / 1024
        child.returncode = status
        if status:
            sys.exit(f"failed: {' '.join(argv)} (in {cwd})")


def best(runs):
    """The fastest run, the median, processor time and memory of the fastest."""
    fastest = min(runs, key=lambda run: run.wall)
    return fastest.wall, statistics.median(run.wall for run in runs), fastest.cpu, fastest.rss


class Table:
    def __init__(self):
        self.missed = []
        self.far = []
        print("| nodes | what | who | fastest, s | median, s | user+sys, s | MiB | ratio | goal |")
        print("| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |")

    def rows(self, nodes, what, contenders, other=None, goal=None):
        """Contenders by name, each with its runs; the first is ours."""
        ours = best(next(iter(contenders.values())))
        for name, runs in contenders.items():
            wall, median, cpu, rss = best(runs)
            ratio, aim = "", ""
            if name == "mstore":
                others = [(n, best(r)) for n, r in contenders.items() if n != name]
                ratio = ", ".join(f"{ours[0] / o[0]:.2f} x {n}" for n, o in others)
                limit = goal
                if other is not None:
                    limit, _, spent, _ = best(contenders[other])
                    if wall > FAR * limit and cpu > FAR * spent:
                        self.far.append(f"{what} of {nodes} nodes: more than {FAR} x {other}")
                if limit is not None:
                    aim = f"{limit:.3f} s" + (f" ({other})" if other else "")
                    if wall > limit:
                        self.missed.append(f"{what} of {nodes} nodes: {wall:.3f} s, not {aim}")
                        aim += ", missed"
            print(f"| {nodes:,} | {what} | {name} | {wall:.3f} | {median:.3f} | {cpu:.3f} | {rss:.0f} "
                  f"| {ratio} | {aim} |", flush=True)

    def line(self, nodes, what, name, text):
        print(f"| {nodes:,} | {what} | {name} | {text} | | | | | |", flush=True)


class Bench:
    def __init__(self, args):
        self.args = args
        self.table = Table()
        self.first = {}
        self.tools = {"mstore": os.path.abspath(args.mstore)}
        if args.before:
            self.tools["before"] = os.path.abspath(args.before)

    def wanted(self, name):
        return self.args.only is None or name in self.args.only

    def store(self, who, nodes):
        return os.path.join(self.args.work, f"store-{who}-{nodes}")

    def command(self, who, nodes, *words):
        return [self.tools[who], "--store", self.store(who, nodes), *words]

    def turns(self, contenders, runs):
        """Lets contenders take turns: name -> (argv, cwd)."""
        found = {name: [] for name in contenders}
        for _ in range(runs):
            for name, (argv, cwd) in contenders.items():
                found[name].append(Run(argv, cwd))
        return found

    def each(self, nodes, *words):
        return {who: (self.command(who, nodes, *words), self.spec(nodes)) for who in self.tools}

    def spec(self, nodes):
        return os.path.join(self.args.work, f"graph-{nodes}")

    def prepare(self, nodes):
        spec = self.spec(nodes)
        subprocess.run([sys.executable, os.path.join(HERE, "generate.py"), str(nodes), spec], check=True)
        for who in self.tools:
            if not self.args.keep:
                shutil.rmtree(self.store(who, nodes), ignore_errors=True)
            if os.path.exists(os.path.join(spec, "metro.lock")):
                os.remove(os.path.join(spec, "metro.lock"))
            Run(self.command(who, nodes, "seed", "import", os.path.join(spec, "seed"), "--name", "bench"), spec)

    def plan(self, nodes):
        contenders = self.each(nodes, "realise", "*", "-n")
        if shutil.which("nix-instantiate"):
            # Works out the derivations and their hashes, and writes nothing, as `-n` does.
            home = os.path.join(self.args.work, "nix")
            argv = ["env", f"HOME={home}", f"NIX_REMOTE={home}", "nix-instantiate", "--readonly-mode", "default.nix"]
            contenders["nix-instantiate"] = (argv, self.spec(nodes))
        runs = self.turns(contenders, self.args.runs)
        goal = GOALS["plan, nothing built"]
        self.table.rows(nodes, "plan, nothing built", runs, goal=goal[1] if nodes == goal[0] else None)
        if nodes == goal[0] and best(runs["mstore"])[3] > goal[2]:
            self.table.missed.append(f"plan of {nodes} nodes: more than {goal[2]} MiB")

    def graph(self, nodes):
        runs = self.turns(self.each(nodes, "graph", "*"), self.args.runs)
        goal = GOALS["graph '*'"]
        self.table.rows(nodes, "graph '*'", runs, goal=goal[1] if nodes == goal[0] else None)

    def build(self, nodes):
        """Builds everything once, and tells how the time of a step grows."""
        jobs = ["-j", str(self.args.jobs)] if self.args.jobs else []
        built = {}
        for who in self.tools:
            lines = []
            run = Run(self.command(who, nodes, "realise", "*", *jobs), self.spec(nodes), lines)
            built[who] = [run]
            ends = [at for at, line in lines if line.startswith("built ")]
            gaps = [1000 * (b - a) for a, b in zip(ends, ends[1:])]
            parts = [gaps[at:at + 1000] for at in range(0, len(gaps), 1000)]
            parts = [part for part in parts if len(part) > 500]
            text = " ".join(f"{statistics.median(part):.1f}/{statistics.mean(part):.1f}" for part in parts)
            self.table.line(nodes, "ms a step, median/mean of every thousand", who, text)
            if who == "mstore" and parts and statistics.median(parts[-1]) > FAR * statistics.median(parts[0]):
                self.table.far.append(f"steps of {nodes} nodes: the last thousand is much slower than the first")
            slow = max((statistics.median(part) for part in parts), default=0)
            if who == "mstore" and slow > 11:
                self.table.missed.append(f"steps of {nodes} nodes: {slow:.1f} ms, not 11")
        spec = self.spec(nodes)
        shutil.rmtree(os.path.join(spec, "o"), ignore_errors=True)
        for name in (".ninja_log", ".ninja_deps"):
            if os.path.exists(os.path.join(spec, name)):
                os.remove(os.path.join(spec, name))
        if shutil.which("ninja"):
            built["ninja"] = [Run(["ninja", "--quiet"], spec)]
        self.table.rows(nodes, "full build", built)

    def noop(self, nodes):
        contenders = self.each(nodes, "realise", "*")
        # The first run may have something to remember.
        for argv, cwd in contenders.values():
            Run(argv, cwd)
        other = None
        if shutil.which("ninja"):
            Run(["ninja", "--quiet"], self.spec(nodes))
            contenders["ninja"] = (["ninja", "--quiet"], self.spec(nodes))
            other = "ninja"
        self.table.rows(nodes, "nothing to do", self.turns(contenders, self.args.runs), other=other)

    def one(self, nodes):
        """Commands about one target, which must not depend on the others."""
        name = "t5-a0"
        for words in (["realise", "-n", name], ["realise", name], ["show", name], ["why", "rebuild", name], ["log", name]):
            runs = self.turns(self.each(nodes, *words), self.args.runs)
            self.table.rows(nodes, " ".join(words), runs)


    def attempts(self, nodes):
        """The same commands with 10 and 1,000 times the attempts in the history."""
        name = "t5-a0"
        for factor in (1, 10, 1000):
            for who in self.tools:
                with sqlite3.connect(os.path.join(self.store(who, nodes), "db", "mstore.sqlite")) as database:
                    columns = "key, kind, drv, name, tree, started, seconds, host, log, outcome, phase, detail"
                    have, = database.execute("SELECT max(id) FROM history").fetchone()
                    first = self.first.setdefault((who, nodes), have)
                    database.execute(
                        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1) "
                        f"INSERT INTO history ({columns}) SELECT {columns} FROM history, n WHERE id <= ?2 AND ?1 > 0",
                        (factor - have // first, first))
            for words in (["realise", "-n", name], ["show", name], ["why", "rebuild", name], ["log", name]):
                runs = self.turns(self.each(nodes, *words), self.args.runs)
                self.table.rows(nodes, f"{' '.join(words)}, {factor:,} x the attempts", runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--mstore", default=os.path.join(HERE, "../../target/release/mstore"))
    parser.add_argument("--before")
    parser.add_argument("--nodes", default="1000,10000")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--keep", action="store_true", help="use the stores that are there")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    args.work = os.path.abspath(args.work)
    os.makedirs(args.work, exist_ok=True)
    bench = Bench(args)
    for nodes in (int(text) for text in args.nodes.split(",")):
        bench.prepare(nodes)
        for part in ("plan", "graph", "build", "noop", "one", "attempts"):
            if bench.wanted(part) and (part != "attempts" or args.only):
                getattr(bench, part)(nodes)
    for text in bench.table.missed:
        print(f"missed: {text}", file=sys.stderr)
    for text in bench.table.far:
        print(f"far from its goal: {text}", file=sys.stderr)
    sys.exit(1 if args.check and bench.table.far else 0)


if __name__ == "__main__":
    main()
