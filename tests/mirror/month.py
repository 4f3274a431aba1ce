"""Sixty days of a mirror that two build servers share, with failures and kill -9, checked against the rules.

The rules are written down here again, plainly, from doc/repository.md: what is built next, what a failure and a
success leave, what stays and goes, what the index and the hash files say. They know nothing of the program. Each
run is predicted; after each day the whole mirror is compared with what the rules say it is.

    MSTORE=PROGRAM python3 tests/mirror/month.py [--subarches N] [--builds N] [--days N] [--seed N]
"""

import argparse
import datetime
import hashlib
import json
import os
import random
import time
import xml.etree.ElementTree as tree

from world import World, same, told, write

STALE, MAXIMUM, KEEP = 3, 3, 3
START = datetime.date(2026, 9, 1)


class Place:
    """A subarch of a build as the rules see it."""

    def __init__(self, build, subarch):
        self.build, self.subarch = build, subarch
        self.name = f"{build}/a/{subarch}"
        # Day to whether the build is complete and full.
        self.days = {}
        self.count = 0
        # What failed last, with the count that was written.
        self.note = None
        # Whether its script fails, and what makes its key another one.
        self.broken, self.salt = False, 0

    def complete(self):
        return sorted(day for day, (complete, _) in self.days.items() if complete)

    def newest(self):
        return (self.complete() or [None])[-1]

    def last_was_full(self):
        return self.newest() is not None and self.days[self.newest()][1]

    def full_date(self):
        full = [day for day in self.complete() if self.days[day][1]]
        return (full or [None])[-1]

    def mode(self):
        return "freshen" if self.last_was_full() else "full"

    def key(self):
        # A freshened stage has another script.
        return (self.mode(), self.broken, self.salt)

    def forgive(self):
        if self.note and self.note[0] == self.count and self.note[1] != self.key():
            self.count, self.note = 0, None

    def __repr__(self):
        days = {str(day): "full" if full else "built" if complete else "failed" for day, (complete, full) in self.days.items()}
        return f"{self.name} count {self.count} {self.note} broken {self.broken} {self.salt} {days}"

    def ran(self, day):
        """What a run of this day leaves."""
        if self.broken:
            self.note = (self.count + 1, self.key())
            self.count += 1
            self.days.setdefault(day, (False, False))
        else:
            full = self.mode() == "full"
            before = self.days.get(day, (False, False))
            self.days[day] = (True, full or before[1])
            self.count, self.note = 0, None


def choose(places, today, held=()):
    """The place whose turn it is, by the table of the rotation."""
    age = lambda place: (today - place.newest()).days
    oldest = lambda some: min(some, key=lambda place: place.newest()) if some else None
    for n in range(MAXIMUM):
        free = [place for place in places if place not in held]
        same_count = [place for place in free if place.count == n]
        never = [place for place in same_count if place.newest() is None]
        if never:
            return never[0]
        if n + 1 < MAXIMUM:
            next_count = [place for place in free if place.count == n + 1]
            never = [place for place in next_count if place.newest() is None]
            if never:
                return never[0]
            found = oldest([place for place in next_count if age(place) >= 2 * STALE])
            if found:
                return found
        found = oldest([place for place in same_count if place.newest() and age(place) >= STALE])
        if found:
            return found
    return None


