"""`repo push`: to a folder and over ssh, interrupted, refused; and everybody at once."""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from world import MSTORE, World, entries, main, same, told, wait_for

DAY = "2026-11-20"


def build(world, day=DAY):
    """Builds everything of the rotation for a day."""
    for _ in range(20):
        done = world.repo(day, "next")
        same(done.returncode, 0)
        if not done.stdout:
            return
    raise AssertionError("it never ends")


def published(top):
    """What readers see: everything that is not hidden, and not what only the keeper remembers."""
    found = entries(top)
    return {path: what for path, what in found.items() if not any(part.startswith(".") for part in path.split("/"))}


def test_a_folder_gets_what_is_lacking():
    with World(builds="b", subarches="s t", targets="stage1 stage3 openvz") as world:
        world.buildbot("def map_build(b, s, f, d):\n\treturn 'full+openvz'\n")
        build(world)
        master = world.dir / "master"
        master.mkdir()
        done = world.run("repo", "push", str(master), "--json")
        same(done.returncode, 0)
        same([json.loads(l)["outcome"] for l in done.stdout.splitlines()], ["published"] * 2)
        same(published(master), published(world.mirror))
        same((master / "b/a/s/.control/version/stage3").read_text(), DAY + "\n")
        assert not (master / "b/a/s/.control/.multi_progress").exists()
        before = entries(master)
        done = world.run("repo", "push", str(master), "--json")
        same([json.loads(l)["outcome"] for l in done.stdout.splitlines()], ["there"] * 2)
        same(entries(master), before)
        # An extra that came later is added; what is there is not sent again.
        day = "2026-11-24"
        world.buildbot()
        build(world, day)
        world.ok("repo", "push", str(master))
        world.ok("-D", f"target/version={day}", "realise", "openvz-t")
        world.ok("-D", f"target/version={day}", "repo", "publish", "openvz-t")
        same(world.run("repo", "push", str(master)).returncode, 0)
        same(published(master), published(world.mirror))
        # Another content under the same name is refused, and nothing changes.
        world.script("stage3", "echo another > /x")
        world.ok("-D", f"target/version={day}", "realise", "stage3-s")
        world.ok("-D", f"target/version={day}", "repo", "publish", "stage3-s", "--replace")
        before = entries(master)
        done = world.run("repo", "push", str(master))
        same(done.returncode, 1)
        assert "another content" in done.stderr, told(done)
        same(published(master), {p: w for p, w in before.items() if not any(x.startswith(".") for x in p.split("/"))})


