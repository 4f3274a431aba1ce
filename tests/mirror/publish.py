"""`repo publish`: what is where afterwards, again, on top of what is there, and after kill -9."""

import hashlib
import json
import os
import random
import shutil
import tarfile
import time

from world import World, entries, main, same, told, wait_for

DAY = "2026-11-20"
FOLDER = ("b", "a", "s", DAY)
STAGE3 = f"stage3-s-b-{DAY}.tar.gz"


def publish(world, *words, day=DAY):
    return world.run("-D", f"target/version={day}", "repo", "publish", *words)


def test_what_realise_made_comes_into_the_mirror():
    with World() as world:
        # Nothing is built yet: nothing is changed.
        before = entries(world.mirror)
        done = publish(world, "stage3-s")
        same(done.returncode, 1)
        assert "mstore realise" in done.stderr, told(done)
        world.ok("-D", f"target/version={DAY}", "realise", "openvz-s", "stage1-s")
        shown = publish(world, "stage1-s", "stage3-s", "openvz-s", "--dry-run")
        assert shown.stdout.count("would publish") == 3, told(shown)
        same(entries(world.mirror), before)
        world.path("b/a/s/.control/strategy").mkdir(parents=True)
        world.path("b/a/s/.control/strategy/build").write_text("remote\n")
        world.path("b/a/s/.control/.failcount").write_text("2")
        done = publish(world, "stage1-s", "stage2-s", "stage3-s", "openvz-s", "--json")
        view = json.loads(done.stdout)
        same([a["outcome"] for a in view["archives"]], ["written"] * 4)
        same((view["complete"], view["path"]), (True, str(world.path(*FOLDER))))

        openvz = f"b-s-openvz-{DAY}.tar.gz"
        archives = [openvz] + [f"stage{n}-s-b-{DAY}.tar.gz" for n in (1, 2, 3)]
        wanted = [".targets", "build-info.json", "log", "provenance.json", "status"]
        wanted += [name + end for name in archives for end in ("", ".hash.txt")]
        same(world.names_in(*FOLDER), sorted(wanted))
        same(world.text(*FOLDER, "status"), "ok")
        same(world.text(*FOLDER, ".targets"), "stage1\nstage2\nstage3\nopenvz\n")
        same(
            world.text(*FOLDER, "build-info.json"),
            '{\n    "ARCH": "a",\n    "CFLAGS": "-O2 -march=s",\n    "CHOST": "x86_64-pc-linux-gnu"\n}',
        )
        same(world.names_in(*FOLDER, "log"), ["openvz.txt"] + [f"stage{n}.txt" for n in (1, 2, 3)])
        same(os.readlink(world.path("b/a/s/stage3-latest.tar.gz")), f"{DAY}/{STAGE3}")
        same(os.readlink(world.path("b/a/s/stage3-latest.tar.gz.hash.txt")), f"{DAY}/{STAGE3}.hash.txt")
        same(os.readlink(world.path("b/a/s/b-openvz-latest.tar.gz")), f"{DAY}/{openvz}")
        control = world.path("b/a/s/.control")
        same(sorted(os.listdir(control)), ["strategy", "version"])
        same((control / "strategy/build").read_text(), "local\n")
        same(sorted(os.listdir(control / "version")), ["stage1", "stage3"])
        same((control / "version/stage3").read_text(), DAY + "\n")
        for name in archives:
            content = world.path(*FOLDER, name).read_bytes()
            same(world.text(*FOLDER, name + ".hash.txt").splitlines()[0], "sha256 " + hashlib.sha256(content).hexdigest())
        with tarfile.open(world.path(*FOLDER, STAGE3)) as tar:
            same(tar.extractfile(tar.getmember("./stage3") if "./stage3" in tar.getnames() else tar.getmember("stage3")).read(), b"stage3 of b s\n")
        provenance = json.loads(world.text(*FOLDER, "provenance.json"))
        same(sorted(provenance["archives"]), sorted(archives))
        same(oct(os.stat(world.path(*FOLDER)).st_mode)[-3:], "775")
        same(oct(os.stat(world.path(*FOLDER, STAGE3)).st_mode)[-3:], "664")
        # The other verbs find nothing to mend.
        before = entries(world.mirror)
        same(world.ok("repo", "digestgen"), "")
        same(entries(world.mirror), before)
        assert f"   0   {DAY} " in world.ok("repo", "fails")

        # Again: what is there stays, whatever is built now.
        done = publish(world, "stage3-s")
        assert "was published before and stays" in done.stderr, told(done)
        world.script("stage3", "echo other > /stage3")
        world.ok("-D", f"target/version={DAY}", "realise", "stage3-s")
        same(publish(world, "stage3-s").returncode, 0)
        # The targets of the run are told anew, and nothing else is different.
        after = entries(world.mirror)
        changed = {path for path in after if after[path] != before.get(path)}
        same(changed - {f"b/a/s/{DAY}/.targets", f"b/a/s/{DAY}/log/stage3.txt"}, set())
        done = publish(world, "stage3-s", "--replace")
        same(done.returncode, 0)
        content = world.path(*FOLDER, STAGE3).read_bytes()
        assert content != before[f"b/a/s/{DAY}/{STAGE3}"]
        assert hashlib.sha256(content).hexdigest() in world.text(*FOLDER, STAGE3 + ".hash.txt")
        same(world.ok("repo", "digestgen"), "")


