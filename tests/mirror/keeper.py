"""`repo next` and `repo build`: choosing, locks, failures that count and those that do not."""

import json
import os
import signal
import time

from world import MSTORE, World, entries, main, same, told, wait_for

DAY = "2026-11-20"


def count(world, subarch="s"):
    path = world.path("b/a", subarch, ".control/.failcount")
    return path.read_text() if path.exists() else None


def test_it_builds_one_after_the_other_until_all_is_current():
    with World(subarches="s t u", targets="stage1 stage2 stage3 stage3-freshen openvz") as world:
        world.buildbot(
            "def map_build(build, subarch, full, full_date):\n"
            "\treturn ('freshen', 'openvz') if full else 'full'\n"
        )
        for subarch in ("s", "t", "u"):
            done = world.repo(DAY, "next")
            same(done.returncode, 0)
            assert f"/b/a/{subarch}/{DAY}/stage3-" in done.stdout, told(done)
            same(world.names_in("b/a", subarch, ".control"), ["version"])
        done = world.repo(DAY, "next")
        same((done.returncode, done.stdout, done.stderr), (0, "", ""))
        # Three days later each is stale and was full: it is freshened, with an extra that starts from stage3.
        done = world.repo("2026-11-23", "next", "--json")
        view = json.loads(done.stdout)
        same((view["subarch"], view["version"], view["complete"]), ("s", "2026-11-23", True))
        same(
            [a["name"] for a in view["archives"]],
            ["stage3-s-b-2026-11-23.tar.gz", "b-s-openvz-2026-11-23.tar.gz"],
        )
        same(world.text("b/a/s/2026-11-23/.targets"), "stage3-freshen\nopenvz\n")
        # The 23rd was no full build.
        assert "fulldate=2026-11-20" in world.repo("2026-11-23", "nextbuild").stdout
        same(os.readlink(world.path("b/a/s/stage3-latest.tar.gz")), "2026-11-23/stage3-s-b-2026-11-23.tar.gz")


def test_a_failure_is_counted_until_the_subarch_is_out_of_the_rotation():
    with World(subarches="s") as world:
        world.buildbot("def map_build(b, s, f, d):\n\treturn 'full'\n")
        world.script("stage2", "echo ' * ERROR: sys-libs/glibc-2.40::b failed (compile phase):'\nexit 7")
        for n, day in enumerate(["2026-11-20", "2026-11-21", "2026-11-22"], 1):
            done = world.repo(day, "next")
            same(done.returncode, 1)
            assert f"the fail count is {n} now" in done.stderr, told(done)
            same(count(world), str(n))
            same(world.names_in("b/a/s", day), [".targets", "build-info.json", "log", "status"])
            same(world.text("b/a/s", day, "status"), "fail")
            same(json.loads(world.text("b/a/s", day, "log/errors.json")), [{"ebuild": "sys-libs/glibc-2.40", "phase": "compile"}])
            assert "glibc" in world.text("b/a/s", day, "log/stage2.txt")
            note = json.loads(world.text("b/a/s/.control/.failcount.mstore"))
            same((note["count"], note["date"], note["log"]), (n, day, f"{day}/log/stage2.txt"))
        done = world.repo("2026-11-23", "next")
        same((done.returncode, done.stdout, done.stderr), (0, "", ""))
        # Another script is another key: the count does not hold for it.
        world.script("stage2", "echo mended > /stage2")
        done = world.repo("2026-11-23", "next")
        same(done.returncode, 0)
        assert "the fail count of 3 is removed" in done.stderr, told(done)
        same((count(world), world.text("b/a/s/2026-11-23/status")), (None, "ok"))
        same(world.names_in("b/a/s/.control"), ["version"])


def test_a_count_that_the_old_tool_wrote_is_not_forgotten():
    with World(subarches="s", targets="stage3") as world:
        world.script("stage3", "exit 1")
        same(world.repo(DAY, "next").returncode, 1)
        world.path("b/a/s/.control/.failcount").write_text("3")
        world.script("stage3", "echo mended > /x")
        done = world.repo(DAY, "next")
        same((done.returncode, done.stderr, count(world)), (0, "", "3"))
        world.ok("repo", "zap")
        same(world.repo(DAY, "next").returncode, 0)


def test_an_extra_that_fails_does_not_hide_the_stage():
    with World(subarches="s", targets="stage3 openvz lxd") as world:
        world.buildbot("def map_build(b, s, f, d):\n\treturn 'full+openvz+lxd'\n")
        world.script("openvz", "exit 1")
        done = world.repo(DAY, "next")
        same((done.returncode, count(world)), (1, "1"))
        names = world.names_in("b/a/s", DAY)
        assert f"stage3-s-b-{DAY}.tar.gz" in names and f"lxd-s-b-{DAY}.tar.gz" in names, names
        assert not any("openvz" in name for name in names), names
        same(world.text("b/a/s", DAY, "status"), "fail")
        assert f"   1   {DAY} " in world.ok("repo", "fails")


