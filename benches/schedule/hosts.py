#!/usr/bin/env python3
"""What scheduling costs: N trivial steps over workers on this machine, and the processor time of the scheduler alone.

    hosts.py MSTORE --work DIR [--far DIR] [--steps 10000] [--hosts 8] [--check]

The hosts are workers (`mstore worker --stdio`) with a store each, reached through a program in the place of ssh that runs what it is
given here.  The stores of workers lie in memory (`--far`, /dev/shm): machines of their own have disks of their own, and what workers of this
one create and remove makes each new file of the same file system dearer for the scheduler.  What is printed is the time of the processor that the scheduling process had, with all its threads and without its
children and that of `realise -n`, which is what planning costs.  `--check` ends with status 1 when scheduling a step takes more
than 5 ms.  Needs root, as a sandbox with one user does.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Milliseconds of a step.
GOAL = 5.0


def run(argv, cwd, env):
    """Runs a process; gives its wall seconds, its own processor seconds, MiB, and what it said."""
    started = time.perf_counter()
    with open(os.path.join(cwd, "said"), "w+", encoding="utf-8") as said:
        child = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        peak = 0
        while True:
            ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None:
                break
            with open(f"/proc/{child.pid}/status", encoding="ascii") as file:
                marks = [line for line in file if line.startswith("VmHWM:")]
            peak = max([peak] + [int(line.split()[1]) for line in marks])
            time.sleep(0.05)
        wall = time.perf_counter() - started
        # It has ended and is not forgotten: fields 14 and 15 are its own time, 16 and 17 that of its children.
        with open(f"/proc/{child.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        child.wait()
        said.seek(0)
        text = said.read()
    if child.returncode:
        sys.exit(f"failed: {' '.join(argv)}\n{text[-2000:]}")
    return wall, own, peak / 1024, text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mstore")
    parser.add_argument("--work", required=True)
    parser.add_argument("--far", default="/dev/shm")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    mstore, work = os.path.abspath(args.mstore), os.path.abspath(args.work)
    shutil.rmtree(work, ignore_errors=True)
    project = os.path.join(work, "project")
    generate = [sys.executable, os.path.join(HERE, "../graph/generate.py"), str(args.steps), project]
    subprocess.run(generate, check=True)
    far = tempfile.mkdtemp(prefix="mstore-hosts-", dir=args.far)
    ssh = os.path.join(work, "ssh")
    with open(ssh, "w", encoding="ascii") as file:
        # The last word is the command.
        file.write('#!/bin/sh\nfor word; do :; done\nexec /bin/sh -c "$word"\n')
    os.chmod(ssh, 0o755)
    with open(os.path.join(project, "hosts"), "w", encoding="ascii") as file:
        for host in range(args.hosts):
            file.write(f"ssh://worker{host}{far}/{host} jobs=2\n")
    env = dict(os.environ, MSTORE_STORE=os.path.join(work, "store"), MSTORE_SSH=ssh)
    env["PATH"] = f"{os.path.dirname(mstore)}:{env['PATH']}"
    run([mstore, "seed", "import", "seed", "--name", "bench"], project, env)
    build = [mstore, "realise", "*", "--hosts", "hosts"]
    _, nothing, _, _ = run([mstore, "realise", "-n", "*"], project, env)
    try:
        wall, own, peak, text = run(build, project, env)
    finally:
        shutil.rmtree(far)
    one = 1000 * (own - nothing) / args.steps
    print(f"{args.steps} steps on {args.hosts} hosts: {wall:.1f} s, {args.steps / wall:.0f} a second")
    print(f"the scheduler's processor time: {own:.2f} s, {nothing:.2f} s of them to plan: {one:.2f} ms a step")
    print(f"its memory: {peak:.0f} MiB")
    print(text.splitlines()[-1])
    shutil.rmtree(work)
    if args.check and one > GOAL:
        sys.exit(f"scheduling a step takes more than {GOAL} ms")


if __name__ == "__main__":
    main()