def test_an_older_build_does_not_become_the_latest():
    with World(targets="stage3") as world:
        for day in ("2026-11-20", "2026-11-10", "2026-11-21"):
            world.ok("-D", f"target/version={day}", "realise", "stage3-s")
            same(publish(world, "stage3-s", day=day).returncode, 0)
            latest = "2026-11-21" if day == "2026-11-21" else "2026-11-20"
            same(os.readlink(world.path("b/a/s/stage3-latest.tar.gz")), f"{latest}/stage3-s-b-{latest}.tar.gz")
            same(world.text("b/a/s/.control/version/stage3"), latest + "\n")


def test_a_part_of_a_build_is_not_a_build():
    with World() as world:
        world.path("b/a/s/.control").mkdir()
        world.path("b/a/s/.control/.failcount").write_text("1")
        world.ok("-D", f"target/version={DAY}", "realise", "openvz-s")
        same(publish(world, "stage1-s").returncode, 0)
        assert not world.path(*FOLDER, "status").exists()
        same(world.text("b/a/s/.control/.failcount"), "1")
        assert "        None " in world.ok("repo", "fails")
        same(publish(world, "stage3-s").returncode, 0)
        same((world.text(*FOLDER, "status"), world.path("b/a/s/.control/.failcount").exists()), ("ok", False))
        same(len(json.loads(world.text(*FOLDER, "provenance.json"))["archives"]), 2)


def test_nothing_is_published_where_somebody_works():
    with World(targets="stage3") as world:
        world.ok("-D", f"target/version={DAY}", "realise", "stage3-s")
        world.path("b/a/s/.control").mkdir()
        world.path("b/a/s/.control/.multi_progress").write_text(str(os.getpid()))
        before = entries(world.mirror)
        done = publish(world, "stage3-s")
        same(done.returncode, 1)
        assert f"is held by process {os.getpid()}" in done.stderr, told(done)
        same(entries(world.mirror), before)
        # A name that is not a day is refused before anything is done.
        done = publish(world, "stage3-s", day="latest")
        same(done.returncode, 2)
        assert "target/version" in done.stderr, told(done)
        same(entries(world.mirror), before)


def test_specifications_name_archives_and_links_elsewhere():
    with World(targets="stage1 stage2 stage3 openvz lxd") as world:
        world.more = "mirror/target/auxlink/enable: openvz\nmirror/owner: 7\nmirror/group: 8\nmirror/dirmode: 2750\n"
        world.specs()
        for target in ("openvz", "lxd"):
            world.ok("-D", f"target/version={DAY}", "realise", f"{target}-t")
        for target in ("openvz-t", "lxd-t"):
            same(publish(world, target).returncode, 0)
        link = world.path("b/openvz/a/b-t-openvz-latest.tar.gz")
        same(os.readlink(link), f"../../../b/a/t/{DAY}/b-t-openvz-{DAY}.tar.gz")
        assert link.exists() and world.path("b/a/t/lxd-latest.tar.gz").exists()
        if os.getuid() == 0:
            folder = os.stat(world.path("b/a/t", DAY))
            same((folder.st_uid, folder.st_gid, oct(folder.st_mode)[-4:]), (7, 8, "2750"))
            info = os.lstat(world.path("b/a/t/lxd-latest.tar.gz"))
            same((info.st_uid, info.st_gid), (7, 8))


def test_killed_at_any_moment_it_is_finished_by_the_next_run():
    random.seed(14)
    with World(targets="stage1 stage2 stage3") as world:
        world.script("stage3", "n=0; while [ $n -lt 40000 ]; do echo $n$n$n$n; n=$((n+1)); done > /noise")
        world.ok("-D", f"target/version={DAY}", "realise", "stage3-s")
        targets = ("stage1-s", "stage2-s", "stage3-s")
        began = time.time()
        same(publish(world, *targets).returncode, 0)
        took = time.time() - began
        whole = entries(world.mirror)
        seen = set()
        wanted = {"whole", "part", "resumed", "begun"}
        intent = world.path("b/a/s/.control/.publishing.mstore")
        for n in range(80):
            if n >= 12 and wanted <= seen:
                break
            shutil.rmtree(world.path("b/a/s"))
            world.path("b/a/s").mkdir()
            child = world.start("-D", f"target/version={DAY}", "repo", "publish", *targets)
            if n % 3 == 0:
                # In the middle of the last steps, which take a moment.
                while not os.path.exists(intent) and child.poll() is None:
                    pass
            else:
                time.sleep(took * random.random() * 1.05)
            child.kill()
            child.communicate()
            there = set(world.names_in("b/a/s"))
            if DAY in there:
                # A whole one: every archive with its hash.
                names = set(world.names_in(*FOLDER))
                assert {f"stage{k}-s-b-{DAY}.tar.gz{end}" for k in (1, 2, 3) for end in ("", ".hash.txt")} <= names, names
            seen.add("whole" if DAY in there else "part" if any(".incoming" in name for name in there) else "nothing")
            if os.path.exists(intent):
                seen.add("begun")
            began = time.time()
            done = publish(world, *targets, "--json")
            took = time.time() - began
            same(done.returncode, 0)
            if any(a["outcome"] == "resumed" for a in json.loads(done.stdout)["archives"]):
                seen.add("resumed")
            after = entries(world.mirror)
            # Nothing of the try is left, hidden or not.
            same(sorted(after), sorted(whole))
            same({p: c for p, c in after.items() if "log" not in p}, {p: c for p, c in whole.items() if "log" not in p})
        assert wanted <= seen, seen


if __name__ == "__main__":
    main(globals())