def test_ctrl_c_and_kill_count_nothing():
    with World(subarches="s", targets="stage3") as world:
        world.script("stage3", "sleep 60")
        before = entries(world.mirror)
        child = world.start("repo", "--today", DAY, "next")
        lock = world.path("b/a/s/.control/.multi_progress")
        wait_for(lock.exists)
        same(lock.read_text(), str(child.pid))
        note = json.loads(wait_for(lambda: (p := lock.with_name(".multi_progress.mstore")).exists() and p.read_text()))
        same((note["pid"], note["version"]), (child.pid, DAY))
        # Nobody else takes it meanwhile.
        done = world.repo(DAY, "next")
        same((done.returncode, done.stdout), (0, ""))
        assert f"is being built by process {child.pid}: passed over" in done.stderr, told(done)
        done = world.repo(DAY, "build", "b", "a", "s")
        same(done.returncode, 1)
        same(done.stdout, "")
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        child.communicate()
        same(child.returncode, 130)
        after = entries(world.mirror)
        after.pop("b/a/s/.control")
        same(after, before)
        # Killed at once: the lock is dead, and the next run takes it.
        child = world.start("repo", "--today", DAY, "next")
        wait_for(lock.exists)
        child.kill()
        child.wait()
        world.script("stage3", "echo x > /x")
        same(world.repo(DAY, "next").returncode, 0)
        same(world.names_in("b/a/s/.control"), ["version"])


def test_a_full_disk_counts_nothing():
    if os.getuid() != 0:
        print("skipped: needs root")
        return
    with World(subarches="s", targets="stage3") as world:
        script = (
            'mount -t tmpfs -o size=1m tmpfs "$0" && mkdir -p "$0/b/a/s" || exit 99; shift 0; "$@"; status=$?;'
            ' find "$0" -type f; exit $status'
        )
        done = world.run(
            "--mount", "sh", "-c", script, str(world.mirror), MSTORE, "repo", "--today", DAY, "next", program="unshare"
        )
        if done.returncode == 99:
            print("skipped: cannot mount")
            return
        same(done.returncode, 3)
        assert "No space left" in done.stderr and ".failcount" not in done.stdout and "status" not in done.stdout, told(done)
        # With room again the build is there in the store, and is published.
        assert "up to date" not in world.ok("repo", "--today", DAY, "next")
        same(world.text("b/a/s", DAY, "status"), "ok")


def test_two_at_once_take_different_subarches():
    with World(subarches="s t u v", targets="stage3") as world:
        world.script("stage3", "sleep 1\necho $[target/subarch] > /x")
        runs = [world.start("repo", "--today", DAY, "next", "--json") for _ in range(4)]
        built = []
        for run in runs:
            out, err = run.communicate()
            same((run.returncode, err if run.returncode else ""), (0, ""))
            built += [json.loads(line)["subarch"] for line in out.splitlines()]
        same(sorted(built), ["s", "t", "u", "v"])
        same(world.repo(DAY, "next").stdout, "")


def test_build_makes_what_it_is_told():
    with World(subarches="s") as world:
        done = world.repo(DAY, "build", "b", "a", "s", "full+openvz", "2026-11-02")
        same(done.returncode, 0)
        same(len([n for n in world.names_in("b/a/s/2026-11-02") if n.endswith(".tar.gz")]), 4)
        # A kind that the specifications do not have is told, and nothing is counted.
        before = entries(world.mirror)
        done = world.repo(DAY, "build", "b", "a", "s", "nonsense")
        same(done.returncode, 2)
        assert "multi/targets" in done.stderr and "nonsense" in done.stderr, told(done)
        same(world.repo(DAY, "build", "b", "a", "nobody").returncode, 2)
        after = entries(world.mirror)
        same({p for p in after if "nobody" not in p}, set(before))
        # A list in the specifications counts more than what is usual.
        world.more = "[section multi/targets]\nnonsense: stage1\n"
        world.specs()
        same(world.repo(DAY, "build", "b", "a", "s", "nonsense").returncode, 0)
        same(world.text("b/a/s", DAY, ".targets"), "stage1\n")


def test_what_control_says_of_seeds_reaches_the_specifications():
    with World(subarches="s") as world:
        strategy = world.path("b/a/s/.control/strategy")
        strategy.mkdir(parents=True)
        (strategy / "seed").write_text("stage1\n")
        (strategy / "build").write_text("remote\n")
        (strategy.parent / "remote").mkdir()
        (strategy.parent / "remote/subarch").write_text("other\n")
        world.script("stage3", "echo $[strategy/build] $[strategy/seed] $[remote/subarch] $[target/version]")
        same(world.repo(DAY, "next").returncode, 0)
        same(world.text("b/a/s", DAY, ".targets"), "stage2\nstage3\n")
        assert f"remote stage1 other {DAY}" in world.text("b/a/s", DAY, "log/stage3.txt")
        same((strategy / "build").read_text(), "local\n")


def test_names_that_a_shell_or_a_file_system_could_mind():
    with World(builds="b'1", subarches="s;t") as world:
        done = world.repo(DAY, "next")
        same((done.returncode, done.stderr if done.returncode else ""), (0, ""))
        same(world.text("b'1/a/s;t", DAY, "status"), "ok")


if __name__ == "__main__":
    main(globals())
