"""mstore behind real engines: BuildGrid with three `--bots` workers in network namespaces, and buildbox-casd.

After each case: the trees are those of a run on this machine, nothing is recorded that does not verify, and no process
is left at either end.

    MSTORE=PROGRAM python3 tests/reapi/run.py [CASE...] [--long]
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback

from engine import HERE, Casd, buildgrid_home, call, token, until
from rig import MSTORE, Farm, Run, Watch, World


class Cases:
    def __init__(self):
        self.farm = Farm()
        self.workers = self.farm.workers

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

    def settle(self):
        self.farm.steps_are_over()

    # The engines by themselves.

    def case_engine(self):
        """An action of a bare client goes through BuildGrid, by a worker that answers at once."""
        target = f"{self.farm.engine.address}:50051/main"
        client = [str(buildgrid_home() / "bin/python"), str(HERE / "client.py")]
        worker = subprocess.Popen([*self.workers[0].host.enter, *client, "worker", target], stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            assert worker.stdout.readline() == "ready\n"
            found = self.farm.client("one", target)
            assert found == {"status": 0, "exit": 0, "message": ""}, found
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()

    def case_casd(self):
        """The same through buildbox-casd, which runs it in a sandbox of its own."""
        casd = Casd(self.farm.dir / "casd")
        try:
            found = json.loads(call(buildgrid_home() / "bin/python", HERE / "client.py", "one", casd.address, "busybox"))
            assert found == {"status": 0, "exit": 0, "message": ""}, found
        finally:
            casd.close()


# What takes too long for every change.
LONG = set()


def main():
    if os.geteuid() != 0:
        sys.exit("tests/reapi must run as root")
    began = time.monotonic()
    names = [n.removeprefix("case_") for n in Cases.__dict__ if n.startswith("case_")]
    words = [w for w in sys.argv[1:] if w != "--long"]
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