class Month:
    def __init__(self, builds, subarches):
        self.places = [Place(build, subarch) for build in builds for subarch in subarches]
        targets = "stage1 stage3 stage3-freshen"
        self.one = World(" ".join(builds), "a", " ".join(subarches), targets)
        # The same seed: a key that failed on one is the key that the other would build.
        self.two = World(" ".join(builds), "a", " ".join(subarches), targets, self.one.seed)
        self.worlds = [self.one, self.two]
        for world in self.worlds:
            world.mirror = self.one.mirror
            world.buildbot(
                f"stale_days = {STALE}\nmax_failcount = {MAXIMUM}\nkeep_num = {KEEP}\n"
                "def map_build(build, subarch, full, full_date):\n\treturn 'freshen' if full else 'full'\n"
            )
            # Stages of a few bytes: one folder of the root, each from the seed.
            script = "mkdir -p /out\necho $[target/build] $[target/subarch] {} $[now/salt] > /out/{}\n"
            for target in world.targets:
                more = "exit $[now/fails]" if target != "stage1" else ""
                world.scripts[target] = script.format(target, target) + more
            world.specs()
            for target in world.targets:
                path = world.work / f"{target}.conf"
                text = path.read_text().replace("[section source]\n: stage1\n", "[section source]\n: seed\nseed: base\n")
                write(path, text + "[section portage]\nROOT: /out\n")
            with open(world.work / "metro.conf", "a") as conf:
                conf.write("[collect ./now-$[target/build:zap]-$[target/subarch:zap].conf]\n")
        self.write_state()
        self.story = []
        self.runs = self.killed = self.failures = self.checks = 0
        # Whether a run was killed: the next one may have to finish a publication, or to forgive failures.
        self.unfinished = False
        # The last answer of `nextbuild`.
        self.said = ""

    def write_state(self):
        for place in self.places:
            text = f"now/salt: {place.salt}\nnow/fails: {int(place.broken)}\n"
            for world in self.worlds:
                write(world.work / f"now-{place.build}-{place.subarch}.conf", text)

    def close(self):
        for world in self.worlds:
            world.close()

    def change_specifications(self, rng):
        for place in self.places:
            if place.broken and rng.random() < 0.15:
                place.broken, place.salt = False, place.salt + 1
            elif rng.random() < 0.08:
                place.broken, place.salt = True, place.salt + 1
            elif rng.random() < 0.05:
                place.salt += 1
        self.write_state()

    def start(self, world, today):
        return world.start("repo", "--today", str(today), "next", "--quiet", "--json")

    def finish(self, child, wanted, today):
        """Waits for a run, and compares what it did with what the rules say. `None` of `wanted` is: nothing to do."""
        out, err = child.communicate()
        self.runs += 1
        if not out:
            assert None in wanted and child.returncode == 0, f"{[w and w.name for w in wanted]} {child.returncode} {err}"
            return None
        view = json.loads(out)
        found = [p for p in wanted if p and (p.build, p.subarch) == (view["build"], view["subarch"])]
        assert found, f"it built {view['build']}/{view['subarch']}, not {[w and w.name for w in wanted]}\n{err}"
        place = found[0]
        same((child.returncode, view["version"]), (int(place.broken), str(today)))
        self.failures += place.broken
        place.ran(today)
        self.story.append(f"{today} ran {place}")
        return place

    def serial(self, world, today):
        """One run that is predicted, after `nextbuild` was asked."""
        wanted = choose(self.places, today)
        asked = world.run("repo", "--today", str(today), "nextbuild", "--json")
        if self.unfinished:
            # A question changes nothing: it is answered from what is there before `next` finishes the rest.
            self.unfinished = False
        elif wanted is None:
            same((asked.returncode, asked.stdout), (1, ""))
        else:
            view = json.loads(asked.stdout)
            full = wanted.full_date()
            self.said = asked.stdout + asked.stderr
            same(
                (view["build"], view["subarch"], view["target"], view["fulldate"], view["failcount"]),
                (wanted.build, wanted.subarch, wanted.mode(), full and str(full), wanted.count),
            )
        for place in self.places:
            place.forgive()
        return self.finish(self.start(world, today), [choose(self.places, today)], today)

    def pair(self, today):
        """Both servers at once."""
        for place in self.places:
            place.forgive()
        first = choose(self.places, today)
        # The other one chooses while the first builds, or after it.
        meanwhile = choose(self.places, today, [first]) if first else None
        children = [self.start(world, today) for world in self.worlds]
        views = []
        for child in children:
            out, err = child.communicate()
            self.runs += 1
            views.append((json.loads(out) if out else None, child.returncode, err))
        names = lambda view: view and f"{view['build']}/a/{view['subarch']}"
        found = [names(view) for view, _, _ in views]
        if first is None:
            same(found, [None, None])
            return None
        assert first.name in found, f"{found} without {first.name}\n{views}"
        first.ran(today)
        self.failures += first.broken
        self.story.append(f"{today} pair {found}: ran {first}")
        found.remove(first.name)
        for place in self.places:
            place.forgive()
        after = choose(self.places, today)
        other = next((p for p in (meanwhile, after) if (p and p.name) == found[0]), "nobody")
        assert other != "nobody", f"{found} is neither {meanwhile and meanwhile.name} nor {after and after.name}\n{views}"
        if other:
            other.ran(today)
            self.failures += other.broken
        return first

    def kill(self, world, today, rng):
        """A run that is killed at any moment: it leaves all or nothing."""
        for place in self.places:
            place.forgive()
        wanted = choose(self.places, today)
        # They may be of a failure that the run forgives, or of a run that was killed before it.
        control = world.mirror / (wanted.name if wanted else "") / ".control"
        content = lambda file: file.exists() and file.read_bytes()
        note, intent = control / ".failcount.mstore", control / ".publishing.mstore"
        before = content(note), content(intent)
        child = self.start(world, today)
        time.sleep(rng.random() * self.usual)
        child.kill()
        out, _ = child.communicate()
        self.killed += 1
        self.unfinished = True
        self.story.append(f"{today} killed {wanted}")
        if wanted is None:
            return
        folder = world.mirror / wanted.name
        day = folder / str(today)
        is_begun = intent.exists() and content(intent) != before[1]
        status = (day / "status").read_text() if (day / "status").exists() else None
        counted = note.exists() and content(note) != before[0] and json.loads(content(note))["count"] > wanted.count
        succeeded = any(day.glob("stage3*.gz")) and not wanted.days.get(today, (False, False))[0]
        if is_begun or out or (counted if wanted.broken else succeeded):
            wanted.ran(today)
            self.failures += wanted.broken
        else:
            assert status is None or today in wanted.days, f"{day} has a status and nothing in it"

    def day(self, today, rng):
        self.change_specifications(rng)
        # Builds until all is current; more at once than one server would do.
        for _ in range(10 * len(self.places)):
            chance = rng.random()
            if chance < 0.12:
                self.kill(rng.choice(self.worlds), today, rng)
            elif chance < 0.4 and not self.unfinished:
                if self.pair(today) is None:
                    break
            else:
                began = time.time()
                if self.serial(rng.choice(self.worlds), today) is None:
                    break
                self.usual = 0.8 * self.usual + 0.2 * (time.time() - began)
        else:
            raise AssertionError("it never ends")
        keeper = rng.choice(self.worlds)
        for verb in (["clean", "--run"], ["digestgen"], ["index.xml"]):
            done = keeper.repo(str(today), *verb)
            same((done.returncode, done.stderr), (0, ""))
        self.clean(today)
        self.check(today, keeper)

    usual = 0.5

    def clean(self, today):
        for place in self.places:
            kept = set(place.complete()[-KEEP:])
            for day in list(place.days):
                complete = place.days[day][0]
                if (complete and day not in kept) or (not complete and (today - day).days >= STALE):
                    del place.days[day]

    def check(self, today, world):
        """The whole mirror against what the rules say."""
        index = {s.get("name"): s for s in tree.parse(world.mirror / "index.xml").getroot().findall("subarch")}
        listed = {}
        for subarch in tree.parse(world.mirror / "index.xml").getroot().findall("subarch"):
            for build in subarch.findall("build"):
                listed[build.get("path")] = build
        assert index or not any(place.newest() for place in self.places)
        counts = {}
        for line in world.repo(str(today), "fails").stdout.splitlines():
            count, day, path = line.split()
            counts[path] = (int(count), day)
        for place in self.places:
            self.checks += 1
            folder = world.mirror / place.name
            names = os.listdir(folder)
            same(sorted(n for n in names if n.startswith("2026")), sorted(str(day) for day in place.days))
            # Nothing hidden is left but what a run that was killed may leave, and the next one of this subarch takes.
            for name in names:
                assert not name.startswith(".") or name == ".control" or name.startswith(".incoming-"), name
            same(counts[str(folder)], (place.count, str(place.newest())))
            for day, (complete, full) in place.days.items():
                self.check_build(place, folder / str(day), day, complete, full)
            newest = place.newest()
            link = folder / "stage3-latest.tar.gz"
            if newest:
                stage3 = f"stage3-{place.subarch}-{place.build}-{newest}.tar.gz"
                same(os.readlink(link), f"{newest}/{stage3}")
                same(link.resolve().is_file() and (folder / "stage3-latest.tar.gz.hash.txt").resolve().is_file(), True)
                same((folder / ".control/version/stage3").read_text(), f"{newest}\n")
                entry = listed.pop("/" + place.name)
                same((entry.get("latest"), entry.get("download")), (str(newest), f"/{place.name}/{newest}/{stage3}"))
                same(int(entry.get("bytes")), (folder / str(newest) / stage3).stat().st_size)
                hashed = hashlib.sha256((folder / str(newest) / stage3).read_bytes()).hexdigest()
                same(entry.get("sha256"), hashed)
            else:
                assert not os.path.lexists(link)
            lock = folder / ".control/.multi_progress"
            if lock.exists():
                assert not os.path.exists(f"/proc/{lock.read_text()}"), f"{lock} is held"
        same(listed, {})

    def check_build(self, place, folder, day, complete, full):
        names = set(os.listdir(folder))
        stage = lambda n: f"stage{n}-{place.subarch}-{place.build}-{day}.tar.gz"
        wanted = {stage(3)} if complete else set()
        if full:
            wanted.add(stage(1))
        same({name for name in names if name.endswith(".tar.gz")}, wanted)
        same({name for name in names if name.endswith(".hash.txt")}, {name + ".hash.txt" for name in wanted})
        for name in wanted:
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            same((folder / f"{name}.hash.txt").read_text().splitlines()[0], f"sha256 {digest}")
        status = (folder / "status").read_text()
        # A build that failed after it had succeeded on the same day says so, and is complete all the same.
        assert status == ("ok" if complete else "fail") or (complete and place.note), f"{folder}: {status}"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--subarches", type=int, default=10)
    options.add_argument("--builds", type=int, default=3)
    options.add_argument("--days", type=int, default=60)
    options.add_argument("--seed", type=int, default=14)
    options = options.parse_args()
    rng = random.Random(options.seed)
    began = time.time()
    month = Month([f"build-{n}" for n in range(options.builds)], [f"sub{n}" for n in range(options.subarches)])
    try:
        month.usual = 0.5
        for n in range(options.days):
            month.day(START + datetime.timedelta(days=n), rng)
            if n % 10 == 9:
                print(f"day {n + 1}: {month.runs} runs, {time.time() - began:.0f} s", flush=True)
    except BaseException:
        for line in month.story[-12:] + month.places + [month.said]:
            print(line)
        raise
    finally:
        if os.environ.get("KEEP"):
            print(month.one.dir)
        else:
            month.close()
    print(
        f"{options.days} days of {len(month.places)} subarches: {month.runs} runs, {month.failures} failures, "
        f"{month.killed} killed, {month.checks} checks of a subarch, {time.time() - began:.0f} s"
    )
    # It did what it is for.
    assert options.days < 30 or (month.failures > 20 and month.killed > 20 and month.runs > options.days)


if __name__ == "__main__":
    main()