def test_an_interrupted_push_goes_on_where_it_ended():
    with World(subarches="s", targets="stage3") as world:
        build(world)
        name = f"stage3-s-b-{DAY}.tar.gz"
        content = world.path("b/a/s", DAY, name).read_bytes()
        blake3 = world.text("b/a/s", DAY, name + ".hash.txt").split()[3]
        master = world.dir / "master"
        control = master / "b/a/s/.control"
        control.mkdir(parents=True)
        # Somebody works there: the push waits with all that it sent, and is killed.
        (control / ".multi_progress").write_text(str(os.getpid()))
        child = world.start("repo", "push", str(master))
        incoming = wait_for(lambda: list((master / "b/a/s").glob(".incoming-*/" + name)))[0].parent
        wait_for(lambda: len(os.listdir(incoming)) == len(world.names_in("b/a/s", DAY)))
        child.kill()
        child.communicate()
        same(published(master), {"b": "folder", "b/a": "folder", "b/a/s": "folder"})
        # As if the connection had ended in the middle of the archive.
        (incoming / name).unlink()
        (incoming / f".part-{blake3[:32]}").write_bytes(content[: len(content) // 2])
        # A cleaner and a build that fails leave it alone.
        (control / ".multi_progress").unlink()
        world.ok("repo", "--mirror", str(master), "clean", "--run")
        view = json.loads(world.ok("repo", "push", str(master), "--json"))
        same((view["outcome"], view["bytes"]), ("published", len(content) - len(content) // 2))
        same(published(master), published(world.mirror))
        same((os.listdir(control), incoming.exists()), (["version"], False))
        # What arrived damaged is told, and is sent again whole.
        shutil.rmtree(master)
        incoming.mkdir(parents=True)
        (incoming / f".part-{blake3[:32]}").write_bytes(b"x" * 1000)
        done = world.run("repo", "push", str(master))
        same(done.returncode, 1)
        assert f"{name} came damaged" in done.stderr, told(done)
        view = json.loads(world.ok("repo", "push", str(master), "--json"))
        same((view["outcome"], view["bytes"]), ("published", len(content)))
        same(published(master), published(world.mirror))


def test_a_push_that_was_killed_among_its_last_steps_is_finished_by_the_next():
    with World(subarches="s", targets="stage3") as world:
        build(world)
        master = world.dir / "master"
        master.mkdir()
        world.ok("repo", "push", str(master))
        whole, subarch = published(master), master / "b/a/s"
        same(whole, published(world.mirror))
        # As it is left between the archives and all that tells of them.
        links = {link.name: os.path.basename(os.readlink(link)) for link in subarch.iterdir() if link.is_symlink()}
        assert links, os.listdir(subarch)
        for name in [*links, ".control/version/stage3", f"{DAY}/status"]:
            (subarch / name).unlink()
        intent = {"format": 1, "version": DAY, "incoming": None, "hashes": {}, "links": links, "far_links": {}}
        intent |= {"versions": ["stage3"], "failure": None}
        (subarch / ".control/.publishing.mstore").write_text(json.dumps(intent))
        view = json.loads(world.ok("repo", "push", str(master), "--json"))
        same((view["outcome"], published(master)), ("there", whole))
        same((subarch / ".control/version/stage3").read_text(), DAY + "\n")
        same((subarch / ".control/.publishing.mstore").exists(), False)


class Sshd:
    """A real sshd on the loopback interface, with keys and configuration of its own."""

    def __init__(self, folder, command):
        self.folder = folder
        folder.mkdir()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        os.chmod(folder / "authorized", 0o600)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
            f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f"ForceCommand {command}\n"
        )
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.child = subprocess.Popen(
            [shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin"), "-D", "-e", "-f", folder / "config"],
            stderr=open(folder / "log", "w"),
        )
        wait_for(self.answers)

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def command(self):
        return (
            f"ssh -F /dev/null -i {self.folder}/user -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
            f" -o UserKnownHostsFile={self.folder}/known -o LogLevel=ERROR"
        )

    def close(self):
        self.child.terminate()
        self.child.wait()


def test_over_ssh():
    if not shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin"):
        print("skipped: there is no sshd")
        return
    with World(subarches="s t", targets="stage3") as world, World(subarches="s x", targets="stage3") as master:
        build(world)
        # The other end has a home and a configuration of its own.
        runner = master.dir / "runner"
        runner.write_text(
            f'#!/bin/sh\nHOME={master.home} MSTORE_STORE={master.store}\nexport HOME MSTORE_STORE\ncd {master.work}\n'
            'eval "set -- $SSH_ORIGINAL_COMMAND"\nexec "$@"\n'
        )
        runner.chmod(0o755)
        sshd = Sshd(world.dir / "sshd", runner)
        try:
            user = subprocess.run(["id", "-un"], stdout=subprocess.PIPE, text=True).stdout.strip()
            address = f"ssh://{user}@127.0.0.1:{sshd.port}{master.mirror}"
            words = ["repo", "push", address, "--ssh", sshd.command(), "--remote-program", MSTORE]
            done = world.run(*words, "--json")
            # `t` is not looked after there.
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            same([line["outcome"] for line in lines], ["published", "refused"])
            same(done.returncode, 1)
            same(published(master.path("b/a/s")), published(world.path("b/a/s")))
            same(json.loads(world.run(*words, "--json").stdout.splitlines()[0])["outcome"], "there")
            # Only what somebody signed who is trusted there is taken from now on.
            public = world.ok("key", "generate", "builder", "--out", str(world.dir / "key")).strip()
            config = master.home / ".config/mstore/mstore.conf"
            config.parent.mkdir(parents=True)
            config.write_text(f"[section trust]\nkeys: {public}\n")
            build(world, "2026-11-24")
            done = world.run(*words)
            assert "provenance.json is not signed" in done.stderr, told(done)
            assert not master.path("b/a/s/2026-11-24").exists()
            own = world.home / ".config/mstore/mstore.conf"
            own.parent.mkdir(parents=True)
            own.write_text(f"[section sign]\nkey: {world.dir}/key\n")
            build(world, "2026-11-28")
            done = world.run(*words)
            assert f"pushed {world.path('b/a/s/2026-11-28')}" in done.stdout, told(done)
            same(published(master.path("b/a/s/2026-11-28")), published(world.path("b/a/s/2026-11-28")))
            # A changed archive with the hash file that it had is not what was signed.
            build(world, "2026-12-02")
            stage3 = world.path("b/a/s/2026-12-02/stage3-s-b-2026-12-02.tar.gz")
            stage3.write_bytes(stage3.read_bytes() + b"x")
            done = world.run(*words)
            assert "does not vouch for" in done.stderr, told(done)
            assert not master.path("b/a/s/2026-12-02").exists()
        finally:
            sshd.close()


def look(top, faults, seen):
    """A reader, such as a web server: what is listed is whole, and what `latest` leads to is there."""
    for place in top.glob("b/a/*"):
        for folder in place.iterdir():
            if folder.name.startswith(".") or not folder.is_dir() or folder.is_symlink():
                continue
            try:
                names = set(os.listdir(folder))
            except FileNotFoundError:
                continue
            if not folder.exists():
                continue
            for name in names:
                if name.startswith("stage") and name.endswith(".tar.gz") and name + ".hash.txt" not in names:
                    faults.append(f"{folder}/{name} without its hash")
            if any(name.startswith("stage") and name.endswith(".tar.gz") for name in names):
                seen.add(str(folder))
                if sum(name.startswith("stage") and name.endswith(".tar.gz") for name in names) != 2 and folder.exists():
                    faults.append(f"{folder} has {sorted(names)}")
        for link in place.glob("*-latest.tar.gz"):
            try:
                target = os.readlink(link)
                content = link.read_bytes()
                wanted = (place / target).with_name(os.path.basename(target) + ".hash.txt").read_text()
            except FileNotFoundError:
                # Replaced in between; then it leads somewhere else now.
                if os.path.islink(link) and os.readlink(link) == target and not link.exists():
                    faults.append(f"{link} leads nowhere: {target}")
                continue
            if hashlib.sha256(content).hexdigest() not in wanted:
                faults.append(f"{link} is not what its hash says")


def test_everybody_at_once_loses_nothing():
    random.seed(5)
    days = [f"2026-11-{n:02}" for n in range(1, 29, 3)]
    one = World(subarches="s t u", targets="stage1 stage3")
    two = World(subarches="v w", targets="stage1 stage3")
    master = World(subarches="s t u v w", targets="stage1 stage3")
    with one, two, master:
        for world in (one, two, master):
            world.buildbot("keep_num = 3\n")
        over, faults, seen, errors = threading.Event(), [], set(), []

        def forever(work):
            def loop():
                while not over.is_set():
                    try:
                        work()
                    except Exception as error:
                        errors.append(repr(error))
                        return
            thread = threading.Thread(target=loop)
            thread.start()
            return thread

        def verb(*words):
            done = master.run("repo", "--today", "2026-11-29", *words)
            if done.returncode != 0:
                # What another one removes or replaces in this moment may be missed, but only that.
                errors.append(told(done))

        def old_tool():
            """Counts failures, locks, looks, as the program of before does: with open, write, unlink."""
            place = master.path("b/a", random.choice("stuvw"))
            control = place / ".control"
            control.mkdir(exist_ok=True)
            lock = control / ".multi_progress"
            if not lock.exists():
                with open(lock, "w") as file:
                    time.sleep(0.01)
                    file.write(str(os.getpid()))
                time.sleep(0.05)
                # It finds its number there, or somebody was faster.
                if lock.exists() and lock.read_text() == str(os.getpid()):
                    lock.unlink()
            time.sleep(0.2)

        threads = [
            forever(lambda: look(master.mirror, faults, seen)),
            forever(lambda: verb("clean", "--run")),
            forever(lambda: (verb("index.xml"), verb("digestgen"), verb("fails"))),
            forever(old_tool),
        ]
        try:
            for day in days:
                for world in (one, two):
                    build(world, day)
                pushes = [world.start("repo", "push", str(master.mirror)) for world in (one, two)]
                if random.random() < 0.4:
                    time.sleep(random.random() * 0.3)
                    pushes[0].kill()
                for push in pushes:
                    out, err = push.communicate()
                    assert push.returncode in (0, -signal.SIGKILL), err
            for world in (one, two):
                done = world.run("repo", "push", str(master.mirror))
                same((done.returncode, done.stderr), (0, ""))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        same(faults, [])
        same(errors, [])
        verb("clean", "--run")
        verb("digestgen")
        # Nothing was lost: of each subarch the newest three that its builder pushed.
        pushed = {world: days for world in (one, two)}
        for world, subarches in ((one, "stu"), (two, "vw")):
            for subarch in subarches:
                newest = [n for n in master.names_in("b/a", subarch) if n.startswith("2026")]
                same(newest[-1], days[-1])
                assert len(newest) == 3, newest
                for day in newest:
                    here, there = world.path("b/a", subarch, day), master.path("b/a", subarch, day)
                    same(published(there), published(here))
                    same((there / "status").read_text(), "ok")
                latest = master.path("b/a", subarch, "stage3-latest.tar.gz")
                same(os.readlink(latest), f"{days[-1]}/stage3-{subarch}-b-{days[-1]}.tar.gz")
                # Of pushes that were killed, and that nobody went on with, something may be left: for some days.
                for name in os.listdir(master.path("b/a", subarch)):
                    if name.startswith(".") and name != ".control":
                        os.utime(master.path("b/a", subarch, name), (0, 0))
                verb("clean", "--run")
                left = [n for n in os.listdir(master.path("b/a", subarch)) if n.startswith(".")]
                same(left, [".control"])
        assert len(seen) >= 5 * 4, len(seen)
        same(errors, [])


if __name__ == "__main__":
    main(globals())
