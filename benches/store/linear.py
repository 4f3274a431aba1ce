#!/usr/bin/env python3
"""What the store's work costs for 10,000, 100,000 and 1,000,000 entries.

    linear.py --work DIR [--tool FILE] [--sizes 10000,100000,1000000]

Makes trees of small files, each of its own content, 100 to a directory, and prints time for one entry
and the largest resident set of every operation.  Linear means: the columns do not grow downwards.
"""
import argparse
import os
import shutil
import subprocess
import sys
import time

HEAD = ["import", "again", "verify", "link", "gc"]


def run(*argv):
    start = time.perf_counter()
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = status
    if status:
        raise SystemExit(f"failed: {argv}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def make(path, count):
    for number in range(count // 101 + 1):
        folder = f"{path}/{number // 100}/{number % 100}"
        os.makedirs(folder, exist_ok=True)
        for file in range(100):
            with open(f"{folder}/{file}", "w") as out:
                out.write(f"{number} {file}\n" * 8)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--tool", default=os.path.join(here, "../../target/release/examples/store-tool"))
    parser.add_argument("--sizes", default="10000,100000,1000000")
    args = parser.parse_args()
    print("| entries | " + " | ".join(f"{name}, µs of wall (of CPU) an entry; MiB" for name in HEAD) + " |")
    print("|---:|" + "---:|" * len(HEAD))
    for count in map(int, args.sizes.split(",")):
        work = os.path.join(os.path.abspath(args.work), f"linear-{count}")
        shutil.rmtree(work, ignore_errors=True)
        tree, store = f"{work}/tree", f"{work}/store"
        make(tree, count)
        os.sync()
        tool = lambda *rest: run(args.tool, store, *rest)
        cells = []
        tool("init")
        cells.append(tool("import", tree, "r"))
        tool("again", tree, "r")
        cells.append(tool("again", tree, "r"))
        cells.append(tool("verify"))
        tool("link", "r", f"{work}/first")
        cells.append(tool("link", "r", f"{work}/farm"))
        # Half of it dies.
        tool("import", f"{tree}/0", "half")
        tool("drop", "r")
        cells.append(tool("gc"))
        each = lambda seconds: f"{seconds / count * 1e6:.1f}"
        print(
            f"| {count:,} | "
            + " | ".join(f"{each(wall)} ({each(cpu)}); {memory:.0f}" for wall, cpu, memory in cells)
            + " |",
            flush=True,
        )
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
