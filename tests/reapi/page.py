"""doc/remote-execution.md, carried out: its commands as written, on what looks like a new machine.

The machine is an overlay over this one in namespaces of its own: what is written there is gone afterwards. Only the
commands that install packages have the network.
"""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from engine import patience, until
from rig import MSTORE

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "doc/remote-execution.md"


def entries(text):
    """The commands of the `console` blocks, with the lines of their here-documents."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        lines = block.split("\n")
        while lines:
            line = lines.pop(0)
            if not line.startswith("$ "):
                continue
            command = line[2:]
            end = re.search(r"<<'?(\w+)'?", command)
            while end and lines:
                line = lines.pop(0)
                command += "\n" + line
                if line == end[1]:
                    break
            found.append(command)
    return found


class Machine:
    """A new machine: this one's files, and what is written to them stays in memory."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="mstore-page-", dir="/var/tmp"))
        script = f"""
set -e
mount --make-rprivate /
mount -t tmpfs -o size=6g new {self.dir}
mkdir {self.dir}/upper {self.dir}/work {self.dir}/root
mount -t overlay -o lowerdir=/,upperdir={self.dir}/upper,workdir={self.dir}/work new {self.dir}/root
cd {self.dir}/root
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
for each in tmp run var/tmp srv root; do mkdir -p $each; mount -t tmpfs -o mode=1777 new $each; done
chmod 755 srv run
mkdir -p run/postgresql run/lock
chown postgres: run/postgresql 2> /dev/null || true
mkdir -p srv/src/tests/reapi usr/local/bin
cp {TOP}/tests/reapi/buildgrid.txt srv/src/tests/reapi/
cp {MSTORE} usr/local/bin/mstore
cp {Path(MSTORE).parent}/mstore-worker usr/local/bin/
ip link set lo up
# A process in a chroot can make no user namespace, so the new root is the real one.
mkdir -p old
pivot_root . old
cd /
umount -l /old
echo up
while :; do sleep 86400 & wait; done
"""
        words = ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-c", script]
        self.outer = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if self.outer.stdout.readline() != "up\n":
            self.close()
            raise AssertionError("the page's machine does not start")
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        self.init = int(until("it runs", lambda: children.read_text().split())[0])

    def words(self, network):
        spaces = ["-m", "-p", "-i"] + ([] if network else ["-n"])
        return ["nsenter", "-t", str(self.init), *spaces]

    def logs(self):
        top = Path(f"/proc/{self.init}/root/srv")
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}\n" for path in [*top.glob("*log"), *top.glob("*/log")])

    def close(self):
        self.outer.kill()
        self.outer.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def run(folder="/srv/src"):
    """Carries out the page; gives how many commands it has and how long it took."""
    machine = Machine()
    log = Path(tempfile.mkstemp(prefix="mstore-page-log-", dir="/var/tmp")[1])
    began, state = time.monotonic(), ""
    try:
        commands = entries(PAGE.read_text())
        for command in commands:
            network = re.match(r"apt-get |\S*pip ", command)
            # Each command has a shell of its own; what they hand on is what variables say.
            names = [name for name in re.findall(r"^(\w+)=", command)]
            after = "".join(f'\necho "KEEP {name}=${name}"' for name in names)
            script = f"set -e\ncd {folder}\nexport PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive\n{state}{command}\n{after}\n"
            with open(log, "w") as out:
                done = subprocess.run([*machine.words(network), "bash", "-c", script], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=patience(600))
            said = log.read_text(errors="replace")
            assert done.returncode == 0, f"`{command}` of {PAGE.name} ends with {done.returncode}:\n{said[-3000:]}\n{machine.logs()}"
            state += "".join(f"{name}='{value}'\n" for name, value in re.findall(r"^KEEP (\w+)=(.*)$", said, re.M))
        return len(commands), time.monotonic() - began
    finally:
        log.unlink()
        machine.close()


if __name__ == "__main__":
    print("%d commands in %.0f s" % run())
