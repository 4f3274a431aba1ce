"""doc/repository.md from an empty machine to a mirror on the web, its crontab, and the systemd units: all run."""

import os
import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

from world import MSTORE, World, main, same, told, wait_for, write

DOC = Path(__file__).resolve().parents[2] / "doc"


class Machine(World):
    """The places of the manual, in a folder of their own. The specifications are tiny ones in place of those that
    come with the program: a build takes seconds."""

    def __init__(self):
        super().__init__("seedling", "x86-64bit", "corei7", "stage1 stage2 stage3")
        self.bin = self.dir / "bin"
        self.bin.mkdir()
        (self.bin / "mstore").symlink_to(MSTORE)
        shutil.rmtree(self.mirror)
        # The configuration is what the manual says.
        (self.home / ".buildbot").unlink()

    def here(self, text):
        for there, here in (("/etc/mirror", self.work), ("/srv/mirror", self.mirror), ("/usr/local/bin", self.bin)):
            text = text.replace(there, str(here))
        return text

    def blocks(self):
        """The blocks of the section, in their order."""
        text = (DOC / "repository.md").read_text()
        section = text.split("## From an empty machine to a mirror on the web\n")[1].split("\n## ")[0]
        return re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)

    def shell(self, script, **environment):
        """As cron would: hardly anything in the environment, and the home as the current folder."""
        environment = {"HOME": str(self.home), "LOGNAME": "root", "SHELL": "/bin/sh", **environment}
        environment["MSTORE_STORE"] = str(self.store)
        return subprocess.run(
            ["/bin/sh", "-e", "-c", script], cwd=self.home, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def set_up(self):
        """Does what the manual says up to the web server. Gives what each script printed."""
        printed = ""
        path = f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"
        for kind, text in self.blocks():
            text = self.here(text)
            if kind == "python":
                write(self.home / ".buildbot", text)
            elif kind == "metro":
                # What is said of the mirror; the standard specifications are not collected.
                same(text.splitlines()[-1], f"mirror: {self.mirror}")
            elif kind == "sh" and "http.server" not in text:
                done = self.shell(text, PATH=path)
                same((done.returncode, told(done) if done.returncode else ""), (0, ""))
                printed += done.stdout
        return printed


def test_from_an_empty_machine_to_a_mirror_on_the_web():
    with Machine() as machine:
        printed = machine.set_up()
        assert "build=seedling\n" in printed and "published " in printed, printed
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        line = next(text for kind, text in machine.blocks() if kind == "sh" and "http.server" in text)
        assert "8080" in line
        words = machine.here(line).replace("8080", port).split() + ["--bind", "127.0.0.1"]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def get(path):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                        return answer.read()
                except ConnectionError:
                    return None
                except urllib.error.URLError as error:
                    if isinstance(error.reason, ConnectionError):
                        return None
                    raise
            index = wait_for(lambda: get("/index.xml")).decode()
            download = re.search(r'download="([^"]+)"', index).group(1)
            latest = get("/seedling/x86-64bit/corei7/stage3-latest.tar.gz")
            same(get(download), latest)
            sha256 = re.search(r'sha256="([^"]+)"', index).group(1)
            hashed = get("/seedling/x86-64bit/corei7/stage3-latest.tar.gz.hash.txt").decode()
            same(hashed.splitlines()[0], f"sha256 {sha256}")
        finally:
            server.kill()
            server.wait()


def test_the_crontab_runs_as_cron_runs_it():
    with Machine() as machine:
        machine.set_up()
        crontab = machine.here(next(text for kind, text in machine.blocks() if kind == "cron"))
        environment = {"PATH": "/usr/bin:/bin"}
        lines = []
        for line in crontab.splitlines():
            if re.match(r"^[A-Z]+=", line):
                name, value = line.split("=", 1)
                environment[name] = value
            else:
                fields = line.split(None, 5)
                same([bool(re.fullmatch(r"[0-9*/,-]+", field)) for field in fields[:5]], [True] * 5)
                # cron takes a percent sign for the end of a line.
                assert "%" not in fields[5], line
                lines.append(fields[5])
        same(len(lines), 2)
        # All is current: not a word, or cron would send a mail.
        for line in lines:
            done = machine.shell(line, **environment)
            same((done.returncode, done.stdout, done.stderr), (0, "", ""))
        # A build that is due is made, without a word too.
        day = machine.mirror / "seedling/x86-64bit/corei7"
        old = next(n for n in os.listdir(day) if n.startswith("2"))
        for name in os.listdir(day / old):
            if name.startswith("stage"):
                new = name.replace(old, "2015-02-18")
                (day / old / name).rename(day / old / new)
        (day / old).rename(day / "2015-02-18")
        done = machine.shell(lines[0], **environment)
        same((done.returncode, done.stdout), (0, ""))
        same((day / old / "status").read_text(), "ok")
        # One that fails is told, by its status and on standard error.
        machine.script("stage3", "echo out of luck\nexit 1")
        for name in os.listdir(day):
            if name.startswith("2"):
                shutil.rmtree(day / name)
        done = machine.shell(lines[0], **environment)
        same(done.returncode, 1)
        assert "out of luck" in done.stderr and "the fail count is 1 now" in done.stderr, told(done)
        done = machine.shell(lines[1], **environment)
        same((done.returncode, done.stdout, done.stderr), (0, "", ""))


def test_the_units_of_systemd_are_sound_and_run():
    with Machine() as machine:
        machine.set_up()
        units = machine.dir / "units"
        units.mkdir()
        names = sorted(os.listdir(DOC / "systemd"))
        same(names, [f"mstore-{n}.{kind}" for n in ("keep", "next") for kind in ("service", "timer")])
        for name in names:
            write(units / name, machine.here((DOC / "systemd" / name).read_text()))
        if shutil.which("systemd-analyze"):
            for name in names:
                done = subprocess.run(
                    ["systemd-analyze", "verify", "--man=no", units / name],
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                )
                # It looks at the units of the machine too, and may say something of those.
                ours = [line for line in done.stdout.splitlines() if "mstore-" in line]
                same(ours, [])
            calendar = subprocess.run(["systemd-analyze", "calendar", "*:0/15"], stdout=subprocess.PIPE)
            same(calendar.returncode, 0)
        else:
            print("skipped: there is no systemd-analyze")
        for name in ("mstore-next.service", "mstore-keep.service"):
            text = (units / name).read_text()
            folder = re.search(r"^WorkingDirectory=(.*)$", text, re.M).group(1)
            commands = re.findall(r"^ExecStart=(.*)$", text, re.M)
            assert commands
            for command in commands:
                done = machine.shell(f"cd {folder}\n{command}", PATH="/usr/bin:/bin")
                same((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    main(globals())
