"""`metro`: runs of targets over a mirror; what is skipped, what a run starts from, and what it leaves."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import tarfile
import time

from world import MSTORE, World, entries, main, same, told, wait_for

OLD = "2026-11-01"
DAY = "2026-11-20"
NEXT = "2026-11-23"
# The seed of a local build, as Metro's own specifications say it.
SEED = ": stage3\nversion: << $[path/mirror]/$[target/build]/$[target/arch_desc]/$[target/subarch]/.control/version/stage3"
TARGETS = "stage1 stage2 stage3 stage3-freshen openvz"


def words(day, *more, subarch="s", mode="full"):
    given = {"multi": "yes", "multi/mode": mode, "target/build": "b", "target/arch_desc": "a"}
    given |= {"target/subarch": subarch, "target/version": day}
    return [word for name, value in given.items() for word in (f"{name}:", value)] + list(more)


def metro(world, day, *more, **names):
    return world.run("metro", *words(day, *more, **names))


def put_stage(world, *place, day=OLD, kind="stage3"):
    """A stage in the mirror that somebody else made: the seed, with a file that tells where it came from."""
    build, arch, subarch = place
    folder = world.path(build, arch, subarch, day)
    folder.mkdir(parents=True)
    archive = folder / f"{kind}-{subarch}-{build}-{day}.tar.gz"
    mark = world.dir / "came-from"
    mark.write_text(f"{kind} of {subarch}, {day}\n")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(world.seed, arcname=".")
        tar.add(mark, arcname="./came-from")
    set_control(world, *place, **{f"version/{kind}": day})


def set_control(world, *place, **files):
    for name, text in files.items():
        path = world.path(*place, ".control", name.replace("__", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def local(world):
    """Specifications whose seed is the newest stage3 of the mirror."""
    world.sources = {"stage1": SEED, "stage3-freshen": SEED}
    world.specs()


def content(path, name):
    with tarfile.open(path) as tar:
        found = [m for m in tar.getmembers() if m.name.removeprefix("./") == name]
        return tar.extractfile(found[0]).read().decode() if found else None


def good(done):
    assert done.returncode == 0, told(done)


def free(world, subarch="s"):
    """Nobody works on it."""
    # A process that is killed while it takes the lock may leave a file that was to become the lock.
    names = world.names_in("b/a", subarch, ".control")
    names = [n for n in names if not n.startswith(".multi_progress.")]
    assert not [n for n in names if "progress" in n or "publishing" in n], names
    assert not [n for n in world.names_in("b/a", subarch) if n.startswith(".incoming")]


def test_a_full_run_over_a_mirror_with_a_seed_alone_then_again_then_freshened():
    with World(subarches="s", targets=TARGETS) as world:
        local(world)
        world.script("stage1", "cat /came-from > /stage1; echo '# made of' ; cat /came-from")
        world.script("openvz", "cat /stage3 /came-from")
        put_stage(world, "b", "a", "s")
        world.path("b/a/s/.control/.failcount").write_text("2")
        done = metro(world, DAY, "multi/extras:", "openvz")
        good(done)
        folder = world.path("b/a/s", DAY)
        names = [f"stage{n}-s-b-{DAY}.tar.gz" for n in (1, 2, 3)] + [f"b-s-openvz-{DAY}.tar.gz"]
        same([line.split(":")[0] for line in done.stdout.splitlines()], [f"published {folder}/{n}" for n in names])
        wanted = [".targets", "build-info.json", "log", "provenance.json", "status"]
        wanted += [name + end for name in names for end in ("", ".hash.txt")]
        same(world.names_in("b/a/s", DAY), sorted(wanted))
        same(world.text("b/a/s", DAY, ".targets"), "stage1\nstage2\nstage3\nopenvz\n")
        same(world.text("b/a/s", DAY, "status"), "ok")
        same(world.names_in("b/a/s", DAY, "log"), ["openvz.txt", "stage1.txt", "stage2.txt", "stage3.txt"])
        log = world.text("b/a/s", DAY, "log/stage1.txt")
        assert f"stage1 starts from b/a/s/{OLD}/stage3-s-b-{OLD}.tar.gz" in log, log
        assert f"# made of\nstage3 of s, {OLD}\n" in log, log
        assert f"stage2 starts from b/a/s/{DAY}/{names[0]}" in world.text("b/a/s", DAY, "log/stage2.txt")
        same(content(folder / names[2], "stage1"), f"stage3 of s, {OLD}\n")
        same(json.loads(world.text("b/a/s", DAY, "build-info.json"))["CHOST"], "x86_64-pc-linux-gnu")
        same(world.names_in("b/a/s/.control"), ["version"])
        same([world.text("b/a/s/.control/version", n) for n in ("stage1", "stage3")], [DAY + "\n"] * 2)
        same(os.readlink(world.path("b/a/s/stage3-latest.tar.gz")), f"{DAY}/{names[2]}")
        same(os.readlink(world.path("b/a/s/b-openvz-latest.tar.gz")), f"{DAY}/{names[3]}")
        for name in names:
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            same(world.text("b/a/s", DAY, name + ".hash.txt").splitlines()[0], "sha256 " + digest)
        # The seed is pinned where everybody sees it, and the other commands see what was built.
        lock = (world.work / "metro.lock").read_text()
        assert f"b/a/s/{OLD}/stage3-s-b-{OLD}.tar.gz" in lock, lock
        assert "b/a/s/stage2@" not in lock, lock
        assert f"   0   {DAY} " in world.ok("repo", "fails")
        same(world.ok("repo", "digestgen"), f"hashed {world.path('b/a/s', OLD)}/stage3-s-b-{OLD}.tar.gz\n")

        # Again: all is skipped, and a link or version file that somebody lost comes back.
        before = entries(world.mirror)
        world.path("b/a/s/stage3-latest.tar.gz").unlink()
        world.path("b/a/s/.control/version/stage1").unlink()
        done = metro(world, DAY, "multi/extras:", "openvz")
        same((done.returncode, done.stdout), (0, ""))
        same(done.stderr.count("is there already: skipped"), 4)
        same(entries(world.mirror), before)

        # A few days later, in another store: it starts from the stage3 of the mirror, and the extra from that day's.
        world.store = world.dir / "other"
        done = metro(world, NEXT, "multi/extras:", "openvz", mode="freshen")
        good(done)
        same(world.text("b/a/s", NEXT, ".targets"), "stage3-freshen\nopenvz\n")
        same(world.names_in("b/a/s", NEXT, "log"), ["openvz.txt", "stage3-freshen.txt"])
        assert f"starts from b/a/s/{DAY}/stage3-s-b-{DAY}.tar.gz" in world.text("b/a/s", NEXT, "log/stage3-freshen.txt")
        stage3 = world.path("b/a/s", NEXT, f"stage3-s-b-{NEXT}.tar.gz")
        same(content(stage3, "stage3-freshen"), "stage3-freshen of b s\n")
        assert f"starts from b/a/s/{NEXT}/{stage3.name}" in world.text("b/a/s", NEXT, "log/openvz.txt")
        same(content(world.path("b/a/s", NEXT, f"b-s-openvz-{NEXT}.tar.gz"), "stage3-freshen"), "stage3-freshen of b s\n")
        same(world.text("b/a/s/.control/version/stage3"), NEXT + "\n")
        # Made anew if it is wished, from what is there now.
        before = stage3.read_bytes()
        world.script("stage3-freshen", "echo anew > /anew")
        same(metro(world, NEXT, mode="freshen").returncode, 0)
        same(stage3.read_bytes(), before)
        set_control(world, "b", "a", "s", version__stage3=DAY)
        done = metro(world, NEXT, "metro/options:", "replace", mode="freshen")
        good(done)
        same(content(stage3, "anew"), "anew\n")
        free(world)


def test_a_failure_leaves_its_log_and_is_counted_and_the_next_run_goes_on():
    with World(subarches="s") as world:
        world.script("stage1", "echo one; echo '* > /stage1'; echo > /stage1")
        world.script("stage2", "echo before\necho ' * ERROR: sys-libs/glibc-2.40::b failed (compile phase):'\nexit 7")
        for n in (1, 2):
            done = metro(world, DAY)
            same(done.returncode, 1)
            assert f"the fail count is {n} now" in done.stderr, told(done)
            log = world.path("b/a/s", DAY, "log/stage2.txt")
            assert str(log) in done.stderr and "errors.json" in done.stderr, told(done)
            text = log.read_text()
            assert "==== stage2-s:run\nbefore\n" in text and "stage2-s:run: failed" in text, text
            same(json.loads(world.text("b/a/s", DAY, "log/errors.json")), [{"ebuild": "sys-libs/glibc-2.40", "phase": "compile"}])
            same(world.text("b/a/s/.control/.failcount"), str(n))
            note = json.loads(world.text("b/a/s/.control/.failcount.mstore"))
            same((note["count"], note["date"], note["log"]), (n, DAY, f"{DAY}/log/stage2.txt"))
            assert note["key"], note
            same(world.text("b/a/s", DAY, "status"), "fail")
            same(world.names_in("b/a/s/.control/version"), ["stage1"])
            # What was finished is there, and is not built again.
            assert world.path("b/a/s", DAY, f"stage1-s-b-{DAY}.tar.gz").exists()
            assert not world.path("b/a/s", DAY, f"stage3-s-b-{DAY}.tar.gz").exists()
            same("stage1-s-b" in done.stdout, n == 1)
            free(world)
        same("skipped" in done.stderr, True)
        view = json.loads(metro(world, DAY, "--json").stdout)
        same([t["outcome"] for t in view["targets"]], ["kept", "failed", "not-tried"])
        same((view["status"], view["failcount"], view["targets"][1]["log"]), ("fail", 3, str(log)))
        world.script("stage2", "echo mended > /stage2")
        done = metro(world, DAY, "--json")
        view = json.loads(done.stdout)
        same((done.returncode, view["status"], [t["outcome"] for t in view["targets"]]), (0, "ok", ["kept", "built", "built"]))
        same(view["targets"][2]["digests"], world.text("b/a/s", DAY, f"stage3-s-b-{DAY}.tar.gz.hash.txt"))
        same(world.text("b/a/s", DAY, "status"), "ok")
        same(world.names_in("b/a/s/.control"), ["version"])
        same(world.names_in("b/a/s", DAY, "log"), ["stage1.txt", "stage2.txt", "stage3.txt"])
        # An extra that fails afterwards is a failure of the run.
        world.script("openvz", "exit 3")
        done = metro(world, DAY, "multi/extras:", "openvz")
        same((done.returncode, world.text("b/a/s", DAY, "status"), world.text("b/a/s/.control/.failcount")), (1, "fail", "1"))


def test_a_remote_build_starts_from_another_subarch_and_becomes_local():
    with World(builds="b c", subarches="s t") as world:
        # As the layout of Metro's specifications has it: the files of control are read by the specifications.
        control = "$[path/mirror]/$[target/build]/$[target/arch_desc]/$[target/subarch]/.control"
        world.more = f"[collect ./layout]\n"
        (world.work / "layout").write_text(
            f"[section strategy]\nbuild: << {control}/strategy/build\nseed: << {control}/strategy/seed\n"
        )
        (world.work / "remote").write_text(
            f"[section source]\nbuild: << {control}/remote/build\narch_desc: << {control}/remote/arch_desc\n"
            f"subarch: << {control}/remote/subarch\n"
            "version: << $[path/mirror]/$[source/build]/$[source/arch_desc]/$[source/subarch]/.control/version/stage3\n"
        )
        (world.work / "local").write_text(f"[section source]\n{SEED.split(chr(10))[1]}\n")
        world.sources = {"stage1": ": stage3\n[collect ./$[strategy/build]]"}
        world.script("stage1", "cat /came-from")
        world.specs()
        put_stage(world, "c", "a", "t")
        remote = {"strategy__build": "remote", "strategy__seed": "stage3"}
        remote |= {"remote__build": "c", "remote__arch_desc": "a", "remote__subarch": "t"}
        set_control(world, "b", "a", "s", **remote)
        done = metro(world, DAY)
        good(done)
        assert f"stage1 starts from c/a/t/{OLD}/stage3-t-c-{OLD}.tar.gz" in world.text("b/a/s", DAY, "log/stage1.txt")
        same(world.text("b/a/s/.control/strategy/build"), "local\n")
        done = metro(world, NEXT)
        good(done)
        assert f"stage1 starts from b/a/s/{DAY}/stage3-s-b-{DAY}.tar.gz" in world.text("b/a/s", NEXT, "log/stage1.txt")


def test_control_says_what_to_start_from_where_specifications_do_not_read_it():
    with World(subarches="s t") as world:
        local(world)
        world.script("stage2", "echo $[strategy/build] $[remote/subarch]; cat /came-from")
        world.sources["stage2"] = ": stage1\n"
        put_stage(world, "b", "a", "s", kind="stage1")
        # A stage1 of the day: stage2 and stage3 alone are built.
        os.rename(world.path("b/a/s", OLD), world.path("b/a/s", DAY))
        os.rename(
            world.path("b/a/s", DAY, f"stage1-s-b-{OLD}.tar.gz"), world.path("b/a/s", DAY, f"stage1-s-b-{DAY}.tar.gz")
        )
        set_control(world, "b", "a", "s", strategy__seed="stage1", strategy__build="remote", remote__subarch="t")
        world.specs()
        done = metro(world, DAY)
        good(done)
        same(world.text("b/a/s", DAY, ".targets"), "stage2\nstage3\n")
        log = world.text("b/a/s", DAY, "log/stage2.txt")
        assert f"remote t\nstage1 of s, {OLD}\n" in log, log
        same(world.text("b/a/s/.control/strategy/build"), "local\n")


def test_the_log_grows_while_it_runs_and_a_second_run_is_told_to_wait():
    with World(subarches="s t", targets="stage1 stage2 stage3") as world:
        world.script("stage1", "echo first line; while [ ! -e /nothing ]; do sleep 0.1; done")
        child = world.start("metro", *words(DAY))
        try:
            log = world.path("b/a/s", DAY, "log/stage1.txt")
            wait_for(lambda: log.exists() and "first line\n" in log.read_text())
            assert "second" not in log.read_text()
            same(world.text("b/a/s/.control/.multi_progress"), str(child.pid))
            same(world.text("b/a/s/.control/.stage1_progress"), str(child.pid))
            same(world.text("b/a/s", DAY, ".targets"), "stage1\nstage2\nstage3\n")
            assert not world.path("b/a/s", DAY, "status").exists()
            done = metro(world, DAY)
            same((done.returncode, done.stdout), (1, ""))
            assert f"is held by process {child.pid}" in done.stderr and "hint:" in done.stderr, told(done)
            assert "is held by process" in metro(world, DAY, "-n").stderr
            assert "first line" in log.read_text()
            # Another subarch is no matter of this one.
            world.script("stage1", "echo quick; echo $[target/version]")
            same(metro(world, DAY, subarch="t").returncode, 0)

            # Killed: what it left is nobody's, and the next run takes it up.
            child.kill()
            child.communicate()
            assert world.path("b/a/s/.control/.multi_progress").exists()
            done = metro(world, DAY)
            good(done)
            same(world.text("b/a/s", DAY, "status"), "ok")
            # The step was built for the other subarch; its log is that of the result, not of the newest attempt.
            same(log.read_text().count(f"quick\n{DAY}\n"), 1)
            assert "first line" not in log.read_text()
            free(world)
        finally:
            child.kill()


def test_a_run_that_is_interrupted_counts_nothing_and_leaves_no_lock():
    with World(subarches="s") as world:
        world.script("stage2", "echo waiting; sleep 1000")
        for number, last in ((signal.SIGINT, False), (signal.SIGTERM, True)):
            log = world.path("b/a/s", DAY, "log/stage2.txt")
            log.unlink(missing_ok=True)
            child = world.start("metro", *words(DAY))
            wait_for(lambda: log.exists() and "waiting\n" in log.read_text())
            child.send_signal(number)
            out, err = child.communicate(timeout=30)
            same(child.returncode, 130)
            assert "run it again" in err, err
            free(world)
            same(world.names_in("b/a/s/.control"), ["version"])
            assert not world.path("b/a/s", DAY, "status").exists()
            assert "ended: interrupted" in log.read_text(), log.read_text()
            same(world.path("b/a/s", DAY, f"stage1-s-b-{DAY}.tar.gz").exists(), True)
        world.script("stage2", "echo done")
        good(metro(world, DAY))


def test_kill_at_any_moment_is_taken_up():
    with World(subarches="s") as world:
        local(world)
        put_stage(world, "b", "a", "s")
        for n in range(6):
            child = world.start("metro", *words(DAY))
            time.sleep(0.05 + 0.15 * n)
            child.kill()
            child.communicate()
        done = metro(world, DAY)
        good(done)
        free(world)
        names = world.names_in("b/a/s", DAY)
        same([n for n in names if n.startswith(".")], [".targets"])
        same(world.text("b/a/s", DAY, "status"), "ok")
        for n in (1, 2, 3):
            name = f"stage{n}-s-b-{DAY}.tar.gz"
            digest = hashlib.sha256(world.path("b/a/s", DAY, name).read_bytes()).hexdigest()
            assert digest in world.text("b/a/s", DAY, name + ".hash.txt")
            same(content(world.path("b/a/s", DAY, name), "stage1"), "stage1 of b s\n")
        same(json.loads(world.text("b/a/s", DAY, "provenance.json"))["version"], DAY)


def test_owner_group_and_mode_are_those_of_the_specifications():
    if os.geteuid() != 0:
        return print("skipped: not root")
    with World(subarches="s") as world:
        subprocess.run(["rm", "-rf", world.path("b")], check=True)
        world.more = "mirror/owner: 7\nmirror/group: 8\nmirror/dirmode: 2750\n"
        world.specs()
        world.script("openvz", "echo ' * ERROR: a/b-1 failed (setup phase)'; exit 1")
        done = metro(world, DAY, "multi/extras:", "openvz")
        same(done.returncode, 1)
        seen = 0
        for folder, folders, files in os.walk(world.path("b")):
            if os.path.basename(folder) == ".control":
                files = []
            for name in [n for n in folders if n != ".control"] + files:
                info = os.lstat(os.path.join(folder, name))
                same((name, info.st_uid, info.st_gid), (name, 7, 8))
                if stat.S_ISDIR(info.st_mode):
                    same((name, oct(info.st_mode)[-4:]), (name, "2750"))
                elif stat.S_ISREG(info.st_mode):
                    same((name, oct(info.st_mode)[-3:]), (name, "664"))
                seen += 1
        assert seen > 15, seen
        assert world.path("b/a/s", DAY, "log/errors.json").exists()
        same(world.fails(2, "metro", *words(DAY, "path/mirror/owner:", "nobody-of-that-name")).count("nobody-of-that-name"), 1)


def test_snapshots_are_published_waited_for_and_read():
    with World(subarches="s", targets="stage1 stage2 stage3") as world:
        ports = world.dir / "ports"
        (ports / "cat").mkdir(parents=True)
        (ports / "cat/port").write_text("a port\n")
        world.more = "[section snapshot]\n: tree\npath: /ports\ncompression: gz\n[section multi]\ntargets: snapshot stage3\n"
        world.sources = {"stage3": ": seed\nseed: base"}
        world.script("stage3", "cat /ports/cat/port > /stage3")
        # Nobody gave one.
        done = metro(world, DAY)
        same(done.returncode, 2)
        assert "snapshot import" in done.stderr, told(done)
        world.ok("snapshot", "import", str(ports), "--name", "tree")
        shots = world.path("b/snapshots")
        archive = shots / f"portage-{DAY}.tar.gz"
        # Somebody makes it now.
        shots.mkdir(exist_ok=True)
        mark = shots / f".portage-{DAY}.tar.gz_progress"
        mark.write_text(str(os.getpid()))
        child = world.start("metro", *words(DAY))
        for line in child.stderr:
            if "waiting for it" in line:
                break
        assert str(os.getpid()) in line, line
        assert not archive.exists()
        mark.unlink()
        out, err = child.communicate()
        assert child.returncode == 0, err
        assert f"published {archive}" in out, out
        same(world.names_in("b/snapshots"), [n + e for n in (f"portage-{DAY}.tar.gz", "portage-latest.tar.gz") for e in ("", ".hash.txt")])
        same(os.readlink(shots / "portage-latest.tar.gz"), archive.name)
        same(content(archive, "cat/port"), "a port\n")
        same(world.text("b/a/s", DAY, ".targets"), "stage3\n")
        # There already; and a process that ended makes nothing any more.
        mark.write_text("2147483646")
        before = archive.read_bytes()
        done = metro(world, DAY)
        same((done.returncode, done.stdout, archive.read_bytes()), (0, "", before))
        # The snapshot alone, as ezbuild.sh asks for it.
        done = world.run("metro", "target/build:", "b", "target:", "snapshot", "target/version:", NEXT)
        good(done)
        same(os.readlink(shots / "portage-latest.tar.gz"), f"portage-{NEXT}.tar.gz")
        free(world)
        # A machine that has no snapshot takes that of the mirror.
        world.store = world.dir / "other"
        (world.work / "metro.lock").unlink()
        world.ok("seed", "import", str(world.seed), "--name", "base")
        done = metro(world, NEXT, "multi/targets:", "stage3")
        good(done)
        same(content(world.path("b/a/s", NEXT, f"stage3-s-b-{NEXT}.tar.gz"), "stage3"), "a port\n")
        assert f"b/snapshots/portage-{NEXT}.tar.gz" in (world.work / "metro.lock").read_text()


def test_it_is_called_as_metro_was():
    with World(subarches="s", targets="stage1 stage2 stage3 stage3-freshen") as world:
        program = world.dir / "metro"
        program.symlink_to(MSTORE)
        run = lambda *more: world.run(*more, program=str(program))
        # The configuration of the home counts, wherever it is called.
        (world.home / ".metro").write_text((world.work / "metro.conf").read_text().replace("./$", f"{world.work}/$"))
        (world.work / "metro.conf").unlink()
        (world.home / "metro.lock").write_text((world.work / "metro.lock").read_text())
        same(run("-k", "path/mirror").stdout, f"{world.mirror}\n")
        same(run("--key", "subarch/CFLAGS", "target/subarch:", "core2").stdout, "-O2 -march=core2\n")
        done = run("-v", "-d", "-n", *words(DAY))
        good(done)
        assert f"Using main configuration file {world.home}/.metro" in done.stderr, told(done)
        assert f"read {world.home}/.metro" in done.stderr, told(done)
        same(
            done.stdout.splitlines(),
            ["stage1: would be built from the seed base", "stage2: would be built from stage1 of this run",
             "stage3: would be built from stage2 of this run"],
        )
        same(os.path.exists(world.path("b/a/s", DAY)), False)
        assert "mstore" in run("-V").stdout
        done = run("-f", "-n", *words(DAY))
        assert "# b/a/s/stage1\n" in done.stdout and "subarch/CFLAGS: -O2 -march=s\n" in done.stdout, told(done)
        # buildbot.sh calls it so.
        done = run("-d", *words(DAY, mode="freshen"))
        good(done)
        assert "stage3-freshen" in done.stderr
        same(world.text("b/a/s", DAY, "status"), "ok")
        view = json.loads(run("-n", "--json", *words(DAY, mode="freshen")).stdout)
        same([t["outcome"] for t in view["targets"]], ["kept"])
        # One target; today unless it is said; the arch where it is clear.
        today = time.strftime("%Y-%m-%d", time.gmtime())
        done = run("target:", "stage1", "target/build:", "b", "target/subarch:", "s")
        good(done)
        assert f"/b/a/s/{today}/stage1-s-b-{today}.tar.gz" in done.stdout, told(done)
        # `next --pretend` prints what does the same.
        command = world.run("repo", "--mirror", str(world.mirror), "--today", "2027-01-01", "next", "--pretend").stdout
        assert command.startswith("mstore metro 'multi: yes'"), command
        done = subprocess.run(
            ["sh", "-c", command.replace("mstore", MSTORE, 1)], env=world.environment(), cwd=world.work, stderr=subprocess.PIPE
        )
        good(done)
        same(world.text("b/a/s/2027-01-01/status"), "ok")


def test_what_is_wrong_is_told_with_what_to_do():
    with World(subarches="s t") as world:
        def refused(status, *parts, given):
            done = world.run("metro", *given)
            same(done.returncode, status)
            for part in parts + ("hint:",):
                assert part in done.stderr, f"{part}\n{told(done)}"
            same(done.stdout, "")

        usual = words(DAY)
        refused(2, "what is to be built", "multi: yes", given=["target/build:", "b"])
        refused(2, "multi/mode", "full", given=["multi:", "yes"])
        refused(2, "target/subarch is not given", "s t", given=["target:", "stage1", "target/build:", "b"])
        refused(2, "target/build is not given", given=["target:", "stage1"])
        refused(2, "is not a day", given=words("today"))
        refused(2, "`nonsense`", "multi/targets", given=words(DAY, mode="nonsense"))
        refused(2, "multi", given=["multi", "yes"])
        refused(2, "/no/such/mirror", "mkdir", given=usual + ["path/mirror:", "/no/such/mirror"])
        refused(2, "no/such/file", given=["--file", "no/such/file", *usual])
        # A local build without a seed.
        world.sources = {"stage1": ": b/a/s/stage3\nseed: b/a/s/stage3"}
        world.specs()
        refused(2, "there is no", "b/a/s/.control/version/stage3", "strategy/build", "seed import", given=usual)
        refused(2, "b/a/s/.control/version/stage3", given=["-n", *usual])
        set_control(world, "b", "a", "s", version__stage3=OLD)
        refused(2, f"names {OLD}", f"b/a/s/{OLD}/stage3-s-b-{OLD}.tar", given=usual)
        set_control(world, "b", "a", "s", version__stage3="../../x")
        refused(2, "../../x", given=usual)
        # An archive that is none.
        set_control(world, "b", "a", "s", version__stage3=OLD)
        world.path("b/a/s", OLD).mkdir()
        world.path("b/a/s", OLD, f"stage3-s-b-{OLD}.tar.gz").write_text("no archive")
        refused(2, f"stage3-s-b-{OLD}.tar.gz", given=usual)
        # Nothing of that counts.
        same([n for n in world.names_in("b/a/s/.control") if "fail" in n or "progress" in n], [])
        # And the day comes from the run.
        world.sources = {}
        world.script("stage1", "true")
        (world.work / "stage1.conf").write_text((world.work / "stage1.conf").read_text().replace("class: stage1", "class: stage1\nversion: 2020-01-01"))
        done = world.run("metro", *usual)
        same(done.returncode, 2)
        assert "target/version" in done.stderr, told(done)


def test_what_the_mirror_has_is_not_believed_without_looking():
    with World(subarches="s") as world:
        world.script("stage3", "cat /stage1 /stage2")
        same(metro(world, DAY, "target/x:", "y").returncode, 0)
        folder = world.path("b/a/s", DAY)
        # Somebody replaces the archive that stage3 is built from: the tree that is known is not what is there.
        stage2 = folder / f"stage2-s-b-{DAY}.tar.gz"
        (folder / f"stage3-s-b-{DAY}.tar.gz").unlink()
        with tarfile.open(stage2) as tar:
            tar.extractall(world.dir / "unpacked", filter="fully_trusted")
        (world.dir / "unpacked/stage2").write_text("another one\n")
        with tarfile.open(stage2, "w:gz") as tar:
            tar.add(world.dir / "unpacked", arcname=".")
        good(metro(world, DAY))
        assert "stage1 of b s\nanother one\n" in world.text("b/a/s", DAY, "log/stage3.txt")
        # A log that is a link leads nowhere out, and neither does a build folder.
        outside = world.dir / "outside"
        outside.mkdir()
        (outside / "x").write_text("x")
        (folder / "log/stage3.txt").unlink()
        (folder / "log/stage3.txt").symlink_to(outside / "x")
        (folder / f"stage3-s-b-{DAY}.tar.gz").unlink()
        good(metro(world, DAY))
        same(((outside / "x").read_text(), (folder / "log/stage3.txt").is_symlink()), ("x", False))
        world.path("b/a/s", NEXT).symlink_to(outside)
        done = metro(world, NEXT)
        same(done.returncode, 3)
        same(os.listdir(outside), ["x"])


if __name__ == "__main__":
    main(globals())
